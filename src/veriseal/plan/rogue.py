"""Certificate files on the disk that are not of the release: nobody vouched for them.

None of them counts at a boot, for only those in the initrd do. But where nothing may be that the
manifest does not list they fail the boot, and the next initrd that is made here takes them along.
"""

import os
import stat
from collections.abc import Iterable, Iterator

from veriseal import manifest as statement
from veriseal import merkle, resolve, voa
from veriseal.digest import Digest
from veriseal.manifest import Manifest
from veriseal.pattern import EXCLUSIVE
from veriseal.tree.listed import Listed
from veriseal.trust.finding import ERROR, WARNING, Finding

ROGUE = "rogue-certificate"
CHANGED = "changed-certificate"
_MOST = 10_000
"""Entries that are looked at in each load path."""


def find(tree: str, manifest: Manifest, listed: Listed) -> list[Finding]:
    """What is in the load paths of ``tree`` and not, or not so, in its release. Raises OSError."""
    rules = statement.rules(manifest)
    found = []
    for path, status in _files(tree):
        name = os.fsencode(path)
        refused = rules.kind(name) == EXCLUSIVE
        shown = resolve.real(tree, path)
        sizes = _sizes(listed, name)
        if name not in sizes:
            text = "it is not part of the release" + (
                ", in a place where nothing else may be: the boot would be refused"
                if refused
                else "; the next initrd that is made here would take it along"
            )
            level = ERROR if refused else WARNING
            remedy = "Remove it, or build a release that has it"
            found.append(Finding(level, ROGUE, text, shown, remedy))
        elif name in listed.digests and stat.S_ISREG(status.st_mode):
            if _digest(shown, sizes[name], manifest.parameters) != listed.digests[name]:
                text = "its contents are not those of the release"
                found.append(Finding(ERROR, CHANGED, text, shown, "Install the release again"))
    return found


def _sizes(listed: Listed, path: bytes) -> dict[bytes, int]:
    """What is listed in the directory of ``path``: paths, and sizes in bytes."""
    parent = listed.directories.get(path.rpartition(b"/")[0] or b"/")
    return {} if parent is None else {entry.path: entry.size for entry in parent.entries}


def _files(tree: str) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below the load paths that is no directory, as seen in the tree."""
    for load_path in voa.LOAD_PATHS:
        place = resolve.follow(tree, load_path)
        if not place.error:
            yield from _below(tree, place.path)


def _below(tree: str, top: str) -> Iterable[tuple[str, os.stat_result]]:
    left = [top]
    seen = 0
    while left and seen < _MOST:
        directory = left.pop()
        with os.scandir(resolve.real(tree, directory)) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                seen += 1
                path = f"{directory.rstrip('/')}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    left.append(path)
                else:
                    yield path, entry.stat(follow_symlinks=False)


def _digest(path: str, size: int, parameters: merkle.Parameters) -> Digest | None:
    """Of the file at ``path``, which is to have ``size`` bytes; None if it has not."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if os.fstat(fd).st_size != size:
            return None
        return merkle.file_digest(fd, size, parameters, path)
    finally:
        os.close(fd)
