"""make attacks: write tests/ATTACKS.md from the table that the tests try."""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

from tests.boot import attacks
from tests.guest.store import REPO

PATH = REPO / "tests" / "ATTACKS.md"
_HEAD = """\
# Attacks

Written by `make attacks` from the table in `tests/boot` that the tests try; not to be edited.

Each line is tried by `make boot` and `make demo`, in an appliance that is booted in a virtual
machine. Where it can be, the attack is first seen to work without the launcher. Changes of the disk
that are found apart from each other are made to one disk and booted once: each must be named.

A1 has the disk and the machine, A2 is a local user, A3 is root at run time; a dash is what must
work. What must happen is a boot that is refused, or the exit status of the launcher with the
reason of the refusal or with the program's own output. The last column names the part of veriseal
and its check.
"""
_COLUMNS = ("attack", "by", "what is done", "what must happen", "stopped by")


def text() -> str:
    """The whole document."""
    return _HEAD + "".join(
        f"\n## {part}\n\n{_line(_COLUMNS)}{_line(['---'] * len(_COLUMNS))}"
        + "".join(_line(_cells(attack)) for attack in rows)
        for part, rows in groupby(attacks.table(), key=lambda attack: attack.part)
    )


def _cells(attack: attacks.Attack) -> list[str]:
    return [
        attack.name,
        attack.attacker,
        attack.done,
        f"`{attack.expected}`",
        attack.stopped_by,
    ]


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def main() -> int:
    """Write it."""
    PATH.write_text(text())
    print(f"{Path(PATH).relative_to(REPO)}: {len(attacks.table())} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main())
