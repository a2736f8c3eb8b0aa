"""One boot of an appliance: what it is made of, and what comes out of it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.boot.inside import groups
from tests.boot.result import Result
from tests.guest.machine import Disk, Machine, Outcome
from tests.guest.store import BUILD, GuestError

APPEND = (
    "root=/dev/disk/by-id/virtio-appliance rw quiet systemd.show_status=error "
    "rd.shell=0 rd.emergency=poweroff"
)
TIMEOUT = 900
AT_A_TIME = os.cpu_count() or 1
"""Boots; each machine has one processor."""


class System(NamedTuple):
    """What a machine is started with. Without ``keep`` the disk stays as it is.

    ``trust`` is one more disk.
    """

    kernel: Path
    image: Path
    initrds: Sequence[Path]
    keep: bool = False
    trust: Path | None = None


Ended = tuple[Outcome, list[dict[str, str]]]
"""How the machine ended, and what it reported."""


def boot(system: System, append: str, name: str, clock: str = "") -> Ended:
    """Boot once; the console and the report get files of this name."""
    logs = BUILD / "boots"
    stem = file_name(name)
    reported = logs / f"{stem}.results"
    machine = Machine(
        kernel=system.kernel,
        initrd=system.initrds,
        disks=[
            Disk(system.image, "appliance", snapshot=not system.keep),
            *([] if system.trust is None else [Disk(system.trust, "trust")]),
        ],
        console=logs / f"{stem}.log",
        append=f"{APPEND} {append}",
        channels={"veriseal.results": reported},
        # QEMU's emulation of two processors now and then trips over the kernel patching itself.
        cpus=1,
        timeout=TIMEOUT,
        clock=clock,
    )
    outcome = machine.run()
    return outcome, [json.loads(line) for line in reported.read_text().splitlines()]


def boot_group(system: System, group: str, clock: str = "") -> list[Result]:
    """Boot, and collect what the rows of this group saw inside."""
    outcome, reported = boot(system, f"veriseal.attacks={group}", f"rows-{group}", clock)
    by_name = {result["name"]: result for result in reported}
    if "end" not in by_name:
        raise GuestError(
            f"the appliance did not finish its attacks: it {outcome.end.value}\n"
            f"{outcome.last_lines()}\nThe whole console is in {outcome.console}"
        )
    missing = {"seen": "nothing reported", "detail": ""}
    return [
        Result(row.name, row.attacker, row.expected, found["seen"], found["detail"])
        for row in groups.GROUPS[group]
        for found in [by_name.get(row.name, missing)]
    ]


def file_name(name: str) -> str:
    """A name as part of a file's."""
    return re.sub("[^a-z0-9]+", "-", name.lower())
