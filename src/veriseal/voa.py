"""Where certificates lie: the UAPI.11 directory layout (Verification of OS Artifacts).

``LOAD_PATH/OS/PURPOSE/CONTEXT/TECHNOLOGY/NAME``, for example
``/usr/share/voa/fedora:43/image/default/x509/release.pem``.
This module finds files; what is in them is `certificate`'s business.
"""

import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from veriseal import resolve
from veriseal.errors import VerisealError
from veriseal.osrelease import OsRelease
from veriseal.resolve import Link, Place

LOAD_PATHS = ("/etc/voa", "/run/voa", "/usr/local/share/voa", "/usr/share/voa")
"""Highest priority first."""

EPHEMERAL = "/run/voa"

INITRD_LOAD_PATHS = tuple(path for path in LOAD_PATHS if path != EPHEMERAL)
"""In the initrd only what was built into it counts, and /run is what others fill at run time."""

PURPOSE = "image"
ANCHOR_PURPOSE = "trust-anchor-image"
TECHNOLOGY = "x509"

MASKED = "masked"
HIDDEN = "hidden"
UNUSABLE = "unusable"
"""Reasons of `Ignored`. The last: its name, a link, what kind of file it is."""

OTHER_SUFFIX = "its name does not end in .pem"
DIRECTORY_MASK = "only files can be masked, not directories"
"""What `Ignored.why` says of the two that nothing can be lost by."""

_OS_FIELDS = ("ID", "VERSION_ID", "VARIANT_ID", "IMAGE_ID", "IMAGE_VERSION")
_REMEDY = "Say there what the system is, such as ID=debian and VERSION_ID=13"
_PART = r"[0-9a-z._-]"
_OS_NAME = re.compile(rf"(?!\.\.?\Z){_PART}+(?::{_PART}*){{0,4}}(?<!:)")


class Verifier(NamedTuple):
    """A certificate file that counts.

    Attributes:
        os: the name of its directory, such as ``fedora:43``.
        path: its name, below the root.
        target: the file that holds it: ``path``, or where that leads as a link.
    """

    os: str
    path: str
    target: str


class Ignored(NamedTuple):
    """What does not count, with one of the reasons above and a clause for people.

    ``target`` is the regular file that could be read nevertheless, None for masks and the like.
    ``os`` is None for what is not below the directory of an operating system.
    """

    path: str
    reason: str
    why: str
    os: str | None = None
    target: str | None = None


def os_identifiers(os_release: Mapping[str, str]) -> list[str]:
    """The OS names that match this system, the most generic first: ``ID``, ``ID:VERSION_ID`` ...

    A field that is missing is an empty part, as in ``arch:::cashier``.
    Raises VerisealError ``bad-os-release`` if there is no ID, or a field has characters that
    os-release(5) does not allow it.
    """
    path = os_release.path if isinstance(os_release, OsRelease) else None
    names: list[str] = []
    parts: list[str] = []
    for field in _OS_FIELDS:
        value = os_release.get(field, "")
        if (not parts and value in (".", "..")) or re.fullmatch(rf"{_PART}*", value) is None:
            raise VerisealError(
                "bad-os-release",
                f"{field} is no part of the name of an operating system",
                path=path,
                expected="a-z, 0-9, '.', '_' and '-'",
                found=value,
                remedy=_REMEDY,
            )
        if not value and not parts:
            raise VerisealError("bad-os-release", "there is no ID", path=path, remedy=_REMEDY)
        parts.append(value)
        if value:
            names.append(":".join(parts))
    return names


def is_os_name(name: str) -> bool:
    """Whether ``name`` can be that of an OS directory: at most five parts, of few characters."""
    return _OS_NAME.fullmatch(name) is not None and not name.endswith(":")


def covers(name: str, os_name: str) -> bool:
    """Whether the OS name ``name`` is ``os_name`` or a more generic one of the same system."""
    return os_name == name or os_name.startswith(f"{name}:")


def place(
    os_name: str, purpose: str, context: str, root: str = "/", load_path: str = LOAD_PATHS[-1]
) -> str:
    """The directory below ``root`` that certificates belong into, as a rule where vendors do."""
    return resolve.real(root, f"{load_path}/{os_name}/{purpose}/{context}/{TECHNOLOGY}")


def systems(load_paths: Iterable[str], root: str = "/") -> tuple[list[str], list[Ignored]]:
    """The OS names that have a directory in a load path, sorted; and what has no such name."""
    tree = Tree(load_paths, root)
    names: set[str] = set()
    ignored: list[Ignored] = []
    for base in tree.bases:
        for name in tree.names(base, ignored, None):
            if is_os_name(name):
                names.add(name)
            else:
                why = "not the name of an operating system"
                ignored.append(Ignored(tree.shown(f"{base}/{name}"), UNUSABLE, why))
    return sorted(names), ignored


def find(
    load_paths: Iterable[str],
    os_names: Iterable[str],
    purpose: str,
    context: str,
    root: str = "/",
) -> tuple[list[Verifier], list[Ignored]]:
    """The certificate files of ``os_names``, in a stable order, and what is ignored.

    A name in a load path hides the same name in one of lower priority. A link to /dev/null masks
    its name in all of them. Other links may lead, under the same name, to the same load path or
    one of lower priority. Links and load paths are meant as a system with this ``root`` sees them.
    """
    tree = Tree(load_paths, root)
    found: list[Verifier] = []
    ignored: list[Ignored] = []
    for os_name in os_names:
        taken: dict[str, str] = {}
        for name, path in tree.files(os_name, purpose, context, ignored):
            shown = tree.shown(path)
            look = tree.look(path)
            target = None if look.file is None else resolve.real(root, look.file)
            mask = tree.mask_of(path, look)
            if not name.endswith(".pem"):
                ignored.append(Ignored(shown, UNUSABLE, OTHER_SUFFIX, os_name, target))
            elif look.why is not None:
                ignored.append(Ignored(shown, UNUSABLE, look.why, os_name))
            elif look.file is None:
                ignored.append(Ignored(shown, MASKED, "a mask", os_name))
            elif mask is not None:
                why = f"masked by {tree.shown(mask)}"
                ignored.append(Ignored(shown, MASKED, why, os_name, target))
            elif name in taken:
                why = f"hidden by {taken[name]}"
                ignored.append(Ignored(shown, HIDDEN, why, os_name, target))
            else:
                taken[name] = shown
                found.append(Verifier(os_name, shown, str(target)))
    return found, ignored


