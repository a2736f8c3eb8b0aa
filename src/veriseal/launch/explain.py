"""Every check of the launcher, told one by one, without starting anything."""

import os
from typing import NamedTuple

from veriseal import report
from veriseal.digest import Digest
from veriseal.errors import VerisealError, printable
from veriseal.kernel import process, verity
from veriseal.launch import environment, ready
from veriseal.launch.checks import Checks, Program


class Step(NamedTuple):
    """A check that ``path`` has passed, and what was found."""

    path: str
    check: str
    found: str


class Explanation:
    """What became of each check.

    Attributes:
        path: as it was asked for.
        steps: the checks that passed, in order.
        refused: files of the closure that do not pass, each with why.
        needed_by: of a file that is no program: the programs that need it.
        variables: of this process's environment that the program would not get.
        error: why it would not be started; None if it would.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.steps: list[Step] = []
        self.refused: list[VerisealError] = []
        self.needed_by: list[str] = []
        self.variables: list[str] = []
        self.error: VerisealError | None = None

    def __str__(self) -> str:
        lines = [
            f"  {one.check:<12} {printable(one.path)}: {printable(one.found)}" for one in self.steps
        ]
        lines += [f"! {one.reason:<12} {one}" for one in self.refused]
        lines += [f"  {'needed by':<12} {printable(one)}" for one in self.needed_by]
        lines += [f"  {'taken out':<12} {printable(one)}" for one in self.variables]
        if self.error is None:
            return "\n".join([*lines, f"{printable(self.path)} would be started"])
        why = f"{self.error.reason}: {self.error}"
        return "\n".join([*lines, f"{printable(self.path)} would be refused [{why}]"])

    def as_json(self) -> dict[str, object]:
        """For ``--json``."""
        return {
            "path": self.path,
            "starts": self.error is None,
            "error": None if self.error is None else self.error.as_json(),
            "passed": [one._asdict() for one in self.steps],
            "refused": [one.as_json() for one in self.refused],
            "needed_by": self.needed_by,
            "variables": self.variables,
        }


class _Told(Checks):
    def __init__(self, state: report.State, told: Explanation) -> None:
        self._told = told
        super().__init__(state)

    def passed(self, path: str, check: str, what: object) -> None:
        if isinstance(what, bytes):
            what = verity.measured_digest(what)
        self._told.steps.append(Step(path, check, str(what)))

    def member_refused(self, error: VerisealError) -> None:
        # All of them are named, and the first one is what the launcher would say.
        self._told.refused.append(error)

    def program(self, path: str) -> Program:
        program = super().program(path)
        if self._told.refused:
            raise self._told.refused[0]
        return program


def explain(path: str) -> Explanation:
    """Check ``path`` as the launcher would. Raises nothing that concerns ``path`` or the boot."""
    told = Explanation(path)
    try:
        state = ready.require_ready_system()
        about = f"keyring {state.keyring}, manifest {state.manifest}, {state.require} required"
        told.steps.append(Step(report.PATH, "boot", f"{about}; {state.release or 'no release'}"))
        checks = _Told(state, told)
        try:
            os.close(checks.program(path).fd)
        except VerisealError as error:
            if isinstance(error.digest, Digest) and error.reason == "not-a-program":
                told.needed_by = checks.needed_by(error.digest)
            raise
        finally:
            checks.close()
    except VerisealError as error:
        told.error = error
    _, told.variables = environment.clean(process.initial_environment())
    return told
