"""The tests of tests/kernel in the test guest.

Usage: python -m tests.guest.tier [--kernel NAME] [ARGUMENT...]

All of them are shared among two guests that run side by side, each with tests of its own: a file
is never divided. With arguments, which are pytest's, there is one guest.
Exit status: that of pytest, the worse of two; 125 if a guest did not report.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from . import root
from .run import Result, run
from .store import REPO, GuestError, say

SCRIPT = Path(__file__).parent / "kernel-tier"
TESTS = REPO / "tests" / "kernel"
GUESTS = 2
TIMEOUT = 2400
"""Seconds for all of it."""

_LONG = {"test_rotation_guide.py": 60_000}
"""Weight of files whose size in bytes says too little."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.guest.tier", description=__doc__)
    parser.add_argument("--kernel", choices=list(root.KERNELS), default=root.DEFAULT_KERNEL)
    chosen, arguments = parser.parse_known_args()
    try:
        if arguments:
            return _run(chosen.kernel, arguments, sys.stdout.buffer).status
        return _whole(chosen.kernel)
    except (GuestError, OSError) as error:
        say(str(error))
        return 2
    except KeyboardInterrupt:
        say("interrupted; the guests were ended")
        return 130


def shares(weights: dict[str, int], count: int) -> list[list[str]]:
    """The names in ``count`` lists of about the same weight, each sorted."""
    lists: list[list[str]] = [[] for _ in range(count)]
    sums = [0] * count
    for name in sorted(weights, key=lambda one: (-weights[one], one)):
        lightest = sums.index(min(sums))
        lists[lightest].append(name)
        sums[lightest] += weights[name]
    return [sorted(one) for one in lists]


def _whole(kernel: str) -> int:
    root.guest(kernel)
    weights = {
        path.name: _LONG.get(path.name, path.stat().st_size) for path in TESTS.glob("test_*.py")
    }
    parts = shares(weights, GUESTS)
    outputs: list[io.BytesIO | None] = [None, *(io.BytesIO() for _ in parts[1:])]
    with ThreadPoolExecutor(GUESTS) as pool:
        guests = [
            pool.submit(
                _run,
                kernel,
                [f"tests/kernel/{name}" for name in part],
                sys.stdout.buffer if output is None else output,
            )
            for part, output in zip(parts, outputs, strict=True)
        ]
        results = [one.result() for one in guests]
    for output in outputs:
        if output is not None:
            sys.stdout.buffer.write(output.getvalue())
            sys.stdout.buffer.flush()
    return max(one.status for one in results)


def _run(kernel: str, arguments: Sequence[str], output: BinaryIO) -> Result:
    return run(
        SCRIPT, arguments, kernel=kernel, timeout=TIMEOUT,
        stdout=output, stderr=sys.stderr.buffer,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
