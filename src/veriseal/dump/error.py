"""Why a line is refused, before the number of the line is known."""

from veriseal.errors import printable


class LineError(Exception):
    """Inside this package only: `parse` turns it into a VerisealError.

    ``found`` may be bytes of the list: of any length, with anything in them.
    """

    def __init__(self, problem: str, expected: object = None, found: object = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.expected = expected
        self.found = shown(found) if isinstance(found, bytes) else found


def shown(text: bytes) -> str:
    """Enough of ``text`` for a message, on one line."""
    start = printable(text[:200].decode("utf-8", "backslashreplace"))
    return start + "..." if len(text) > 200 else start
