"""The appliance's boot against that of the same appliance without verity, seal and check."""

from __future__ import annotations

import json
import statistics
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.boot import appliance, attacks, booting, tampering
from tests.guest.machine import Disk, Machine
from tests.guest.store import BUILD, GuestError, remove, say

from . import guest
from .figure import Goal, Row, duration
from .inside.boot import UNITS

GOAL = Goal(5.0)
_PAIRS = 3
_MICRO = 1e-6
_SCRIPT = Path(__file__).parent / "inside/boot.py"

_BLOCK = 4096
_VERITY_FLAG = 0x00100000
"""EXT4_VERITY_FL, fs/ext4/ext4.h."""


def added() -> list[Row]:
    """The two ways in turn. The disks differ in one flag of each file that has verity."""
    built = appliance.build()
    ways = {
        "with": (built.initrd, appliance.copy_image(built.image, "bench-with")),
        "without": (built.without_module, appliance.copy_image(built.image, "bench-without")),
    }
    boots: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    try:
        for _, image in ways.values():
            tampering.write(image, attacks.MEASURE, _SCRIPT.read_bytes())
        files = _without_verity(ways["without"][1])
        for number in range(_PAIRS):
            for name, (initrd, image) in ways.items():
                say(f"boot, pair {number + 1} of {_PAIRS}: {name}")
                boots[name].append(_boot(built, initrd, image, name))
    finally:
        for _, image in ways.values():
            remove(image)
    return rows(boots["with"], boots["without"], files)


def rows(
    ours: Sequence[Mapping[str, Any]], peer: Sequence[Mapping[str, Any]], files: int
) -> list[Row]:
    """The figures of what `inside.boot` gives. Raises GuestError if nothing was checked."""
    if any("report" in one for one in peer):
        raise GuestError("the appliance without the steps has a report of them")
    for one in ours:
        tree = one["report"]["tree"]
        if one["report"]["manifest"] != "verified" or tree["findings"] or not tree["measured"]:
            raise GuestError(f"the appliance was not checked: {tree}")
    whole, bare = ([one["moments"]["up"] * _MICRO for one in boots] for boots in (ours, peer))
    steps = [sum(_unit_seconds(one).values()) for one in ours]
    tree = ours[0]["report"]["tree"]
    note = f"{tree['entries']} entries, {tree['measured']} measured, {tree['hashed']} hashed"
    return [
        _share(
            "the appliance's whole boot", whole, bare,
            [b - a for a, b in zip(bare, whole, strict=True)], bare, "without verity, seal, check",
            [
                guest.how(),
                f"{note}; {files} files with verity and signature",
                "from the kernel's start until all is up; also what the kernel checks at each "
                "open afterwards, and unpacking the larger initrd",
            ],
        ),
        _share(
            "seal and verify in that boot", steps, whole, steps, whole, "the whole boot",
            _notes(ours),
        ),
    ]  # fmt: skip


def _share(
    name: str,
    ours: Sequence[float],
    peer: Sequence[float],
    part: Sequence[float],
    whole: Sequence[float],
    peer_name: str,
    notes: Sequence[str],
) -> Row:
    shares = [100 * a / b for a, b in zip(part, whole, strict=True)]
    return Row(
        name,
        duration(statistics.median(ours)),
        f"{duration(statistics.median(peer))}  {peer_name}",
        statistics.median(shares), min(shares), max(shares), GOAL, unit="%",
        notes=notes, data={"ours_seconds": list(ours), "peer_seconds": list(peer)},
    )  # fmt: skip


def _unit_seconds(boot: Mapping[str, Any]) -> dict[str, float]:
    """How long systemd waited for each step: with the start of its process."""
    units = boot["units"]
    if any(set(units[name]) != {"starting", "started"} for name in UNITS):
        raise GuestError(f"the journal does not say when the steps began and ended: {units}")
    return {
        name: (units[name]["started"] - units[name]["starting"]) * _MICRO for name in UNITS
    }  # fmt: skip


