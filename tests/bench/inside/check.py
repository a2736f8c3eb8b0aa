"""Time the check of /usr on two disks, with and without signatures, against its peers.

Usage: check OS FILES ROUNDS. Disks: "signed", "unsigned", "bare", "release".
"""

from __future__ import annotations

import json
import os
import sys
from functools import partial

from ..timing import in_turn, seconds
from . import trees

MEASURED_FILES = 200
"""As many as the shell loop gets: it takes so long for each."""
_LOOP = 'while read -r file; do fsverity measure "$file" || exit 1; done <"$1"'


def main(os_name: str, files: str, rounds: str) -> None:
    release = trees.mount("release")
    trees.run("sh", "-c", f"keyctl padd asymmetric '' %:.fs-verity <{release}/release.der")
    sums = f"{release}/sums"
    some = _some(sums)
    answer: dict[str, dict[str, object]] = {}
    for name in ("signed", "unsigned"):
        tree = trees.Tree(
            trees.mount(name), f"{release}/manifest", f"{release}/release.pem", os_name, int(files)
        )
        tree.require_checked()
        hashing = partial(_cold, tree.top, "sha256sum", "--check", "--quiet", "--strict", sums)
        loop = partial(_cold, tree.top, "sh", "-c", _LOOP, "sh", some)
        ours, hashed, looped = in_turn([tree.cold, hashing, loop], int(rounds), False)
        answer[name] = {"ours": ours, "hashed": hashed, "looped": looped}
        answer[name]["phases"] = [tree.phases() for _ in range(int(rounds))]
    bare = trees.mount("bare")
    hashing = partial(_cold, bare, "sha256sum", "--check", "--quiet", "--strict", sums)
    answer["bare"] = {"hashed": in_turn([hashing], int(rounds), False)[0]}
    print(json.dumps(answer))


def _some(sums: str) -> str:
    """A list of files from all over the tree. A line: sum, two spaces, path."""
    with open(sums, encoding="utf-8", errors="surrogateescape") as file:
        paths = [line.rstrip("\n")[66:] for line in file if not line.startswith("\\")]
    step = len(paths) // MEASURED_FILES
    place = "/run/some-files"
    with open(place, "w", encoding="utf-8", errors="surrogateescape") as out:
        out.writelines(f"{path}\n" for path in paths[::step][:MEASURED_FILES])
    return place


def _cold(directory: str, *argv: str) -> float:
    """A program's time, started in ``directory`` with nothing in memory."""
    os.chdir(directory)
    trees.drop_caches()
    taken = seconds(argv)
    os.chdir("/")
    return taken


if __name__ == "__main__":
    main(*sys.argv[1:])
