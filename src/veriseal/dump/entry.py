"""One name in the tree, and what its fields must be to mean one thing."""

from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG
from typing import NamedTuple

from veriseal.dump.error import LineError
from veriseal.dump.limits import MAX_CONTENT, MAX_SIGNED


class Entry(NamedTuple):
    """One line of a list: one name in the tree.

    Attributes:
        path: absolute; ``/`` is the root.
        size: bytes; of a symbolic link, those of its target; of a directory, without meaning.
        mode: ``st_mode``, with the type.
        nlink, uid, gid: as in ``struct stat``.
        rdev: ``st_rdev`` of a device, otherwise 0.
        mtime: seconds since 1970, nanoseconds from 0 to 999,999,999.
        payload: the target of a symbolic link; the backing file of a regular file, if any; the
            path of the target of a hard link.
        content: all of a small regular file, if the list holds it. Never empty, and then neither
            payload nor digest is set.
        digest: fs-verity digest of a regular file, 32 or 64 bytes, if the list holds it.
        xattrs: names and values, in the list's order.
        hardlink: whether this is another name of the earlier entry `payload`, to which all other
            fields are equal.
    """

    path: bytes
    size: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    mtime: tuple[int, int]
    payload: bytes | None
    content: bytes | None
    digest: bytes | None
    xattrs: tuple[tuple[bytes, bytes], ...]
    hardlink: bool


def check(entry: Entry) -> None:
    """That the fields suit the type of the file. Not for a hard link: its target has its fields.

    Raises LineError. mkcomposefs drops what is refused here, or puts something else in its place.
    """
    kind = S_IFMT(entry.mode)
    if entry.size > MAX_SIGNED:
        raise LineError("SIZE is out of range", MAX_SIGNED, entry.size)
    if entry.rdev and kind not in (S_IFCHR, S_IFBLK):
        raise LineError("RDEV of a file that is not a device", 0, entry.rdev)
    if kind == S_IFREG:
        if entry.content is not None:
            _check_content(entry, entry.content)
    elif entry.content is not None or entry.digest is not None:
        raise LineError("CONTENT or DIGEST of a file that is not regular")
    elif kind == S_IFLNK:
        if entry.payload is None:
            raise LineError("a symbolic link without a target")
        if len(entry.payload) != entry.size:
            raise LineError("SIZE is not that of the link's target", len(entry.payload), entry.size)
    elif entry.payload is not None:
        raise LineError("PAYLOAD of a file that is neither regular nor a link", found=entry.payload)
    elif entry.size and kind != S_IFDIR:
        raise LineError("SIZE of a device, pipe or socket", 0, entry.size)


def _check_content(entry: Entry, content: bytes) -> None:
    if len(content) > MAX_CONTENT:
        raise LineError("CONTENT is too long", MAX_CONTENT, len(content))
    if len(content) != entry.size:
        raise LineError("SIZE is not that of CONTENT", len(content), entry.size)
    if entry.payload is not None or entry.digest is not None:
        raise LineError("PAYLOAD or DIGEST beside CONTENT, where composefs ignores them")


def check_hardlink(entry: Entry, files: dict[bytes, Entry]) -> None:
    """That the target is one of ``files`` and has the same fields.

    Raises LineError. mkcomposefs takes the target's fields, whatever those of the hard link are.
    """
    if entry.payload is None:
        raise LineError("a hard link without a target")
    target = files.get(entry.payload)
    if target is None:
        raise LineError(
            "a hard link to what is not an earlier entry, or is a directory or a hard link",
            found=entry.payload,
        )
    same = entry._replace(path=target.path, payload=target.payload, hardlink=False)
    if same != target:
        names = [name for name in Entry._fields if getattr(same, name) != getattr(target, name)]
        raise LineError(
            f"{', '.join(names).upper()} of the hard link and its target differ",
            found=entry.payload,
        )
