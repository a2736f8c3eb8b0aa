"""May this program run? Each check returns nothing or raises what a refusal says.

In order, so that no answer is trusted before the one that makes it worth something:
  1. the boot was sealed and its tree checked, by root, this time (`require_ready_system`);
  2. where the kernel is to check signatures, the sysctl still says so;
  3. the path is opened once; from here on only that descriptor is used (`open_program`);
  4. a regular file, on a file system whose answers are the kernel's own;
  5. opened for reading: here the kernel checks the built-in signature, if there is one;
  6. verity is on, and its digest is measured;
  7. a built-in signature is stored: the sysctl alone does not prove it, see DESIGN;
  8. its first bytes can be read, so its first block is what was signed;
  9. a script's interpreter passes 3 to 8 as well.
"""

import os
import stat

from veriseal import report
from veriseal.digest import Digest
from veriseal.errors import VerisealError
from veriseal.kernel import files, sysctl, verity
from veriseal.launch import script

_NAMED = {files.FUSE: "FUSE", files.OVERLAYFS: "overlayfs", files.TMPFS: "tmpfs"}


class Program:
    """A file that passed.

    Attributes:
        fd: the descriptor that was checked, open for reading, close-on-exec.
        path: as the caller gave it.
        digest: measured by the kernel.
        interpreter: of a script: the interpreter, and its argument from the ``#!`` line.
    """

    __slots__ = ("argument", "digest", "fd", "interpreter", "path")

    def __init__(self, fd: int, path: str, digest: Digest) -> None:
        self.fd = fd
        self.path = path
        self.digest = digest
        self.interpreter: Program | None = None
        self.argument: bytes | None = None


def require_ready_system() -> report.State:
    """Raise VerisealError unless programs may run in this boot. Returns what they must have."""
    state = report.state()
    state.require_ready(report.PATH)
    if state.keyring == report.SEALED and not sysctl.read_require_signatures():
        raise VerisealError(
            "sysctl-off",
            "signatures are no longer required, though this boot was sealed",
            path=sysctl.REQUIRE_SIGNATURES,
            expected="1",
            found="0",
            remedy="Somebody with root wrote it: find out who, then boot again",
        )
    return state


def check_program(path: str) -> Program:
    """Open and check ``path``, and its interpreter if it is a script.

    Raises VerisealError with the digest, if it was measured before the refusal.
    """
    program = _check_file(path)
    try:
        found = script.interpreter(_first_bytes(program), path)
        if found is not None:
            name, program.argument = found
            program.interpreter = _check_interpreter(name, path)
    except VerisealError as error:
        error.digest = program.digest
        raise
    return program


def _check_interpreter(name: str, path: str) -> Program:
    try:
        interpreter = _check_file(name)
        if script.interpreter(_first_bytes(interpreter), name) is not None:
            raise VerisealError(
                "bad-interpreter",
                "it is itself a script",
                path=name,
                remedy="Name an ELF program on the #! line",
            )
    except VerisealError as error:
        reason, remedy = error.reason, error.remedy
        if reason == "not-found":
            reason, remedy = "no-interpreter", "Install it, or name another one on the #! line"
        error.remedy = None
        problem = f"its interpreter is refused: {error}"
        raise VerisealError(reason, problem, path=path, remedy=remedy) from None
    return interpreter


def _check_file(path: str) -> Program:
    location = files.open_location(path)
    try:
        _require_regular(location, path)
        _require_known_filesystem(location, path)
        try:
            fd = files.reopen(location)
        except OSError as error:
            raise verity.failure(error, path) from None
    finally:
        os.close(location)
    # Again, on what is executed: whoever owns this mount namespace may have made up /proc.
    _require_regular(fd, path)
    _require_known_filesystem(fd, path)
    digest = verity.measure(fd, path)
    try:
        verity.read_signature(fd, path)
    except VerisealError as error:
        error.digest = digest
        raise
    return Program(fd, path, digest)


def _require_regular(fd: int, path: str) -> None:
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        kind = "a directory" if stat.S_ISDIR(mode) else "a special file"
        raise VerisealError(
            "not-a-regular-file",
            "not a program",
            path=path,
            expected="a regular file",
            found=kind,
            remedy="Give the path of the program itself",
        )


def _require_known_filesystem(fd: int, path: str) -> None:
    number = files.filesystem_type(fd)
    if number not in files.WITH_VERITY:
        raise VerisealError(
            "unknown-filesystem",
            "no answer about verity can be trusted on this file system",
            path=path,
            expected=", ".join(files.WITH_VERITY.values()),
            found=_NAMED.get(number, f"{number:#x}"),
            remedy="Run it from where it was installed, not from a copy, overlay or FUSE mount",
        )


def _first_bytes(program: Program) -> bytes:
    try:
        return os.pread(program.fd, script.HEADER_SIZE, 0)
    except OSError as error:
        raise verity.failure(error, program.path) from None
