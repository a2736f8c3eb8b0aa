"""dracut, kernel-install and veriseal together, in a Debian root: no kernel feature is needed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.boot.appliance import chroot
from tests.guest import root
from tests.guest.store import REPO, command

pytestmark = pytest.mark.boot

SOURCES = "usr/src/veriseal"
RUN = (
    f"cd /{SOURCES} && PYTHONPATH=/usr/lib/veriseal PYTHONDONTWRITEBYTECODE=1 "
    "exec python3 -m pytest --noconftest -p no:cacheprovider -m chroot tests/chroot"
)


def test_initrds_that_are_made_there(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    root.tree(tree)
    command(["make", "-s", "install", f"DESTDIR={tree}"], cwd=REPO)
    (tree / SOURCES).mkdir(parents=True)
    shutil.copytree(
        REPO / "tests", tree / SOURCES / "tests", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy2(REPO / "pyproject.toml", tree / SOURCES)
    with chroot(tree):
        done = subprocess.run(
            ["chroot", tree, "/bin/sh", "-c", RUN], capture_output=True, check=False, text=True
        )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    shutil.rmtree(tree)
