"""Which files glibc's dynamic loader maps for a program, decided without running anything.

As elf/rtld.c, elf/dl-deps.c and elf/dl-load.c of glibc do it, in a clean environment. Where it
depends on what is not known at build time, every file counts that may be taken, with what it needs.
That is the processor: a library may have variants for some of them. And the distribution: in which
of the default directories its loader looks, in which order.
"""

import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from veriseal.build import elf, scan, search, undecided
from veriseal.build.elf import Elf
from veriseal.build.ldcache import Entry
from veriseal.build.model import Place
from veriseal.build.scan import Node
from veriseal.build.search import Architecture
from veriseal.build.system import CACHE, PRELOAD, System
from veriseal.errors import VerisealError


class Mapped:
    """A file in the process.

    Attributes:
        path: by which it was opened.
        node: the file.
        elf: what it says.
        by: what asked for it; None for the program itself.
        certain: it is always mapped; else on some processors, or by some loaders.
        origin: what $ORIGIN stands for.
    """

    __slots__ = ("by", "certain", "elf", "node", "origin", "path")

    def __init__(
        self, path: bytes, node: Node, found: Elf, by: "Mapped | None", certain: bool = True
    ) -> None:
        self.path = path
        self.node = node
        self.elf = found
        self.by = by
        self.certain = certain
        self.origin = path.rpartition(b"/")[0] or b"/"


