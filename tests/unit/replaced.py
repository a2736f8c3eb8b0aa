"""What somebody can put in the place of a file."""

import os
from pathlib import Path

_HUGE = 100 << 20


def huge(path: Path) -> None:
    path.touch()
    os.truncate(path, _HUGE)


def to_link(path: Path) -> None:
    path.rename(path.with_name("aside"))
    path.symlink_to("aside")


def to_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def to_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
