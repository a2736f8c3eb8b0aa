"""The regular files of a tree: on one file system, following no symbolic link."""

import os
from collections.abc import Iterator, Sequence

from veriseal.errors import VerisealError


class Found:
    """What `find` collects.

    Attributes:
        named: paths that were given as files.
        inside: paths found in trees, sorted by name within each directory.
        again: paths of either kind that are further names of the same files.
        errors: why a part of a tree could not be read.
    """

    def __init__(self) -> None:
        self.named: list[str] = []
        self.inside: list[str] = []
        self.again: list[str] = []
        self.errors: list[VerisealError] = []


def find(paths: Sequence[str]) -> Found:
    """The files that ``paths`` name: files themselves, and all regular files below directories.

    A symbolic link is never followed, and a mount point never entered. What is neither file nor
    directory is an error if given, and skipped if found.
    """
    found = Found()
    seen: set[tuple[int, int]] = set()
    for path in paths:
        try:
            status = os.stat(path, follow_symlinks=False)
        except OSError as error:
            found.errors.append(_error(error, path))
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            for entry, identity in _walk(path, status.st_dev, found.errors):
                (found.again if identity in seen else found.inside).append(entry)
                seen.add(identity)
        else:
            identity = (status.st_dev, status.st_ino)
            (found.again if identity in seen else found.named).append(path)
            seen.add(identity)
    return found


def _walk(
    top: str, device: int, errors: list[VerisealError]
) -> Iterator[tuple[str, tuple[int, int]]]:
    waiting = [top]
    while waiting:
        directory = waiting.pop()
        try:
            with os.scandir(directory) as listing:
                entries = sorted(listing, key=lambda entry: os.fsencode(entry.name))
            below = []
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if status.st_dev != device:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    yield entry.path, (status.st_dev, status.st_ino)
            waiting.extend(reversed(below))
        except OSError as error:
            errors.append(_error(error, directory))


def _error(error: OSError, path: str) -> VerisealError:
    where = path if error.filename is None else os.fsdecode(error.filename)
    return VerisealError("system-call", error.strerror or str(error), path=where)
