"""Following links below a root, as a system that is booted from it would, and never out of it.

Nothing is opened. Source: path_resolution(7), symlink(7).
"""

import errno
import os
import stat
from typing import NamedTuple

NULL = "/dev/null"

_MAX_LINKS = 40
"""As the kernel has it: path_resolution(7)."""
_DEAD_ENDS = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


class Link(NamedTuple):
    """A symbolic link that was followed: where it is, seen from the root, and what it says."""

    path: str
    target: str


class Place(NamedTuple):
    """Where a path leads.

    Attributes:
        path: absolute, seen from the root, and without links; `NULL` for a link to it, whether
            there is a /dev below the root or not.
        mode: of what is there, as in stat(2); 0 if there is nothing, and for `NULL`.
        links: that were followed, in order.
        error: 0, or why it leads nowhere: ENOENT, ENOTDIR, ELOOP or ENAMETOOLONG.
        dangling: whether it is a link that leads nowhere, not the path itself.
    """

    path: str
    mode: int
    links: tuple[Link, ...]
    error: int = 0
    dangling: bool = False


def real(root: str, path: str) -> str:
    """The absolute ``path`` of a system whose root is ``root``, seen from here."""
    return os.path.join(root, path.lstrip("/"))


def follow(root: str, path: str) -> Place:
    """Where the absolute ``path`` leads below ``root``. Raises OSError for other errors."""
    at, mode = "/", stat.S_IFDIR
    links: list[Link] = []
    rest = path.split("/")[::-1]
    after_link = len(rest) + 1
    while rest:
        part = rest.pop()
        if part in ("", "."):
            continue
        number = 0 if stat.S_ISDIR(mode) else errno.ENOTDIR
        if part == ".." and not number:
            at = os.path.dirname(at)
            continue
        here = os.path.join(at, part)
        try:
            if number:
                raise OSError(number, os.strerror(number))
            mode = os.lstat(real(root, here)).st_mode
            if stat.S_ISLNK(mode):
                if len(links) == _MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                target = os.readlink(real(root, here))
        except OSError as error:
            if error.errno not in _DEAD_ENDS:
                raise
            return Place(here, 0, tuple(links), error.errno, len(rest) >= after_link)
        if not stat.S_ISLNK(mode):
            at = here
            continue
        if not links:
            after_link = len(rest)
        links.append(Link(here, target))
        # normpath leaves two slashes at the start, which POSIX allows to mean something else.
        if os.path.normpath("/" + os.path.join(at, target).lstrip("/")) == NULL:
            # Something below it, as below any file.
            number = errno.ENOTDIR if any(rest) else 0
            return Place(NULL, 0, tuple(links), number)
        rest += target.split("/")[::-1]
        at, mode = "/" if target.startswith("/") else at, stat.S_IFDIR
    return Place(at, mode, tuple(links))
