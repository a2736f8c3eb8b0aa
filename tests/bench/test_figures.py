"""The arithmetic of the figures, and how a miss is told."""

import pytest

from tests.guest.store import GuestError

from . import boot, launcher, report, scale, tree
from .figure import Goal, of_times
from .inside.boot import UNITS
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


def test_a_speedup_is_the_peers_time_against_ours() -> None:
    row = of_times("x", [1.0], [30.0], "peer", Goal(20.0, at_least=True), faster=True)
    assert (row.value, row.verdict()) == (30.0, "met")
    row = of_times("x", [2.0], [30.0], "peer", Goal(20.0, at_least=True), faster=True)
    assert (row.ours, row.verdict()) == ("2.00 s", "missed by 5.00 ×")


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


def test_what_is_cold_each_time_needs_no_first_round() -> None:
    values = iter([1.0, 2.0])
    assert in_turn([lambda: next(values)], 2, warm_up=False) == [[1.0, 2.0]]


def test_what_a_file_adds_is_told_from_what_one_file_takes_anyway() -> None:
    answer = {size: _runs(1.0 + size / 1000, 5_000_000 + 900 * size) for size in scale.PARTS}
    time, memory = scale.rows(answer)
    assert time.value == pytest.approx(1.0, rel=0.01)
    assert memory.value == pytest.approx(1.0, rel=0.01)
    answer[60_000] = _runs(1.0 + 2 * 60, 5_000_000 + 1800 * 60_000)
    time, memory = scale.rows(answer)
    assert time.value == pytest.approx(2.0, rel=0.01)
    assert memory.value == pytest.approx(2.0, rel=0.01)


def _runs(check: float, peak: float) -> list[dict[str, float]]:
    phases = {"python": 1.0, "imports": 1.0, "manifest": 0.0, "list": 0.0, "check": check}
    return [{**phases, "peak": peak, "worker_peak": 0.0}]


def test_what_was_not_checked_has_no_figure() -> None:
    tree = {"entries": 3, "measured": 2, "hashed": 1, "findings": [], "seconds": 1.0}
    units = {name: {"starting": 0, "started": 1_000_000} for name in UNITS}
    parts = dict.fromkeys(("python", "cryptography", "imports", "list"), 0.1)
    told = {"manifest": "verified", "tree": tree, "seconds": 0.5}
    ours = {"report": told, "units": units, "moments": {"up": 20_000_000}, "parts": parts}
    peer = {"moments": {"up": 16_000_000}, "units": {}}
    whole, steps = boot.rows([ours], [peer], 2)
    assert (whole.value, steps.value) == (25.0, 10.0)
    for wrong in ({"findings": ["x"]}, {"measured": 0}):
        other = {**told, "tree": {**tree, **wrong}}
        with pytest.raises(GuestError, match="not checked"):
            boot.rows([{**ours, "report": other}], [peer], 2)
    with pytest.raises(GuestError, match="journal"):
        boot.rows([{**ours, "units": {**units, UNITS[0]: {"started": 1}}}], [peer], 2)
    with pytest.raises(GuestError, match="without"):
        boot.rows([ours], [{**peer, "report": {}}], 2)


def test_a_program_that_fails_has_no_time() -> None:
    with pytest.raises(TimingError, match="status 1"):
        seconds(["false"])


def test_the_tree_is_always_the_same_and_of_the_size_it_says() -> None:
    sizes = tree.sizes()
    assert sizes == tree.sizes()
    assert (len(sizes), sum(sizes)) == (tree.FILES, tree.TOTAL)
    assert sorted(sizes)[tree.FILES // 2] < 10_000 < sum(sizes) / len(sizes)


def test_the_launchers_own_time_is_what_the_program_alone_does_not_take() -> None:
    start = {"launched": 2.3, "python": 1.0, "direct": 1.0, "native": 1.1}
    steps = dict.fromkeys(
        ("python", "imports", "report", "table", "program", "members", "environment"), 0.1
    )
    sizes = dict.fromkeys(("small", "large", "needs-small", "needs-large"), [1.0])
    counts = {"4": {"launched": [2.0], "direct": [1.0]}, "54": {"launched": [3.0], "direct": [1.5]}}
    answer = {
        "start": {name: [seconds] for name, seconds in start.items()},
        "steps": [steps], "counts": counts, "warm": sizes, "cold": sizes,
    }  # fmt: skip
    own, launched, direct, native, bound, *by_size = launcher.rows(answer)
    assert [row.value for row in (own, launched, direct)] == pytest.approx([1.3, 2.3, 2.3])
    assert (own.verdict(), len(by_size)) == ("met", 4)
    assert [row.value for row in (native, bound)] == pytest.approx([0.1 / 1.3, 0.1])
    notes = "\n".join(own.notes)
    assert "1.00 s for 4, 1.50 s for 54; a file 10 ms" in notes
    assert "600 ms  the rest" in notes
