"""`veriseal verify` itself, with a clock at its parts: prints how long each takes.

Usage: phases STARTED verify ARGUMENT...
STARTED is the monotonic time at which this process was started. Exit status as of the program.
"""
# ruff: noqa: E402 the imports are timed

import sys
import time

entered = time.monotonic()
sys.path.insert(0, "/usr/lib/veriseal")

from veriseal import sitepackages

sitepackages.make_importable()

from veriseal.cli import main as program
from veriseal.cli import verify as _verify  # noqa: F401 what the program imports
from veriseal.tree import check, source

imported = time.monotonic()

# Not the program's.
import json
import resource
from collections.abc import Callable
from types import ModuleType
from typing import Any

from veriseal import dump

ready = time.monotonic()


class Timed:
    """A function of a module from now on takes down how long it takes, and its result."""

    def __init__(self, module: ModuleType, name: str) -> None:
        self.seconds = 0.0
        self.result: Any = None
        self._call: Callable[..., Any] = getattr(module, name)
        setattr(module, name, self)

    def __call__(self, *arguments: Any) -> Any:
        started = time.monotonic()
        self.result = self._call(*arguments)
        self.seconds = time.monotonic() - started
        return self.result


def main(started: str, *arguments: str) -> int:
    """Run the program, then read the list once more, alone."""
    load, checked = Timed(source, "load"), Timed(check, "check")
    status = program.main(list(arguments))
    ended = time.monotonic()
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    if status:
        return status
    lines = load.result.tree_list.splitlines(keepends=True)
    again = time.monotonic()
    entries = sum(1 for _ in dump.parse(lines, None))
    report = {
        "python": entered - float(started),
        "imports": imported - entered,
        "manifest": load.seconds,
        "list": time.monotonic() - again,
        "check": checked.seconds,
        "other": ended - ready - load.seconds - checked.seconds,
        "entries": entries,
        "findings": len(checked.result.findings),
        "measured": checked.result.measured,
        "peak": usage[0].ru_maxrss * 1024,
        "worker_peak": usage[1].ru_maxrss * 1024,
    }
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
