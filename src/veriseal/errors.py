"""The errors a user meets: each names what it concerns, what was expected and found, and a remedy.

On the launcher's path: imports nothing.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


MAX_LENGTH = 4096
"""Characters of an error as a sentence, and of each of its attributes in JSON."""
_LAST = 1000  # of a longer sentence, so many are its end: the remedy
_MOST = 8


class VerisealError(Exception):
    """Something was refused or could not be done.

    Attributes:
        reason: stable machine-readable name, such as ``no-verity``; the same in JSON, journal
            and tests.
        problem: one sentence without a final stop.
        path: the file or object it concerns, if any.
        expected, found: the two sides of a comparison, if there was one.
        remedy: what the reader can do about it, if anything.
        digest: of the file concerned, where it was known before the refusal.
    """

    digest: object = None

    def __init__(
        self,
        reason: str,
        problem: str,
        *,
        path: str | None = None,
        expected: object = None,
        found: object = None,
        remedy: str | None = None,
    ) -> None:
        self.reason = reason
        self.problem = problem
        self.path = path
        self.expected = None if expected is None else str(expected)
        self.found = None if found is None else str(found)
        self.remedy = remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        if self.path is None:
            return self.sentence()
        return _without_middle(f"{printable(self.path)}: {self.sentence()}")

    def sentence(self) -> str:
        """Everything but the path: problem, expected, found, remedy."""
        text = self.problem
        details = [
            f"{name} {value}"
            for name, value in (("expected", self.expected), ("found", self.found))
            if value is not None
        ]
        if details:
            text += f" ({', '.join(details)})"
        if self.remedy is not None:
            text += f". {self.remedy}"
        # As a whole: names of files, mounts and signers are in some problems and remedies too.
        return _without_middle(printable(text))

    def without_remedy(self) -> str:
        """As a sentence, for the message of another error, which has a remedy of its own."""
        return str(
            VerisealError(
                self.reason,
                self.problem,
                path=self.path,
                expected=self.expected,
                found=self.found,
            )
        )

    def as_json(self) -> dict[str, str]:
        """The attributes that are set, for reports and ``--json``."""
        names = ("reason", "problem", "path", "expected", "found", "remedy")
        return {
            name: shortened(value, MAX_LENGTH)
            for name in names
            if (value := getattr(self, name)) is not None
        }


class UsageError(VerisealError):
    """The command line itself is wrong: exit status 2."""

    def __init__(self, problem: str, *, remedy: str | None = None) -> None:
        super().__init__("usage", problem, remedy=remedy)


def path_of(error: OSError) -> str | None:
    """The path in ``error``; None if it names none. Of a descriptor's listing it is a number."""
    import os  # only for a refusal

    named = error.filename
    return os.fsdecode(named) if isinstance(named, str | bytes) else None


def printable(text: str) -> str:
    """``text`` on one line, as a terminal and the journal can take it.

    File names are bytes chosen by strangers: control characters and undecodable bytes are
    shown as escapes, so that a name can neither forge a second line nor drive a terminal.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shortened(text: str, most: int) -> str:
    """``text``, or its first ``most`` characters and dots."""
    return text if len(text) <= most else f"{text[:most]}..."


def some(texts: "Sequence[str]", most: int = _MOST) -> list[str]:
    """The first of ``texts``, and how many more there are: a console has few lines."""
    more = len(texts) - most
    return list(texts) if more <= 0 else [*texts[:most], f"and {more} more"]


def _without_middle(text: str) -> str:
    if len(text) <= MAX_LENGTH:
        return text
    return f"{text[: MAX_LENGTH - _LAST]} [...] {text[-_LAST:]}"
