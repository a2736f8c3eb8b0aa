"""Seal this boot, then time the launcher on the programs of the disk "bench"."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ..timing import in_turn, seconds
from . import common

DISK = "/dev/disk/by-id/virtio-bench"
MOUNT = Path("/mnt")
BIN = MOUNT / "bin"
EXEC = (common.VERISEAL, "exec")


def main(rounds: str, cold_rounds: str) -> None:
    _run("mount", DISK, MOUNT)
    common.play_initrd((MOUNT / "release.pem").read_bytes())
    _run(*common.SEAL)
    _run(common.VERISEAL, "enable", "--signatures", MOUNT / "signatures", BIN)
    launched = (*EXEC, str(BIN / "true"))
    direct = (str(BIN / "true"),)
    small, large = ((*EXEC, str(BIN / name)) for name in ("small", "large"))
    start = _times([launched, common.START_PYTHON, direct], int(rounds))
    warm = _times([small, large], int(rounds))
    cold = in_turn([partial(_cold, small), partial(_cold, large)], int(cold_rounds))
    print(json.dumps({"start": start, "warm": warm, "cold": cold}))


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
