"""The launch table, /run/veriseal/launch.table: the paths and digests that the boot check accepted,
and what each program needs.

A look-up is an open, two fstats and four reads, whatever the size of the table. The layout, in
the machine's byte order, all numbers unsigned:

    header   8 bytes "VSLaunch", u32 version, 36 bytes boot id, u32 number of slots S, u32 file size
    index    S + 1 times u32: where the records of a slot begin; they end where the next begin
    records  u16 algorithm (FS_VERITY_HASH_ALG_*), u16 length of the path, u32 offset and u32 size
             of the closure, both 0 for what is no program, digest, path
    closures u32 number of members N, N times 68 bytes: what must be measured, N paths that end
             with a NUL each

A path's slot is its hash modulo S. Records are ordered by slot, and by path within one. Programs
that need the same share one closure.

On the launcher's path: imports what `digest` does, nothing more.
"""

import posix
import struct

from veriseal import trusted
from veriseal.digest import ALGORITHMS, Digest
from veriseal.errors import VerisealError, printable
from veriseal.names import fsdecode, fsencode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from veriseal.digest import Algorithm

    Need = tuple[bytes, bytes]  # path; what must be measured there, or ABSENT, or REFUSED
    Place = tuple[int, int]  # offset and size of a closure, in bytes

PATH = "/run/veriseal/launch.table"
MAX_ROWS = 1 << 20
"""More than twice the files of a full desktop system."""
MAX_SIZE = 1 << 28
"""Bytes. The table is memory: /run is a tmpfs."""
MAX_PATH = 4096
"""Bytes of a path: PATH_MAX, include/uapi/linux/limits.h."""

_HEADER = struct.Struct("=8sI36sII")
_RECORD = struct.Struct("=HHII")
_COUNT = struct.Struct("=I")
_MAGIC = b"VSLaunch"
_VERSION = 2
_ALGORITHMS = {one.number: one for one in ALGORITHMS}
_PLACES = 4  # how many paths a refusal names
_STEP = 256  # slots that a search through the whole table reads at a time

MEASURED_SIZE = 68
"""Bytes of ``struct fsverity_digest`` with room for the largest digest, see `kernel.verity`."""
ABSENT = bytes(MEASURED_SIZE)
"""In place of a digest: nothing may be at this path."""
REFUSED = b"\xff" * MEASURED_SIZE
"""In place of a digest: the boot check did not accept the file."""

_BOOT = "Boot again; journalctl -b -u veriseal-verify says what the boot check did"


def write(
    rows: "Iterable[tuple[bytes, Digest]]",
    closures: "Mapping[bytes, Sequence[Need]]",
    boot_id: str,
    path: str = PATH,
) -> int:
    """Replace the table in one step; the number of its rows. Their order does not matter.

    ``closures`` are those of programs, by path. A path without one is not started.

    Raises VerisealError (``bad-launch-row``: a path that is not absolute, holds a NUL, is too
    long or comes twice; ``launch-table-too-large``) and OSError. Then nothing is changed.
    """
    ordered = _checked(rows)
    slots = len(ordered) or 1
    begin = _HEADER.size + 4 * (slots + 1)
    end = begin + sum(_RECORD.size + len(digest.value) + len(name) for name, digest in ordered)
    blocks: dict[bytes, int] = {}  # with their offsets, in order
    records = [b""] * slots
    for name, digest in ordered:
        offset = size = 0
        if name in closures:
            block = _block(closures[name])
            offset, size = blocks.setdefault(block, end), len(block)
            end = max(end, offset + size)
        head = _RECORD.pack(digest.algorithm.number, len(name), offset, size)
        records[_hash(name) % slots] += head + digest.value + name
    index = [begin]
    for record in records:
        begin += len(record)
        index.append(begin)
    if end > MAX_SIZE:
        raise _too_large(f"{MAX_SIZE} bytes", f"{end} bytes")
    header = _HEADER.pack(_MAGIC, _VERSION, boot_id.encode(), slots, end)
    trusted.replace(path, [header, struct.pack(f"={len(index)}I", *index), *records, *blocks])
    return len(ordered)


