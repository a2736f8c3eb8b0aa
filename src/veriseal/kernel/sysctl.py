"""The sysctls fs.verity.require_signatures and kernel.printk.

The first is no latch: root can write 0 again. And it does not concern files without verity.
Source: fs/verity/signature.c, Documentation/admin-guide/sysctl/kernel.rst. On the launcher's path.
"""

from veriseal.errors import VerisealError

REQUIRE_SIGNATURES = "/proc/sys/fs/verity/require_signatures"
_PRINTK = "/proc/sys/kernel/printk"


def read_require_signatures() -> bool:
    """Whether the kernel refuses verity files that have no built-in signature.

    Raises VerisealError: ``no-builtin-signatures`` if the kernel has no such sysctl.
    """
    try:
        with open(REQUIRE_SIGNATURES, "rb") as file:
            return file.read().strip() == b"1"
    except FileNotFoundError:
        raise no_builtin_signatures() from None


def require_signatures() -> None:
    """Set the sysctl to 1. Raises VerisealError or OSError; the caller reads it back."""
    try:
        with open(REQUIRE_SIGNATURES, "wb", buffering=0) as file:
            file.write(b"1\n")
    except FileNotFoundError:
        raise no_builtin_signatures() from None


def no_builtin_signatures() -> VerisealError:
    """The error for a kernel without the feature, or for a process that cannot see /proc/sys."""
    import os  # only for a refusal

    if not os.path.isdir("/proc/sys/kernel"):
        return VerisealError(
            "no-proc-sys",
            "the kernel's settings cannot be seen from here",
            path="/proc/sys",
            remedy="Start it with /proc mounted, and without ProcSubset=pid",
        )
    return VerisealError(
        "no-builtin-signatures",
        "this kernel cannot check built-in signatures",
        expected="CONFIG_FS_VERITY_BUILTIN_SIGNATURES=y",
        remedy="Boot a kernel that has the option; Debian's have it, Fedora's have not",
    )


def console_level(level: int) -> int:
    """Have the kernel show only messages below ``level`` on the console; gives the level before.

    Its log gets all of them. 4 shows errors, 3 only what is worse. Raises OSError, ValueError.
    """
    with open(_PRINTK, "rb") as file:
        before = int(file.read().split()[0])
    with open(_PRINTK, "wb", buffering=0) as file:
        file.write(b"%d\n" % level)
    return before
