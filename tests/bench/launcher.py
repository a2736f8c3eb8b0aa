"""The launcher in a sealed guest: against Python's own start, the bare program, and by size."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.guest import root
from tests.guest.machine import Disk
from tests.guest.store import command, remove, say

from . import guest, host, programs, signing
from .figure import Goal, Row, duration, of_times

GOAL_START = Goal(1.3)
GOAL_SIZE = Goal(1.1)
"""Equal, but for what the measurement itself varies by."""

MANY = 50
"""Of libraries: as a program with a graphical tool kit has."""
_ROUNDS = 25
_COLD_ROUNDS = 15
_PYTHON = "python3 -I -c pass"
_TIMEOUT = 1800
"""Seconds. In software emulation the gigabyte takes minutes to hash."""


def start() -> list[Row]:
    """One boot for all."""
    image = host.PLACE / "launcher.img"
    try:
        _make_disk(image)
        say("launcher: sealing, enabling, timing")
        answer = guest.ask(
            "launcher", str(_ROUNDS), str(_COLD_ROUNDS),
            disks=[Disk(image, "bench")], timeout=_TIMEOUT,
        )  # fmt: skip
    finally:
        remove(image)
    return rows(answer)


def rows(answer: Mapping[str, Any]) -> list[Row]:
    """The figures of what `inside.launcher` gives."""
    launched, python, direct, native = (
        answer["start"][name] for name in ("launched", "python", "direct", "native")
    )
    own, bound = _less(launched, direct), _less(native, direct)
    name = f"launcher, program with {MANY} libraries"
    saved = 100 * (1 - statistics.median(bound) / statistics.median(own))
    result = [
        of_times(
            f"{name}: its own time", own, python, _PYTHON, GOAL_START,
            notes=[
                guest.how(), *_steps(answer["steps"], own), *_members(answer["counts"]),
                "its own time: less that of the program started directly",
            ],
        ),
        of_times(f"{name}: all", launched, python, _PYTHON, None),
        of_times(f"{name}: all", launched, direct, "the program started directly", None),
        of_times(
            "a native launcher's own time", bound, own, "the launcher's own time", None,
            notes=[
                "the same system calls from C, with no care for errors: a bound, no launcher",
                f"it would save {saved:.0f} % of the launcher's own time",
            ],
        ),
        of_times("a native launcher's own time", bound, python, _PYTHON, None),
    ]  # fmt: skip
    for kind, what in (("", "program"), ("needs-", "library")):
        for how in ("warm", "cold"):
            large, small = (answer[how][f"{kind}{size}"] for size in ("large", "small"))
            figure = f"launcher, 500 MB {what}, {how}"
            result.append(of_times(figure, large, small, f"1 MB {what}", GOAL_SIZE))
    return result


def _steps(steps: Sequence[Mapping[str, float]], own: Sequence[float]) -> list[str]:
    """Where the launcher's own time goes."""
    part = {name: statistics.median([one[name] for one in steps]) for name in steps[0]}
    rest = _less(own, [sum(one.values()) for one in steps])
    lines = [
        (part["python"], "start of python -IS"),
        (part["imports"], "imports"),
        (part["report"], "the report of the boot, the sysctl"),
        (part["table"], "opening the launch table"),
        (part["program"], "the program, and its row in the table"),
        (part["members"], "all that it needs"),
        (part["environment"], "its environment"),
        (
            statistics.median(rest),
            "the rest: exec, less the start of a process, which the program alone has too",
        ),
    ]
    return [f"{duration(seconds):>8}  {text}" for seconds, text in lines]


def _members(counts: Mapping[str, Mapping[str, Sequence[float]]]) -> list[str]:
    """What the number of files costs, by that number as text."""
    own = {
        int(count): statistics.median(_less(times["launched"], times["direct"]))
        for count, times in counts.items()
    }
    few, many = min(own), max(own)
    each = (own[many] - own[few]) / (many - few)
    told = ", ".join(f"{duration(own[count])} for {count}" for count in sorted(own))
    return [f"by the number of files checked: {told}; a file {duration(each)}"]


def _less(times: Sequence[float], others: Sequence[float]) -> list[float]:
    return [one - other for one, other in zip(times, others, strict=True)]


def _make_disk(image: Path) -> None:
    """A file system with programs, their signatures and the certificate; verity comes later."""
    veriseal = host.install()
    tree = host.PLACE / "launcher-tree"
    remove(tree)
    programs.make(tree)
    release = signing.Release(veriseal, host.PLACE / "keys")
    shutil.copy2(release.cert, tree / "release.pem")
    files = [path for name in ("bin", "lib", "etc") for path in (tree / name).iterdir()]
    command([
        veriseal, "sign", "--key", release.key, "--cert", release.cert,
        "--out-dir", tree / "signatures", *files,
    ])  # fmt: skip
    remove(image)
    root.ext4(image, "1500M", tree)
    remove(tree)