def _block(needs: "Sequence[Need]") -> bytes:
    measured = b"".join(measured for _, measured in needs)
    if len(measured) != MEASURED_SIZE * len(needs):
        raise ValueError("not what the kernel measures")
    return _COUNT.pack(len(needs)) + measured + b"".join(name + b"\0" for name, _ in needs)


class Table:
    """The table of this boot. To be closed, or used in a ``with`` statement."""

    def __init__(self, boot_id: str, path: str = PATH, release: str = "") -> None:
        """Open the table. ``boot_id`` is this boot's, ``release`` what messages call its release.

        Raises VerisealError: ``no-launch-table``, ``launch-table-not-trusted`` (owner, mode,
        type), ``launch-table-damaged``, ``launch-table-of-another-boot``.
        """
        self.path = path
        self._release = release or "the release"
        self._fd = trusted.open_trusted(
            path,
            "launch table",
            missing="no-launch-table",
            untrusted="launch-table-not-trusted",
            remedy=_BOOT,
        )
        try:
            self._slots, self._size = self._read_header(boot_id)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Table":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        posix.close(self._fd)

    def require(self, path: str | bytes, digest: Digest) -> "Place":
        """Return only if the table has ``path`` with ``digest``: where its closure is.

        Raises VerisealError: ``misplaced`` (the digest is that of other paths, which are named),
        ``other-contents`` (of no path), ``not-in-manifest`` (nor is the path listed),
        ``launch-table-damaged``.
        """
        name = fsencode(path)
        listed = None
        for found, algorithm, value, place in self._rows(_hash(name) % self._slots, 1):
            if found == name:
                listed = Digest(algorithm, value)
                if listed == digest:
                    return place
        error = self.refusal(name, listed, digest)
        error.digest = digest
        raise error

    def closure(self, place: "Place") -> "list[Need] | None":
        """What the program needs whose `require` gave ``place``; None if it is no program.

        Raises VerisealError ``launch-table-damaged``.
        """
        offset, size = place
        if not size:
            return None
        if size < _COUNT.size or offset + size > self._size:
            raise self._damaged("a closure lies outside")
        data = self._read(offset, size)
        (count,) = _COUNT.unpack_from(data)
        names = _COUNT.size + count * MEASURED_SIZE
        paths = data[names:].split(b"\0")
        if len(paths) != count + 1 or paths.pop():
            raise self._damaged("a closure is cut off")
        starts = range(_COUNT.size, names, MEASURED_SIZE)
        return [
            (name, data[at : at + MEASURED_SIZE]) for name, at in zip(paths, starts, strict=True)
        ]

    def programs_with(self, wanted: bytes) -> list[bytes]:
        """The programs in whose closure ``wanted`` is measured. Reads the whole table."""
        return [
            found
            for found, _, _, place in self._all()
            if any(measured == wanted for _, measured in self.closure(place) or ())
        ]

    def refusal(self, name: bytes, listed: Digest | None, digest: Digest) -> VerisealError:
        """Why ``digest`` is refused at ``name``, where ``listed`` is. Reads the whole table."""
        places = self._places(digest)
        if name in places:
            raise self._damaged("a path is not in its slot")
        if places:
            reason, problem = "misplaced", f"signed, but this is {_named(sorted(places))}"
            remedy = "Files were moved, swapped or linked: put the release's own back"
        elif listed is not None:
            reason, problem = "other-contents", f"not the contents that {self._release} has here"
            remedy = "Restore the file from the release; find out who changed it"
        else:
            reason, problem = "not-in-manifest", f"not a file of {self._release}"
            remedy = "Build it into the release that runs here; if it is not yours, find out whose"
        where = fsdecode(name)
        return VerisealError(
            reason, problem, path=where, expected=listed, found=digest, remedy=remedy
        )

    def _places(self, digest: Digest) -> list[bytes]:
        """The paths whose digest this is. Reads the whole table: a refusal can pay for that."""
        wanted = (digest.algorithm, digest.value)
        return [found for found, *listed, _ in self._all() if tuple(listed) == wanted]

    def _all(self) -> "Iterator[tuple[bytes, Algorithm, bytes, Place]]":
        for slot in range(0, self._slots, _STEP):
            yield from self._rows(slot, min(_STEP, self._slots - slot))

    def _rows(self, slot: int, count: int) -> "Iterator[tuple[bytes, Algorithm, bytes, Place]]":
        """The rows of ``count`` slots: path, algorithm, digest, place of the closure."""
        offsets = self._read(_HEADER.size + 4 * slot, 4 * (count + 1))
        begin, end = struct.unpack_from("=I", offsets)[0], struct.unpack_from("=I", offsets, -4)[0]
        if not _HEADER.size + 4 * (self._slots + 1) <= begin <= end <= self._size:
            raise self._damaged("a slot lies outside")
        data = self._read(begin, end - begin)
        position = 0
        while position < len(data):
            if position + _RECORD.size > len(data):
                raise self._damaged("a record is cut off")
            number, length, *place = _RECORD.unpack_from(data, position)
            algorithm = _ALGORITHMS.get(number)
            if algorithm is None:
                raise self._damaged(f"no algorithm has number {number}")
            middle = position + _RECORD.size + algorithm.size
            stop = middle + length
            if stop > len(data):
                raise self._damaged("a record is cut off")
            value = data[middle - algorithm.size : middle]
            yield data[middle:stop], algorithm, value, (place[0], place[1])
            position = stop

    def _read_header(self, boot_id: str) -> tuple[int, int]:
        """Number of slots and size of the file, checked against each other."""
        magic, version, found, slots, size = _HEADER.unpack(self._read(0, _HEADER.size))
        if (magic, version) != (_MAGIC, _VERSION):
            raise self._damaged("another format")
        if found != boot_id.encode():
            raise VerisealError(
                "launch-table-of-another-boot",
                "the launch table is not of this boot",
                path=self.path,
                expected=boot_id,
                found=found.decode("ascii", "backslashreplace"),
                remedy=_BOOT,
            )
        if slots == 0 or size != posix.fstat(self._fd).st_size:
            raise self._damaged("not of the size that it was written with")
        return slots, size

    def _read(self, offset: int, size: int) -> bytes:
        try:
            data = posix.pread(self._fd, size, offset)
        except OSError as error:  # memory that was swapped out can be lost
            raise self._damaged(f"it cannot be read: {error.strerror}") from None
        if len(data) != size:
            raise self._damaged("it ends too early")
        return data

    def _damaged(self, problem: str) -> VerisealError:
        text = f"the launch table is damaged: {problem}"
        return VerisealError("launch-table-damaged", text, path=self.path, remedy=_BOOT)


