"""A tree of files with sizes as in /usr: most are small, a few hold most of the bytes."""

from __future__ import annotations

import random
from pathlib import Path

from tests.guest.store import remove

from .host import PLACE, SEED, write_random

FILES = 8000
TOTAL = 220_000_000
_A_DIRECTORY = 100
_MEDIAN = 5000
_SPREAD = 1.85
_LARGEST = 8_000_000


def make() -> list[str]:
    """Make the tree unless it is there already; the paths of its files."""
    top = PLACE / f"tree-{FILES}-{TOTAL}-{SEED}"
    if not top.exists():
        part = PLACE / "part-tree"
        remove(part)
        for number, size in enumerate(sizes()):
            path = _path(part, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_random(path, size, seed=SEED + number)
        part.rename(top)
    return [str(_path(top, number)) for number in range(FILES)]


def sizes() -> list[int]:
    """Bytes of each file, `TOTAL` together."""
    source = random.Random(SEED)  # noqa: S311 sizes, not secrets
    drawn = [min(source.lognormvariate(0, _SPREAD) * _MEDIAN, _LARGEST) for _ in range(FILES)]
    factor = TOTAL / sum(drawn)
    scaled = [max(1, int(size * factor)) for size in drawn]
    # What rounding left over goes to the largest file.
    scaled[scaled.index(max(scaled))] += TOTAL - sum(scaled)
    return scaled


def _path(top: Path, number: int) -> Path:
    return top / f"{number // _A_DIRECTORY:02}" / f"{number % _A_DIRECTORY:02}.bin"
