"""Three releases on one disk: each boot leaves it to the next."""

from __future__ import annotations

import functools
import threading
from pathlib import Path

from tests.boot import appliance, booting, releases
from tests.boot.appliance import Appliance
from tests.boot.inside import upgrade
from tests.boot.releases import FIRST
from tests.boot.result import Result
from tests.guest.store import remove

GROUPS = dict(zip(upgrade.ROWS, releases.NUMBERS, strict=True))
"""The release that boots, by the group of its rows."""
_turns = {number: threading.Lock() for number in releases.NUMBERS}


def boot(of: Appliance) -> list[Result]:
    """Boot each release on the disk that the one before has left."""
    return [result for number in releases.NUMBERS for result in _booted(of, number)[0]]


def disk(of: Appliance, number: int) -> Path:
    """The disk as a release finds it."""
    return releases.build(of).image if number == FIRST else _booted(of, number - 1)[1]


def clean() -> None:
    """Remove the disks."""
    for number in releases.NUMBERS:
        remove(appliance.copy_of(_name(number)))


def _booted(of: Appliance, number: int) -> tuple[list[Result], Path]:
    with _turns[number]:
        return _boot_once(of, number)


@functools.cache
def _boot_once(of: Appliance, number: int) -> tuple[list[Result], Path]:
    image = appliance.copy_image(disk(of, number), _name(number))
    (group,) = (name for name, one in GROUPS.items() if one == number)
    initrd = releases.build(of).initrds[number]
    system = booting.System(of.kernel.image, image, [initrd], keep=True)
    return booting.boot_group(system, group), image


def _name(number: int) -> str:
    return f"after-{number}"