def _checked(rows: "Iterable[tuple[bytes, Digest]]") -> list[tuple[bytes, Digest]]:
    """The rows, ordered by path, once each can be written."""
    from itertools import islice

    ordered = sorted(islice(rows, MAX_ROWS + 1), key=lambda row: row[0])
    if len(ordered) > MAX_ROWS:
        raise _too_large(f"{MAX_ROWS} files", "more")
    previous = None
    for name, _digest in ordered:
        if name == previous:
            raise _bad_row(name, "listed twice")
        if not name.startswith(b"/") or b"\0" in name or len(name) > MAX_PATH:
            raise _bad_row(name, "not an absolute path that a file can have")
        previous = name
    return ordered


def _hash(path: bytes) -> int:
    """Below 2**30. crc32 would do as well, but to import it can cost more than the look-up.

    The path as one large number modulo a prime. The factor spreads names that differ in their
    last letters only. Collisions cost time, nothing else; who could make them signs the release.
    """
    return int.from_bytes(path, "big") % 1000000007 * 654435761 % 1000000007


def _named(places: list[bytes]) -> str:
    names = [printable(fsdecode(place)) for place in places[:_PLACES]]
    if len(places) > _PLACES:
        names.append(f"{len(places) - _PLACES} more")
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _bad_row(name: bytes, problem: str) -> VerisealError:
    return VerisealError("bad-launch-row", problem, path=fsdecode(name))


def _too_large(expected: str, found: str) -> VerisealError:
    return VerisealError(
        "launch-table-too-large",
        "the release does not fit into a launch table",
        expected=f"at most {expected}",
        found=found,
    )
