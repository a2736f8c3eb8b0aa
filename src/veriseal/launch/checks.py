"""May this program run? Each check returns nothing or raises what a refusal says.

In order, so that no answer is trusted before the one that makes it worth something:
  1. root says that this boot is ready, and what a program must have (`ready.require_ready_system`);
  2. where the kernel is to check signatures, the sysctl still says so;
  3. where the manifest counts, the launch table is opened: root's, and of this boot;
  4. the path is opened once; from here on only that descriptor is used (`Checks.program`);
  5. a regular file, on a file system whose answers are the kernel's own;
  6. opened for reading: here the kernel checks the built-in signature, if there is one;
  7. verity is on, and its digest is measured;
  8. the digest is not revoked;
  9. where signatures count, one is stored: the sysctl alone does not prove it, see DESIGN;
 10. where the manifest counts, the table has this digest under the kernel's own name of the file;
 11. its first bytes can be read, so its first block is what was signed: an ELF program of this
     machine, or a script;
 12. where the manifest counts, each file of its closure passes 5 to 9 and has the digest that the
     release has for it, or is not there (`Checks.member`);
 13. a script's interpreter passes 4 to 12 as well.

The name in 10 can be led astray: by a mount in the caller's namespace, a chroot, a rename between
two calls, a detached mount. That gains nothing. The digest has to be the one listed under that
very name, so what runs is what the release has there, whatever led to it; a symbolic link could do
no more. Who owns the mount namespace can replace the launcher too, and is bound by the kernel only.

What 12 has checked is opened once more, by the dynamic loader. Between the two stands only who may
write in the directories of the release: root, see the README.
"""

import posix
import stat

from veriseal import report, script, table, trusted
from veriseal.digest import Digest
from veriseal.errors import VerisealError
from veriseal.kernel import descriptor, verity
from veriseal.names import fsdecode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from veriseal.table import Need

_MEMBER = posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOCTTY | posix.O_NONBLOCK
_OWN_FILES = "Restore the release's own file; find out who changed it"


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


