"""`veriseal verify` of a real tree in the guest, against reading and hashing it."""

from __future__ import annotations

import os
import shutil
import stat
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.guest import root
from tests.guest.machine import Disk
from tests.guest.store import built, command, remove, say

from . import guest, host, signing
from .building import Builder
from .figure import Goal, Row, duration, of_times
from .inside.check import MEASURED_FILES
from .timing import TimingError

GOAL = Goal(20.0, at_least=True)
SETTINGS = 'exclusive = ["/"]\nmutable = ["/lost+found"]\n'
DISKS = ("bare", "signed", "unsigned")
_SIZE = "1000M"
_ROUNDS = 2
_SUMS = 'cd "$1" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum >"$2"'


def real() -> list[Row]:
    """/usr of the guest's Debian, with and without built-in signatures."""
    veriseal = host.install()
    place = _disks(veriseal)
    release = signing.Release(veriseal, place / "keys", keep=True)
    image = host.PLACE / "check-release.img"
    try:
        files, size = _make_release(image, veriseal, release, "sign = []\n")
        say("check: checking, hashing, measuring, each with nothing in memory")
        answer = guest.ask(
            "check", signing.OS, str(files), str(_ROUNDS),
            disks=[*(Disk(place / name, name) for name in DISKS), Disk(image, "release")],
            timeout=1800,
        )  # fmt: skip
    finally:
        remove(image)
    what = [f"{files} files, {size / 1e6:.0f} MB, nothing in memory", guest.how()]
    bare = answer["bare"]["hashed"]
    return [
        *_rows("check of /usr, signed", answer["signed"], bare, files, what),
        *_rows("check of /usr, verity alone", answer["unsigned"], bare, files, what),
    ]


def _rows(
    name: str, times: Mapping[str, Any], bare: Sequence[float], files: int, what: Sequence[str]
) -> list[Row]:
    ours, hashed = times["ours"], times["hashed"]
    each = [taken / files for taken in ours]
    looped = [taken / MEASURED_FILES for taken in times["looped"]]
    notes = [*what, *_notes(times, files)]
    return [
        of_times(name, ours, hashed, "sha256sum -c, same files", GOAL, faster=True, notes=notes),
        of_times(f"{name}, bare peer", ours, bare, "sha256sum -c, no verity", GOAL, faster=True),
        of_times(f"{name}, a file", each, looped, "fsverity measure, loop", GOAL, faster=True),
    ]


def _notes(times: Mapping[str, Any], files: int) -> list[str]:
    """Where our time goes."""
    phases = times["phases"]
    part = {name: statistics.median(one[name] for one in phases) for name in phases[0]}
    ours = statistics.median(times["ours"])
    shown = {
        "start of python": part["python"],
        "imports": part["imports"],
        "manifest, its signature, digest of the list": part["manifest"],
        "reading the list": part["list"],
        f"the files, {duration((part['check'] - part['list']) / files)} each":
            part["check"] - part["list"],
        "arguments, settings, certificate": part["other"],
    }  # fmt: skip
    lines = [f"{duration(value):>8}  {name}" for name, value in shown.items()]
    return [f"of {duration(ours)}, in a run of its own with a clock inside:", *lines]


def _disks(veriseal: str) -> Path:
    """A directory with the disks and the keys they were signed with, built where it is missing.

    Verity and signatures are the kernel's: what was enabled once serves every later version.
    """
    inside = Path(__file__).parent / "inside/enable.py"

    def make(part: Path, scratch: Path) -> None:
        say("building the disks to check (a few minutes)")
        part.mkdir()
        scratch.mkdir()
        release = signing.Release(veriseal, part / "keys")
        for name in DISKS:
            root.ext4(part / name, _SIZE, root.debian() / "usr")
        image = scratch / "release"
        _make_release(image, veriseal, release, "")
        for name, more in (("signed", [Disk(image, "release")]), ("unsigned", [])):
            disk = Disk(part / name, name, snapshot=False)
            said = guest.ask("enable", name, *(one.serial for one in more), disks=[disk, *more])
            if said != "enabled":
                raise TimingError(f"verity of {name}: {said}")

    return built("bench-check", [root.debian().name, _SIZE, inside.read_text()], make)


def _make_release(
    image: Path, veriseal: str, release: signing.Release, settings: str
) -> tuple[int, int]:
    """A disk with manifest, certificate, sums and, where ``settings`` say so, signatures.

    Gives the number of files, each name a file, and their bytes.
    """
    top = root.debian() / "usr"
    builder = Builder(veriseal, release, top, SETTINGS + settings)
    builder.report()
    tree = host.PLACE / "release-tree"
    remove(tree)
    tree.mkdir()
    (builder.out / "signatures").rename(tree / "signatures")
    builder.out.rename(tree / "manifest")
    shutil.copy2(release.cert, tree / "release.pem")
    command(["openssl", "x509", "-in", release.cert, "-outform", "DER",
             "-out", tree / "release.der"])  # fmt: skip
    command(["sh", "-euc", _SUMS, "sh", top, tree / "sums"])
    statuses = [os.lstat(path) for path in top.rglob("*")]
    sizes = [one.st_size for one in statuses if stat.S_ISREG(one.st_mode)]
    sums = (tree / "sums").read_bytes().count(b"\n")
    if sums != len(sizes):
        raise TimingError(f"{top}: {sums} sums of {len(sizes)} files")
    remove(image)
    root.ext4(image, "200M", tree)
    remove(tree)
    return len(sizes), sum(sizes)
