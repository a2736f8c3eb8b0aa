"""Certificates and masks in directories that nothing looks into, by a slip in a name.

Not for the boot, which has no use for them. Nothing is opened, and of what the directory of an
operating system holds, only the three levels above certificates are listed: purpose, context,
technology. Links are followed as `voa` does, so not out of the load paths.
"""

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from veriseal import voa
from veriseal.voa import LOAD_PATHS, Look, Tree

_LEVELS = 3
_PURPOSES = (voa.PURPOSE, voa.ANCHOR_PURPOSE)
_MASKS = "/etc/voa"


class Misplaced(NamedTuple):
    """A file or a mask whose name ends in .pem, where it does not count.

    Attributes:
        os: the name of the system's directory that it is in.
        path: its own.
        mask: whether it is one.
        why: a clause for people.
        remedy: a sentence without a final stop.
    """

    os: str
    path: str
    mask: bool
    why: str
    remedy: str


def find(window: Iterable[str], context: str, root: str = "/") -> list[Misplaced]:
    """Those in the load paths below ``root``, of every system there, in a stable order.

    What a certificate's own name leads to as a link is at its place. ``window`` are names of
    systems besides those that have a directory. Raises OSError.
    """
    tree = Tree(LOAD_PATHS, root)
    names = list(dict.fromkeys([*window, *voa.systems(LOAD_PATHS, root)[0]]))
    read = {one for name in names for one in _read(tree, name, context)}
    found: dict[str, Misplaced] = {}
    for base in tree.bases:
        for os_name in names:
            for path in _entries(tree, f"{base}/{os_name}", os_name, _LEVELS):
                look = tree.look(path)
                if look.why is None and path[len(base) :] not in read:
                    where = look.links[-1].path if look.file is None else look.file
                    found.setdefault(where, _said(tree, base, os_name, path, context))
    return list(found.values())


def _read(tree: Tree, os_name: str, context: str) -> Iterator[str]:
    """The names, below a load path, that are looked at, or led through from there."""
    for purpose in _PURPOSES:
        for _name, path in tree.files(os_name, purpose, context, []):
            yield from tree.names_of(path, tree.look(path))


def _entries(tree: Tree, top: str, os_name: str, levels: int) -> Iterator[str]:
    """Everything named .pem in the directory ``top``, and at most ``levels`` further down."""
    for name in tree.names(top, [], os_name):
        if name.endswith(".pem"):
            yield f"{top}/{name}"
        elif levels:
            yield from _entries(tree, f"{top}/{name}", os_name, levels - 1)


def _said(tree: Tree, base: str, os_name: str, path: str, context: str) -> Misplaced:
    mask = tree.look(path).file is None
    place, name = os.path.split(path[len(base) + 1 :])
    purpose = voa.ANCHOR_PURPOSE if "anchor" in place else voa.PURPOSE
    right = f"{os_name}/{purpose}/{context}/{voa.TECHNOLOGY}"
    # A mask belongs to the machine, and what is in /run is in no initrd.
    bases = [_MASKS if mask or base in tree.ephemeral else base]
    bases += [one for one in voa.INITRD_LOAD_PATHS if mask and one not in bases]
    targets = [f"{one}/{right}/{name}" for one in bases]
    masks = [tree.shown(one) for one in targets if mask and _is_mask(tree.look(one))]
    free = [one for one in map(tree.shown, targets) if not os.path.lexists(one)]
    if masks:
        remedy = f"Remove it: {masks[0]} is a mask of this name already"
    elif free:
        remedy = f"Move it to {free[0]}, unless it is for another program"
    else:
        remedy = f"Remove it, or give it another name: {tree.shown(targets[0])} is there already"
    looked = f"veriseal looks into {right}, and not into {place}"
    said = "this mask is not read, so the key is not masked by it" if mask else "it does not count"
    return Misplaced(os_name, tree.shown(path), mask, f"{said}: {looked}", remedy)


def _is_mask(look: Look) -> bool:
    return look.file is None and look.why is None
