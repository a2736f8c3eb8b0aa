"""Launch a program many times, while somebody swaps it. Runs with python3 -I, as the launcher does.

Usage: race.py launch TRIES PATH   prints a JSON object: exit status to count
       race.py swap A B            exchanges two names until it is killed

Each try is what `veriseal exec` does after its start; only what passes gets a process.
"""

import collections
import ctypes
import json
import os
import sys
import time

AT_FDCWD = -100
RENAME_EXCHANGE = 2
FAILED = 125
PAUSE = 0.0002


def swap(first: str, second: str) -> None:
    """Exchange the two names, several times in each try. Does not return."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(first), os.fsencode(second)
    while libc.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0:
        # Without a pause the kernel's locks are never free, and a try takes a hundred times longer.
        time.sleep(PAUSE)
    sys.exit(os.strerror(ctypes.get_errno()))


def launch(tries: int, path: str) -> dict[int, int]:
    """Try so many times; how often each exit status came."""
    sys.path.insert(0, "/usr/lib/veriseal")
    from veriseal.errors import VerisealError
    from veriseal.launch import checks, main, ready

    state = ready.require_ready_system()
    ended: collections.Counter[int] = collections.Counter()
    for _ in range(tries):
        made = checks.Checks(state)
        try:
            program = made.program(path)
        except VerisealError:
            ended[main.REFUSED] += 1
            continue
        finally:
            made.close()
        child = os.fork()
        if child == 0:
            try:
                main._become(program, [path])
            except VerisealError:
                os._exit(main.REFUSED)
            finally:
                os._exit(FAILED)
        _, status = os.waitpid(child, 0)
        ended[os.waitstatus_to_exitcode(status)] += 1
        os.close(program.fd)
        if program.interpreter is not None:
            os.close(program.interpreter.fd)
    return ended


if __name__ == "__main__":
    if sys.argv[1] == "swap":
        swap(*sys.argv[2:])
    print(json.dumps(launch(int(sys.argv[2]), sys.argv[3])))
