"""What a directory does not show: who has the disk decides what a listing says.

A program that opens a file by its name goes another way through a directory than one that lists
it: ext4 has an index besides the entries, btrfs two items for each name. A damaged directory can
have a file found by name that no listing shows.
"""

import errno
import os
from collections.abc import Container, Iterator, Mapping

from veriseal.kernel import files
from veriseal.manifest import Manifest, rules
from veriseal.pattern import EXCLUSIVE
from veriseal.tree.findings import Finding


def by_name(root: int, manifest: Manifest, known: Container[bytes]) -> Iterator[Finding]:
    """What is there under an exclusive name without wildcards, and is not in ``known``."""
    kinds = rules(manifest)
    for path in kinds.exclusive.literal():
        if path not in known and kinds.kind(path) == EXCLUSIVE:
            found = _look_up(root, path)
            if found is not None:
                yield Finding("added", path, None, found)


def complaints(before: Mapping[str, int]) -> Iterator[Finding]:
    """A finding for each ext4 that complained since ``before``, of `files.ext4_complaints`."""
    for device, count in files.ext4_complaints().items():
        more = count - before.get(device, 0)
        if more > 0:
            found = f"{more} complaints about {device}, see the kernel log"
            yield Finding("corrupt", b"/", None, found)


def _look_up(root: int, path: bytes) -> str | None:
    try:
        fd = files.open_beneath(root, path[1:] or b".", os.O_PATH | os.O_NOFOLLOW)
    except OSError as error:
        # ELOOP: a link on the way, which is a finding of its own where there must be none.
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    os.close(fd)
    return "found by its name, though no listing shows it"
