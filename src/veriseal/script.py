"""The first bytes of a program: the ``#!`` line read as the kernel reads it, the ELF machine. Pure.

On the launcher's path. Source: fs/binfmt_script.c, include/uapi/linux/elf.h, elf-em.h.
"""

from veriseal.errors import VerisealError
from veriseal.names import fsdecode

HEADER_SIZE = 256
"""Bytes: BINPRM_BUF_SIZE, all that the kernel looks at."""

ELF_MAGIC = b"\x7fELF"
_ELF_DATA = 5  # EI_DATA
_MSB = 2  # ELFDATA2MSB
_ELF_MACHINE = slice(18, 20)  # e_machine, after e_ident and e_type

# e_machine by what uname(2) calls the machine: its own, and what it runs besides. A process may
# choose to see the 32-bit name (personality(2)).
_X86, _ARM = (62, 3), (183, 40)
_MACHINES = {
    "x86_64": _X86,
    "i386": _X86,
    "i486": _X86,
    "i586": _X86,
    "i686": _X86,
    "aarch64": _ARM,
    "armv8l": _ARM,
    "armv7l": (40,),
    "riscv64": (243,),
    "ppc64le": (21,),
    "ppc64": (21, 20),
    "s390x": (22,),
    "loongarch64": (258,),
}


def interpreter(header: bytes, path: str) -> tuple[str, bytes | None] | None:
    """The interpreter of a script and its one optional argument; None for an ELF program.

    ``header`` is the first `HEADER_SIZE` bytes of the file, fewer if it is shorter.

    Raises VerisealError: ``unknown-format``, ``bad-interpreter``, ``interpreter-by-path``.
    """
    if header.startswith(ELF_MAGIC):
        return None
    if not header.startswith(b"#!"):
        raise VerisealError(
            "unknown-format",
            "neither an ELF program nor a script with a #! line",
            path=path,
            remedy="Other formats reach their interpreter unchecked; start the interpreter itself",
        )
    line, newline, _rest = header[2:].partition(b"\n")
    if not newline and len(header) >= HEADER_SIZE:
        raise _bad(path, f"the #! line is longer than {HEADER_SIZE} bytes")
    # A NUL ends the line for the kernel; nobody writes one in good faith.
    if b"\0" in line:
        raise _bad(path, "the #! line holds a NUL byte")
    # At its last byte the kernel's buffer ends a line as a newline does.
    name, argument = _split(line, bool(newline) or len(header) == HEADER_SIZE - 1)
    if not name.startswith(b"/"):
        # The kernel would look it up below the caller's working directory.
        raise _bad(path, "the interpreter is not an absolute path", name)
    if name.rpartition(b"/")[2] == b"env":
        raise VerisealError(
            "interpreter-by-path",
            "env looks the real interpreter up in PATH, where no check reaches",
            path=path,
            found=fsdecode(name + b" " + (argument or b"")),
            remedy="Name the interpreter by its full path on the #! line",
        )
    return fsdecode(name), argument


def _split(line: bytes, ended: bool) -> tuple[bytes, bytes | None]:
    """Name and the rest as one argument, blanks and tabs around both dropped.

    Where no newline ended the line, the kernel keeps those at the end, as an argument even if
    there is nothing else.
    """
    stripped = line.lstrip(b" \t")
    if ended:
        stripped = stripped.rstrip(b" \t")
    for index, byte in enumerate(stripped):
        if byte in b" \t":
            return stripped[:index], stripped[index:].lstrip(b" \t")
    return stripped, None


def _bad(path: str, problem: str, found: bytes | None = None) -> VerisealError:
    return VerisealError(
        "bad-interpreter",
        problem,
        path=path,
        found=None if found is None else fsdecode(found) or "nothing",
        remedy="Begin the script with #! and the full path of its interpreter",
    )


def require_machine(header: bytes, machine: str, path: str) -> None:
    """Return only if the ELF program that begins with ``header`` is for ``machine``, of uname(2).

    The kernel hands others to whatever is registered for them in binfmt_misc, unchecked.

    Raises VerisealError: ``other-architecture``, ``unknown-format`` if it ends too early.
    """
    if len(header) < _ELF_MACHINE.stop:
        raise VerisealError(
            "unknown-format",
            "an ELF program that is cut off",
            path=path,
            remedy="Restore the program from the release",
        )
    big = header[_ELF_DATA] == _MSB
    found = int.from_bytes(header[_ELF_MACHINE], "big" if big else "little")
    if found not in _MACHINES.get(machine, ()):
        raise VerisealError(
            "other-architecture",
            "an ELF program for another machine",
            path=path,
            expected=f"one for {machine}",
            found=f"e_machine {found}",
            remedy="Install the release for this machine",
        )
