"""A figure: a ratio of two times or sizes, its goal, and how it is shown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Goal:
    """What a figure is wanted to be: at most ``limit``, or at least."""

    limit: float
    at_least: bool = False

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}"

    def missed_by(self, value: float) -> float:
        """How much is lacking; 0 if the goal is met."""
        return max(0.0, self.limit - value if self.at_least else value - self.limit)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    ``value`` is what the goal is about, in ``unit``; ``low`` and ``high`` are its extremes over
    the pairs. ``notes`` explain the line below the table; ``data`` is for the report only.
    """

    figure: str
    ours: str
    peer: str
    value: float
    low: float
    high: float
    goal: Goal | None
    unit: str = "×"
    notes: Sequence[str] = ()
    data: dict[str, object] = field(default_factory=dict)

    def shown(self) -> str:
        """The value with its extremes."""
        if self.low == self.high:
            return f"{self.value:.2f} {self.unit}"
        return f"{self.value:.2f} {self.unit} ({self.low:.2f}..{self.high:.2f})"

    def verdict(self) -> str:
        """Whether the goal is met, and if not, by how much it is missed."""
        if self.goal is None:
            return "no goal"
        lacking = self.goal.missed_by(self.value)
        return f"missed by {lacking:.2f} {self.unit}" if lacking else "met"


def of_times(
    figure: str,
    ours: Sequence[float],
    peer: Sequence[float],
    peer_name: str,
    goal: Goal | None,
    *,
    megabytes: float = 0,
    faster: bool = False,
    notes: Sequence[str] = (),
) -> Row:
    """A row of times in pairs: the median of the pairs' ratios, ours against the peer's.

    With ``megabytes`` it is a ratio of throughputs instead, and with ``faster`` the peer's time
    against ours: the larger the better.
    """
    inverse = megabytes or faster
    ratios = [b / a if inverse else a / b for a, b in zip(ours, peer, strict=True)]
    return Row(
        figure,
        _shown(statistics.median(ours), megabytes),
        f"{_shown(statistics.median(peer), megabytes)}  {peer_name}",
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        goal,
        notes=notes,
        data={"ours_seconds": list(ours), "peer_seconds": list(peer)},
    )


def _shown(seconds: float, megabytes: float) -> str:
    return f"{megabytes / seconds:.0f} MB/s" if megabytes else duration(seconds)


def duration(seconds: float) -> str:
    """A time with three digits that mean something."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"
