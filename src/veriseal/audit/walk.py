"""The directories of a tree with the names of their regular files; nothing is opened but these.

A mount point is entered if the kernel answers for verity there, so /proc, /sys, network file
systems and FUSE are not. What is left out is named.
"""

import errno
import os
from typing import NamedTuple

from veriseal.kernel import files


class Skipped(NamedTuple):
    """A directory that nothing below was looked at of, and a clause that says why."""

    path: bytes
    why: str


class Walked(NamedTuple):
    """What is in a tree.

    Attributes:
        directories: each with the names of the regular files in it, parents first.
        skipped: directories that are not among them.
        files: how many names of files there are.
        others: how many links, devices and so on: they have no contents of their own.
    """

    directories: list[tuple[bytes, list[bytes]]]
    skipped: list[Skipped]
    files: int
    others: int


def walk(root: int) -> Walked:
    """What is below the open directory ``root``. Raises OSError only for that itself."""
    found: list[tuple[bytes, list[bytes]]] = []
    skipped: list[Skipped] = []
    total = others = 0
    devices = {os.fstat(root).st_dev}
    seen: dict[tuple[int, int], bytes] = {}
    waiting = [b"/"]
    while waiting:
        path = waiting.pop()
        try:
            fd = files.open_beneath(root, path[1:] or b".", os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            if error.errno != errno.ENOENT:
                skipped.append(Skipped(path, f"it cannot be opened: {error.strerror}"))
            continue
        try:
            why = _not_to_enter(fd, path, devices, seen)
            if why is not None:
                skipped.append(Skipped(path, why))
                continue
            names: list[bytes] = []
            below: list[bytes] = []
            with os.scandir(fd) as entries:
                for entry in entries:
                    name = os.fsencode(entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        below.append(path.rstrip(b"/") + b"/" + name)
                    elif entry.is_file(follow_symlinks=False):
                        names.append(name)
                    else:
                        others += 1
        except OSError as error:
            skipped.append(Skipped(path, f"it cannot be read: {error.strerror}"))
            continue
        finally:
            os.close(fd)
        names.sort()
        total += len(names)
        found.append((path, names))
        waiting += sorted(below, reverse=True)
    return Walked(found, skipped, total, others)


def _not_to_enter(
    fd: int, path: bytes, devices: set[int], seen: dict[tuple[int, int], bytes]
) -> str | None:
    status = os.fstat(fd)
    if status.st_dev not in devices:
        if files.filesystem_type(fd) not in files.WITH_VERITY:
            return "another file system is mounted there, which has no verity"
        devices.add(status.st_dev)
    other = seen.setdefault((status.st_dev, status.st_ino), path)
    if other != path:
        return f"it is {os.fsdecode(other)} once more"
    return None
