"""`veriseal verify` in the guest, of up to 60,000 files: what a file costs, time and memory."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.guest import root
from tests.guest.machine import Disk
from tests.guest.store import built, remove, say

from . import guest, host, signing
from .building import Builder
from .figure import Goal, Row, duration
from .timing import TimingError

GOAL = Goal(1.2)
PARTS = {1: "part/part/part", 1_000: "part/part", 8_000: "part", 60_000: "all"}
"""How many files there are below each directory, each the parent of the one before."""
_TOP = "all"
_ROUNDS = {1: 5, 1_000: 5, 8_000: 3, 60_000: 2}
_A_DIRECTORY = 100
_IMAGE_SIZE = "1500M"
_FILE_SIZE = 100
"""Bytes: more than goes into the list itself."""
SETTINGS = 'exclusive = ["/"]\nsign = []\n'


def flat() -> list[Row]:
    """All files have verity and no signature; the check starts with nothing in memory."""
    veriseal = host.install()
    tree = files()
    place = _disk(tree)
    image = host.PLACE / "scale-release.img"
    try:
        _make_release(image, veriseal, tree)
        say("check-scale: checking 1 to 60,000 files")
        answer = guest.ask(
            "scale", signing.OS,
            *(f"{size}:{path}:{_ROUNDS[size]}" for size, path in _paths().items()),
            disks=[Disk(place, "files"), Disk(image, "release")], timeout=1200,
        )  # fmt: skip
    finally:
        remove(image)
    return rows({int(size): one for size, one in answer.items()})


def rows(answer: Mapping[int, Sequence[Mapping[str, float]]]) -> list[Row]:
    """The figures of what `inside.scale` gives."""
    seconds = {size: statistics.median(map(_work, runs)) for size, runs in answer.items()}
    memory = {size: statistics.median(map(_peak, runs)) for size, runs in answer.items()}
    times = _marginal(seconds)
    bytes_each = _marginal(memory)
    sizes = sorted(PARTS)
    small, large = sizes[1], sizes[-1]
    fastest, slowest = (
        [_work(one) - seconds[1] for one in answer[size]] for size in (small, large)
    )
    low = min(slowest) / large / (max(fastest) / small)
    high = max(slowest) / large / (min(fastest) / small)
    starts = [one["python"] + one["imports"] for one in answer[1]]
    return [
        Row(
            f"check, {large} files, a file",
            duration(times[large]), f"{duration(times[small])}  of {small} files",
            times[large] / times[small], low, high, GOAL,
            notes=[
                guest.how(),
                "small files with verity, without signatures; nothing in memory",
                "from after the imports to the end, less that of 1 file, "
                f"{duration(seconds[1])}; before that {duration(statistics.median(starts))}",
                *(f"{duration(seconds[size]):>8}  {size} files, {duration(times[size])} a file"
                  for size in sizes[1:]),
            ],
            data={"answer": dict(answer)},
        ),
        Row(
            f"memory, {large} files, a file",
            f"{bytes_each[large]:.0f} B", f"{bytes_each[small]:.0f} B  of {small} files",
            *(bytes_each[large] / bytes_each[small],) * 3, GOAL,
            notes=[
                "peak resident memory (ru_maxrss) of the largest process, less that for 1 file; it "
                "shares most of that with its workers, one a processor",
                *(f"{memory[size] / 1e6:.1f} MB  {size} files" for size in sizes),
            ],
        ),
    ]  # fmt: skip


def _marginal(values: Mapping[int, float]) -> dict[int, float]:
    """What each file adds to the value of one file."""
    return {size: (value - values[1]) / size for size, value in values.items()}


def _work(phases: Mapping[str, float]) -> float:
    """What depends on the number of files."""
    return phases["manifest"] + phases["check"]


def _peak(phases: Mapping[str, float]) -> float:
    """Bytes, of the process itself or of the largest of its workers."""
    return max(phases["peak"], phases["worker_peak"])


def _paths() -> dict[int, str]:
    return {size: _TOP if path == _TOP else f"{_TOP}/{path}" for size, path in PARTS.items()}


def files() -> Path:
    """The files, made unless they are there already."""
    top = host.PLACE / f"scale-{max(PARTS)}"
    if top.exists():
        return top
    part = host.PLACE / "part-scale"
    remove(part)
    made = 0
    for size, path in _paths().items():
        directory = part / path
        directory.mkdir(parents=True, exist_ok=True)
        for number in range(made, size):
            place = directory / f"{number // _A_DIRECTORY:03}"
            place.mkdir(exist_ok=True)
            text = f"{number}\n" * _FILE_SIZE
            (place / f"{number:05}").write_text(text[:_FILE_SIZE])
        made = size
    part.rename(top)
    return top


def _disk(tree: Path) -> Path:
    """A disk of the files with verity, built where it is missing: it is the kernel's alone."""
    inside = Path(__file__).parent / "inside/enable.py"

    def make(part: Path, _scratch: Path) -> None:
        say(f"switching verity on for {max(PARTS)} files (a few minutes)")
        root.ext4(part, _IMAGE_SIZE, tree)
        said = guest.ask("enable", "files", disks=[Disk(part, "files", False)], timeout=1800)
        if said != "enabled":
            raise TimingError(f"verity of {max(PARTS)} files: {said}")

    return built("bench-scale", [tree.name, _IMAGE_SIZE, inside.read_text()], make)


def _make_release(image: Path, veriseal: str, tree: Path) -> None:
    """A disk with the certificate and a manifest for each part of the tree."""
    release = signing.Release(veriseal, host.PLACE / "keys")
    place = host.PLACE / "release-tree"
    remove(place)
    place.mkdir()
    for size, path in _paths().items():
        builder = Builder(veriseal, release, tree / path, SETTINGS)
        if (files := builder.report()["files"]) != size:
            raise TimingError(f"{tree / path}: {files} files, not {size}")
        builder.out.rename(place / str(size))
    shutil.copy2(release.cert, place / "release.pem")
    remove(image)
    root.ext4(image, "100M", place)
    remove(place)
