"""Becoming another program: the environment as it came, the signals as they should be, execve.

On the launcher's path.
"""

# Not `signal`: it imports enum, which takes longer than the rest of the launcher together.
import _signal as signal
import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def let_sigint_kill() -> None:
    """Have Ctrl-C end the process, as it would end the program, instead of raising."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def initial_environment() -> bytes:
    """The environment block that execve(2) gave this process, NUL-terminated entries.

    os.environ is not that: CPython may have set LC_CTYPE in it (PEP 538).
    """
    with open("/proc/self/environ", "rb") as file:
        return file.read()


def execute(fd: int, argv: list[bytes], variables: dict[bytes, bytes]) -> "NoReturn":
    """Replace this process by the program that ``fd`` is open on. Raises OSError.

    SIGPIPE and SIGXFSZ get their default action: CPython ignores both from its start, execve
    would pass that on, and what they were before cannot be found out.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    posix.execve(fd, argv, variables)  # noqa: S606  # no shell is the point
