"""Building a release against `veriseal digest` of the same files."""

from __future__ import annotations

import json
import os
import stat
import statistics
import subprocess
from pathlib import Path

from tests.guest.store import remove
from veriseal import dump, manifest, merkle

from . import host, signing, tree
from .figure import Goal, Row, duration, of_times
from .timing import ENVIRONMENT, TimingError, in_turn, seconds

GOAL = Goal(1.3)
NOTHING_SIGNED = 'exclusive = ["/"]\nsign = []\n'
EVERYTHING_SIGNED = 'exclusive = ["/"]\n'
_PAIRS = 7
_PAIRS_SIGNED = 1


class Builder:
    """Builds the release of one tree again and again, from nothing each time."""

    def __init__(self, veriseal: str, release: signing.Release, top: Path, settings: str) -> None:
        """``settings`` are lines of the table [build]."""
        self.top = top
        self.out = host.PLACE / "release"
        configuration = host.PLACE / "release.toml"
        self._settings = f"[build]\n{settings}"
        self._configuration = configuration
        self._argv = [
            veriseal, "build", str(top), "--os", signing.OS, "--version", "1", "--json",
            "--key", str(release.key), "--cert", str(release.cert),
            "--config", str(configuration), "--out", str(self.out),
        ]  # fmt: skip

    def seconds(self) -> float:
        """Build once, timed."""
        self._prepare()
        return seconds(self._argv)

    def report(self) -> dict[str, object]:
        """Build once; what it says of it. Raises TimingError."""
        self._prepare()
        done = subprocess.run(self._argv, env=ENVIRONMENT, capture_output=True, check=False)
        if done.returncode != 0:
            raise TimingError(f"veriseal build: {done.stderr.decode(errors='replace')}")
        return dict(json.loads(done.stdout))

    def _prepare(self) -> None:
        remove(self.out)
        self._configuration.write_text(self._settings)


def against_digest() -> list[Row]:
    """List and manifest of the tree alone, then with built-in signatures of all its files."""
    veriseal = host.install()
    release = signing.Release(veriseal, host.PLACE / "keys")
    paths = tree.make()
    top = Path(paths[0]).parents[1]
    unsigned = Builder(veriseal, release, top, NOTHING_SIGNED)
    signed = Builder(veriseal, release, top, EVERYTHING_SIGNED)
    digest = [veriseal, "digest", *paths]
    sign_out = host.PLACE / "signatures"
    sign = [veriseal, "sign", "--key", str(release.key), "--cert", str(release.cert),
            "--out-dir", str(sign_out), *paths]  # fmt: skip

    def sign_seconds() -> float:
        remove(sign_out)
        return seconds(sign)

    with host.two_processors():
        _require_all(unsigned, digest, signatures=0)
        ours, peer = in_turn([unsigned.seconds, lambda: seconds(digest)], _PAIRS)
        _require_all(signed, digest, signatures=tree.FILES)
        ours_signed, peer_signed = in_turn([signed.seconds, sign_seconds], _PAIRS_SIGNED)
    what = f"{tree.FILES} files, {tree.TOTAL / 1e6:.0f} MB"
    each = (statistics.median(ours) - statistics.median(peer)) / tree.FILES
    return [
        of_times(f"build of {what}, no file signed", ours, peer, "veriseal digest", GOAL,
                 notes=[f"a file: {duration(each)} more than its digest"]),
        of_times(f"build of {what}, each signed, RSA-2048", ours_signed, peer_signed,
                 "veriseal sign", None),
    ]  # fmt: skip


def _require_all(builder: Builder, digest: list[str], signatures: int) -> None:
    """Raise TimingError unless the list has the digests that `veriseal digest` prints."""
    said = builder.report()
    counts = (said["files"], said["bytes"], said["signed"])
    if counts != (tree.FILES, tree.TOTAL, signatures):
        raise TimingError(f"veriseal build: files, bytes, signatures: {counts}")
    done = subprocess.run([*digest, "--compact"], env=ENVIRONMENT, capture_output=True, check=True)
    wanted = dict(zip(digest[2:], done.stdout.decode().split(), strict=True))
    with (builder.out / manifest.TREE_LIST).open("rb") as file:
        found = {
            f"{builder.top}{os.fsdecode(entry.path)}": _digest(entry)
            for entry in dump.parse(file, None)
            if stat.S_ISREG(entry.mode)
        }
    if found != wanted:
        raise TimingError(f"veriseal build lists other digests than veriseal digest: {len(found)}")


def _digest(entry: dump.Entry) -> str:
    """Of a regular file: in the list, or of the contents in the list."""
    if entry.digest is not None:
        return entry.digest.hex()
    return merkle.data_digest(entry.content or b"", merkle.Parameters()).value.hex()
