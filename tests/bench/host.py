"""What the figures of the host share: the project as installed, two processors, contents."""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.guest.store import REPO, command, remove

PLACE = REPO / "build" / "bench"
PYTHON = "/usr/bin/python3"
PROCESSORS = 2
SEED = 2026
_PIECE = 1 << 20


@functools.cache
def install() -> str:
    """Install the project below build/bench, compiled. Gives the path of its `veriseal`.

    So it is timed as it is used, and a source that changes meanwhile changes no figure.
    """
    dest = PLACE / "install"
    remove(dest)
    command(["make", "--no-print-directory", "-s", "install", f"DESTDIR={dest}"], cwd=REPO)
    modules = dest / "usr/lib/veriseal"
    compiled = ["-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    command([PYTHON, *compiled, modules])
    script = dest / "usr/bin/veriseal"
    # The script looks for its modules in the place where they are on a machine.
    script.write_text(script.read_text().replace('"/usr/lib/veriseal"', repr(str(modules))))
    return str(script)


@contextmanager
def two_processors() -> Iterator[None]:
    """Have this process, and whatever it starts, use no more than two processors."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:PROCESSORS])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def write_random(path: Path, size: int, start: bytes = b"", seed: int = SEED) -> None:
    """A file of ``size`` bytes: ``start``, then bytes that are the same for the same seed."""
    source = random.Random(seed)  # noqa: S311 contents, not secrets
    left = size - len(start)
    with path.open("wb") as file:
        file.write(start)
        while left > 0:
            file.write(source.randbytes(min(_PIECE, left)))
            left -= _PIECE
