"""Small trees that `veriseal build` must refuse, and one that it must not.

Their programs are compiled with the appliance; the build runs on this machine, as builds do.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.boot.appliance import Appliance
from tests.boot.layout import OS
from tests.boot.result import Result
from tests.guest.store import REPO

BUILT = "0"


class Tree(NamedTuple):
    """A tree, by its name below `Appliance.trees`, and what its build must say."""

    name: str
    attacker: str
    done: str
    expected: str
    stopped_by: str
    directory: str
    says: str = ""


TREES = (
    Tree(
        "build: a program with its libraries",
        "-",
        "RUNPATH is `$ORIGIN/../lib`",
        BUILT,
        "nothing: it must work",
        "good",
    ),
    Tree(
        "build: RUNPATH into a writable directory",
        "A2",
        "RUNPATH is `/var/lib/app`, which `build.mutable` lets change",
        "1",
        "build: RUNPATH",
        "writable-runpath",
        "/var/lib/app",
    ),
    Tree(
        "build: RPATH below the working directory",
        "A2",
        "RPATH is `lib`, so that the caller chooses the directory",
        "1",
        "build: RPATH",
        "relative-rpath",
        "lib",
    ),
    Tree(
        "build: a library that is missing",
        "A1",
        "a program needs a library that the tree does not have",
        "1",
        "build: needed libraries",
        "missing-library",
        "libgreet.so.1",
    ),
    Tree(
        "build: a truncated program",
        "A1",
        "an executable file holds the first half of a program",
        "1",
        "build: ELF",
        "truncated",
        "/bin/app",
    ),
    Tree(
        "build: another architecture's library",
        "A1",
        "a library's header names another machine than the program's",
        "1",
        "build: needed libraries",
        "foreign-library",
        "libgreet.so.1",
    ),
)


def attempt(appliance: Appliance, tree: Tree) -> Result:
    """Build the tree with the appliance's keys; what came of it."""
    with tempfile.TemporaryDirectory(prefix="veriseal-tree-") as out:
        done = subprocess.run(
            [
                *("/usr/bin/python3", "-m", "veriseal", "build", appliance.trees / tree.directory),
                *("--os", OS, "--version", "1", "--key", appliance.trees / "release.key"),
                *("--cert", appliance.trees / "release.pem", "--out", Path(out) / "release"),
            ],
            env={"PYTHONPATH": str(REPO / "src")},
            capture_output=True,
            check=False,
        )
    said = done.stderr.decode(errors="replace").strip()
    seen = str(done.returncode)
    if tree.says not in said:
        seen += f", and it does not say: {tree.says}"
    return Result(tree.name, tree.attacker, tree.expected, seen, re.sub(r"\s+", " ", said))
