"""veriseal exec PROGRAM ARGS...: check, then become the program.

Exit status as of a shell: 126 refused, 127 not found; otherwise the program's own.
"""

import posix
import sys

from veriseal.errors import VerisealError, printable
from veriseal.kernel import process
from veriseal.launch import checks, environment, ready
from veriseal.names import fsencode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

REFUSED = 126
NOT_FOUND = 127
USAGE = 2

_DEFECT = "Limits may be too low (ulimit -a); if they are not, report this as a defect"
# What else it can be where the caller has another root, by reason.
_IN_A_CHROOT = {
    "no-boot-report": "In a chroot or with RootDirectory=: bind /run/veriseal into it",
    "no-launch-table": "In a chroot or with RootDirectory=: bind /run/veriseal into it",
    "misplaced": "In a chroot or with RootDirectory= it needs the path that it has outside",
}
_USAGE = """\
usage: veriseal exec [--explain] [--argv0 NAME] [--] PROGRAM [ARGUMENT...]

Run PROGRAM only if it is a regular file with fs-verity, with a built-in signature that the
kernel accepted, and with the place and contents that the release has for it, as checked in this
boot; and only if the same holds for its interpreter and its libraries. launch.require in the
configuration can ask for less. PROGRAM is a path; PATH is not searched. Arguments, environment
and descriptors are passed on; variables that would make the loader or an interpreter run other
code are not, and the journal names them.

  --explain     run nothing; print each check, and why it passes or not
  --argv0 NAME  what the program sees as its own name, in place of PROGRAM

exit status: 126 refused, 127 not found, otherwise the program's own
"""


def main(arguments: list[str]) -> int:
    """Run ``arguments``, the program first. Returns only if nothing was started."""
    process.let_sigint_kill()
    try:
        options = _Options(arguments)
    except ValueError as error:
        _say(f"veriseal exec: {error}\n{_USAGE}")
        return USAGE
    if options.help:
        posix.write(1, _USAGE.encode())
        return 0
    path = options.program
    try:
        _require_isolated()
        if options.explain:
            return _explain(path)
        program = checks.Checks(ready.require_ready_system()).program(path)
        _become(program, [options.argv0, *options.arguments])
    except VerisealError as error:
        return _refuse(path, error)
    except Exception as error:
        # Whatever went wrong: nothing was started, and it is said on one line.
        text = f"the launcher failed: {type(error).__name__}: {error}"
        return _refuse(path, VerisealError("internal", text, path=path, remedy=_DEFECT))


class _Options:
    """The launcher's own options end at the program. Raises ValueError."""

    __slots__ = ("argv0", "arguments", "explain", "help", "program")

    def __init__(self, words: list[str]) -> None:
        self.explain = self.help = False
        name = None
        while words and words[0].startswith("-"):
            option, *words = words
            if option == "--":
                break
            if option in ("-h", "--help"):
                self.help = True
            elif option == "--explain":
                self.explain = True
            elif option == "--argv0" and words and words[0]:
                name, *words = words
            else:
                raise ValueError(f"what is {printable(option)}?")
        if not words and not self.help:
            raise ValueError("which program?")
        self.program, *self.arguments = words or [""]
        self.argv0 = self.program if name is None else name


def _explain(path: str) -> int:
    from veriseal.launch import explain

    explanation = explain.explain(path)
    posix.write(1, f"{explanation}\n".encode(errors="backslashreplace"))
    if explanation.error is None:
        return 0
    return NOT_FOUND if explanation.error.reason == "not-found" else REFUSED


def _require_isolated() -> None:
    if not sys.flags.isolated:
        raise VerisealError(
            "not-isolated",
            "the launcher's own interpreter obeys the caller's environment",
            remedy="Start the installed /usr/bin/veriseal, or python3 -I -m veriseal exec",
        )


def _become(program: checks.Program, arguments: list[str]) -> "NoReturn":
    """Replace this process. Raises VerisealError if the kernel refuses."""
    argv = [fsencode(argument) for argument in arguments]
    fd = program.fd
    if program.interpreter is not None:
        # As the kernel does it for fexecve(3), but with the interpreter that was checked.
        fd = program.interpreter.fd
        head = [fsencode(program.interpreter.path)]
        if program.argument is not None:
            head.append(program.argument)
        argv = [*head, b"/dev/fd/%d" % program.fd, *argv[1:]]
        posix.set_inheritable(program.fd, True)
    variables, removed = environment.clean(process.initial_environment())
    if removed:
        names = " ".join(removed)
        _log(
            False,
            f"{program.path} is started without these variables of its caller: {names}",
            path=program.path,
            digest=str(program.digest),
            variables=names,
        )
    try:
        process.execute(fd, argv, variables)
    except OSError as error:
        failure = VerisealError(
            "exec-failed",
            f"the kernel does not execute it: {error.strerror}",
            path=program.path,
            remedy="See execve(2): its mode, noexec on its mount, a missing ELF interpreter",
        )
        failure.digest = program.digest
        raise failure from None


def _refuse(path: str, error: VerisealError) -> int:
    digest = str(error.digest) if error.digest is not None else None
    if error.reason in _IN_A_CHROOT:
        error.remedy = f"{error.remedy}. {_IN_A_CHROOT[error.reason]}"
    why = error.sentence() if error.path in (None, path) else str(error)
    line = f"refused {printable(path)} [{error.reason}, digest {digest or 'not measured'}]: {why}"
    _say(f"veriseal exec: {line}\n")
    _log(True, line, path=path, digest=digest, reason=error.reason, remedy=error.remedy)
    return NOT_FOUND if error.reason == "not-found" else REFUSED


def _say(text: str) -> None:
    try:
        posix.write(2, text.encode(errors="backslashreplace"))
    except OSError:
        pass  # closed; the journal has a refusal too


def _log(refused: bool, message: str, **fields: str | None) -> None:
    try:
        from veriseal import sitepackages

        sitepackages.make_importable()
        from veriseal import journal

        if refused:
            journal.send(journal.EXEC_REFUSED, journal.ERROR, message, **fields)
        else:
            journal.send(journal.EXEC_ENVIRONMENT, journal.WARNING, message, **fields)
    except Exception:  # noqa: S110
        # Descriptors or memory may be exhausted. What was decided stands without a record.
        pass
