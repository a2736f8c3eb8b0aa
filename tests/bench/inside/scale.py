"""Time the check of trees of different sizes, each a part of the next.

Usage: scale OS SIZE:PATH:ROUNDS... Disks: "files", "release" with a manifest for each SIZE.
"""

from __future__ import annotations

import json
import sys

from . import trees


def main(os_name: str, *sizes: str) -> None:
    top, release = trees.mount("files"), trees.mount("release")
    answer = {}
    for one in sizes:
        size, path, rounds = one.split(":")
        tree = trees.Tree(
            f"{top}/{path}", f"{release}/{size}", f"{release}/release.pem", os_name, int(size)
        )
        answer[size] = [tree.phases() for _ in range(int(rounds))]
    print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