def _notes(boots: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the steps consist of."""

    def median(values: Sequence[float]) -> float:
        return statistics.median(values)

    part = {name: median([one["parts"][name] for one in boots]) for name in boots[0]["parts"]}
    unit = {name: median([_unit_seconds(one)[name] for one in boots]) for name in UNITS}
    seal = median([one["report"]["seconds"] for one in boots])
    verify = median([one["report"]["tree"]["seconds"] for one in boots])
    lines = [
        (8, unit[UNITS[0]], "the unit that seals"),
        (16, seal, "the seal itself, of boot.json"),
        (8, unit[UNITS[1]], "the unit that checks"),
        (16, verify, "the check itself, of boot.json"),
        (24, part["list"], "of that reading the list"),
        (8, part["python"], "of each: start of python (measured when all is up)"),
        (8, part["cryptography"] - part["python"], "of each: import of cryptography.x509"),
        (8, part["imports"] - part["cryptography"], "of each: all other imports"),
    ]
    return [f"{duration(value):>{width}}  {text}" for width, value, text in lines]


def _boot(built: appliance.Appliance, initrd: Path, image: Path, name: str) -> dict[str, Any]:
    logs = BUILD / "boots"
    reported = logs / f"bench-{name}.results"
    machine = Machine(
        kernel=built.kernel.image,
        initrd=[initrd],
        disks=[Disk(image, "appliance")],
        console=logs / f"bench-{name}.log",
        append=f"{booting.APPEND} veriseal.attacks={attacks.TIMING}",
        channels={"veriseal.results": reported},
        cpus=1,  # as in all boots of the appliance, see `booting`
        timeout=booting.TIMEOUT,
    )
    outcome = machine.run()
    results = [json.loads(line) for line in reported.read_text().splitlines()]
    if not results or results[0]["seen"] != "0":
        raise GuestError(f"the appliance measured nothing: {results}\n{outcome.last_lines()}")
    return dict(json.loads(results[0]["detail"]))


def _without_verity(image: Path) -> int:
    """Make the verity files of an image what they were before; gives how many there are.

    Their hashes and signatures stay where they are, behind the end of the file.
    """
    flags = {number: value for number, value in _inode_flags(image) if value & _VERITY_FLAG}
    if not flags:
        raise GuestError(f"{image}: no file has verity")
    tampering.debugfs(
        image,
        *(f"sif <{number}> flags {value & ~_VERITY_FLAG:#x}" for number, value in flags.items()),
    )
    return len(flags)


def _inode_flags(image: Path) -> list[tuple[int, int]]:
    """Number and flags of each inode in use. Source: fs/ext4/ext4.h."""
    found = []
    with image.open("rb") as file:
        file.seek(1024)
        superblock = file.read(1024)
        (inodes,) = struct.unpack_from("<I", superblock, 0x00)
        (per_group,) = struct.unpack_from("<I", superblock, 0x28)
        (inode_size,) = struct.unpack_from("<H", superblock, 0x58)
        (descriptor_size,) = struct.unpack_from("<H", superblock, 0xFE)
        groups = inodes // per_group
        file.seek(_BLOCK)
        descriptors = file.read(groups * descriptor_size)
        for group in range(groups):
            (low,) = struct.unpack_from("<I", descriptors, group * descriptor_size + 0x08)
            (high,) = struct.unpack_from("<I", descriptors, group * descriptor_size + 0x28)
            file.seek((high << 32 | low) * _BLOCK)
            table = file.read(per_group * inode_size)
            for index in range(per_group):
                at = index * inode_size
                (links,) = struct.unpack_from("<H", table, at + 0x1A)
                (flags,) = struct.unpack_from("<I", table, at + 0x20)
                if links:
                    found.append((group * per_group + index + 1, flags))
    return found
