"""What an open file is: located, opened again, named, and the file system that it is on.

On the launcher's path, hence without ctypes: what the kernel knows is read from /proc/self. Who
owns the mount namespace can put anything there, and owns the launcher as well.
Source: proc_pid_fd(5), proc_pid_fdinfo(5), proc_pid_mountinfo(5).
"""

import errno
import posix

from veriseal.errors import VerisealError
from veriseal.names import fsdecode

WITH_VERITY = ("ext4", "btrfs", "f2fs")
"""Where the kernel itself answers for verity. FUSE lets a daemon answer, overlayfs cannot."""

_MOUNTINFO = "/proc/self/mountinfo"
_MNT_ID = b"\nmnt_id:"
_PART = 1 << 16
_NO_FILE = "Look for a mistake in the path, or for a link on it that leads nowhere: namei -l"


def open_location(path: str | bytes) -> int:
    """A descriptor that only locates ``path`` (O_PATH): nothing is read and no driver is woken.

    Symbolic links are followed. The caller closes it.

    Raises VerisealError: ``not-found``, ``permission``, ``system-call``.
    """
    try:
        return posix.open(path, posix.O_PATH | posix.O_CLOEXEC)
    except (ValueError, OSError) as error:
        raise not_opened(error, path) from None


def reopen(location: int) -> int:
    """Open what ``location`` (from `open_location`) refers to for reading: the same inode.

    This is where the kernel checks a built-in signature. Raises OSError.
    """
    return posix.open(
        f"/proc/self/fd/{location}", posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOCTTY
    )


def not_opened(error: ValueError | OSError, path: str | bytes) -> VerisealError:
    """What the failure to find ``path`` means: ``not-found``, ``permission``, ``system-call``."""
    shown = fsdecode(path)
    if not isinstance(error, OSError):
        return VerisealError("not-found", "a NUL byte is in no path", path=shown, remedy=_NO_FILE)
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return VerisealError("not-found", "no such file", path=shown, remedy=_NO_FILE)
    remedy = "Each directory of the path must be open to this user: see namei -l"
    if error.errno == errno.EMFILE:
        remedy = "Raise the limit of open files (ulimit -n)"
    reason = "permission" if error.errno == errno.EACCES else "system-call"
    problem = f"cannot be opened: {error.strerror}"
    return VerisealError(reason, problem, path=shown, remedy=remedy)


def name(fd: int, path: str) -> bytes:
    """The absolute path of what ``fd`` is open on, as the kernel has it: all links resolved.

    Raises VerisealError ``no-path``; ``path`` is for the message.
    """
    try:
        return posix.readlink(b"/proc/self/fd/%d" % fd)
    except OSError as error:
        raise VerisealError(
            "no-path",
            f"the kernel cannot say where the file is: {error.strerror}",
            path=path,
            remedy="Paths have less than 4096 bytes; /proc must be mounted",
        ) from None


def filesystem(fd: int) -> str:
    """The type of the file system that ``fd`` is on, such as ``ext4``; empty if it is not mounted
    anywhere below this process's root.

    The kernel writes it, whatever the file system is. Raises OSError.
    """
    _, found, rest = _read(f"/proc/self/fdinfo/{fd}").partition(_MNT_ID)
    if not found:
        return ""
    number = rest.partition(b"\n")[0].strip()
    _, found, rest = (b"\n" + _read(_MOUNTINFO)).partition(b"\n" + number + b" ")
    # Blanks in paths are escaped, so the first lone hyphen ends the optional fields.
    _, _, fields = rest.partition(b"\n")[0].partition(b" - ")
    return fsdecode(fields.partition(b" ")[0]) if found else ""


def _read(path: str) -> bytes:
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        parts = []
        while part := posix.read(fd, _PART):
            parts.append(part)
        return b"".join(parts)
    finally:
        posix.close(fd)
