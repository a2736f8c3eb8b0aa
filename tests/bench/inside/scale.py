"""Time the check of trees of different sizes, each a part of the next, and what it needs.

Usage: scale OS SIZE:PATH:ROUNDS... Disks: "files", "release" with a manifest for each SIZE.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from ..timing import ENVIRONMENT, TimingError
from . import trees


def main(os_name: str, *sizes: str) -> None:
    top, release = trees.mount("files"), trees.mount("release")
    answer = {}
    for one in sizes:
        size, path, rounds = one.split(":")
        tree = trees.Tree(
            f"{top}/{path}", f"{release}/{size}", f"{release}/release.pem", os_name, int(size)
        )
        tree.require_checked()
        answer[size] = {
            "phases": [tree.phases() for _ in range(int(rounds))],
            "peak": _peak(tree),
        }
    print(json.dumps(answer))


def _peak(tree: trees.Tree) -> dict[str, Any]:
    """Bytes: the peak of the largest process of `veriseal verify`, and how many it started."""
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    argv = tree.argv()
    process = os.posix_spawn(argv[0], argv, ENVIRONMENT, file_actions=quiet)
    _, status, usage = os.wait4(process, 0)
    if status:
        raise TimingError(f"veriseal verify {tree.top}: {os.waitstatus_to_exitcode(status)}")
    # Of a process and those it waited for, the kernel gives the largest, not the sum.
    return {"largest": usage.ru_maxrss * 1024, "workers": len(os.sched_getaffinity(0))}


if __name__ == "__main__":
    main(*sys.argv[1:])
