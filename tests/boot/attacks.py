"""The whole table of attacks: what the tests try, and what ATTACKS.md says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.boot import building, distrusted, refused
from tests.boot.inside import groups, system, upgrade
from tests.boot.inside.row import Row

BOOTED = "In the booted appliance"
WRONG_CLOCK = "Booted with a wrong clock"
REPORTED = "Booted to report findings only"
UPGRADED = "Three releases on one disk, one after the other"
ADOPTED = "Booted where another service has sealed the keyring"
REFUSED = "Boots, each with something changed"
DISTRUSTED = "Boots of a release, with something changed in what is trusted"
BUILT = "The build"
MEASURE, TIMING = system.MEASURE, groups.TIMING
"""Where the disk has what measures a boot, and the group of rows that runs it."""


class Attack(NamedTuple):
    """A line of the table. ``stopped_by`` is the part of veriseal, a colon, and the check."""

    part: str
    name: str
    attacker: str
    done: str
    expected: str
    stopped_by: str


def table() -> list[Attack]:
    """Everything that is tried, in the order of the document. Names are unique."""
    return list(_table())


def _table() -> Iterator[Attack]:
    for part, rows in groups.PARTS.items():
        yield from _rows(part, rows)
    for name in groups.CLOCKS:
        yield from _rows(WRONG_CLOCK, groups.GROUPS[name])
    yield from _rows(REPORTED, groups.GROUPS[groups.REPORTED])
    for rows in upgrade.ROWS.values():
        yield from _rows(UPGRADED, rows)
    yield from _rows(ADOPTED, upgrade.ADOPTED)
    for part, refusals in ((REFUSED, refused.REFUSALS), (DISTRUSTED, distrusted.REFUSALS)):
        for one in refusals:
            yield Attack(part, one.title, one.attacker, one.done, one.expected, one.stopped_by)
    for tree in building.TREES:
        yield Attack(BUILT, tree.name, tree.attacker, tree.done, tree.expected, tree.stopped_by)


def _rows(part: str, rows: Sequence[Row]) -> Iterator[Attack]:
    for row in rows:
        yield Attack(part, row.name, row.attacker, row.done, row.expected, row.stopped_by)
