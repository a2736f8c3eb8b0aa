"""Signals at many points of the launcher's life: it dies of them, or the program runs whole.

Of SIGINT its interpreter can also fail to start, with a status that is not 0 and no program.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable

from .row import A2, USER, VERISEAL, Ended, Row, as_user
from .starved import DIED, OUTPUT, PROGRAM, RAN

POINTS = 25
WHOLE = "killed or whole"
KILLED = "killed"


def sent(*numbers: signal.Signals) -> Callable[[], tuple[str, str]]:
    """An attempt with the signals, one after the other, at `POINTS` moments."""

    def attempt() -> tuple[str, str]:
        started = time.monotonic()
        _run(None)
        # Beyond the end as well: the program's own life belongs to it.
        step = 1.2 * (time.monotonic() - started) / POINTS
        became = Counter(_judge(_run(point * step, *numbers), numbers) for point in range(POINTS))
        wrong = set(became) - {RAN, KILLED, DIED}
        if SURVIVED & set(numbers) and set(became) != {RAN}:
            wrong.add(f"{dict(became)}")
        return "; ".join(sorted(wrong)) or WHOLE, f"{dict(became)}"

    return attempt


SURVIVED = {signal.SIGSTOP}
"""It is followed by SIGCONT, so the program always runs."""


def _run(delay: float | None, *numbers: signal.Signals) -> Ended:
    process = subprocess.Popen(
        [VERISEAL, "exec", PROGRAM, "once"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **as_user(USER),
    )
    if delay is not None:
        time.sleep(delay)
        for number in numbers:
            process.send_signal(number)
            time.sleep(0.01)
    out, err = process.communicate(timeout=60)
    return Ended(process.returncode, out, err)


def _judge(ended: Ended, numbers: tuple[signal.Signals, ...]) -> str:
    if ended.status == 0 and ended.out == OUTPUT:
        return RAN
    if -ended.status in numbers and ended.out in ("", OUTPUT):
        return KILLED
    # CPython catches this signal before it can run a line of ours, and gives up its own start.
    failed = ended.err.startswith("Fatal Python error: ") and not ended.out
    if signal.SIGINT in numbers and ended.status == 1 and failed:
        return DIED
    return f"{ended}"


def _row(number: signal.Signals) -> Row:
    done = f"{number.name} at {POINTS} moments of a start"
    return Row(number.name, A2, done, WHOLE, "launcher: dies of a signal as any process",
               sent(number))  # fmt: skip


ROWS = (
    *map(
        _row,
        (
            signal.SIGINT,
            signal.SIGTERM,
            signal.SIGHUP,
            signal.SIGUSR1,
            signal.SIGALRM,
            signal.SIGQUIT,
        ),
    ),
    Row(
        "SIGSTOP and SIGCONT",
        A2,
        f"stopped and continued at {POINTS} moments of a start",
        WHOLE,
        "launcher: goes on where it was",
        sent(signal.SIGSTOP, signal.SIGCONT),
    ),
)
