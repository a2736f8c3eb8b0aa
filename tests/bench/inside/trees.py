"""What the checks of trees share: a checked tree, its list of sums, a cold cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from ..timing import ENVIRONMENT, TimingError, seconds
from . import common

PHASES = Path(__file__).with_name("phases.py")


class Tree(NamedTuple):
    """A mounted tree with the manifest of its release, and how many regular files it has."""

    top: str
    manifest: str
    certificate: str
    os: str
    files: int

    def argv(self, *options: str) -> list[str]:
        """Check it: the command line."""
        return [
            common.VERISEAL, "verify", self.top, "--manifest", self.manifest,
            "--cert", self.certificate, "--os", self.os, "--all-verity", *options,
        ]  # fmt: skip

    def require_checked(self) -> dict[str, Any]:
        """What the check says. Raises TimingError unless each file was measured and is right."""
        done = subprocess.run(
            self.argv("--json"), env=ENVIRONMENT, capture_output=True, check=False
        )
        if done.returncode != 0:
            said = (done.stdout + done.stderr).decode(errors="replace")
            raise TimingError(f"veriseal verify {self.top}: {said[-2000:]}")
        report = json.loads(done.stdout)
        counts = [report[name] for name in ("files", "measured", "hashed", "not_looked_at")]
        if counts != [self.files, self.files, 0, 0] or report["findings"]:
            raise TimingError(f"veriseal verify {self.top}: not all was measured: {report}")
        return dict(report)

    def cold(self) -> float:
        """Check it with nothing in memory. Seconds; a finding is an error."""
        drop_caches()
        return seconds(self.argv())

    def phases(self) -> dict[str, Any]:
        """The parts of the same, also with nothing in memory: see `phases`."""
        drop_caches()
        words = self.argv()[1:]
        argv = [common.PYTHON, "-IS", str(PHASES), str(time.monotonic()), *words]
        done = subprocess.run(argv, env=ENVIRONMENT, stdout=subprocess.PIPE, check=False)
        if done.returncode != 0:
            raise TimingError(f"phases of {self.top}: status {done.returncode}: {done.stdout!r}")
        said = dict(json.loads(done.stdout))
        if said["measured"] != self.files or said["findings"]:
            raise TimingError(f"phases of {self.top}: not all was measured: {said}")
        return said


def drop_caches() -> None:
    """Have nothing of any file system in memory: no contents, no inodes, no checked signatures."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3\n")


def mount(serial: str, options: str = "ro") -> str:
    """Mount the disk ``serial``. Gives where."""
    place = f"/mnt/{serial}"
    Path(place).mkdir(parents=True, exist_ok=True)
    run("mount", "-o", options, f"/dev/disk/by-id/virtio-{serial}", place)
    return place


def run(*argv: str) -> None:
    """Run a program that must succeed; what it prints goes to stderr."""
    subprocess.run(argv, stdout=sys.stderr, check=True)
