"""Switch verity on for every file of a disk, for good.

Usage: enable SERIAL [SIGNATURES-SERIAL]. The second disk holds signatures and release.der.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

from veriseal import pool
from veriseal.digest import SHA256
from veriseal.kernel import verity

from ..timing import seconds
from . import common, trees

_BATCH = 200


def main(serial: str, signatures: str = "") -> None:
    top = trees.mount(serial, "rw")
    if signatures:
        release = trees.mount(signatures)
        trees.run("sh", "-c", f"keyctl padd asymmetric '' %:.fs-verity <{release}/release.der")
        seconds([common.VERISEAL, "enable", "--signatures", f"{release}/signatures", top])
    else:
        _enable_all(top)
    trees.run("umount", top)
    print(json.dumps("enabled"))


def _enable_all(top: str) -> None:
    """As `veriseal enable --unsigned`, without its own look at the contents."""
    names: dict[int, str] = {}
    for directory, _, files in os.walk(top):
        for name in files:
            path = f"{directory}/{name}"
            if not os.path.islink(path):
                names[os.stat(path).st_ino] = path  # one name of each file
    paths = list(names.values())
    batches = [paths[start : start + _BATCH] for start in range(0, len(paths), _BATCH)]
    for _ in pool.run(_enable, batches):
        pass


def _enable(paths: Sequence[str]) -> None:
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        try:
            verity.enable(fd, SHA256, 4096, b"", b"", path)
        finally:
            os.close(fd)


if __name__ == "__main__":
    main(*sys.argv[1:])
