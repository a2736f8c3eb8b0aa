"""What a tree list is made of: every entry of a tree, its names, and the line of each.

As `mkcomposefs` does it (libcomposefs/lcfs-writer.c, tools/mkcomposefs.c), except that hard links
stay hard links, and that an empty file has its digest.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from veriseal import dump
from veriseal.build import walk
from veriseal.build.digests import Compute, open_regular
from veriseal.digest import Digest
from veriseal.errors import VerisealError
from veriseal.kernel import mounts
from veriseal.pattern import MUTABLE, Rules

MAX_INLINE = 64
"""Bytes: files up to this size are in the list themselves. LCFS_RECOMMENDED_INLINE_CONTENT_MAX."""


class Node:
    """An entry of the tree, or a regular file with all its names.

    Attributes:
        host: its path, or that of its first name, on this machine.
        status: as lstat(2) gave it.
        paths: its names in the tree, absolute; the first in the list's order is the file itself.
        positions: the line of each of ``paths`` in the list, from 0.
        subdirectories: how many directories are listed below it, itself a directory.
    """

    __slots__ = ("host", "paths", "positions", "status", "subdirectories")

    def __init__(self, host: str, status: os.stat_result, path: bytes, position: int) -> None:
        self.host = host
        self.status = status
        self.paths = [path]
        self.positions = [position]
        self.subdirectories = 0

    @property
    def nlink(self) -> int:
        """Of what is listed, so that it does not depend on the file system."""
        if stat.S_ISDIR(self.status.st_mode):
            return 2 + self.subdirectories
        return len(self.paths)


class Scan:
    """What `scan` finds.

    Attributes:
        nodes: in the order of their first names.
        length: lines of the list.
        errors: why a part of the tree is not listed.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.length = 0
        self.errors: list[VerisealError] = []


def scan(tree: str, rules: Rules) -> Scan:
    """All entries of the directory ``tree`` that belong into its list.

    Nothing is read but directories. Of what is mutable, only the topmost directories are listed,
    and those that lead to something exclusive. A mount point is an error.

    Raises OSError if ``tree`` cannot be read.
    """
    tree = tree.rstrip("/") or "/"
    scanner = _Scanner(tree, rules)
    if scanner.visit(tree, os.stat(tree)):
        walk.below(tree, scanner.visit, scanner.found.errors)
    return scanner.found


class _Scanner:
    def __init__(self, tree: str, rules: Rules) -> None:
        self.found = Scan()
        self._rules = rules
        self._cut = 0 if tree == "/" else len(os.fsencode(tree))
        self._mounts = _mounts_below(tree)
        self._directories: dict[bytes, Node] = {}
        # Directories that are mutable but searched: each is listed once something below it is.
        self._waiting: dict[bytes, tuple[str, os.stat_result]] = {}
        self._files: dict[tuple[int, int], Node] = {}

    def visit(self, host: str, status: os.stat_result) -> bool:
        path = os.fsencode(host)[self._cut :] or b"/"
        is_directory = stat.S_ISDIR(status.st_mode)
        if self._rules.mutable.cover(path) and self._rules.kind(path) == MUTABLE:
            return is_directory and self._mutable(path, host, status)
        if path in self._mounts:
            self.found.errors.append(_mounted(host))
            return False
        self._add(path, host, status)
        return is_directory

    def _mutable(self, path: bytes, host: str, status: os.stat_result) -> bool:
        """Treat the mutable directory ``path``; whether to look below it."""
        inside = _parent(path) in self._waiting
        search = path not in self._mounts and self._rules.exclusive.lead_below(path)
        if search:
            self._waiting[path] = (host, status)
        if not inside:
            self._add(path, host, status)
        return search

    def _add(self, path: bytes, host: str, status: os.stat_result) -> None:
        if self._waiting and path != b"/":
            parent = _parent(path)
            if parent not in self._directories:
                self._add(parent, *self._waiting[parent])
        position = self.found.length
        self.found.length += 1
        is_linked = status.st_nlink > 1 and stat.S_ISREG(status.st_mode)
        if is_linked and (status.st_dev, status.st_ino) in self._files:
            first = self._files[status.st_dev, status.st_ino]
            first.paths.append(path)
            first.positions.append(position)
            return
        node = Node(host, status, path, position)
        self.found.nodes.append(node)
        if is_linked:
            self._files[status.st_dev, status.st_ino] = node
        elif stat.S_ISDIR(status.st_mode):
            if path != b"/":
                self._directories[_parent(path)].subdirectories += 1
            self._directories[path] = node


