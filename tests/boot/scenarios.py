"""The boots: one that must succeed and is then attacked from inside, and those that must not.

Each refused boot must end before the root is switched, and say why on the console.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.boot import booting, changes, distrusted, overlay, refused, sequence, tampering
from tests.boot.appliance import Appliance, copy_image
from tests.boot.inside import groups
from tests.boot.layout import BIN, LIB, STRAY
from tests.boot.overlay import Overlay
from tests.boot.refusal import REFUSED, Refusal, Scenario
from tests.boot.result import Result
from tests.guest.machine import End, Outcome
from tests.guest.store import BUILD, GuestError, remove

SWITCHED = "root switched"
BLOCK = 4096
DESCRIPTOR_SIZE = 256
"""Bytes of struct fsverity_descriptor; on ext4 a block begins with it, then the signature."""
_ONLY_REPORTING = b'[boot]\nmode = "report"\n'


def boot_refused(appliance: Appliance, scenario: Scenario) -> list[Result]:
    """Boot once; the root must not be switched, and the console must say why."""
    outcome, reported = _boot_scenario(appliance, scenario)
    ended = SWITCHED if reported else REFUSED
    if outcome.end is not End.OFF:
        ended += f", but the machine {outcome.end.value}"
    lines = _lines(outcome)
    if scenario.lines and not 0 < (count := len(_of_refusal(lines))) <= scenario.lines:
        ended += f", and the console says so in {count} lines"
    return [_refused(one, ended, lines) for one in scenario.refusals]


def _refused(refusal: Refusal, ended: str, lines: list[str]) -> Result:
    said = {text: next((one for one in lines if text in one), "") for text in refusal.says}
    missing = [f", and the console does not say: {text}" for text, line in said.items() if not line]
    seen = refusal.expected if ended == REFUSED else ended
    detail = list(said.values())[-1] or "\n".join(lines[-20:])
    return Result(
        refusal.title, refusal.attacker, refusal.expected, "".join([seen, *missing]), detail
    )


def _lines(outcome: Outcome) -> list[str]:
    """What the console has, without empty lines."""
    text = outcome.console.read_text(errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _of_refusal(lines: list[str]) -> list[str]:
    """From the agent's first line to systemd's last; dracut then says how to debug a boot."""
    ends = [at for at, line in enumerate(lines) if "Warning: Boot has failed" in line]
    starts = [at for at, line in enumerate(lines) if "veriseal: " in line]
    return lines[starts[0] : ends[0]] if starts and ends else []


def boot_reported(appliance: Appliance) -> list[Result]:
    """Boot a changed disk where the settings of the initrd only report: it comes up and says so."""
    (change,) = [one.change for one in changes.CHANGES if one.name == "unit added"]
    image = copy_image(appliance.image, "reported")
    try:
        tampering.apply([change], image)
        initrds = _initrds(
            appliance.initrd, {refused.CONFIGURATION: _ONLY_REPORTING}, groups.REPORTED
        )
        system = booting.System(appliance.kernel.image, image, initrds)
        return booting.boot_group(system, groups.REPORTED)
    finally:
        remove(image)


def boot_at_another_time(appliance: Appliance, name: str) -> list[Result]:
    """Boot with the machine's clock where the group of this name has it."""
    system = booting.System(appliance.kernel.image, appliance.image, [appliance.initrd])
    return booting.boot_group(system, name, groups.CLOCKS[name])


def boot_attacked(appliance: Appliance) -> list[Result]:
    """Change the disk offline, boot, and collect what the attacks inside saw."""
    image = copy_image(appliance.image, "attacked")
    try:
        change_offline(image)
        system = booting.System(appliance.kernel.image, image, [appliance.initrd])
        return booting.boot_group(system, groups.ATTACKED)
    finally:
        remove(image)


BOOTS: dict[str, Callable[[Appliance], list[Result]]] = {
    groups.ATTACKED: boot_attacked,
    groups.REPORTED: boot_reported,
    **{name: partial(boot_at_another_time, name=name) for name in groups.CLOCKS},
    **dict.fromkeys(sequence.GROUPS, sequence.boot),
    groups.ADOPTED: distrusted.boot_adopted,
}
"""By the group of rows that each is for; some are for several."""
REFUSED_BOOTS = (*refused.BOOTS, *distrusted.BOOTS)


def _boot_scenario(appliance: Appliance, scenario: Scenario) -> booting.Ended:
    image, initrd = scenario.base(appliance)
    initrds = _initrds(initrd, scenario.overlay(appliance), scenario.name)
    changed = None
    try:
        if scenario.changes:
            image = changed = copy_image(image, booting.file_name(scenario.name))
            tampering.apply(scenario.changes, image)
        trust = None if scenario.disk is None else scenario.disk(appliance)
        system = booting.System(appliance.kernel.image, image, initrds, trust=trust)
        return booting.boot(system, scenario.append, scenario.name)
    finally:
        if changed is not None:
            remove(changed)


def _initrds(initrd: Path, files: Overlay, name: str) -> list[Path]:
    if not files:
        return [initrd]
    place = BUILD / f"overlay-{booting.file_name(name)}.cpio"
    return [initrd, overlay.archive(files, place)]


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
