"""Switch verity on for every file of a disk, each with its signature, for good.

Usage: enable_signed SERIAL SIGNATURES-SERIAL. The second disk holds signatures and release.der.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from veriseal import merkle, pool
from veriseal.build.sign import name_by_digest
from veriseal.digest import SHA256
from veriseal.kernel import verity

from . import trees

_BATCH = 200
_PLAIN = merkle.Parameters()


def main(serial: str, signatures: str) -> None:
    top, release = trees.mount(serial, "rw"), trees.mount(signatures)
    trees.run("sh", "-c", f"keyctl padd asymmetric '' %:.fs-verity <{release}/release.der")
    paths = [f"{place}/{name}" for place, _, names in os.walk(top) for name in names]
    batches = [paths[start : start + _BATCH] for start in range(0, len(paths), _BATCH)]

    def enable(batch: Sequence[str]) -> None:
        for path in batch:
            digest = merkle.data_digest(Path(path).read_bytes(), _PLAIN)
            der = Path(release, "signatures", name_by_digest(digest)).read_bytes()
            fd = os.open(path, os.O_RDONLY)
            try:
                verity.enable(fd, SHA256, _PLAIN.block_size, b"", der, path)
            finally:
                os.close(fd)

    for _ in pool.run(enable, batches):
        pass
    trees.run("umount", top)
    print(json.dumps("enabled"))


if __name__ == "__main__":
    main(*sys.argv[1:])
