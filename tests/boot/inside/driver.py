"""The launcher's checks many times in one process. Runs with python3 -I, as the launcher does.

Usage: driver.py launch TRIES PATH GOOD...  check, and start some of what passed
       driver.py check TRIES PATH GOOD      check alone
       driver.py report PATH                read the boot report at every length
       driver.py swap A B                   exchange two names until it is killed

The first two print JSON: outcome to count. A try ends with the reason of a refusal, with
``accepted``, if what passed is a file of GOOD, or with the program's output.
"""

from __future__ import annotations

import collections
import ctypes
import json
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from veriseal.launch import checks

AT_FDCWD = -100
RENAME_EXCHANGE = 2
PAUSE = 0.002
STARTED = 5
"""Of so many that passed one is started: that takes longer than the check."""
SECONDS = 110
"""At most, for the tries of one run."""


def swap(first: str, second: str) -> None:
    """Exchange the two names, several times in each try. Does not return."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(first), os.fsencode(second)
    while libc.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0:
        # Without a pause the kernel's locks are never free.
        time.sleep(PAUSE)
    sys.exit(os.strerror(ctypes.get_errno()))


def tries(count: int, path: str, good: list[str], start: bool) -> dict[str, int]:
    """How often each outcome came."""
    from veriseal.errors import VerisealError
    from veriseal.kernel import verity
    from veriseal.launch import checks, ready

    state = ready.require_ready_system()
    outcomes: collections.Counter[str] = collections.Counter()
    passed = {verity.measure(os.open(name, os.O_RDONLY)): name for name in good}
    until = time.monotonic() + SECONDS
    for _ in range(count):
        if time.monotonic() > until:
            sys.exit(f"too slow: {dict(outcomes)}")
        one = checks.Checks(state)
        try:
            program = one.program(path)
        except VerisealError as error:
            outcomes[error.reason if start else _of_library(error.reason, str(error))] += 1
            continue
        finally:
            one.close()
        if program.digest not in passed:
            outcomes[f"accepted {program.digest}"] += 1
        else:
            outcomes["accepted"] += 1
            if start and outcomes["accepted"] % STARTED == 1:
                outcomes[_output(program, path, os.path.basename(passed[program.digest]))] += 1
        os.close(program.fd)
    return outcomes


def _of_library(reason: str, text: str) -> str:
    return f"{reason} libgreet.so.1" if "libgreet.so.1" in text else f"{reason} {text}"


def _output(program: checks.Program, path: str, name: str) -> str:
    """What the program prints, which has its name in it, or how it ends if not so."""
    from veriseal.launch import main

    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.dup2(writing, 1)
            main._become(program, [path, "once"])
        finally:
            os._exit(125)
    os.close(writing)
    with open(reading, "rb") as file:
        out = file.read().decode().strip()
    _, status = os.waitpid(child, 0)
    if status == 0 and f"{name}: up" in out:
        return out
    return f"not as {name}: {os.waitstatus_to_exitcode(status)} {out}"


def report(path: str) -> str:
    """Whether every beginning of the report is refused or gives what the whole one gives."""
    from veriseal import report as boot_report
    from veriseal.errors import VerisealError

    with open(boot_report.PATH, "rb") as file:
        data = file.read()

    def read(length: int) -> object:
        with open(path, "wb") as file:
            file.write(data[:length])
        try:
            state = boot_report.state(path)
        except VerisealError as error:
            return error.reason
        return [getattr(state, name) for name in type(state).__slots__]

    whole = read(len(data))
    found = [read(length) for length in range(len(data))]
    wrong = [one for one in found if one not in (whole, "report-damaged")]
    refused = found.count("report-damaged")
    print(f"{refused} refused, {len(found) - refused} as the whole", file=sys.stderr)
    if wrong or refused == 0 or isinstance(whole, str):
        return f"{wrong[:3]} {refused} {whole}"
    return "whole or refused"


def main() -> None:
    sys.path.insert(0, "/usr/lib/veriseal")
    what, *words = sys.argv[1:]
    if what == "swap":
        swap(*words)
    elif what == "report":
        print(report(*words))
    else:
        count, path, *good = words
        print(json.dumps(tries(int(count), path, good, what == "launch")))


if __name__ == "__main__":
    main()
