"""What counts for a system or an initrd, read below a root that is not the running one's.

Settings, os-release and floor of the root itself count, as they would once it is booted.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from veriseal import manifest, osrelease, policy, resolve, voa
from veriseal.audit import expected
from veriseal.boot import floor, gather
from veriseal.boot.floor import Floor
from veriseal.boot.gather import Asked, Gathered
from veriseal.errors import VerisealError
from veriseal.policy import Policy
from veriseal.tree import source

_AS_FAR_AS_SEEN = Asked(unseen=True)


class Side(NamedTuple):
    """A root, and what it says of itself.

    Attributes:
        root: its directory.
        settings, os_release: as they are there.
        floor: that the next boot goes by.
        here: whether that is a boot of this machine, with its devices.
    """

    root: str
    settings: Policy
    os_release: dict[str, str]
    floor: Floor = Floor()
    here: bool = False


def read(root: str) -> Side:
    """The settings and os-release below ``root``. Raises VerisealError, OSError."""
    if not os.path.isdir(root):
        problem = "there is no such directory"
        raise VerisealError("no-root", problem, path=root, remedy="Name the root of a system")
    settings = policy.load(tuple(inside(root, name) for name in policy.FILES))
    paths = tuple(inside(root, path) for path in osrelease.PATHS)
    return Side(root, settings, osrelease.read(paths), here=os.path.realpath(root) == "/")


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


def gathered(side: Side, asked: Asked = _AS_FAR_AS_SEEN) -> Gathered:
    """What counts for ``side``. Raises VerisealError, OSError.

    A statement that nobody can look at is said in `Gathered.not_used`, if ``asked`` allows it.
    """
    if asked.given is not None and not side.settings.statement:
        raise VerisealError(
            "no-statement-wanted",
            "the settings name no trust statement, so none would be read",
            path=asked.given,
            remedy="Set trust.statement",
        )
    asked = asked._replace(here=side.here)
    return gather.installed(side.settings, side.os_release, side.floor, side.root, asked)


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
