"""The contents of a tree, in the order of a tree list; and the regular files among them."""

import os
import stat
from collections.abc import Callable, Sequence

from veriseal.errors import VerisealError, path_of

Visit = Callable[[str, os.stat_result], bool]
"""Told the path and the status of an entry; says whether to go on below it, if that can be."""


class Found:
    """What `find` collects.

    Attributes:
        named: paths that were given as files.
        inside: paths found in trees, each tree depth-first, siblings by the bytes of their names.
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

    def add(path: str, status: os.stat_result, to: list[str]) -> None:
        identity = (status.st_dev, status.st_ino)
        (found.again if identity in seen else to).append(path)
        seen.add(identity)

    for path in paths:
        try:
            top = os.stat(path, follow_symlinks=False)
        except OSError as error:
            found.errors.append(_error(error, path))
            continue

        def visit(path: str, status: os.stat_result, device: int = top.st_dev) -> bool:
            if stat.S_ISREG(status.st_mode) and status.st_dev == device:
                add(path, status, found.inside)
            return status.st_dev == device

        if stat.S_ISDIR(top.st_mode):
            below(path, visit, found.errors)
        else:
            add(path, top, found.named)
    return found


def below(top: str, visit: Visit, errors: list[VerisealError]) -> None:
    """Call ``visit`` for everything below the directory ``top``, following no symbolic link.

    Depth-first, siblings by the bytes of their names. What cannot be read goes to ``errors``.
    """
    waiting = _listing(top, errors)
    while waiting:
        entry = waiting.pop()
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError as error:
            errors.append(_error(error, entry.path))
            continue
        if visit(entry.path, status) and stat.S_ISDIR(status.st_mode):
            waiting.extend(_listing(entry.path, errors))


def _listing(directory: str, errors: list[VerisealError]) -> list[os.DirEntry[str]]:
    """The entries of ``directory``, the last one first."""
    try:
        with os.scandir(directory) as listing:
            return sorted(listing, key=_name, reverse=True)
    except OSError as error:
        errors.append(_error(error, directory))
        return []


def _name(entry: os.DirEntry[str]) -> bytes:
    return os.fsencode(entry.name)


def _error(error: OSError, path: str) -> VerisealError:
    where = path_of(error) or path
    return VerisealError("system-call", error.strerror or str(error), path=where)