class Checks:
    """The checks of one start, in a boot with ``state`` from `ready.require_ready_system`.

    `passed` and `member_refused` are for who wants to hear of each check.

    Raises VerisealError if the launch table, where it is needed, cannot be trusted.
    """

    def __init__(self, state: report.State) -> None:
        # A file may carry a signature that a kernel without the keyring never looked at.
        self._signature = state.keyring == report.SEALED and state.require != "manifest"
        self._table = None
        if not self._signature or state.require != "signature":
            self._table = table.Table(trusted.boot_id(), release=state.release)
        self._revoked = {verity.raw_digest(Digest.parse(text)) for text in state.revoked}
        self._devices: set[int] = set()

    def close(self) -> None:
        """Close the launch table. What `program` returned stays open."""
        if self._table is not None:
            self._table.close()

    def passed(self, path: str, check: str, what: object) -> None:
        """``path`` has passed ``check``; ``what`` was found."""

    def member_refused(self, error: VerisealError) -> None:
        """A file of a closure is refused."""
        raise error

    def program(self, path: str) -> Program:
        """Open and check ``path``, its closure, and its interpreter if it is a script.

        Raises VerisealError with the digest, if it was measured before the refusal.
        """
        if "/" not in path:
            raise VerisealError(
                "not-found", "PATH is not searched", path=path, remedy="Give the whole path"
            )
        program, found = self._one(path)
        if found is None:
            return program
        name, program.argument = found
        try:
            program.interpreter, again = self._one(name)
            if again is not None:
                raise VerisealError(
                    "bad-interpreter",
                    "it is itself a script",
                    path=name,
                    remedy="Name an ELF program on the #! line",
                )
        except VerisealError as error:
            if error.reason == "not-found":
                error.reason = "no-interpreter"
                error.remedy = "Install it, or name another one on the #! line"
            failure = _because(error, path, "its interpreter is refused")
            failure.digest = program.digest
            raise failure from None
        return program

    def _one(self, path: str) -> tuple[Program, tuple[str, bytes | None] | None]:
        """``path`` with its closure, and what its ``#!`` line names. Raises VerisealError."""
        program, place = self._file(path)
        try:
            header = _first_bytes(program.fd, path, script.HEADER_SIZE)
            found = script.interpreter(header, path)
            if found is None:
                script.require_machine(header, posix.uname().machine, path)
            self.passed(path, "format", "ELF" if found is None else f"script for {found[0]}")
            if self._table is not None and place is not None:
                self._closure(self._table.closure(place), path)
        except VerisealError as error:
            error.digest = program.digest
            raise
        return program, found

    def _file(self, path: str) -> "tuple[Program, table.Place | None]":
        location = descriptor.open_location(path)
        try:
            self._require_known(location, path)
            try:
                fd = descriptor.reopen(location)
            except OSError as error:
                raise verity.failure(error, path) from None
        finally:
            posix.close(location)
        # Again, on what is executed: whoever owns this mount namespace may have made up /proc.
        self._require_known(fd, path)
        digest = verity.measure(fd, path)
        self.passed(path, "digest", digest)
        try:
            self._require_not_revoked(digest, path)
            if self._signature:
                verity.require_signature(fd, path)
                self.passed(path, "signature", "accepted by the kernel")
            place = None
            if self._table is not None:
                name = descriptor.name(fd, path)
                place = self._table.require(name, digest)
                self.passed(path, "place", fsdecode(name))
        except VerisealError as error:
            error.digest = digest
            raise
        return Program(fd, path, digest), place

    def _closure(self, needs: "list[Need] | None", path: str) -> None:
        if needs is None:
            raise VerisealError(
                "not-a-program",
                "a file of the release, but no program that the launcher starts",
                path=path,
                remedy="If it should be started: make it executable, name it in build.programs, "
                "and build the release again",
            )
        for name, expected in needs:
            try:
                self.member(name, expected)
            except VerisealError as error:
                self.member_refused(_because(error, path, "it needs a file that is refused"))

    def needed_by(self, digest: Digest) -> list[str]:
        """The programs in whose closure is a file with ``digest``."""
        if self._table is None:
            return []
        names = self._table.programs_with(verity.raw_digest(digest))
        return [fsdecode(name) for name in names]

    def member(self, name: bytes, expected: bytes) -> None:
        """Check what is at ``name``, see `table` for ``expected``. Raises VerisealError."""
        path = fsdecode(name)
        if expected == table.ABSENT:
            _require_absent(name)
            self.passed(path, "absent", "as in the release")
            return
        try:
            fd = posix.open(name, _MEMBER)
        except OSError as error:
            raise _member_not_opened(error, path) from None
        try:
            self._require_known(fd, path)
            try:
                measured = verity.measure_raw(fd)
            except OSError as error:
                raise verity.failure(error, path) from None
            self._require_not_revoked(measured, path)
            if measured != expected:
                raise self._differs(name, expected, measured)
            if self._signature:
                verity.require_signature(fd, path)
            _first_bytes(fd, path, 1)
        finally:
            posix.close(fd)
        self.passed(path, "closure", measured)

    def _differs(self, name: bytes, expected: bytes, measured: bytes) -> VerisealError:
        path = fsdecode(name)
        if expected == table.REFUSED:
            return VerisealError(
                "not-accepted",
                "the boot check did not accept it",
                path=path,
                remedy="journalctl -b -t veriseal says why; restore the release's own file, "
                "then boot again",
            )
        wanted, found = verity.measured_digest(expected), verity.measured_digest(measured)
        if self._table is not None:
            return self._table.refusal(name, wanted, found)
        return VerisealError("other-contents", "not as expected", path=path, remedy=_OWN_FILES)

    def _require_not_revoked(self, digest: Digest | bytes, path: str) -> None:
        if not self._revoked:
            return
        raw = digest if isinstance(digest, bytes) else verity.raw_digest(digest)
        if raw in self._revoked:
            raise VerisealError(
                "revoked",
                "its digest is revoked",
                path=path,
                found=verity.measured_digest(raw),
                remedy="Put the file of a release in its place that does not have this defect",
            )

    def _require_known(self, fd: int, path: str) -> None:
        """Return only for a regular file on a file system whose word counts."""
        status = posix.fstat(fd)
        _require_regular(status.st_mode, path)
        if status.st_dev in self._devices:
            return
        try:
            name = descriptor.filesystem(fd)
        except OSError as error:
            raise VerisealError(
                "no-path",
                f"the kernel cannot say where the file is: {error.strerror}",
                path=path,
                remedy="/proc must be mounted",
            ) from None
        if name not in descriptor.WITH_VERITY:
            raise VerisealError(
                "unknown-filesystem",
                "no answer about verity can be trusted on this file system",
                path=path,
                expected=", ".join(descriptor.WITH_VERITY),
                found=name or "a mount that cannot be seen from here",
                remedy="Run it from where it was installed, not from a copy, overlay or FUSE mount",
            )
        self._devices.add(status.st_dev)
        self.passed(path, "file system", name)


def _because(error: VerisealError, path: str, problem: str) -> VerisealError:
    """A refusal of ``path`` for what ``error`` says of another file."""
    remedy, error.remedy = error.remedy, None
    return VerisealError(error.reason, f"{problem}: {error}", path=path, remedy=remedy)


def _require_regular(mode: int, path: str) -> None:
    if not stat.S_ISREG(mode):
        kind = "a directory" if stat.S_ISDIR(mode) else "a special file"
        raise VerisealError(
            "not-a-regular-file",
            "not a regular file",
            path=path,
            found=kind,
            remedy="Give the path of the program itself, or restore the release's own file",
        )


def _require_absent(name: bytes) -> None:
    path = fsdecode(name)
    try:
        posix.close(posix.open(name, posix.O_PATH | posix.O_NOFOLLOW | posix.O_CLOEXEC))
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise _member_not_opened(error, path) from None
    raise VerisealError(
        "must-be-absent",
        "the release has nothing here, and it would change what every program loads",
        path=path,
        remedy="Remove it; find out who put it there",
    )


def _member_not_opened(error: OSError, path: str) -> VerisealError:
    refused = verity.failure(error, path)
    if refused.reason in ("system-call", "permission"):
        refused = descriptor.not_opened(error, path)
    if refused.reason == "not-found":
        refused.reason, refused.remedy = "missing-file", _OWN_FILES
    return refused


def _first_bytes(fd: int, path: str, size: int) -> bytes:
    try:
        return posix.pread(fd, size, 0)
    except OSError as error:
        raise verity.failure(error, path) from None
