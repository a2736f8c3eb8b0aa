"""Which rows a boot is for: ``veriseal.attacks=`` on the kernel command line."""

from __future__ import annotations

from . import (
    contents,
    keys,
    kinds,
    libraries,
    namespaces,
    paths,
    races,
    signals,
    starved,
    state,
    system,
    upgrade,
    variables,
)
from .row import Row

ATTACKED, REPORTED, ADOPTED, TIMING = "all", "report", "adopted", "timing"
CLOCKS = {"1970": "1970-01-01T00:00:00", "2060": "2060-01-01T00:00:00"}
"""Group: where the machine's clock starts, in UTC."""

PARTS: dict[str, tuple[Row, ...]] = {
    "What must work": system.FIRST,
    "The sealed keyring": keys.ROWS,
    "A program's contents and place": contents.ROWS,
    "A program's libraries": libraries.ROWS,
    "Variables": variables.ROWS,
    "What is no program, and #! lines": kinds.ROWS,
    "Paths": paths.ROWS,
    "Namespaces and file systems": namespaces.ROWS,
    "What the boot left in /run/veriseal, and the clock": state.ROWS,
    "Limits, descriptors, personality": starved.ROWS,
    "Signals": signals.ROWS,
    "Races": races.ROWS,
    "Afterwards": system.LAST,
}
"""The boot that is attacked, by subject."""

GROUPS: dict[str, tuple[Row, ...]] = {
    ATTACKED: tuple(row for rows in PARTS.values() for row in rows),
    REPORTED: system.REPORTED,
    **{name: state.at_a_wrong_time(name) for name in CLOCKS},
    **upgrade.ROWS,
    ADOPTED: upgrade.ADOPTED,
}
MEASURED: dict[str, tuple[Row, ...]] = {TIMING: (system.TIMING,)}
"""Boots that are measured and not attacked."""
