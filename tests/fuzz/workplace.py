"""Where the targets put files: a directory of this process, in memory, gone with it."""

import atexit
import os
import shutil
import tempfile

_SHM = "/dev/shm"  # noqa: S108
_made: list[str] = []


def directory() -> str:
    """The directory of this process, not of the one that it was forked from."""
    if not _made or not _made[-1].endswith(f".{os.getpid()}"):
        parent = _SHM if os.access(_SHM, os.W_OK) else None
        made = tempfile.mkdtemp(prefix="veriseal-fuzz.", suffix=f".{os.getpid()}", dir=parent)
        _made.append(made)
        atexit.register(shutil.rmtree, made, ignore_errors=True)
    return _made[-1]


def put(name: str, data: bytes) -> str:
    """A file with ``data``, mode 0644; its path."""
    path = os.path.join(directory(), name)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    with open(fd, "wb") as file:
        os.fchmod(fd, 0o644)
        file.write(data)
    return path
