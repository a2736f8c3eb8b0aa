"""The ``#!`` line, read as the kernel reads it. Pure. Source: fs/binfmt_script.c."""

import os

from veriseal.errors import VerisealError

HEADER_SIZE = 256
"""Bytes: BINPRM_BUF_SIZE, all that the kernel looks at."""

ELF_MAGIC = b"\x7fELF"


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
    name, argument = _split(line)
    if not name.startswith(b"/"):
        # The kernel would look it up below the caller's working directory.
        raise _bad(path, "the interpreter is not an absolute path", name)
    if name.rpartition(b"/")[2] == b"env":
        raise VerisealError(
            "interpreter-by-path",
            "env looks the real interpreter up in PATH, where no check reaches",
            path=path,
            found=os.fsdecode(name + b" " + argument),
            remedy="Name the interpreter by its full path on the #! line",
        )
    return os.fsdecode(name), argument or None


def _split(line: bytes) -> tuple[bytes, bytes]:
    """Name and the rest as one argument, blanks and tabs around both dropped."""
    stripped = line.strip(b" \t")
    for index, byte in enumerate(stripped):
        if byte in b" \t":
            return stripped[:index], stripped[index:].strip(b" \t")
    return stripped, b""


def _bad(path: str, problem: str, found: bytes | None = None) -> VerisealError:
    return VerisealError(
        "bad-interpreter",
        problem,
        path=path,
        found=None if found is None else os.fsdecode(found) or "nothing",
        remedy="Begin the script with #! and the full path of its interpreter",
    )
