"""What counts for a system or an initrd, read below a root that is not the running one's.

Settings, os-release and floor of the root itself count, as they would once it is booted.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from veriseal import manifest, osrelease, policy, resolve, voa
from veriseal.audit import expected
from veriseal.boot import floor, gather
from veriseal.boot.floor import Floor
from veriseal.boot.gather import Gathered
from veriseal.errors import VerisealError
from veriseal.policy import Policy
from veriseal.tree import source
from veriseal.trust import load
from veriseal.trust import statement as statements


class Side(NamedTuple):
    """A root, and what it says of itself.

    Attributes:
        root: its directory.
        settings, os_release: as they are there.
        floor: that the next boot goes by.
    """

    root: str
    settings: Policy
    os_release: dict[str, str]
    floor: Floor = Floor()


def read(root: str) -> Side:
    """The settings and os-release below ``root``. Raises VerisealError, OSError."""
    settings = policy.load(tuple(inside(root, name) for name in policy.FILES))
    paths = tuple(inside(root, path) for path in osrelease.PATHS)
    return Side(root, settings, osrelease.read(paths))


def is_initrd(root: str) -> bool:
    """Whether ``root`` is that of an initrd, not of a system."""
    return os.path.exists(inside(root, floor.PATH))


def of_initrd(root: str) -> Side:
    """The same of an unpacked initrd, with the floor that it carries."""
    side = read(root)
    return side._replace(floor=floor.read(inside(root, floor.PATH)))


def inside(root: str, path: str) -> str:
    """Where ``path`` leads in a system with this ``root``: /etc/os-release is a link as a rule."""
    place = resolve.follow(root, path)
    return resolve.real(root, path if place.error else place.path)


def without(side: Side, dropped: Sequence[str]) -> Side:
    """``side`` after the releases ``dropped`` were taken out of the window.

    Raises VerisealError ``not-in-window``, ``own-release``.
    """
    settings = side.settings
    for name in dropped:
        if name in voa.os_identifiers(side.os_release):
            raise VerisealError(
                "own-release",
                "the system's own release cannot be dropped",
                found=name,
                remedy="Only what trust.previous and trust.next name can",
            )
        if name not in (*settings.previous, *settings.next):
            raise VerisealError(
                "not-in-window",
                "this release is in no part of the window that could be dropped",
                expected=", ".join((*settings.previous, *settings.next)) or "nothing",
                found=name,
            )
        settings = settings._replace(
            previous=tuple(one for one in settings.previous if one != name),
            next=tuple(one for one in settings.next if one != name),
        )
    return side._replace(settings=settings)


def gathered(side: Side, statement: str | None = None) -> Gathered:
    """What counts for ``side``; with a trust statement that is ``statement`` in place of its own.

    Raises VerisealError, OSError.
    """
    if statement is None:
        return gather.installed(side.settings, side.os_release, side.floor, side.root)
    settings, os_release = side.settings, side.os_release
    if not settings.statement:
        raise VerisealError(
            "no-statement-wanted",
            "the settings name no trust statement, so none would be read",
            path=statement,
            remedy="Set trust.statement",
        )
    at = max(int(time.time()), side.floor.created)
    anchors = load.find_anchors(settings, os_release, root=side.root, at=at)
    place, name = os.path.split(os.path.abspath(statement))
    names = voa.os_identifiers(os_release)
    try:
        found = statements.load(name, anchors, names, side.floor.statement, place)
    except VerisealError as error:
        if settings.without_statement == "refuse":
            raise
        trust = load.load(settings, os_release, root=side.root, at=at)
        return Gathered(trust, at, not_used=str(error))
    at = max(at, found.created)
    trust = load.load(settings, os_release, root=side.root, at=at, statement=found)
    return Gathered(trust, at, found.created)


def release(tree: str, side: Side, trusted: Gathered) -> source.Release:
    """The release in ``tree``, if a boot with ``side`` takes its manifest. Raises VerisealError."""
    trust = gather.manifest_trust(trusted, side.settings, side.os_release, side.floor.version)
    with _directory(tree) as (directory, shown):
        return source.load(directory, shown, trust)


def unverified(tree: str) -> source.Release:
    """The release that ``tree`` says it is, whoever signed its manifest. Raises VerisealError."""
    with _directory(tree) as (directory, shown):
        anyone = source.Trust([], 0, [expected.of(directory, shown).manifest.os], 0)
        return source.load(directory, shown, anyone)


@contextlib.contextmanager
def _directory(tree: str) -> Iterator[tuple[int, str]]:
    """The manifest directory of ``tree``, open, and its name."""
    shown = os.path.join(tree, manifest.DIRECTORY)
    top = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        directory = source.open_directory(top, manifest.DIRECTORY, shown)
    finally:
        os.close(top)
    try:
        yield directory, shown
    finally:
        os.close(directory)
