"""The launcher in a sealed guest: against Python's own start, the bare program, and by size."""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path

from tests.guest import root
from tests.guest.machine import Disk
from tests.guest.store import command, remove, say

from . import guest, host, signing
from .figure import Goal, Row, duration, of_times

GOAL_START = Goal(2.0)
GOAL_SIZE = Goal(1.1)
"""Equal, but for what the measurement itself varies by."""

SMALL, LARGE = 1_000_000, 500_000_000
_ROUNDS = 25
_COLD_ROUNDS = 15


def start() -> list[Row]:
    """One boot for all."""
    image = host.PLACE / "launcher.img"
    try:
        _make_disk(image)
        say("launcher: sealing, enabling, timing")
        answer = guest.ask(
            "launcher", str(_ROUNDS), str(_COLD_ROUNDS), disks=[Disk(image, "bench")]
        )
    finally:
        remove(image)
    ours, python, direct = answer["start"]
    mine, its, bare = (statistics.median(times) for times in (ours, python, direct))
    note = (
        f"{duration(mine)} = start of python {duration(its)} + the program {duration(bare)} "
        f"+ the launcher's own {duration(mine - its - bare)}"
    )
    rows = [
        of_times(
            "launcher", ours, python, "python3 -I -c pass", GOAL_START, notes=[guest.how(), note]
        ),
        of_times("launcher", ours, direct, "the program started directly", None),
    ]
    for name in ("warm", "cold"):
        small, large = answer[name]
        rows.append(
            of_times(
                f"launcher, 500 MB program, {name}", large, small, "1 MB program", GOAL_SIZE
            )
        )  # fmt: skip
    return rows


def _make_disk(image: Path) -> None:
    """A file system with programs, their signatures and the certificate; verity comes later."""
    veriseal = host.install()
    tree = host.PLACE / "launcher-tree"
    remove(tree)
    programs = tree / "bin"
    programs.mkdir(parents=True)
    elf = (root.debian() / "usr/bin/true").read_bytes()
    # Whatever follows an ELF program in its file is not mapped, but it is measured and signed.
    for name, size in (("true", len(elf)), ("small", SMALL), ("large", LARGE)):
        host.write_random(programs / name, size, start=elf)
        (programs / name).chmod(0o755)
    release = signing.Release(veriseal, host.PLACE / "keys")
    shutil.copy2(release.cert, tree / "release.pem")
    command([
        veriseal, "sign", "--key", release.key, "--cert", release.cert,
        "--out-dir", tree / "signatures", *programs.iterdir(),
    ])  # fmt: skip
    remove(image)
    root.ext4(image, "700M", tree)
    remove(tree)
