"""Where the parts of a unit are: its file, under all its names, and its drop-ins.

As systemd finds them: systemd.unit(5), UNIT FILE LOAD PATH; src/basic/unit-file.c;
src/shared/dropin.c. Symbolic links are followed inside the root directory that is asked about.
"""

import os
import re
import stat
from collections.abc import Iterator
from typing import NamedTuple

from veriseal.build import files
from veriseal.errors import VerisealError
from veriseal.unit.syntax import MAX_SIZE

PERSISTENT = "/etc/systemd/system"
RUNTIME = "/run/systemd/system"
SEARCH_PATH = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    PERSISTENT,
    "/etc/systemd/system.attached",
    RUNTIME,
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/run/systemd/generator.late",
)
"""Of the system manager, the first counts most: systemd-analyze unit-paths."""
_USER_PATHS = ("/etc/systemd/user", "/usr/local/lib/systemd/user", "/usr/lib/systemd/user")

SUFFIX = ".service"
_TYPE = "service"
"""Drop-ins in `service.d` count for every service."""
_OTHER_SUFFIXES = (
    ".automount .device .mount .path .scope .slice .snapshot .socket .swap .target .timer"
).split()
_NAME = re.compile(r"[A-Za-z0-9:_.\\-]+(@[A-Za-z0-9:_.\\@-]*)?\.service")
_MOST_NAME = 255
_MOST_LINKS = 8
"""Both as systemd has them: UNIT_NAME_MAX, FOLLOW_MAX."""


class Part(NamedTuple):
    """A file of a unit: where it is in the root directory asked about, and what it says."""

    path: str
    data: bytes


class Unit(NamedTuple):
    """A unit as it is found.

    Attributes:
        name: the one that its file has; a template's instance where one was asked for.
        fragment: the unit file.
        drop_ins: in the order in which they are applied.
        places: directories for drop-ins; of two files of one name the one listed first counts.
    """

    name: str
    fragment: Part
    drop_ins: tuple[Part, ...]
    places: tuple[str, ...]


def full_name(name: str) -> str:
    """``name`` with its suffix, as systemctl(1) completes it. Raises VerisealError ``bad-name``."""
    if any(name.endswith(suffix) for suffix in _OTHER_SUFFIXES):
        problem = "only services have a program to start"
        raise VerisealError("not-a-service", problem, path=name, remedy=f"Name a {SUFFIX} unit")
    whole = name if name.endswith(SUFFIX) else name + SUFFIX
    if not _NAME.fullmatch(whole) or len(whole) > _MOST_NAME:
        remedy = "Give the name as systemctl shows it; systemd-escape makes one of a path"
        raise VerisealError("bad-name", "not the name of a unit", path=name, remedy=remedy)
    return whole


def find(root: str, name: str) -> Unit:
    """The unit ``name``, a full name, in the root directory ``root``.

    Raises VerisealError ``no-unit``, ``masked``, ``user-unit``, ``bad-unit``, and OSError.
    """
    names = _Names(root)
    main = names.resolve(name)
    if main is None:
        raise _missing(root, name)
    path = names.fragment(main)
    fragment = _read(root, path)
    if fragment is None:
        raise VerisealError(
            "masked", "the unit is masked", path=path, remedy=f"systemctl unmask {main}"
        )
    places = tuple(_places(main, names.aliases(main)))
    return Unit(main, fragment, tuple(_drop_ins(root, places)), places)


