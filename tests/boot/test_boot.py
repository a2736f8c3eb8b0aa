"""The appliance boots sealed, and nothing that was tried against it succeeds."""

import pytest

from tests.boot import appliance, attacks, scenarios

pytestmark = pytest.mark.boot


@pytest.fixture(scope="session")
def built() -> appliance.Appliance:
    return appliance.build()


@pytest.fixture(scope="session")
def attacked(built: appliance.Appliance) -> dict[str, scenarios.Result]:
    return {result.attack: result for result in scenarios.boot_attacked(built)}


@pytest.mark.parametrize("name", [row.name for row in attacks.ROWS])
def test_in_the_booted_appliance(attacked: dict[str, scenarios.Result], name: str) -> None:
    result = attacked[name]
    assert result.seen == result.expected, result.detail


@pytest.mark.parametrize("scenario", scenarios.REFUSED_BOOTS, ids=lambda s: s.name)
def test_boot_is_refused(built: appliance.Appliance, scenario: scenarios.Scenario) -> None:
    result = scenarios.boot_refused(built, scenario)
    assert result.seen == result.expected, result.detail
