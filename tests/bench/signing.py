"""Signing many files in one call against one `fsverity sign` for each."""

from __future__ import annotations

import statistics
from pathlib import Path

from tests.guest.store import command, remove

from . import host, tree
from .figure import Goal, Row, duration, of_times
from .timing import TimingError, in_turn, seconds

FILES = 1000
GOAL = Goal(0.2)
OS = "debian:13"
_PAIRS = 3

# $1 key, $2 certificate, $3 where to, then the files.
_EACH = """
key=$1 cert=$2 to=$3 number=0
shift 3
for file; do
    fsverity sign "$file" "$to/$((number += 1))" --key="$key" --cert="$cert" || exit 1
done
"""


class Release:
    """A release's RSA-2048 key and its certificate, made anew unless they are to be kept."""

    def __init__(self, veriseal: str, place: Path, keep: bool = False) -> None:
        self.key, self.cert = place / "release.key", place / "release.pem"
        if keep and self.cert.exists():
            return
        remove(place)
        place.mkdir(parents=True)
        root = ("--key-out", place / "root.key", "--cert-out", place / "root.pem")
        command([veriseal, "pki", "root", "--name", "bench", *root])
        command([
            veriseal, "pki", "issue", "--root-key", place / "root.key",
            "--root-cert", place / "root.pem", "--os", OS, "--name", "bench",
            "--key-type", "rsa:2048", "--key-out", self.key, "--cert-out", self.cert,
        ])  # fmt: skip


def many() -> list[Row]:
    """1,000 files of the tree, with RSA-2048."""
    veriseal = host.install()
    release = Release(veriseal, host.PLACE / "keys")
    paths = tree.make()[:: tree.FILES // FILES]
    out, peer_out = host.PLACE / "signatures", host.PLACE / "signatures-fsverity"

    def ours() -> float:
        remove(out)
        words = ["--key", str(release.key), "--cert", str(release.cert), "--out-dir", str(out)]
        return seconds([veriseal, "sign", *words, *paths])

    def peer() -> float:
        remove(peer_out)
        peer_out.mkdir()
        words = [str(release.key), str(release.cert), str(peer_out)]
        return seconds(["sh", "-c", _EACH, "sh", *words, *paths])

    with host.two_processors():
        mine, its = in_turn([ours, peer], _PAIRS)
    _require_equal(out, peer_out)
    each = (statistics.median(times) / FILES for times in (mine, its))
    note = f"a file: {' against '.join(map(duration, each))}; both write the same bytes"
    name = f"signing {FILES} files, RSA-2048"
    return [of_times(name, mine, its, f"{FILES} × fsverity sign", GOAL, notes=[note])]


def _require_equal(out: Path, peer_out: Path) -> None:
    made, wanted = (sorted(path.read_bytes() for path in top.iterdir()) for top in (out, peer_out))
    if made != wanted or len(made) != FILES:
        raise TimingError("veriseal and fsverity make different signatures")
