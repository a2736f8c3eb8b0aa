"""What the boot steps leave below /run/veriseal: written in one step, believed only if root's.

On the launcher's path: imports nothing that the interpreter has not loaded already.
"""

import posix
import stat

from veriseal.errors import VerisealError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


def boot_id() -> str:
    """This boot's random identifier, 36 characters, see random(4)."""
    with open(_BOOT_ID, encoding="utf-8") as file:
        return file.read().strip()


def replace(path: str, data: "Iterable[bytes]") -> None:
    """Write ``data`` to ``path`` in one step, mode 0644. Raises OSError, and then changes nothing.

    Every user's launcher reads the file, whatever the umask is.
    """
    import os  # the boot steps have the time

    directory = os.path.dirname(path)
    os.makedirs(directory, exist_ok=True)
    os.chmod(directory, 0o755)  # noqa: S103
    temporary = f"{path}.{os.getpid()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        with open(fd, "wb") as file:
            os.fchmod(fd, 0o644)
            file.writelines(data)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def open_trusted(path: str, what: str, *, missing: str, untrusted: str, remedy: str) -> int:
    """A descriptor of ``path``, for reading, if only root can have written the file.

    Raises VerisealError with the reason ``missing`` or ``untrusted`` and ``remedy``; ``what``
    is what the file is called in the message.
    """
    try:
        fd = posix.open(
            path, posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_CLOEXEC | posix.O_NONBLOCK
        )
    except FileNotFoundError:
        raise VerisealError(missing, f"there is no {what}", path=path, remedy=remedy) from None
    except OSError as error:
        problem = f"cannot be opened: {error.strerror}"
        raise VerisealError(untrusted, problem, path=path, remedy=remedy) from None
    status = posix.fstat(fd)
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != 0 or mode & 0o022:
        posix.close(fd)
        raise VerisealError(
            untrusted,
            f"others than root could have written the {what}",
            path=path,
            expected="a regular file of uid 0, not writable by others",
            found=f"uid {status.st_uid}, mode {mode:04o}",
            remedy=remedy,
        )
    return fd
