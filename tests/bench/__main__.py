"""make bench: each figure as a ratio against a named peer, measured in turn in the same run.

Usage: python -m tests.bench [--list] [--only NAME]...
Exit status: 0 all is measured, also where a goal is missed; 1 a figure could not be measured.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from tests.guest.store import REPO, GuestError, locked, say

from . import (
    auditing,
    boot,
    building,
    checking,
    digests,
    host,
    initrd,
    launcher,
    report,
    scale,
    seal,
    signing,
)
from .figure import Row
from .timing import TimingError

QUIET = 1.0
"""A load average above this makes even ratios doubtful."""


class Bench(NamedTuple):
    """One measurement, which may give several rows."""

    measure: Callable[[], list[Row]]
    what: str


BENCHES = {
    "digest-large": Bench(digests.large, "digest of one 1 GiB file, against fsverity digest"),
    "digest-tree": Bench(digests.many, "digest of 8000 files in one call, against fsverity digest"),
    "sign": Bench(signing.many, "signing 1000 files, against 1000 calls of fsverity sign"),
    "build": Bench(building.against_digest, "the manifest of 8000 files, against veriseal digest"),
    "check": Bench(checking.real, "the check of /usr in the guest, against sha256sum -c"),
    "check-scale": Bench(scale.flat, "the check of 1,000 to 60,000 files in the guest, a file"),
    "audit": Bench(auditing.signed, "the audit of 60,000 signed files in the guest, a file"),
    "boot": Bench(boot.added, "the appliance's boot, against one without verity and checks"),
    "seal": Bench(seal.step, "the seal step in the guest, against keyctl and sysctl in a script"),
    "launcher": Bench(launcher.start, "the launcher in the guest, against python3 and by size"),
    "initrd": Bench(initrd.growth, "the initrd with the dracut module, against without"),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--list", action="store_true", help="the names of the figures")
    parser.add_argument("--only", action="append", choices=list(BENCHES), metavar="NAME")
    options = parser.parse_args()
    if options.list:
        for name, bench in BENCHES.items():
            print(f"{name:<14}{bench.what}")
        return 0
    load = os.getloadavg()[0]
    host.PLACE.mkdir(parents=True, exist_ok=True)
    with locked(host.PLACE / "lock"):
        rows, failures = _measure(options.only or list(BENCHES))
    path = host.PLACE / "report.json"
    report.write(path, rows, failures, {**_about(), "load_at_start": load})
    print(report.table(rows, failures))
    print(f"\nevery single time: {path.relative_to(REPO)}; load average at the start: {load:.1f}")
    if load > QUIET:
        print("Others were using the processors: measure again on a quiet machine.")
    return 1 if failures else 0


def _measure(names: list[str]) -> tuple[list[Row], dict[str, str]]:
    rows: list[Row] = []
    failures: dict[str, str] = {}
    for name in names:
        say(f"bench {name}: {BENCHES[name].what}")
        started = time.monotonic()
        try:
            rows += BENCHES[name].measure()
        except (GuestError, TimingError, OSError, subprocess.SubprocessError, ValueError) as error:
            failures[name] = str(error)
        say(f"bench {name}: {time.monotonic() - started:.0f} s")
    return rows, failures


def _about() -> dict[str, object]:
    """What the figures are of: enough to tell two reports apart."""
    return {
        "kernel": platform.release(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    sys.exit(main())
