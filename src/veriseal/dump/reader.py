"""A list as a whole: its lines, their order, and where its hard links point."""

from collections.abc import Iterable, Iterator
from stat import S_IFDIR, S_IFMT
from typing import BinaryIO

from veriseal.dump.entry import Entry, check_hardlink
from veriseal.dump.error import LineError
from veriseal.dump.fields import read
from veriseal.dump.limits import MAX_ENTRIES, MAX_LINE, MAX_NAME, MAX_SIZE
from veriseal.errors import VerisealError

_BLOCK_SIZE = 64 * 1024
_NO_NAMES = frozenset((b"", b".", b".."))


def parse(text: BinaryIO | Iterable[bytes], path: str | None = None) -> Iterator[Entry]:
    """The entries of a list, each as soon as it is read and checked.

    ``text`` is an open file, or the text in pieces (lines are pieces); ``path`` is its name for
    messages. The last line may lack its newline. Only who has taken all entries knows that the
    list is a good one: a list that was cut at the end of a line looks whole.

    Kept in memory: a block of text, the directories above the last entry, and all entries but
    directories and hard links, since a hard link may name them later.

    Raises OSError, and VerisealError (``bad-tree-list``) with the number of the line.
    """
    lines = _Lines(text)
    try:
        yield from _in_order(lines)
    except LineError as error:
        raise VerisealError(
            "bad-tree-list",
            f"line {lines.number}: {error.problem}",
            path=path,
            expected=error.expected,
            found=error.found,
        ) from None


class _Lines:
    """The lines of a list without their newlines, counted."""

    def __init__(self, text: BinaryIO | Iterable[bytes]) -> None:
        read_ = getattr(text, "read", None)
        self._pieces: Iterable[bytes] = iter(lambda: read_(_BLOCK_SIZE), b"") if read_ else text
        self.number = 1

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        rest = b""
        for piece in self._pieces:
            size += len(piece)
            if size > MAX_SIZE:
                raise LineError("the list is too long", f"at most {MAX_SIZE} bytes")
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                yield line
                self.number += 1
            if len(rest) > MAX_LINE:
                break  # It is long enough to be refused. Do not read on.
        if rest:
            yield rest


def _in_order(lines: _Lines) -> Iterator[Entry]:
    files: dict[bytes, Entry] = {}
    # The directory of the last entry ("" for the root), and the last name in it; the same for
    # each directory above; the last entry, if it is a directory, which the next may be in.
    parent, last = b"", b""
    above: list[tuple[bytes, bytes]] = []
    entered: bytes | None = None
    previous: bytes | None = None
    for line in lines:
        entry = read(line)
        if previous is None:
            _check_root(entry)
            previous = entry.path
            yield entry
            continue
        where, _, name = entry.path.rpartition(b"/")
        if where == entered:
            above.append((parent, last))
            parent, last = where, b""
        while where != parent:
            if not above:
                raise _misplaced(entry.path, previous, files)
            parent, last = above.pop()
        if name <= last or name in _NO_NAMES or len(name) > MAX_NAME:
            raise _misplaced(entry.path, previous, files)
        previous, last, entered = entry.path, name, None
        if entry.hardlink:
            check_hardlink(entry, files)
        elif S_IFMT(entry.mode) == S_IFDIR:
            entered = entry.path
        else:
            files[entry.path] = entry
        if lines.number > MAX_ENTRIES:
            raise LineError("too many entries", f"at most {MAX_ENTRIES}")
        yield entry
    if previous is None:
        raise LineError("the list is empty", "the entry of the root")


def _check_root(entry: Entry) -> None:
    if entry.path != b"/":
        raise LineError("the first entry is not the root", "/", entry.path)
    if entry.hardlink or S_IFMT(entry.mode) != S_IFDIR:
        raise LineError("the root is not a directory")


def _misplaced(path: bytes, previous: bytes, files: dict[bytes, Entry]) -> LineError:
    """Why ``path`` cannot come after ``previous``."""
    names = path.split(b"/")[1:]
    if not _NO_NAMES.isdisjoint(names):
        return LineError("an empty name, '.' or '..' in the path", found=path)
    if max(map(len, names)) > MAX_NAME:
        return LineError("a name in the path is too long", f"at most {MAX_NAME} bytes", path)
    if path == previous or path in files or previous.startswith(path + b"/"):
        return LineError("listed twice", found=path)
    if names < previous.split(b"/")[1:]:
        return LineError("not in order: depth-first, names by their bytes", found=path)
    return LineError("its parent is not listed before it as a directory", found=path)