class Look(NamedTuple):
    """What a name is: a regular ``file``, or nothing that counts (``why``), or else a mask.

    ``links`` are those that were followed.
    """

    file: str | None = None
    why: str | None = None
    links: tuple[Link, ...] = ()


class Tree:
    """The load paths below a root. All paths are absolute as seen from it, but what is shown.

    ``bases`` are those load paths to which something leads, ``ephemeral`` is `EPHEMERAL` of them.
    """

    def __init__(self, load_paths: Iterable[str], root: str) -> None:
        self._root = root
        self.bases: list[str] = []
        self.ephemeral: set[str] = set()
        self._above: set[str] = set()
        self._looks: dict[str, Look] = {}
        for path in load_paths:
            # What leads to a load path is the system's business, such as ostree's /usr/local.
            parent = resolve.follow(root, os.path.dirname(path))
            self._above.update(link.path for link in parent.links)
            if not parent.error:
                base = os.path.join(parent.path, os.path.basename(path))
                self.bases.append(base)
                if path == EPHEMERAL:
                    self.ephemeral.add(base)

    def shown(self, path: str) -> str:
        """``path`` for people, and to be opened: from here."""
        return resolve.real(self._root, path)

    def names(self, directory: str, ignored: list[Ignored], os_name: str | None) -> list[str]:
        """The names in ``directory``; none if it does not count, with the reason in ``ignored``."""
        place = resolve.follow(self._root, directory)
        at, why = directory, self._mistake(place)
        if place.links:
            at = place.links[0].path
        if place.path == resolve.NULL:
            at, why = place.links[-1].path, DIRECTORY_MASK
        elif why is None and place.error == errno.ENOENT and not place.dangling:
            return []
        elif why is None and not stat.S_ISDIR(place.mode):
            why = "not a directory"
        if why is not None:
            ignored.append(Ignored(self.shown(at), UNUSABLE, why, os_name))
            return []
        return sorted(os.listdir(self.shown(place.path)))

    def files(
        self, os_name: str, purpose: str, context: str, ignored: list[Ignored]
    ) -> Iterator[tuple[str, str]]:
        """Name and path of everything that is where certificates are, by priority."""
        for base in self.bases:
            directory = f"{base}/{os_name}/{purpose}/{context}/{TECHNOLOGY}"
            for name in self.names(directory, ignored, os_name):
                yield name, f"{directory}/{name}"

    def look(self, path: str) -> Look:
        """What the name ``path`` is, after the rules about links."""
        if path not in self._looks:
            self._looks[path] = self._look(path)
        return self._looks[path]

    def names_of(self, path: str, look: Look) -> list[str]:
        """The names, below a load path, that ``path`` has and leads through."""
        passed = [path, *(link.path for link in look.links)]
        if look.file is not None:
            passed.append(look.file)
        bases = [(one, self.base(one)) for one in passed]
        names = [one[len(self.bases[base]) :] for one, base in bases if base is not None]
        return [one for one in names if one]

    def mask_of(self, path: str, look: Look) -> str | None:
        """A mask, in any load path, of the name ``path`` or of one that it leads through."""
        for below in self.names_of(path, look):
            for other in self.bases:
                there = self.look(other + below)
                if there.file is None and there.why is None:
                    return other + below
        return None

    def _look(self, path: str) -> Look:
        place = resolve.follow(self._root, path)
        why = self._mistake(place)
        if place.path == resolve.NULL and why is None and not place.error:
            return Look(links=place.links)
        if why is None and not stat.S_ISREG(place.mode):
            why = "not a regular file"
        return Look(None if why else place.path, why, place.links)

    def _mistake(self, place: Place) -> str | None:
        """What is wrong with the links that were followed."""
        lowest = 0
        for link in place.links:
            base = self.base(link.path)
            said = f"a link to {link.target}"
            if base is None:
                if link.path in self._above:
                    continue
                return f"{said}, out of the load paths"
            if base < lowest:
                return f"{said}, in a load path of higher priority"
            lowest = base
            if link is place.links[-1] and place.path == resolve.NULL:
                return None
            if self.bases[base] in self.ephemeral:
                return f"{said}, in {EPHEMERAL}"
            if os.path.basename(link.target.rstrip("/")) != os.path.basename(link.path):
                return f"{said}, which is another name"
        if not place.links:
            return None
        said = f"a link to {place.links[-1].target}"
        base = self.base(place.path)
        if place.dangling:
            return f"{said}: {os.strerror(place.error)}"
        if base is None:
            return f"{said}, out of the load paths"
        if base < lowest or self.bases[base] in self.ephemeral:
            return f"{said}, in a load path of higher priority or {EPHEMERAL}"
        return None

    def base(self, path: str) -> int | None:
        """Which of the `bases` has ``path``, if any."""
        for number, base in enumerate(self.bases):
            if path == base or path.startswith(f"{base}/"):
                return number
        return None
