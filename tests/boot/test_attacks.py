"""The table of attacks is whole, and ATTACKS.md says what it says."""

import pytest

from tests.boot import attacks, attacks_doc, changes
from tests.boot.inside import row
from veriseal.tree import findings

pytestmark = pytest.mark.unit

TABLE = attacks.table()
STOPPED = [one for one in TABLE if one.attacker != row.GOOD]
LAUNCHER = {
    "boot report",
    "sysctl",
    "launch table",
    "opened once",
    "regular file",
    "known file system",
    "opened for reading",
    "measured",
    "not revoked",
    "place in the launch table",
    "first bytes",
    "#! line",
    "machine",
    "closure",
    "environment",
    "exec of the same descriptor",
}
"""Its checks; each must stop something. That a signature is stored, the kernel sees to first."""


def test_the_document_is_current() -> None:
    assert attacks_doc.PATH.read_text() == attacks_doc.text(), "make attacks"


def test_there_are_many_attacks() -> None:
    assert len(STOPPED) >= 60
    assert {one.attacker for one in STOPPED} == {row.A1, row.A2, row.A3}
    for part in ("seal", "verify", "launcher", "units", "build"):
        assert [one for one in STOPPED if one.stopped_by.startswith(f"{part}: ")], part


def test_names_are_unique() -> None:
    names = [one.name for one in TABLE]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("one", TABLE, ids=lambda one: one.name)
def test_every_field_is_filled_on_one_line(one: attacks.Attack) -> None:
    for value in one:
        assert value
        assert value.strip() == value
        assert value.isprintable()
    assert (one.attacker == row.GOOD) == (one.stopped_by == row.NOTHING)
    part, _, check = one.stopped_by.partition(": ")
    assert part in {"seal", "verify", "launcher", "units", "build", "plan", "nothing"}
    assert check


def test_each_check_of_the_launcher_stops_something() -> None:
    checks = {one.stopped_by.removeprefix("launcher: ") for one in STOPPED}
    assert checks >= LAUNCHER


def test_findings_are_called_as_the_code_calls_them() -> None:
    named = [one.stopped_by.split()[-1] for one in changes.CHANGES if "finding" in one.stopped_by]
    assert named
    assert set(named) <= set(findings.KINDS)
