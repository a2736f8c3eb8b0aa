"""Looking at one directory of a tree: what the kernel says of each entry, against the list.

No symbolic link is followed and nothing is opened but directories and regular files: who has the
disk can put a device or a FIFO in a file's place. Each directory is reached from the tree's root
through directories alone; each entry is then taken from that one directory.
"""

import errno
import os
import stat
import time
from collections.abc import Iterable, Mapping, Sequence

from veriseal import dump, merkle
from veriseal.digest import Digest
from veriseal.errors import VerisealError
from veriseal.kernel import files, verity
from veriseal.kernel.measuring import Measuring
from veriseal.manifest import Manifest, rules
from veriseal.pattern import EXCLUSIVE, Patterns

Found = tuple[str, bytes, str | None, str | None, bytes | None]
"""Kind, path, expected, found, digest: a Finding that can cross from a worker."""
Seen = tuple[list[Found], list[tuple[bytes, int]], tuple[int, int, int, float]]
"""Findings, unopened, and the four counts of a `Look`."""

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CHECKED_XATTRS = ("security.", "system.posix_acl_")
_MOST_ADDED = 100
"""Findings of one directory; a disk has room for millions."""
_TYPES = {
    stat.S_IFREG: "a regular file",
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
}


class Look:
    """What was seen of some directories.

    Attributes:
        findings: in the order of looking.
        unopened: directories that could not be opened, each with its errno: nothing below them
            was looked at.
        measured: files whose digest the kernel gave.
        hashed, hashed_bytes, hashed_seconds: files without verity, which were read instead.
    """

    def __init__(
        self,
        root: int,
        manifest: Manifest,
        digests: Mapping[bytes, Digest],
        verity_for_all: bool,
    ) -> None:
        """``root`` is open on the tree's root directory; ``digests`` are those of the list.

        With ``verity_for_all`` no file is read in place of being measured.
        """
        self._root = root
        self._digests = digests
        self._parameters = manifest.parameters
        self._rules = rules(manifest)
        self._verity = Patterns(["/"] if verity_for_all else manifest.signed)
        self._revoked = {one.value for one in manifest.revoked}
        self._measuring = Measuring()
        self._start()

    def _start(self) -> None:
        self.findings: list[Found] = []
        self.unopened: list[tuple[bytes, int]] = []
        self.measured = self.hashed = self.hashed_bytes = 0
        self.hashed_seconds = 0.0

    def take(self) -> Seen:
        """What was seen since the last call."""
        counts = (self.measured, self.hashed, self.hashed_bytes, self.hashed_seconds)
        seen = (self.findings, self.unopened, counts)
        self._start()
        return seen

    def directory(self, own: dump.Entry, entries: Sequence[dump.Entry]) -> None:
        """Compare the directory ``own`` and what is directly in it with the list."""
        path = own.path
        try:
            # "." for the root itself.
            fd = files.open_beneath(self._root, path[1:] or b".", os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            self.unopened.append((path, error.errno or 0))
            return
        try:
            self._attributes(own, os.fstat(fd), path)
            self._xattrs(own, fd, path)
            start = len(path) + (path != b"/")
            for entry in entries:
                self._entry(fd, entry, entry.path[start:])
            if self._rules.must_be_searched(path):
                self._search(fd, path, {entry.path[start:] for entry in entries})
        except OSError as error:
            self._unreadable(path, error)
        finally:
            os.close(fd)

    def _entry(self, directory: int, entry: dump.Entry, name: bytes) -> None:
        path = entry.path
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            kind = stat.S_IFMT(entry.mode)
            if stat.S_IFMT(status.st_mode) != kind:
                self._other_type(entry, status)
            elif kind == stat.S_IFREG:
                self._file(directory, entry, name)
            elif kind != stat.S_IFDIR:  # directories have a look of their own
                self._attributes(entry, status, path)
                self._xattrs(entry, f"/proc/self/fd/{directory}/{os.fsdecode(name)}", path)
                if kind == stat.S_IFLNK:
                    self._link(directory, entry, name)
                elif status.st_rdev != entry.rdev and kind in (stat.S_IFCHR, stat.S_IFBLK):
                    self._add("device", path, _device(entry.rdev), _device(status.st_rdev))
        except FileNotFoundError:
            self._add("missing", path)
        except OSError as error:
            self._unreadable(path, error)

    def _link(self, directory: int, entry: dump.Entry, name: bytes) -> None:
        target = os.readlink(name, dir_fd=directory)
        if target != entry.payload:
            self._add("target", entry.path, os.fsdecode(entry.payload or b""), os.fsdecode(target))

    def _file(self, directory: int, entry: dump.Entry, name: bytes) -> None:
        path = entry.path
        try:
            # Here the kernel checks a built-in signature.
            fd = os.open(name, _FILE, dir_fd=directory)
        except OSError as error:
            failure = verity.failure(error, None)
            if failure.reason not in _OPEN_KINDS:
                raise
            self._add(failure.reason, path)
            return
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                self._other_type(entry, status)
                return
            self._attributes(entry, status, path)
            self._xattrs(entry, fd, path)
            self._contents(fd, entry, status)
        finally:
            os.close(fd)

    def _contents(self, fd: int, entry: dump.Entry, status: os.stat_result) -> None:
        path = entry.path
        expected = self._digests[path]
        raw = self._measuring.raw(fd, status.st_dev)
        if raw is None:
            if self._verity.cover(path):
                self._add("no-verity", path)
                return
            if status.st_size != entry.size:
                # Not read: the disk's owner could have us read for days.
                self._add("changed", path, f"{entry.size} bytes", f"{status.st_size} bytes")
                return
            found = self._hash(fd, status.st_size, path)
            if found is None:
                return
        else:
            self.measured += 1
            if raw == verity.raw_digest(expected) and expected.value not in self._revoked:
                return
            found = verity.measured_digest(raw)
        if found.value in self._revoked:
            self._add("revoked", path, None, str(found), found.value)
        elif found != expected:
            self._add("changed", path, str(expected), str(found), found.value)

    def _hash(self, fd: int, size: int, path: bytes) -> Digest | None:
        started = time.monotonic()
        self.hashed += 1
        self.hashed_bytes += size
        try:
            return merkle.file_digest(fd, size, self._parameters)
        except VerisealError as error:
            self._add("changed", path, error.expected, error.found)
            return None
        finally:
            self.hashed_seconds += time.monotonic() - started

    def _attributes(self, entry: dump.Entry, status: os.stat_result, path: bytes) -> None:
        # Of a symbolic link the mode means nothing, and file systems differ.
        if status.st_mode != entry.mode and not stat.S_ISLNK(status.st_mode):
            self._add("mode", path, f"{entry.mode & 0o7777:04o}", f"{status.st_mode & 0o7777:04o}")
        if status.st_uid != entry.uid or status.st_gid != entry.gid:
            found = f"{status.st_uid}:{status.st_gid}"
            self._add("owner", path, f"{entry.uid}:{entry.gid}", found)

    def _xattrs(self, entry: dump.Entry, where: int | str, path: bytes) -> None:
        try:
            # A descriptor is not a link; the argument is for paths alone.
            names = (
                os.listxattr(where)
                if isinstance(where, int)
                else os.listxattr(where, follow_symlinks=False)
            )
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            names = []
        if not names and not entry.xattrs:
            return
        wanted = {
            name: value
            for key, value in entry.xattrs
            if (name := os.fsdecode(key)).startswith(_CHECKED_XATTRS)
        }
        found = {
            name: os.getxattr(where, name)
            if isinstance(where, int)
            else os.getxattr(where, name, follow_symlinks=False)
            for name in names
            if name.startswith(_CHECKED_XATTRS)
        }
        if wanted != found:
            self._add("xattr", path, _attributes_text(wanted), _attributes_text(found))

    def _search(self, directory: int, path: bytes, listed: set[bytes]) -> None:
        """Find what is in ``directory`` and not in the list."""
        names = [os.fsencode(name) for name in os.listdir(directory)]
        present = set(names)
        if len(present) != len(names):
            # One name may hide another: see `hidden`.
            self._add("corrupt", path, None, "a name that is listed twice")
        added = 0
        for name in sorted(present - listed):
            child = path + b"/" + name if path != b"/" else path + name
            if self._rules.kind(child) == EXCLUSIVE:
                added += 1
                if added > _MOST_ADDED:
                    self._add("added", path, None, f"more than {_MOST_ADDED} entries")
                    return
                self._add("added", child, None, *self._what(directory, name))
            elif self._rules.exclusive.lead_below(child):
                self._unlisted(directory, name, child)

    def _unlisted(self, directory: int, name: bytes, path: bytes) -> None:
        """On the way to where nothing may be: a link could lead around it."""
        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            self._add("added", path, None, _TYPES[stat.S_IFLNK])
        elif stat.S_ISDIR(mode):
            fd = files.open_beneath(directory, name, os.O_RDONLY | os.O_DIRECTORY)
            try:
                self._search(fd, path, set())
            finally:
                os.close(fd)

    def _what(self, directory: int, name: bytes) -> tuple[str, bytes | None]:
        """What an added file is, as far as it can be told."""
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            kind = _type(status.st_mode)
            if not stat.S_ISREG(status.st_mode):
                return kind, None
            fd = os.open(name, _FILE, dir_fd=directory)
            try:
                raw = self._measuring.raw(fd, os.fstat(fd).st_dev)
                return kind, None if raw is None else verity.measured_digest(raw).value
            finally:
                os.close(fd)
        except OSError as error:
            # It is a finding in any case.
            return f"something that cannot be opened: {error.strerror}", None

    def _other_type(self, entry: dump.Entry, status: os.stat_result) -> None:
        self._add("type", entry.path, _type(entry.mode), _type(status.st_mode))

    def _unreadable(self, path: bytes, error: OSError) -> None:
        kind = "corrupt" if error.errno in (errno.EIO, errno.EUCLEAN) else "unreadable"
        self._add(kind, path, None, error.strerror)

    def _add(
        self,
        kind: str,
        path: bytes,
        expected: str | None = None,
        found: str | None = None,
        digest: bytes | None = None,
    ) -> None:
        self.findings.append((kind, path, expected, found, digest))


_OPEN_KINDS = ("unsigned", "not-enrolled", "signature-mismatch", "malformed-signature", "corrupt")


def _type(mode: int) -> str:
    return _TYPES.get(stat.S_IFMT(mode), "an unknown type")


def _device(number: int) -> str:
    return f"{os.major(number)}:{os.minor(number)}"


def _attributes_text(values: dict[str, bytes]) -> str:
    shown: Iterable[str] = (f"{name}={value.hex()}" for name, value in sorted(values.items()))
    return ", ".join(shown) or "none"
