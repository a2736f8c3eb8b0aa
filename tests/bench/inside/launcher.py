"""Seal this boot, then time the launcher on the programs of the disk "bench", see `programs`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from veriseal import report, table, trusted
from veriseal.digest import SHA256, Digest
from veriseal.kernel import verity
from veriseal.report import State

from ..timing import ENVIRONMENT, Measure, TimingError, in_turn, seconds
from . import common

DISK = "/dev/disk/by-id/virtio-bench"
MOUNT = Path("/mnt")
BIN, LIB, ETC = (MOUNT / name for name in ("bin", "lib", "etc"))
LOADER = str(LIB / "ld-linux-x86-64.so.2")
EXEC = (common.VERISEAL, "exec")
STEPS = Path(__file__).with_name("steps.py")
START_STEPS = "import sys, time; entered = time.monotonic(); exec(open(sys.argv[1]).read())"
WITH = ("with-0", "with-10", "with-50", "with-200")
OTHER_FILES = 60_000
"""As many rows as the launch table of a system with a desktop has."""


def main(rounds: str, cold_rounds: str) -> None:
    # For the launcher it is an attack: taken out and recorded at each start.
    os.environ.pop("PYTHONPATH", None)
    _run("mount", DISK, MOUNT)
    common.play_initrd((MOUNT / "release.pem").read_bytes())
    _run(*common.SEAL)
    _run(common.VERISEAL, "enable", "--signatures", MOUNT / "signatures", BIN, LIB, ETC)
    # It is in every closure, and the guest's own has no verity.
    _run("mount", "--bind", ETC / "ld.so.cache", "/etc/ld.so.cache")
    closures = {path.name: _closure(path) for path in BIN.iterdir() if path.name != "native"}
    _play_boot_check(closures)
    many = str(BIN / "with-50")
    steps: list[dict[str, float]] = []

    def take_steps() -> float:
        steps.append(_steps(many))
        return sum(steps[-1].values())

    start: dict[str, Measure] = {
        "launched": partial(seconds, (*EXEC, many)),
        "python": partial(seconds, common.START_PYTHON),
        "direct": partial(seconds, (many,)),
        "native": partial(seconds, (str(BIN / "native"), many)),
        "steps": take_steps,
    }
    sizes = {
        f"{kind}{size}": (*EXEC, str(BIN / f"{kind}{size}"))
        for size in ("small", "large")
        for kind in ("", "needs-")
    }
    answer = {
        "start": _in_turn(start, rounds),
        "counts": _counts({name: len(closures[name]) for name in WITH}, rounds),
        "warm": _in_turn({name: partial(seconds, sizes[name]) for name in sizes}, rounds),
        "cold": _in_turn({name: partial(_cold, sizes[name]) for name in sizes}, cold_rounds),
    }
    # The first round is not among the times either.
    print(json.dumps({**answer, "steps": steps[1:]}))


def _closure(program: Path) -> list[tuple[bytes, bytes]]:
    """What the dynamic loader opens for a program, as the release would list it."""
    told = subprocess.run([LOADER, "--list", program], capture_output=True, check=True, text=True)
    paths = [word for word in told.stdout.split() if word.startswith(f"{LIB}/")]
    paths.append("/etc/ld.so.cache")
    needs = [(path.encode(), verity.raw_digest(_measured(Path(path)))) for path in set(paths)]
    return sorted([*needs, (b"/etc/ld.so.preload", table.ABSENT)])


def _play_boot_check(closures: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> None:
    """Leave what the boot check leaves: the programs are files of the release, among others."""
    programs = {bytes(BIN / name): needs for name, needs in closures.items()}
    rows = [(path, _measured(Path(os.fsdecode(path)))) for path in programs]
    for number in range(OTHER_FILES):
        name = b"/usr/lib/package-%d/file-%d" % (number // 20, number)
        rows.append((name, Digest(SHA256, number.to_bytes(32, "big"))))
    table.write(rows, programs, trusted.boot_id())
    report.write(State("sealed", "verified", "both"), report.read())


def _measured(path: Path) -> Digest:
    with path.open("rb") as file:
        return verity.measure(file.fileno(), str(path))


def _in_turn(measures: Mapping[str, Measure], rounds: str) -> dict[str, list[float]]:
    return dict(zip(measures, in_turn(list(measures.values()), int(rounds)), strict=True))


def _counts(names: Mapping[str, int], rounds: str) -> dict[int, dict[str, list[float]]]:
    """By the number of files that are checked: through the launcher and directly."""
    ways: dict[str, Sequence[str]] = {"launched": EXEC, "direct": ()}
    times = _in_turn(
        {
            f"{way} {name}": partial(seconds, (*words, str(BIN / name)))
            for name in names
            for way, words in ways.items()
        },
        rounds,
    )
    return {count: {way: times[f"{way} {name}"] for way in ways} for name, count in names.items()}


def _cold(argv: Sequence[str]) -> float:
    """With nothing of the program in memory, but all of the launcher: it is started first."""
    _run("sync")
    Path("/proc/sys/vm/drop_caches").write_text("3\n")
    seconds((*EXEC, str(BIN / "with-0")))
    return seconds(argv)


def _steps(program: str) -> dict[str, float]:
    """What the launcher does for ``program`` until it would become it: see `steps`."""
    argv = [common.PYTHON, "-IS", "-c", START_STEPS, str(STEPS), str(time.monotonic()), program]
    done = subprocess.run(argv, env=ENVIRONMENT, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise TimingError(f"the steps of {program}: status {done.returncode}")
    return dict(json.loads(done.stdout))


def _run(*argv: str | Path) -> None:
    subprocess.run([str(word) for word in argv], stdout=sys.stderr, check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
