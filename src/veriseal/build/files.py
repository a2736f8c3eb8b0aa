"""Files that appear whole or not at all; and names in a tree that is not this machine's."""

import contextlib
import errno
import os
import secrets

from veriseal.errors import VerisealError

_MAX_LINKS = 40  # as the kernel has it: MAXSYMLINKS, include/linux/namei.h


def create(path: str, data: bytes, mode: int) -> None:
    """Write ``path`` with exactly ``mode``; never over an existing file.

    Raises OSError, and VerisealError (``exists``).
    """
    try:
        _write(path, data, mode)
    except FileExistsError:
        raise VerisealError(
            "exists",
            "already exists and is not overwritten",
            path=path,
            remedy="Choose another name, or move the old file away",
        ) from None


def replace(path: str, data: bytes, mode: int = 0o644) -> None:
    """Write ``path`` in one step: a reader sees the old contents or all of the new.

    Not flushed to the disk: what is written here can be made again. Raises OSError.
    """
    # In the same directory, or renaming could cross file systems.
    temporary = f"{path}.{secrets.token_hex(4)}.tmp"
    try:
        _write(temporary, data, mode, flush=False)
        os.rename(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise OSError(error.errno, os.strerror(error.errno or 0), path) from None


def read(path: str, limit: int) -> bytes:
    """The contents of ``path``, or its first ``limit`` + 1 bytes. Raises OSError."""
    with open(path, "rb") as file:
        return file.read(limit + 1)


def inside(tree: str, path: str) -> str:
    """Where ``path``, a path in ``tree``, is on this machine.

    Symbolic links are followed as if ``tree`` were the root directory: none leads out of it.
    Raises OSError if there are too many.
    """
    found: list[str] = []
    waiting = path.split("/")[::-1]
    links = 0
    while waiting:
        name = waiting.pop()
        if name == "..":
            del found[-1:]
        elif name not in ("", "."):
            here = os.path.join(tree, *found, name)
            if not os.path.islink(here):
                found.append(name)
                continue
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.path.join(tree, path))
            target = os.readlink(here)
            if target.startswith("/"):
                found.clear()
            waiting.extend(target.split("/")[::-1])
    return os.path.join(tree, *found)


def _write(path: str, data: bytes, mode: int, flush: bool = True) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(data)
            os.fchmod(fd, mode)
            file.flush()
            if flush:
                os.fsync(fd)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise OSError(error.errno, os.strerror(error.errno or 0), path) from None
