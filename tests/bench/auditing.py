"""`veriseal audit` of 60,000 signed files in the guest, against fsverity-utils in a shell loop."""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path

from tests.guest import root
from tests.guest.machine import Disk
from tests.guest.store import built, command, remove, say

from . import guest, host, scale, signing
from .building import EVERYTHING_SIGNED, Builder
from .figure import Goal, Row, duration, of_times
from .inside.audit import ASKED_FILES
from .timing import TimingError

GOAL = Goal(20.0, at_least=True)
FILES = max(scale.PARTS)
_IMAGE_SIZE = "1500M"
_RELEASE_SIZE = _IMAGE_SIZE
_ROUNDS = 2
_ID, _, _VERSION = signing.OS.partition(":")


def signed() -> list[Row]:
    """Who signed each file, and does that count: with nothing in memory."""
    veriseal = host.install()
    tree = scale.files()
    place = _disk(veriseal, tree)
    image = host.PLACE / "audit-release.img"
    try:
        _make_release(image, veriseal, signing.Release(veriseal, place / "keys", keep=True), tree)
        say(f"audit: auditing {FILES} files, then asking about {ASKED_FILES}")
        answer = guest.ask(
            "audit", str(FILES), str(_ROUNDS),
            disks=[Disk(place / "files", "files"), Disk(image, "release")], timeout=3600,
        )  # fmt: skip
    finally:
        remove(image)
    each = [taken / FILES for taken in answer["ours"]]
    looped = [taken / ASKED_FILES for taken in answer["looped"]]
    notes = [
        guest.how(),
        "small files with verity, each signed with RSA-2048; nothing in memory",
        f"in all {duration(statistics.median(answer['ours']))}, and with everything in memory "
        f"{duration(statistics.median(answer['warm']))}; of a tree of almost nothing "
        f"{duration(statistics.median(answer['start']))}",
        f"the loop asks about {ASKED_FILES} of the files; it checks no signature",
    ]
    name = f"audit of {FILES} files, a file"
    peer = "fsverity measure, dump_metadata"
    return [of_times(name, each, looped, peer, GOAL, faster=True, notes=notes)]


def _disk(veriseal: str, tree: Path) -> Path:
    """A directory with the disk of signed files and the keys, built where it is missing."""
    inside = Path(__file__).parent / "inside/enable_signed.py"

    def make(part: Path, scratch: Path) -> None:
        say(f"switching verity on for {FILES} signed files (many minutes)")
        part.mkdir()
        scratch.mkdir()
        release = signing.Release(veriseal, part / "keys")
        _make_release(scratch / "release", veriseal, release, tree)
        root.ext4(part / "files", _IMAGE_SIZE, tree)
        disks = [Disk(part / "files", "files", False), Disk(scratch / "release", "release")]
        said = guest.ask("enable_signed", "files", "release", disks=disks, timeout=3600)
        if said != "enabled":
            raise TimingError(f"verity of {FILES} signed files: {said}")

    return built("bench-audit", [tree.name, _IMAGE_SIZE, inside.read_text()], make)


def _make_release(image: Path, veriseal: str, release: signing.Release, tree: Path) -> None:
    """A disk with what `veriseal build` writes, the certificate, and a root that has it."""
    builder = Builder(veriseal, release, tree / "all", EVERYTHING_SIGNED)
    if (count := builder.report()["signed"]) != FILES:
        raise TimingError(f"{tree}: {count} files signed, not {FILES}")
    place = host.PLACE / "release-tree"
    remove(place)
    (place / "root/etc").mkdir(parents=True)
    (builder.out / "signatures").rename(place / "signatures")
    builder.out.rename(place / "manifest")
    (place / "root/etc/os-release").write_text(f"ID={_ID}\nVERSION_ID={_VERSION}\n")
    voa = place / f"root/usr/share/voa/{signing.OS}/image/default/x509"
    voa.mkdir(parents=True)
    shutil.copy2(release.cert, voa / "release.pem")
    command(["openssl", "x509", "-in", release.cert, "-outform", "DER",
             "-out", place / "release.der"])  # fmt: skip
    remove(image)
    root.ext4(image, _RELEASE_SIZE, place)
    remove(place)
