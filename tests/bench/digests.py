"""Digests against `fsverity digest`: one large file, and many small ones in one call."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Sequence

from . import host, tree
from .figure import Goal, Row, of_times
from .timing import ENVIRONMENT, TimingError, in_turn, seconds

GIB = 1 << 30
GOAL = Goal(1.0, at_least=True)
_MB = 1e6


def large() -> list[Row]:
    """One file of 1 GiB, in the page cache."""
    path = host.PLACE / "one-gib"
    if not path.exists() or path.stat().st_size != GIB:
        host.write_random(path, GIB)
    return [_against_fsverity("digest of one 1 GiB file", [str(path)], GIB, pairs=7)]


def many() -> list[Row]:
    """A tree, all files in one call, in the page cache."""
    name = f"digest of {tree.FILES} files, {tree.TOTAL / _MB:.0f} MB"
    return [_against_fsverity(name, tree.make(), tree.TOTAL, pairs=15)]


def _against_fsverity(name: str, paths: Sequence[str], size: int, pairs: int) -> Row:
    ours = [host.install(), "digest", *paths]
    peer = ["fsverity", "digest", *paths]
    with host.two_processors():
        # The first look at all files also brings them into the page cache.
        if _output(ours) != _output(peer):
            raise TimingError("veriseal and fsverity print different digests")
        mine, its = in_turn([lambda: seconds(ours), lambda: seconds(peer)], pairs)
        limit = _openssl_speed()
    reached = size / statistics.median(mine) / (limit * host.PROCESSORS)
    note = (
        f"openssl speed -evp sha256 -bytes 4096: {limit / _MB:.0f} MB/s a processor; "
        f"ours reaches {reached:.0%} of {host.PROCESSORS} processors' limit"
    )
    return of_times(name, mine, its, "fsverity digest", GOAL, megabytes=size / _MB, notes=[note])


def _output(argv: Sequence[str]) -> bytes:
    done = subprocess.run(argv, env=ENVIRONMENT, capture_output=True, check=False)
    if done.returncode != 0:
        why = done.stderr.decode(errors="replace").strip()
        raise TimingError(f"{' '.join(argv[:2])}: status {done.returncode}: {why}")
    return done.stdout


def _openssl_speed() -> float:
    """Bytes a second that one processor hashes in blocks of 4096, without reading any."""
    said = _output(["openssl", "speed", "-mr", "-seconds", "1", "-evp", "sha256", "-bytes", "4096"])
    for line in said.decode().splitlines():
        if line.startswith("+F:"):
            return float(line.rpartition(":")[2])
    raise TimingError("openssl speed: its output has no result line (+F:)")
