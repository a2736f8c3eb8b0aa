"""Writing and removing a drop-in: in one step, never through a symbolic link, never outside."""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from veriseal.errors import VerisealError
from veriseal.unit.syntax import MAX_SIZE
from veriseal.unit.wrap import is_ours

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def write(root: str, path: str, text: str) -> bool:
    """Have the drop-in ``path``, in the root directory ``root``, say ``text``.

    Returns whether that changed anything. A file that was not written here is not replaced.

    Raises VerisealError ``link-in-the-way``, ``not-ours``, and OSError.
    """
    data = text.encode()
    with _named(root, path), _directory(root, os.path.dirname(path), make=True) as directory:
        name = os.path.basename(path)
        if _present(directory, name, path) == data:
            return False
        temporary = f".{name}.{secrets.token_hex(4)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o600, dir_fd=directory)
        try:
            with open(fd, "wb") as file:
                file.write(data)
                os.fchmod(fd, 0o644)
                file.flush()
                os.fsync(fd)
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=directory)
            raise
    return True


def remove(root: str, path: str) -> bool:
    """Remove the drop-in ``path``, and its directory if nothing else is in it.

    Returns whether there was one. Raises as `write`.
    """
    try:
        with _named(root, path), _directory(root, os.path.dirname(path), make=False) as directory:
            name = os.path.basename(path)
            if _present(directory, name, path) is None:
                return False
            os.unlink(name, dir_fd=directory)
        parent, last = os.path.split(os.path.dirname(path))
        with _directory(root, parent, make=False) as directory, contextlib.suppress(OSError):
            os.rmdir(last, dir_fd=directory)  # not empty: it stays
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _named(root: str, path: str) -> Iterator[None]:
    """Have every OSError name the whole path: the calls know one component of it."""
    try:
        yield
    except OSError as error:
        number = error.errno or 0
        raise OSError(number, os.strerror(number), os.path.join(root, path[1:])) from None


@contextmanager
def _directory(root: str, path: str, make: bool) -> Iterator[int]:
    """A descriptor of the directory ``path`` in ``root``, reached through directories alone."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        reached = ""
        for name in path.strip("/").split("/"):
            reached += f"/{name}"
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o755, dir_fd=fd)
            try:
                inner = os.open(name, _DIRECTORY, dir_fd=fd)
            except NotADirectoryError:
                raise _in_the_way(reached) from None
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


def _present(directory: int, name: str, path: str) -> bytes | None:
    """The contents of our drop-in; None if there is none."""
    try:
        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise _in_the_way(path)
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=directory)
    with open(fd, "rb") as file:
        data = file.read(MAX_SIZE * 4)
    if not is_ours(data):
        problem = "a file of this name is there that veriseal wrap has not written"
        raise VerisealError("not-ours", problem, path=path, remedy="Give it another name")
    return data


def _in_the_way(path: str) -> VerisealError:
    problem = "a symbolic link or another file is there, and nothing is written through it"
    return VerisealError("link-in-the-way", problem, path=path, remedy="Make it a directory")
