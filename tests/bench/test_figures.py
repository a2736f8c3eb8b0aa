"""The arithmetic of the figures, and how a miss is told."""

import pytest

from . import report, tree
from .figure import Goal, of_times
from .timing import TimingError, in_turn, seconds

pytestmark = pytest.mark.unit


def test_a_ratio_of_times_is_ours_against_the_peers() -> None:
    row = of_times("x", [1.0, 2.0, 3.0], [2.0, 2.0, 2.0], "peer", Goal(0.9))
    assert (row.value, row.low, row.high) == (1.0, 0.5, 1.5)
    assert row.verdict() == "missed by 0.10 ×"


def test_a_ratio_of_throughputs_grows_as_our_time_shrinks() -> None:
    goal = Goal(1.0, at_least=True)
    row = of_times("x", [1.0], [2.0], "peer", goal, megabytes=100)
    assert (row.value, row.verdict()) == (2.0, "met")
    assert (row.ours, row.peer) == ("100 MB/s", "50 MB/s  peer")
    row = of_times("x", [2.0], [1.0], "peer", goal, megabytes=100)
    assert row.verdict() == "missed by 0.50 ×"


def test_the_table_shows_what_could_not_be_measured() -> None:
    row = of_times("x", [1.0], [2.0], "peer", None, notes=["a note"])
    text = report.table([row], {"y": "it broke"})
    assert "no goal" in text
    assert "a note" in text
    assert "y: could not be measured: it broke" in text


def test_things_are_timed_in_turn_after_a_round_that_does_not_count() -> None:
    calls: list[str] = []

    def measure(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    times = in_turn([lambda: measure("a"), lambda: measure("b")], 2)
    assert "".join(calls) == "ababab"
    assert times == [[3.0, 5.0], [4.0, 6.0]]


def test_a_program_that_fails_has_no_time() -> None:
    with pytest.raises(TimingError, match="status 1"):
        seconds(["false"])


def test_the_tree_is_always_the_same_and_of_the_size_it_says() -> None:
    sizes = tree.sizes()
    assert sizes == tree.sizes()
    assert (len(sizes), sum(sizes)) == (tree.FILES, tree.TOTAL)
    assert sorted(sizes)[tree.FILES // 2] < 10_000 < sum(sizes) / len(sizes)
