"""May this program run? Each check returns nothing or raises what a refusal says.

In order, so that no answer is trusted before the one that makes it worth something:
  1. root says that this boot is ready, and what a program must have (`require_ready_system`);
  2. where the kernel is to check signatures, the sysctl still says so;
  3. where the manifest counts, the launch table is opened: root's, and of this boot;
  4. the path is opened once; from here on only that descriptor is used (`check_program`);
  5. a regular file, on a file system whose answers are the kernel's own;
  6. opened for reading: here the kernel checks the built-in signature, if there is one;
  7. verity is on, and its digest is measured;
  8. where signatures count, one is stored: the sysctl alone does not prove it, see DESIGN;
  9. where the manifest counts, the table has this digest under the kernel's own name of the file;
 10. its first bytes can be read, so its first block is what was signed;
 11. a script's interpreter passes 4 to 10 as well.

The name in 9 can be led astray: by a mount in the caller's namespace, a chroot, a rename between
two calls, a detached mount. That gains nothing. The digest has to be the one listed under that
very name, so what runs is what the release has there, whatever led to it; a symbolic link could do
no more. Who owns the mount namespace can replace the launcher too, and is bound by the kernel only.
"""

import os
import stat

from veriseal import report, script, trusted
from veriseal.digest import Digest
from veriseal.errors import VerisealError
from veriseal.kernel import files, sysctl, verity
from veriseal.table import Table

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


class _Demands:
    """What a file must have besides verity: a stored signature, a place in the table."""

    __slots__ = ("signature", "table")

    def __init__(self, signature: bool, table: Table | None) -> None:
        self.signature = signature
        self.table = table

    def require(self, fd: int, path: str, digest: Digest) -> None:
        if self.signature:
            verity.read_signature(fd, path)
        if self.table is not None:
            self.table.require(_kernels_name(fd, path), digest)


def require_ready_system() -> report.State:
    """Raise VerisealError unless programs may run in this boot. Returns what they must have."""
    try:
        state = report.state()
    except FileNotFoundError as error:  # of the boot id: a missing report is a refusal of its own
        raise VerisealError(
            "no-proc-sys",
            "it cannot be seen which boot this is",
            path=error.filename,
            remedy="Start it with /proc mounted, and without ProcSubset=pid",
        ) from None
    state.require_ready(report.PATH)
    if state.keyring == report.SEALED:
        _require_sysctl()
    elif state.require == "signature":
        raise VerisealError(
            "nothing-required",
            "neither signatures nor the manifest count in this boot",
            path=report.PATH,
            remedy='Set launch.require = "manifest" where boot.keyring is "off", and boot again',
        )
    return state


def _require_sysctl() -> None:
    if not sysctl.read_require_signatures():
        raise VerisealError(
            "sysctl-off",
            "signatures are no longer required, though this boot was sealed",
            path=sysctl.REQUIRE_SIGNATURES,
            expected="1",
            found="0",
            remedy="Somebody with root wrote it: find out who, then boot again",
        )


def check_program(path: str, state: report.State) -> Program:
    """Open and check ``path``, and its interpreter if it is a script.

    ``state`` is from `require_ready_system`.

    Raises VerisealError with the digest, if it was measured before the refusal.
    """
    # A file may carry a signature that a kernel without the keyring never looked at.
    signature = state.keyring == report.SEALED and state.require != "manifest"
    if signature and state.require == "signature":
        return _check_program(path, _Demands(signature, None))
    with Table(trusted.boot_id()) as table:
        return _check_program(path, _Demands(signature, table))


def _check_program(path: str, demands: _Demands) -> Program:
    program = _check_file(path, demands)
    try:
        found = script.interpreter(_first_bytes(program), path)
        if found is not None:
            name, program.argument = found
            program.interpreter = _check_interpreter(name, path, demands)
    except VerisealError as error:
        error.digest = program.digest
        raise
    return program


def _check_interpreter(name: str, path: str, demands: _Demands) -> Program:
    try:
        interpreter = _check_file(name, demands)
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


def _check_file(path: str, demands: _Demands) -> Program:
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
        demands.require(fd, path, digest)
    except VerisealError as error:
        error.digest = digest
        raise
    return Program(fd, path, digest)


def _kernels_name(fd: int, path: str) -> bytes:
    """The absolute path of what ``fd`` is open on, as the kernel has it: all links resolved."""
    try:
        return os.readlink(b"/proc/self/fd/%d" % fd)
    except OSError as error:
        raise VerisealError(
            "no-path",
            f"the kernel cannot say where the file is: {error.strerror}",
            path=path,
            remedy="Paths have less than 4096 bytes; /proc must be mounted",
        ) from None


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
