"""How long a program takes, and two things timed in turn. Runs on the host and in the guest."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "LANG": "C.UTF-8"}
"""The same for whatever is timed, whoever started the run."""


class TimingError(Exception):
    """What was timed failed, so its time means nothing."""


def seconds(argv: Sequence[str]) -> float:
    """Run a program to its end, its output thrown away. Gives seconds of wall-clock time."""
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    started = time.perf_counter()
    process = os.posix_spawnp(argv[0], list(argv), ENVIRONMENT, file_actions=quiet)
    _, status, _ = os.wait4(process, 0)
    elapsed = time.perf_counter() - started
    if status != 0:
        words = " ".join(argv[:6])
        raise TimingError(f"{words}: status {os.waitstatus_to_exitcode(status)}")
    return elapsed


Measure = Callable[[], float]
"""Does a thing once and gives the seconds it took."""


def in_turn(measures: Sequence[Measure], rounds: int, warm_up: bool = True) -> list[list[float]]:
    """Call A B A B ..., so that what slows the machine for a while slows all alike.

    Gives a list of times for each of ``measures``. With ``warm_up`` one round more is run first,
    and thrown away.
    """
    times: list[list[float]] = [[] for _ in measures]
    for number in range(0 if warm_up else 1, rounds + 1):
        for measure, taken in zip(measures, times, strict=True):
            elapsed = measure()
            if number:
                taken.append(elapsed)
    return times
