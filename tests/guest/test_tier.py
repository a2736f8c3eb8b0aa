"""No test of the kernel tier is left out, and none runs twice."""

from __future__ import annotations

import pytest

from .tier import shares

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_each_name_is_in_one_share(count: int) -> None:
    weights = {f"test_{number}.py": 1000 * number for number in range(20)}
    parts = shares(weights, count)
    assert len(parts) == count
    assert sorted(name for part in parts for name in part) == sorted(weights)


def test_the_shares_are_about_the_same() -> None:
    weights = {"long": 100, **{str(number): 10 for number in range(30)}}
    sums = [sum(weights[name] for name in part) for part in shares(weights, 2)]
    assert sums == [200, 200]