class _Names:
    """Every unit file's name: either the path of a file, or the name that it is an alias of."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._searched = {_shown(root, files.inside(root, one)) for one in SEARCH_PATH}
        self._known: dict[str, str] = {}
        for directory in SEARCH_PATH:
            for name in _list(root, directory):
                if _NAME.fullmatch(name) and name not in self._known:
                    target = self._target(directory, name)
                    if target != name:
                        self._known[name] = target

    def _target(self, directory: str, name: str) -> str:
        path = f"{directory}/{name}"
        place = os.path.join(files.inside(self._root, directory), name)
        if not os.path.islink(place):
            return path
        whole = os.path.join(directory, os.readlink(place))
        # The link's own last component is the alias, wherever that file leads in turn.
        parent = _shown(self._root, files.inside(self._root, os.path.dirname(whole)))
        # Elsewhere: a linked unit file, or a mask.
        alias = os.path.basename(whole)
        return alias if parent in self._searched and _NAME.fullmatch(alias) else path

    def _known_as(self, name: str) -> str | None:
        target = self._known.get(name)
        template = _template(name)
        if target is None and template is not None:
            target = self._known.get(template)
            if target is not None and not target.startswith("/"):
                target = _with_instance(target, name)
        return target

    def resolve(self, name: str) -> str | None:
        """The name of the unit file that ``name`` stands for; None if there is none."""
        for _ in range(_MOST_LINKS):
            target = self._known_as(name)
            if target is None or target.startswith("/"):
                return None if target is None else name
            name = target
        return None

    def fragment(self, main: str) -> str:
        """The path of the file of a name that `resolve` gave."""
        return self._known_as(main) or ""

    def aliases(self, main: str) -> list[str]:
        """The other names of ``main``, each with its instance if it has one."""
        template = _template(main)
        found = set()
        for name in self._known:
            resolved = self.resolve(name)
            if resolved == main:
                found.add(name)
            elif template is not None and resolved == template:
                found.add(_with_instance(name, main))
        return sorted(found - {main})


def _template(name: str) -> str | None:
    """``foo@.service`` of ``foo@bar.service``; None of anything else."""
    prefix, at, instance = name.removesuffix(SUFFIX).partition("@")
    return f"{prefix}@{SUFFIX}" if at and instance else None


def _with_instance(template: str, instance_of: str) -> str:
    """``template`` with the instance of another name; as it is if it has one already."""
    prefix, at, instance = template.removesuffix(SUFFIX).partition("@")
    if not at or instance:
        return template
    return f"{prefix}@{instance_of.removesuffix(SUFFIX).partition('@')[2]}{SUFFIX}"


def _places(main: str, aliases: list[str]) -> Iterator[str]:
    for name in (main, *aliases, _TYPE):
        for directory in SEARCH_PATH:
            for one in _drop_in_names(name):
                yield f"{directory}/{one}.d"


def _drop_ins(root: str, places: tuple[str, ...]) -> Iterator[Part]:
    by_name: dict[str, str] = {}
    for place in places:
        for entry in _list(root, place):
            if entry.endswith(".conf") and not entry.startswith("."):
                by_name.setdefault(entry, f"{place}/{entry}")
    for name in sorted(by_name, key=os.fsencode):
        part = _read(root, by_name[name])
        # An empty one only takes the place of others.
        if part is not None:
            yield part


def _drop_in_names(name: str) -> Iterator[str]:
    """Whose drop-ins count for ``name``: its own, its template's, those of ``foo-`` prefixes."""
    yield name
    template = _template(name)
    if template is not None:
        yield from _drop_in_names(template)
    if name == _TYPE:
        return
    prefix, _, instance = name.removesuffix(SUFFIX).partition("@")
    # One dash at the end is not what is looked for.
    shorter = prefix.removesuffix("-").rpartition("-")[0]
    if shorter:
        # A template's prefix is that of a plain unit, in systemd as well.
        yield from _drop_in_names(f"{shorter}-{'@' * bool(instance)}{instance}{SUFFIX}")


def _read(root: str, path: str) -> Part | None:
    """The file at ``path``; None if it is masked: empty, or /dev/null."""
    place = files.inside(root, path)
    if _shown(root, place) == "/dev/null":
        return None
    try:
        kind = os.stat(place, follow_symlinks=False).st_mode
    except FileNotFoundError:
        raise VerisealError(
            "bad-unit", "a link to a file that is not there", path=path, remedy="Remove the link"
        ) from None
    if not stat.S_ISREG(kind):
        raise VerisealError(
            "bad-unit", "not a regular file", path=path, remedy="Put a unit file there"
        )
    data = files.read(place, MAX_SIZE)
    return Part(path, data) if data else None


def _list(root: str, directory: str) -> list[str]:
    try:
        return sorted(os.listdir(files.inside(root, directory)))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _shown(root: str, place: str) -> str:
    """``place``, on this machine, as a path in ``root``."""
    path = os.path.relpath(place, root)
    return "/" if path == "." else f"/{path}"


def _missing(root: str, name: str) -> VerisealError:
    for directory in _USER_PATHS:
        for one in filter(None, (name, _template(name))):
            if os.path.lexists(files.inside(root, f"{directory}/{one}")):
                return VerisealError(
                    "user-unit",
                    "a unit of users' own managers, whose owner can change it at any time",
                    path=f"{directory}/{one}",
                    remedy="Make it a system unit with User=",
                )
    return VerisealError(
        "no-unit",
        "there is no such unit",
        path=name,
        remedy="systemctl list-unit-files shows the names; only system units are looked for",
    )
