"""The boots: one that must succeed and is then attacked from inside, and those that must not.

Each refused boot must end before the root is switched, and say why on the console.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.boot import attacks, tampering
from tests.boot.appliance import BIN, OS, RELEASE, STRAY, Appliance, copy_image
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

# What a stranger put into the initrd does before the agent, and that it was done.
DONE = "stranger: done"
_EARLY_UNIT = """\
[Unit]
DefaultDependencies=no
Before=veriseal-seal.service

[Service]
Type=oneshot
ExecStart=/bin/sh -euc '{command} && echo "stranger: done" >/dev/console'
"""
_ENROL_STRANGER = """\
import sys

sys.path.insert(0, "/usr/lib/veriseal")
from veriseal.kernel import keyring

with open("/stranger.der", "rb") as file:
    keyring.add_certificate(file.read(), keyring.fs_verity_keyring())
"""
_VOA = f"voa/{OS}/image/default/x509"


# Files of the initrd that an overlay replaces.
CONFIGURATION = "etc/veriseal/veriseal.toml"

Overlay = dict[str, bytes | Path]
"""Files by their path in the initrd; a Path is a symbolic link to it."""


class Result(NamedTuple):
    """One line of the table."""

    attack: str
    attacker: str
    expected: str
    seen: str
    detail: str

    @property
    def good(self) -> bool:
        """Whether what was seen is what was expected."""
        return self.seen == self.expected


class Scenario(NamedTuple):
    """A boot that must be refused.

    ``says`` are parts of the console's text. ``overlay`` are files laid over the initrd.
    """

    name: str
    attacker: str
    says: tuple[str, ...]
    bare: bool = True
    append: str = ""
    overlay: Callable[[Appliance], Overlay] = lambda _appliance: {}
    change: tampering.Change | None = None


def _early(command: str) -> Overlay:
    name = "stranger.service"
    units = "etc/systemd/system"
    # Required by the agent, so that it certainly runs, and before it.
    return {
        f"{units}/{name}": _EARLY_UNIT.format(command=command).encode(),
        f"{units}/veriseal-seal.service.requires/{name}": Path(f"../{name}"),
    }


def _run_voa(appliance: Appliance) -> Overlay:
    return {
        **_early("cp -r /stranger-run/voa /run/voa"),
        f"stranger-run/{_VOA}/release.pem": tampering.read(appliance.image, RELEASE),
    }


def _stranger_key(appliance: Appliance) -> Overlay:
    pem = tampering.read(appliance.image, "/var/lib/veriseal/stranger.pem")
    der = subprocess.run(
        ["openssl", "x509", "-outform", "DER"], input=pem, capture_output=True, check=True
    )
    return {
        "stranger.der": der.stdout,
        "stranger.py": _ENROL_STRANGER.encode(),
        **_early("python3 -I /stranger.py"),
    }


def _broken(_appliance: Appliance) -> Overlay:
    text = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    return {f"usr/share/{_VOA}/release.pem": text}


NO_CERTIFICATE = "holds no release certificate"
REFUSED_BOOTS = (
    Scenario(
        "no certificate at all", "A1", (NO_CERTIFICATE,), change=tampering.commands(f"rm {RELEASE}")
    ),
    Scenario("certificate only on the real root", "A1", (NO_CERTIFICATE,)),
    Scenario("certificate only in /run/voa", "A1", (DONE, NO_CERTIFICATE), overlay=_run_voa),
    Scenario("broken certificate", "A1", ("release.pem: ",), overlay=_broken),
    Scenario(
        "keyring holds a stranger's key",
        "A3",
        (DONE, "already holds keys"),
        bare=False,
        overlay=_stranger_key,
    ),
    Scenario(
        "agent masked on the command line",
        "A1",
        ("Can't mount root filesystem",),
        bare=False,
        append="rd.systemd.mask=veriseal-seal.service",
    ),
    Scenario(
        "command line claims a container",
        "A1",
        ("Assertion failed",),
        bare=False,
        append="container=lxc",
    ),
    Scenario(
        "check masked on the command line",
        "A1",
        ("Can't mount root filesystem",),
        bare=False,
        append="rd.systemd.mask=veriseal-verify.service",
    ),
    *(
        Scenario(name, "A1", says, bare=False, change=change)
        for name, (change, says) in tampering.CHANGES.items()
    ),
)


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
    return Result(f"boot: {scenario.name}", scenario.attacker, REFUSED, seen, detail)


def boot_reported(appliance: Appliance) -> list[Result]:
    """Boot a changed disk where the settings of the initrd only report: it comes up and says so."""
    change, _ = tampering.CHANGES["unit added"]
    says = ("(reported, not enforced)",)
    scenario = Scenario("findings are only reported", "-", says, bare=False,
                        append=f"veriseal.attacks={attacks.REPORT}",
                        overlay=_only_reporting, change=change)  # fmt: skip
    outcome, reported = _boot_scenario(appliance, scenario)
    return _results(attacks.GROUPS[attacks.REPORT], outcome, reported)


def _only_reporting(_appliance: Appliance) -> Overlay:
    return {CONFIGURATION: b'[boot]\nmode = "report"\n'}


def _boot_scenario(
    appliance: Appliance, scenario: Scenario
) -> tuple[Outcome, list[dict[str, str]]]:
    image, changed = appliance.image, None
    initrds = [appliance.bare if scenario.bare else appliance.initrd]
    overlay = _cpio(scenario.overlay(appliance), scenario.name)
    if overlay is not None:
        initrds.append(overlay)
    try:
        if scenario.change is not None:
            image = changed = copy_image(image, _file_name(scenario.name))
            tampering.apply(scenario.change, image)
        return _boot(appliance, image, initrds, scenario.append, scenario.name)
    finally:
        if changed is not None:
            remove(changed)


def _said(outcome: Outcome, scenario: Scenario) -> dict[str, str]:
    """The line of the console with each text that it must have; empty if there is none."""
    lines = [line.strip() for line in outcome.console.read_text(errors="replace").splitlines()]
    return {text: next((line for line in lines if text in line), "") for text in scenario.says}


def boot_attacked(appliance: Appliance) -> list[Result]:
    """Change the disk offline, boot, and collect what the attacks inside saw."""
    image = copy_image(appliance.image, "attacked")
    try:
        change_offline(image)
        outcome, reported = _boot(appliance, image, [appliance.initrd], "", "attacked")
    finally:
        remove(image)
    return _results(attacks.GROUPS[attacks.ALL], outcome, reported)


def _results(
    rows: Sequence[attacks.Row], outcome: Outcome, reported: list[dict[str, str]]
) -> list[Result]:
    by_name = {result["name"]: result for result in reported}
    if "end" not in by_name:
        raise GuestError(
            f"the appliance did not finish its attacks: it {outcome.end.value}\n"
            f"{outcome.last_lines()}\nThe whole console is in {outcome.console}"
        )
    missing = {"seen": "nothing reported", "detail": ""}
    return [
        Result(row.name, row.attacker, row.expected, found["seen"], found["detail"])
        for row in rows
        for found in [by_name.get(row.name, missing)]
    ]


def change_offline(image: Path) -> None:
    """What somebody with the disk does: a page, a signature, another file's signature."""
    damaged = tampering.builtin_signature(image, f"{STRAY}/damaged-signature")
    replaced = tampering.builtin_signature(image, f"{STRAY}/other-signature")
    other = tampering.builtin_signature(image, f"{BIN}/program")
    page = tampering.read(image, f"/{BIN}/changed")[:BLOCK]
    with image.open("r+b") as file, mmap.mmap(file.fileno(), 0) as disk:
        at = _find(disk, page, 0, "the first page of changed")
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
    appliance: Appliance, image: Path, initrds: list[Path], append: str, name: str
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
    )
    outcome = machine.run()
    return outcome, [json.loads(line) for line in reported.read_text().splitlines()]


def _file_name(name: str) -> str:
    return re.sub("[^a-z]+", "-", name.lower())


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