class Process:
    """A process that starts: what the kernel and the loader open for it.

    Attributes:
        members: by the path that is opened, in order; None where nothing may be.
        errors: what cannot be decided, or would not be safe.
    """

    def __init__(self, system: System, path: bytes, node: Node) -> None:
        """``path`` has no links in it: it is where the kernel says that the program is."""
        self.members: dict[bytes, Node | None] = {}
        self.errors: list[VerisealError] = []
        self._system = system
        self._path = path
        self._node = node
        self._main: Mapped | None = None
        # The names that are not searched again, the files that are, and what was not followed yet.
        self._names: set[bytes] = set()
        self._mapped: set[tuple[Node, bool]] = set()
        self._waiting: deque[Mapped] = deque()
        self._weak: dict[Node, set[bytes | str]] = {}

    def start(self, found: Elf) -> None:
        """Become the program, whose file says ``found``. Raises OSError, VerisealError."""
        if found.interpreter is None:
            return
        self._main = main = Mapped(self._path, self._node, found, None)
        if found.audits:
            raise undecided.audited(main.node.host, found.audits)
        interpreter = self._interpreter(main, found.interpreter)
        self._take_configuration()
        self._waiting += self._add([main]) + self._add([interpreter])
        for text in self._system.preloads():
            name = self._expand(text, main) if b"/" in text else text
            if not self._is_of_another_kind(name):
                self._waiting += self._map(name, main)
        self._follow()

    def load(self, path: bytes) -> None:
        """Take in the regular file ``path`` later; a library as dlopen(3) does it.

        Its directory is taken for one that the program looks through.
        Raises OSError, VerisealError.
        """
        directory = path.rpartition(b"/")[0] or b"/"
        self._require_safe(self._system.model.find(directory), directory, self._main, searched=True)
        node = self._take(path, self._main)
        if node is None or not self._system.is_elf(node):
            return
        found = self._system.elf(node)
        if found.dynamic:
            self._system.architecture(found.kind, node.host)
            self._take_configuration()
            self._waiting += self._add([Mapped(path, node, found, self._main)])
            self._follow()

    def _interpreter(self, main: Mapped, name: bytes) -> Mapped:
        model = self._system.model
        place = model.find(name) if name.startswith(b"/") else None
        node = place and place.file
        if place is None or node is None:
            raise undecided.no_interpreter(main.node.host, name, "nothing")
        if not search.is_glibc(name):
            raise undecided.unknown_loader(main.node.host, os.fsdecode(name))
        found = self._system.elf(node)
        if found.kind != main.elf.kind:
            raise undecided.no_interpreter(main.node.host, name, "one of another architecture")
        architecture = self._system.architecture(found.kind, main.node.host)
        directory = place.path.rpartition(b"/")[0]
        # One with another prefix has other default directories, and another cache.
        if directory not in {model.find(d).path for d in search.default_directories(architecture)}:
            raise undecided.unknown_loader(main.node.host, os.fsdecode(place.path))
        self._take(name, main)
        return Mapped(name, node, found, None)

    def _take_configuration(self) -> None:
        for path in (CACHE, PRELOAD):
            self._system.configured(path)
            self._take(path, self._main)

    def _take(self, path: bytes, by: Mapped | None) -> Node | None:
        """Make what ``path`` leads to a member; None if nothing is there."""
        place = self._system.model.find(path)
        self._require_safe(place, path, by)
        self.members[path] = place.file
        return place.file

    def _is_of_another_kind(self, name: bytes) -> bool:
        """Whether the preloaded file is of another kind: the loader passes over it, and says so."""
        file = self._system.model.find(name).file if name.startswith(b"/") else None
        if file is None or self._main is None:
            return False
        if self._system.elf(file).kind == self._main.elf.kind:
            return False
        self._take(name, self._main)
        return True

    def _follow(self) -> None:
        """Map what is needed by what is mapped, breadth first."""
        while self._waiting:
            one = self._waiting.popleft()
            filtered: list[Mapped] = []
            for how, name in one.elf.dependencies:
                try:
                    new = self._map(self._expand(name, one), one)
                    (self._waiting if how == elf.NEEDED else filtered).extend(new)
                except VerisealError as error:
                    if how != elf.AUXILIARY or error.reason != undecided.MISSING:
                        self.errors.append(error)
            # Their symbols come first, and so does what they need.
            self._waiting.extendleft(reversed(filtered))

    def _map(self, name: bytes, by: Mapped) -> list[Mapped]:
        """Map what ``name`` leads to; what was not mapped already."""
        if name in self._names:
            return []
        if by.certain:
            self._names.add(name)
        candidates = self._find(name, by)
        self.members.update((path, node) for path, node, _ in candidates)
        certain = by.certain and len(candidates) == 1
        new = self._add([Mapped(*one, by, certain) for one in candidates])
        sonames = {one.elf.soname for one in candidates}
        if by.certain and len(sonames) == 1:
            self._names.update(filter(None, sonames))
        return new

    def _add(self, several: list[Mapped]) -> list[Mapped]:
        """Map ``several``; those that were not mapped already.

        A name that is only known if another processor's file is mapped hides nothing.
        """
        new = []
        for one in several:
            if one.certain:
                self._names.add(one.path)
                self._names.update(filter(None, [one.elf.soname]))
            if not self._mapped & {(one.node, True), (one.node, one.certain)}:
                self._mapped.add((one.node, one.certain))
                new.append(one)
        return new

    def _find(self, name: bytes, by: Mapped) -> list["_Candidate"]:
        """All files that the loader may take for ``name``, on one processor or another."""
        if b"/" in name:
            if not name.startswith(b"/"):
                raise undecided.relative(by.node.host, name)
            found = self._candidates([name], by)
            if not found:
                raise undecided.missing(by.node.host, name, [name], self._path)
            return found
        looked: list[bytes] = []
        variants: list[_Candidate] = []
        for paths, bases in self._attempts(name, by, looked):
            variants += self._candidates(paths, by)
            last = self._candidates(bases, by)
            if last:
                return variants + last
        raise undecided.missing(by.node.host, name, looked, self._path)

    def _attempts(
        self, name: bytes, by: Mapped, looked: list[bytes]
    ) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """Where ``name`` is looked for.

        Files that are taken by some loaders on some processors; and those of which each ends the
        search, for those that look there.
        """
        for element, owner in self._search_path(by):
            yield self._in_directories([element], name, owner, looked)
        architecture = self._system.architecture(by.elf.kind, by.node.host)
        defaults = search.default_directories(architecture)
        entries = self._cached(name, by, architecture)
        looked.append(CACHE)
        shut = tuple(one + b"/" for one in defaults) if by.elf.no_default else ()
        others: list[bytes] = []
        bases: dict[int, bytes] = {}  # of each loader's the first
        for one in entries:
            if one.variant or (one.flags not in bases and one.path.startswith(shut)):
                others.append(one.path)
            else:
                bases.setdefault(one.flags, one.path)
        yield others, list(bases.values())
        if not by.elf.no_default:
            yield self._in_directories(defaults, name, by, looked)

    def _cached(self, name: bytes, by: Mapped, architecture: Architecture) -> list[Entry]:
        """The entries of the cache for ``name``, whose files are all there."""
        found = [one for one in self._system.cache().find(name) if one.flags in architecture.flags]
        for one in found:
            if not self._candidates([one.path], by):
                # The loader then goes on to the default directories, with no word of it.
                self.errors.append(self._system.stale(one.path))
        return found

    def _search_path(self, by: Mapped) -> Iterator[tuple[bytes, Mapped]]:
        paths = []
        if by.elf.runpath is not None:
            paths.append((by, by.elf.runpath))
        else:
            owners = list(_chain(by))
            if self._main is not None and self._main not in owners:
                owners.append(self._main)
            paths += [(owner, owner.elf.rpath) for owner in owners if owner.elf.rpath is not None]
        for owner, path in paths:
            for element in search.elements(path):
                directory = self._expand(element, owner)
                if not directory.startswith(b"/"):
                    raise undecided.relative(owner.node.host, element)
                yield directory.rstrip(b"/"), owner

    def _in_directories(
        self, directories: Sequence[bytes], name: bytes, owner: Mapped, looked: list[bytes]
    ) -> tuple[list[bytes], list[bytes]]:
        """For `_attempts`: ``name`` in ``directories``, any of which may be the first."""
        model = self._system.model
        variants: list[bytes] = []
        for directory in directories:
            looked.append(directory or b"/")
            below = model.variants(directory)
            for one in (directory or b"/", *below):
                self._require_safe(model.find(one), one, owner, searched=True)
            variants += (one + b"/" + name for one in below)
        return variants, [directory + b"/" + name for directory in directories]

    def _candidates(self, paths: Sequence[bytes], by: Mapped) -> list["_Candidate"]:
        """What is at ``paths``, each file once, if the loader takes it.

        It passes over files of another kind.
        """
        taken: dict[bytes, _Candidate] = {}
        for path in paths:
            place = self._system.model.find(path)
            found = None if place.file is None else self._system.elf(place.file)
            passed = found is None or found.kind != by.elf.kind
            # Only what is a member is looked at again; what is not must stay as it is.
            self._require_safe(place, path, by, passed=passed)
            if place.file is not None and found is not None and not passed:
                taken.setdefault(place.path, _Candidate(path, place.file, found))
        return list(taken.values())

    def _expand(self, text: bytes, owner: Mapped) -> bytes:
        used = search.tokens(text)
        if not used:
            return text
        if b"PLATFORM" in used:
            raise undecided.by_processor(owner.node.host, text)
        if b"ORIGIN" in used and _gains_privilege(self._node):
            raise undecided.by_privilege(self._node.host, text, owner.path)
        architecture = self._system.architecture(owner.elf.kind, owner.node.host)
        values = {b"ORIGIN": owner.origin, b"LIB": self._system.lib(architecture)}
        return search.expand(text, values)

    def _require_safe(
        self,
        place: Place,
        path: bytes,
        by: Mapped | None,
        searched: bool = False,
        passed: bool = False,
    ) -> None:
        # Where nothing is yet, something may be added.
        exclusive = searched or passed or place.node is None
        weakness = self._system.model.weakness(place, exclusive=exclusive)
        said = self._weak.setdefault(by.node if by else self._node, set())
        # Once is enough, and of a directory for all that is below.
        if weakness is None or said & {weakness, *_above(place.path)}:
            return
        said |= {weakness, place.path}
        host = by.node.host if by else self._node.host
        self.errors.append(undecided.open_to_others(host, path, weakness, searched))


def _chain(one: Mapped | None) -> Iterator[Mapped]:
    """``one``, what asked for it, what asked for that, and so on."""
    while one is not None:
        yield one
        one = one.by


def _above(path: bytes) -> Iterator[bytes]:
    """``path``, the directory that it is in, and so on."""
    while path:
        yield path
        path = path.rpartition(b"/")[0]


class _Candidate(NamedTuple):
    path: bytes
    node: Node
    elf: Elf


def _gains_privilege(node: Node) -> bool:
    """Whether it may: the loader then passes over most of what has $ORIGIN (AT_SECURE)."""
    set_id = node.status.st_mode & (stat.S_ISUID | stat.S_ISGID)
    return bool(set_id) or "security.capability" in scan.attributes(node)
