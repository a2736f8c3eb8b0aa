"""Reading a file of a directory that nobody has verified, and the signatures beside it."""

import errno
import os

from veriseal import regular
from veriseal.digest import MAX_SIGNATURE_SIZE
from veriseal.kernel import files

SUFFIX = ".sig"
MAX_SIGNATURES = 64
"""Of one file. Nobody needs as many, and each costs time at boot."""


def read(path: str, root: str, limit: int) -> tuple[bytes, dict[str, bytes | OSError]]:
    """The file ``path`` below the directory ``root``, and ``path.*.sig`` beside it, by name.

    No link is followed below ``root``, and only regular files are read. Of the file there are at
    most ``limit`` + 1 bytes, of a signature one more than any has. A signature that cannot be read
    is the reason for it.

    Raises OSError: E2BIG where there are more than `MAX_SIGNATURES`, of which none is read.
    """
    place, name = os.path.split(path.lstrip("/"))
    directory = _open_directory(root, place)
    try:
        data = _contents(directory, name, limit)
        names = sorted(
            one
            for one in os.listdir(directory)
            if one.startswith(f"{name}.") and one.endswith(SUFFIX)
        )
        if len(names) > MAX_SIGNATURES:
            text = f"{len(names)} signatures beside it, of which {MAX_SIGNATURES} may be"
            raise OSError(errno.E2BIG, text, path)
        return data, {one: _signature(directory, one) for one in names}
    finally:
        os.close(directory)


def _open_directory(root: str, place: str) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY
    top = os.open(root, flags | os.O_CLOEXEC)
    try:
        return files.open_beneath(top, os.fsencode(place or "."), flags)
    finally:
        os.close(top)


def _signature(directory: int, name: str) -> bytes | OSError:
    try:
        return _contents(directory, name, MAX_SIGNATURE_SIZE)
    except OSError as error:
        return error


def _contents(directory: int, name: str, limit: int) -> bytes:
    # O_NONBLOCK: a FIFO must not stop the boot.
    fd = files.open_beneath(directory, os.fsencode(name), os.O_RDONLY | os.O_NONBLOCK)
    try:
        return regular.contents(fd, limit, name)
    finally:
        os.close(fd)
