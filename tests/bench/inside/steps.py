"""The launcher with a clock at its steps, up to the exec: prints how long each takes, as JSON.

Run by ``exec`` of a program that has taken the time ``entered`` first, so that it is not charged
with compiling this. Arguments: this file, the monotonic time at which the process was started,
and the program that the launcher is to start.
"""
# ruff: noqa: E402 the imports are timed

import sys
import time

_, _, started, program = sys.argv
entered: float = globals()["entered"]
moments = [("", time.monotonic())]
sys.path.insert(0, "/usr/lib/veriseal")

from veriseal.kernel import process
from veriseal.launch import checks, environment, main, ready  # noqa: F401 as the program

moments.append(("imports", time.monotonic()))


class Timed(checks.Checks):
    """Takes the time at the end of what is done for the program alone."""

    def passed(self, path: str, check: str, what: object) -> None:
        if check == "format":
            moments.append(("program", time.monotonic()))


process.let_sigint_kill()
state = ready.require_ready_system()
moments.append(("report", time.monotonic()))
timed = Timed(state)
moments.append(("table", time.monotonic()))
timed.program(program)
moments.append(("members", time.monotonic()))
environment.clean(process.initial_environment())
moments.append(("environment", time.monotonic()))

# Not the launcher's.
import json
from itertools import pairwise

taken = {name: after - before for (_, before), (name, after) in pairwise(moments)}
print(json.dumps({"python": entered - float(started), **taken}))
