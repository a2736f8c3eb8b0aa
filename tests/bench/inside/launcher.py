"""Seal this boot, then time the launcher on the programs of the disk "bench"."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from veriseal import report, table, trusted
from veriseal.digest import SHA256, Digest
from veriseal.kernel import verity
from veriseal.report import State

from ..timing import in_turn, seconds
from . import common

DISK = "/dev/disk/by-id/virtio-bench"
MOUNT = Path("/mnt")
BIN = MOUNT / "bin"
EXEC = (common.VERISEAL, "exec")
OTHER_FILES = 60_000
"""As many rows as the launch table of a system with a desktop has."""


def main(rounds: str, cold_rounds: str) -> None:
    # For the launcher it is an attack: taken out and recorded at each start.
    os.environ.pop("PYTHONPATH", None)
    _run("mount", DISK, MOUNT)
    common.play_initrd((MOUNT / "release.pem").read_bytes())
    _run(*common.SEAL)
    _run(common.VERISEAL, "enable", "--signatures", MOUNT / "signatures", BIN)
    _play_boot_check(sorted(BIN.iterdir()))
    launched = (*EXEC, str(BIN / "true"))
    direct = (str(BIN / "true"),)
    small, large = ((*EXEC, str(BIN / name)) for name in ("small", "large"))
    start = _times([launched, common.START_PYTHON, direct], int(rounds))
    warm = _times([small, large], int(rounds))
    cold = in_turn([partial(_cold, small), partial(_cold, large)], int(cold_rounds))
    print(json.dumps({"start": start, "warm": warm, "cold": cold}))


def _play_boot_check(programs: Sequence[Path]) -> None:
    """Leave what the boot check leaves: the programs are files of the release, among others."""
    rows = [(bytes(path), _measured(path)) for path in programs]
    for number in range(OTHER_FILES):
        name = b"/usr/lib/package-%d/file-%d" % (number // 20, number)
        rows.append((name, Digest(SHA256, number.to_bytes(32, "big"))))
    table.write(rows, trusted.boot_id())
    report.write(State("sealed", "verified", "both"), report.read())


def _measured(path: Path) -> Digest:
    with path.open("rb") as file:
        return verity.measure(file.fileno(), str(path))


def _times(programs: Sequence[Sequence[str]], rounds: int) -> list[list[float]]:
    return in_turn([partial(seconds, argv) for argv in programs], rounds)


def _cold(argv: Sequence[str]) -> float:
    """With nothing of the program in memory, but all of the launcher: it is started first."""
    _run("sync")
    Path("/proc/sys/vm/drop_caches").write_text("3\n")
    seconds((*EXEC, str(BIN / "true")))
    return seconds(argv)


def _run(*argv: str | Path) -> None:
    subprocess.run([str(word) for word in argv], stdout=sys.stderr, check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
