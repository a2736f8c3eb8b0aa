"""The boots: one that must succeed and is then attacked from inside, and those that must not.

Each refused boot must end before the root is switched, and say why on the console.
"""

from __future__ import annotations

import json
import mmap
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.boot import changes, tampering
from tests.boot.appliance import Appliance, copy_image
from tests.boot.inside import groups
from tests.boot.layout import BIN, LIB, STRAY
from tests.boot.refused import CONFIGURATION, Overlay, Scenario
from tests.boot.result import Result
from tests.guest.machine import Disk, End, Machine, Outcome
from tests.guest.store import BUILD, GuestError, command, remove

APPEND = (
    "root=/dev/disk/by-id/virtio-appliance rw quiet systemd.show_status=error "
    "rd.shell=0 rd.emergency=poweroff"
)
TIMEOUT = 900
AT_A_TIME = os.cpu_count() or 1
"""Boots; each machine has one processor."""
REFUSED = "root not switched"
SWITCHED = "root switched"
BLOCK = 4096
DESCRIPTOR_SIZE = 256
"""Bytes of struct fsverity_descriptor; on ext4 a block begins with it, then the signature."""
_ONLY_REPORTING = b'[boot]\nmode = "report"\n'


def boot_refused(appliance: Appliance, scenario: Scenario) -> Result:
    """Boot once; the root must not be switched, and the console must say why."""
    outcome, reported = _boot_scenario(appliance, scenario)
    seen = SWITCHED if reported else REFUSED
    if outcome.end is not End.OFF:
        seen += f", but the machine {outcome.end.value}"
    said = _said(outcome, scenario)
    for text, line in said.items():
        if not line:
            seen += f", and the console does not say: {text}"
    detail = list(said.values())[-1] or outcome.last_lines(20)
    return Result(scenario.title, scenario.attacker, REFUSED, seen, detail)


def boot_reported(appliance: Appliance) -> list[Result]:
    """Boot a changed disk where the settings of the initrd only report: it comes up and says so."""
    (change,) = [one.change for one in changes.CHANGES if one.name == "unit added"]
    image = copy_image(appliance.image, "reported")
    try:
        tampering.apply(change, image)
        initrds = _initrds(appliance, {CONFIGURATION: _ONLY_REPORTING}, groups.REPORTED)
        return _boot_group(appliance, image, initrds, groups.REPORTED)
    finally:
        remove(image)


def boot_at_another_time(appliance: Appliance, name: str) -> list[Result]:
    """Boot with the machine's clock where the group of this name has it."""
    return _boot_group(appliance, appliance.image, [appliance.initrd], name, groups.CLOCKS[name])


def boot_attacked(appliance: Appliance) -> list[Result]:
    """Change the disk offline, boot, and collect what the attacks inside saw."""
    image = copy_image(appliance.image, "attacked")
    try:
        change_offline(image)
        return _boot_group(appliance, image, [appliance.initrd], groups.ATTACKED)
    finally:
        remove(image)


BOOTS: dict[str, Callable[[Appliance], list[Result]]] = {
    groups.ATTACKED: boot_attacked,
    groups.REPORTED: boot_reported,
    **{name: partial(boot_at_another_time, name=name) for name in groups.CLOCKS},
}
"""By the group of rows that each is for."""


def _boot_group(
    appliance: Appliance, image: Path, initrds: list[Path], group: str, clock: str = ""
) -> list[Result]:
    append = f"veriseal.attacks={group}"
    outcome, reported = _boot(appliance, image, initrds, append, f"rows-{group}", clock)
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


def _boot_scenario(
    appliance: Appliance, scenario: Scenario
) -> tuple[Outcome, list[dict[str, str]]]:
    image, changed = appliance.image, None
    initrds = _initrds(appliance, scenario.overlay(appliance), scenario.name, scenario.bare)
    try:
        if scenario.change is not None:
            image = changed = copy_image(image, _file_name(scenario.name))
            tampering.apply(scenario.change, image)
        return _boot(appliance, image, initrds, scenario.append, scenario.name)
    finally:
        if changed is not None:
            remove(changed)


def _initrds(appliance: Appliance, files: Overlay, name: str, bare: bool = False) -> list[Path]:
    initrd = appliance.bare if bare else appliance.initrd
    overlay = _cpio(files, name)
    return [initrd] if overlay is None else [initrd, overlay]


def _said(outcome: Outcome, scenario: Scenario) -> dict[str, str]:
    """The line of the console with each text that it must have; empty if there is none."""
    lines = [line.strip() for line in outcome.console.read_text(errors="replace").splitlines()]
    return {text: next((line for line in lines if text in line), "") for text in scenario.says}


def change_offline(image: Path) -> None:
    """What somebody with the disk does: a page, a signature, another file's signature."""
    damaged = tampering.builtin_signature(image, f"{STRAY}/damaged-signature")
    replaced = tampering.builtin_signature(image, f"{STRAY}/other-signature")
    other = tampering.builtin_signature(image, f"{BIN}/program")
    changed = (f"/{BIN}/changed", f"/{LIB}/libchanged.so.1")
    pages = [tampering.read(image, path)[:BLOCK] for path in changed]
    with image.open("r+b") as file, mmap.mmap(file.fileno(), 0) as disk:
        for path, page in zip(changed, pages, strict=True):
            at = _find(disk, page, 0, f"the first page of {path}")
            disk[at + BLOCK - 1] ^= 1
        at = _find(disk, damaged, DESCRIPTOR_SIZE, "the signature of damaged-signature")
        disk[at + len(damaged) - 1] ^= 1
        at = _find(disk, replaced, DESCRIPTOR_SIZE, "the signature of other-signature")
        # Both are RSA-2048 by one signer, so they have one size.
        disk[at : at + len(other)] = other


def _find(disk: mmap.mmap, data: bytes, within_block: int, what: str) -> int:
    """Where ``data`` is on the disk, at this offset in its block: exactly once."""
    found = []
    at = disk.find(data)
    while at >= 0:
        if at % BLOCK == within_block:
            found.append(at)
        at = disk.find(data, at + 1)
    if len(found) != 1:
        raise GuestError(f"{what}: found {len(found)} times on the appliance's disk, not once")
    return found[0]


def _boot(
    appliance: Appliance,
    image: Path,
    initrds: list[Path],
    append: str,
    name: str,
    clock: str = "",
) -> tuple[Outcome, list[dict[str, str]]]:
    logs = BUILD / "boots"
    stem = _file_name(name)
    reported = logs / f"{stem}.results"
    machine = Machine(
        kernel=appliance.kernel.image,
        initrd=initrds,
        disks=[Disk(image, "appliance")],
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


def _file_name(name: str) -> str:
    return re.sub("[^a-z0-9]+", "-", name.lower())


def _cpio(files: Overlay, name: str) -> Path | None:
    """An archive that the kernel unpacks over the initrd."""
    if not files:
        return None
    top = BUILD / f"overlay-{_file_name(name)}"
    remove(top)
    for path, data in files.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(data, Path):
            (top / path).symlink_to(data)
        else:
            (top / path).write_bytes(data)
    archive = top.with_suffix(".cpio")
    command(["sh", "-euc", f"cd '{top}' && find . | cpio --quiet -o -H newc -R 0:0 >'{archive}'"])
    remove(top)
    return archive
