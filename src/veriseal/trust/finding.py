"""What is wrong with the trust of a system, or would be: one record for each defect. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from veriseal.errors import VerisealError, path_of, printable

ERROR, WARNING = "error", "warning"
"""Whether a defect fails `lint` and `plan`, or is only said."""


class Finding(NamedTuple):
    """One defect.

    Attributes:
        level: `ERROR` or `WARNING`.
        name: stable and machine-readable, such as ``same-key``; that of a `VerisealError` is its
            reason.
        problem: a sentence without a final stop.
        path: what it concerns, if that is one file or directory.
        remedy: what can be done, if anything.
    """

    level: str
    name: str
    problem: str
    path: str | None = None
    remedy: str | None = None

    def __str__(self) -> str:
        where = "" if self.path is None else f"{self.path}: "
        remedy = "" if self.remedy is None else f". {self.remedy}"
        return printable(f"{self.level}: {self.name}: {where}{self.problem}{remedy}")

    def as_json(self) -> dict[str, str]:
        """The attributes that are set."""
        return {name: value for name, value in self._asdict().items() if value is not None}


def of(error: VerisealError, level: str = ERROR) -> Finding:
    """The finding that ``error`` is."""
    bare = VerisealError(error.reason, error.problem, expected=error.expected, found=error.found)
    return Finding(level, error.reason, bare.sentence(), error.path, error.remedy)


def unreadable(error: OSError, level: str = ERROR, path: str | None = None) -> Finding:
    """The finding that a file or directory, ``path`` or that of ``error``, cannot be read."""
    path = path_of(error) if path is None else path
    return Finding(level, "unreadable", f"cannot be read: {error.strerror or error}", path)


def count(findings: Sequence[Finding]) -> str:
    """How many errors and warnings there are, in words."""
    numbers = ((level, sum(one.level == level for one in findings)) for level in (ERROR, WARNING))
    return ", ".join(f"{number} {level}{'' if number == 1 else 's'}" for level, number in numbers)


def failed(findings: list[Finding]) -> bool:
    """Whether any of them is an error."""
    return any(one.level == ERROR for one in findings)
