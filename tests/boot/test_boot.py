"""The appliance boots sealed and checked, and nothing that was tried against it succeeds."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from tests.boot import appliance, booting, building, releases, scenarios, sequence
from tests.boot.inside import groups

pytestmark = pytest.mark.boot

REFUSED = {one.title: boot for boot in scenarios.REFUSED_BOOTS for one in boot.refusals}
TREES = {tree.name: tree for tree in building.TREES}


@pytest.fixture(scope="session")
def built() -> appliance.Appliance:
    return appliance.build()


@pytest.fixture(scope="session")
def boots(
    request: pytest.FixtureRequest, built: appliance.Appliance
) -> Iterator[dict[str, Future[Any]]]:
    """Every boot that the selected tests ask for, as many at a time as there are processors."""
    wanted = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    # Not by several boots at a time.
    releases.build(built)
    calls = {name: one for params in wanted for name, one in _calls(built, params).items()}
    with ThreadPoolExecutor(booting.AT_A_TIME) as pool:
        futures = {call: pool.submit(*call) for call in dict.fromkeys(calls.values())}
        yield {name: futures[call] for name, call in calls.items()}
    sequence.clean()


def _calls(built: appliance.Appliance, params: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    if "refusal" in params:
        scenario = REFUSED[params["refusal"]]
        return {scenario.name: (scenarios.boot_refused, built, scenario)}
    if "group" in params:
        return {params["group"]: (scenarios.BOOTS[params["group"]], built)}
    return {}


def _rows() -> list[tuple[str, str]]:
    return [(group, row.name) for group, rows in groups.GROUPS.items() for row in rows]


@pytest.mark.parametrize(("group", "name"), _rows())
def test_in_the_booted_appliance(boots: dict[str, Future[Any]], group: str, name: str) -> None:
    (result,) = [one for one in boots[group].result() if one.attack == name]
    assert result.seen == result.expected, result.detail


@pytest.mark.parametrize("refusal", REFUSED)
def test_boot_is_refused(boots: dict[str, Future[Any]], refusal: str) -> None:
    results = boots[REFUSED[refusal].name].result()
    (result,) = [one for one in results if one.attack == refusal]
    assert result.seen == result.expected, result.detail


@pytest.mark.parametrize("tree", TREES)
def test_built_or_refused(built: appliance.Appliance, tree: str) -> None:
    result = building.attempt(built, TREES[tree])
    assert result.seen == result.expected, result.detail
