"""The tree list, in the shape that a look at the tree needs: directory by directory. Pure."""

import io
import os
import stat
from typing import NamedTuple

from veriseal import dump, merkle
from veriseal.digest import Digest
from veriseal.errors import VerisealError
from veriseal.manifest import TREE_LIST
from veriseal.tree.source import Release


class Directory(NamedTuple):
    """A directory, and what is directly in it."""

    own: dump.Entry
    entries: list[dump.Entry]


class Listed(NamedTuple):
    """A list that can be used.

    Attributes:
        directories: by path, parents first.
        digests: that each regular file must have, by path.
    """

    directories: dict[bytes, Directory]
    digests: dict[bytes, Digest]

    def __len__(self) -> int:
        # Every directory but the root is an entry of its parent.
        return 1 + sum(len(one.entries) for one in self.directories.values())


def read(release: Release) -> Listed:
    """The list of ``release``.

    A hard link is an entry like any other: what it must be is what its target must be.

    Raises VerisealError ``bad-tree-list``, ``other-kind`` for the manifest of an image.
    """
    if release.manifest.tree is None:
        raise VerisealError(
            "other-kind",
            "the manifest is of a composefs image, not of a tree",
            path=release.path,
            remedy='Install the tree\'s own manifest, or set boot.root = "composefs"',
        )
    path = os.path.join(os.path.dirname(release.path), TREE_LIST)
    listed = Listed({}, {})
    others: dict[bytes, dump.Entry] = {}
    for entry in dump.parse(io.BytesIO(release.tree_list), path):
        if entry.hardlink:
            entry = others[entry.payload or b""]._replace(path=entry.path)
        elif stat.S_ISDIR(entry.mode):
            listed.directories[entry.path] = Directory(entry, [])
        else:
            others[entry.path] = entry
        if stat.S_ISREG(entry.mode):
            listed.digests[entry.path] = _digest(entry, release.manifest.parameters, path)
        if entry.path != b"/":
            parent = entry.path.rpartition(b"/")[0] or b"/"
            listed.directories[parent].entries.append(entry)
    return listed


def _digest(entry: dump.Entry, parameters: merkle.Parameters, path: str) -> Digest:
    if entry.digest is not None:
        return Digest(parameters.algorithm, entry.digest)
    if entry.content is None and entry.size:
        raise VerisealError(
            "bad-tree-list",
            "a regular file without a digest",
            path=path,
            found=os.fsdecode(entry.path),
            remedy="Make the list with: veriseal build",
        )
    return merkle.data_digest(entry.content or b"", parameters)
