"""Too little of everything: the program or a refusal, never half of one.

Where the limit is too low for the interpreter itself, it fails to start, with a status that is
not 0 and without a word of the program's.
"""

from __future__ import annotations

import re
import resource
from collections import Counter
from collections.abc import Callable, Sequence

from .row import A2, BIN, NOBODY, USER, VERISEAL, Ended, Row, call, own

PROGRAM = f"{BIN}/app"
OUTPUT = f"other greet app: up as uid {NOBODY}\n"
RAN, REFUSED, DIED = "ran", "refused", "did not start"
MIB = 1 << 20
MANY = 10
"""Values of a limit that begin where nothing can run."""
WHOLE = "the program or nothing"


def what_became(ended: Ended) -> str:
    """`RAN`, `REFUSED`, `DIED`, or whatever else: that is wrong."""
    if ended.status == 0 and ended.out == OUTPUT:
        return RAN
    if ended.status in (126, 127) and not ended.out and "veriseal exec: refused " in ended.err:
        return REFUSED
    if ended.status != 0 and not ended.out:
        return DIED
    return f"{ended}"


def limited(kind: int, values: Sequence[int]) -> Callable[[], tuple[str, str]]:
    """An attempt with each value of a limit of setrlimit(2), the last of which is enough."""

    def attempt() -> tuple[str, str]:
        became = [what_became(_with(kind, value)) for value in values]
        wrong = set(became) - {RAN, REFUSED, DIED}
        if became[-1] != RAN or (len(became) > MANY and became[0] == RAN):
            wrong.add(f"from {became[0]} to {became[-1]}")
        return "; ".join(sorted(wrong)) or WHOLE, f"{dict(Counter(became))}"

    return attempt


def _with(kind: int, value: int) -> Ended:
    def limit() -> None:
        resource.setrlimit(kind, (value, value))

    try:
        return call(VERISEAL, "exec", PROGRAM, "once", who=USER, limit=limit)
    except OSError as error:  # not even the interpreter could be executed
        return Ended(1, "", str(error))


def closed(*numbers: int) -> Callable[[], tuple[str, str]]:
    """An attempt with standard descriptors closed: which does the program find open?"""

    def attempt() -> tuple[str, str]:
        path = own("descriptors")
        closing = " ".join(f"{number}>&-" for number in numbers)
        script = f"exec {VERISEAL} exec {BIN}/probe descriptors {path} {closing}"
        ended = call("/bin/sh", "-c", script, who=USER)
        with open(path, encoding="ascii") as file:
            return f"{ended.status} {file.read()}", ended.err

    return attempt


def refused_in_silence() -> tuple[str, str]:
    """A refusal with nowhere to say it."""
    script = f"exec {VERISEAL} exec {BIN}/missing <&- >&- 2>&-"
    ended = call("/bin/sh", "-c", script, who=USER)
    return f"{ended.status} {ended.out}{ended.err}".strip(), ""


def script_without_input() -> tuple[str, str]:
    """A script with standard input closed, so that its own descriptor could become that."""
    ended = call("/bin/sh", "-c", f"exec {VERISEAL} exec {BIN}/reading-script <&-", who=USER)
    return f"{ended.status} {ended.out.strip()}", ended.err


def personality(*words: str) -> Callable[[], tuple[str, str]]:
    """An attempt under setarch(8)."""

    def attempt() -> tuple[str, str]:
        ended = call("setarch", *words, VERISEAL, "exec", PROGRAM, "once", who=USER)
        return f"{ended.status} {ended.out.strip()}", re.sub(r"\s+", " ", ended.err)

    return attempt


def _limit(name: str, done: str, kind: int, values: Sequence[int]) -> Row:
    return Row(name, A2, done, WHOLE, CLOSED, limited(kind, values))


CLOSED = "launcher: any failure is a refusal"
RUNS = f"0 {OUTPUT.strip()}"

ROWS = (
    _limit(
        "too few descriptors",
        "RLIMIT_NOFILE from 1 to 12",
        resource.RLIMIT_NOFILE,
        range(1, 13),
    ),
    _limit(
        "too little address space",
        "RLIMIT_AS from 2 to 48 MiB",
        resource.RLIMIT_AS,
        range(2 * MIB, 48 * MIB, MIB),
    ),
    _limit(
        "too little memory",
        "RLIMIT_DATA from 64 KiB to 12 MiB",
        resource.RLIMIT_DATA,
        [64 << 10, *range(MIB // 2, 12 * MIB, MIB // 2)],
    ),
    _limit(
        "too small a stack",
        "RLIMIT_STACK from 16 KiB to 1 MiB",
        resource.RLIMIT_STACK,
        [16 << 10, 64 << 10, 128 << 10, 256 << 10, MIB],
    ),
    _limit("no file may grow", "RLIMIT_FSIZE of 0", resource.RLIMIT_FSIZE, [0]),
    _limit("no more processes", "RLIMIT_NPROC of 0 and 1", resource.RLIMIT_NPROC, [0, 1]),
    _limit("little time", "RLIMIT_CPU of one second", resource.RLIMIT_CPU, [1]),
    Row(
        "no descriptor too many",
        A2,
        "a program that lists its descriptors is launched",
        "0 descriptors 0 1 2",
        "launcher: exec of the same descriptor",
        closed(),
    ),
    Row(
        "standard input closed",
        A2,
        "the same, without descriptor 0",
        "0 descriptors 1 2",
        "launcher: exec of the same descriptor",
        closed(0),
    ),
    Row(
        "all standard descriptors closed",
        A2,
        "the same, without 0, 1 and 2",
        "0 descriptors",
        "launcher: exec of the same descriptor",
        closed(0, 1, 2),
    ),
    Row(
        "script, standard input closed",
        A2,
        "a signed script that reads its input is launched without one",
        "0 nothing to read",
        "launcher: exec of the same descriptor",
        script_without_input,
    ),
    Row(
        "refused, all descriptors closed",
        A2,
        "a missing program is launched without 0, 1 and 2",
        "127",
        CLOSED,
        refused_in_silence,
    ),
    Row(
        "personality of a 32-bit machine",
        A2,
        "`setarch i386`",
        RUNS,
        "launcher: any personality gives the same answers",
        personality("i386"),
    ),
    Row(
        "personality without randomization",
        A2,
        "`setarch -R -X`: fixed addresses, everything readable is executable",
        RUNS,
        "launcher: any personality gives the same answers",
        personality("-R", "-X"),
    ),
)
