"""What was seen of one line of the table."""

from __future__ import annotations

from typing import NamedTuple


class Result(NamedTuple):
    """One line: what was expected, what was seen, and a detail for people."""

    attack: str
    attacker: str
    expected: str
    seen: str
    detail: str

    @property
    def good(self) -> bool:
        """Whether what was seen is what was expected."""
        return self.seen == self.expected