def read(
    node: Node, compute: Compute
) -> tuple[Digest | None, bytes | None, list[tuple[bytes, bytes]]]:
    """Of a regular file its digest, and its contents if they belong into the list; the xattrs.

    Raises OSError, and VerisealError ``changed-while-read``.
    """
    if not stat.S_ISREG(node.status.st_mode):
        return None, None, _xattrs(node.host)
    with opened(node) as (fd, size):
        digest = compute(fd, size)
        content = os.pread(fd, size, 0) if 0 < size <= MAX_INLINE else None
        xattrs = _xattrs(fd)
    return digest, content, xattrs


def attributes(node: Node) -> set[str]:
    """The names of the extended attributes that this process may see. Raises OSError."""
    return {os.fsdecode(name) for name, _ in _xattrs(node.host)}


@contextlib.contextmanager
def opened(node: Node) -> Iterator[tuple[int, int]]:
    """The regular file ``node`` for reading: its descriptor and size in bytes.

    Raises OSError, and VerisealError ``changed-while-read`` if it is not what was scanned.
    """
    fd, size = open_regular(node.host, os.O_NOFOLLOW)
    try:
        yield fd, size
        status = os.fstat(fd)
    finally:
        os.close(fd)
    if _version(status) != _version(node.status):
        raise VerisealError(
            "changed-while-read",
            "the file changed while the tree was read",
            path=node.host,
            remedy="Try again when nothing writes to the tree",
        )


def contents(node: Node, limit: int) -> bytes:
    """What is in the regular file ``node``.

    Raises OSError, and VerisealError (``too-large`` with more than ``limit`` bytes).
    """
    with opened(node) as (fd, size):
        if size > limit:
            raise VerisealError(
                "too-large",
                "the file is too large to be read",
                path=node.host,
                expected=f"at most {limit} bytes",
                found=f"{size} bytes",
                remedy="Make it smaller, or take it out of the tree",
            )
        return os.pread(fd, size, 0)


def lines(
    node: Node, digest: Digest | None, content: bytes | None, xattrs: list[tuple[bytes, bytes]]
) -> list[bytes]:
    """The lines of the list for each of ``node.paths``, given what `read` found.

    Raises OSError, VerisealError.
    """
    status = node.status
    size, payload, value = 0, None, None
    if digest is not None:
        size = status.st_size
        if content is None:
            value = digest.value
            digits = value.hex()
            # Where mkcomposefs looks for the contents of a file; those of an empty one nowhere.
            payload = f"{digits[:2]}/{digits[2:]}".encode() if size else None
    elif stat.S_ISLNK(status.st_mode):
        payload = os.fsencode(os.readlink(node.host))
        size = len(payload)
    is_device = stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)
    entry = dump.Entry(
        path=node.paths[0],
        size=size,
        mode=status.st_mode,
        nlink=node.nlink,
        uid=status.st_uid,
        gid=status.st_gid,
        rdev=status.st_rdev if is_device else 0,
        mtime=divmod(status.st_mtime_ns, 1_000_000_000),
        payload=payload,
        content=content,
        digest=value,
        xattrs=tuple(xattrs),
        hardlink=False,
    )
    made = [dump.line(entry)]
    for path in node.paths[1:]:
        made.append(dump.line(entry._replace(path=path, payload=entry.path, hardlink=True)))
    return made


def _parent(path: bytes) -> bytes:
    return path[: path.rindex(b"/")] or b"/"


def _version(status: os.stat_result) -> tuple[int, int, int]:
    """What changes whenever a file does: no call sets the time of the last change."""
    return status.st_dev, status.st_ino, status.st_ctime_ns


def _xattrs(file: str | int) -> list[tuple[bytes, bytes]]:
    """The extended attributes that this process may see, sorted by name. Raises OSError."""
    follow = isinstance(file, int)
    try:
        names = os.listxattr(file, follow_symlinks=follow)
        if not names:
            return []
        return sorted(
            (os.fsencode(name), os.getxattr(file, name, follow_symlinks=follow)) for name in names
        )
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return []
        raise


def _mounts_below(tree: str) -> set[bytes]:
    """The mount points below ``tree``, as paths in it. Raises OSError, VerisealError."""
    top = os.fsencode(os.path.realpath(tree)).rstrip(b"/") + b"/"
    points = [os.fsencode(mount.point) for mount in mounts.read()]
    return {point[len(top) - 1 :] for point in points if point.startswith(top) and point != top}


def _mounted(host: str) -> VerisealError:
    return VerisealError(
        "mount-point",
        "something is mounted here, and the list would not be that of the tree",
        path=host,
        remedy="Unmount it, build from a copy of the tree, or name it in build.mutable",
    )
