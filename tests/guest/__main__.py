"""Command line: run a script, or a shell, in the test guest.

Usage: python -m tests.guest [--kernel NAME] [--timeout SECONDS] [SCRIPT [ARGUMENT...]]
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
from pathlib import Path
from types import FrameType

from . import root
from .run import run
from .store import GuestError, say


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.guest", description=run.__doc__)
    parser.add_argument("--kernel", choices=list(root.KERNELS), default=root.DEFAULT_KERNEL)
    parser.add_argument(
        "--timeout",
        type=float,
        help="seconds until it is ended; 1200 for a script, none for a shell",
    )
    parser.add_argument("script", nargs="?", type=Path, help="without it: a shell")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    chosen = parser.parse_args()
    # Ended from outside, the machine must be ended too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminated)
    limit = math.inf if chosen.script is None else 1200
    try:
        result = run(
            chosen.script, chosen.arguments, kernel=chosen.kernel, timeout=chosen.timeout or limit,
            stdout=sys.stdout.buffer, stderr=sys.stderr.buffer,
        )  # fmt: skip
    except (GuestError, OSError) as error:
        say(str(error))
        return 2
    except KeyboardInterrupt:
        say("interrupted; the guest was ended")
        return 130
    return result.status


def _terminated(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
