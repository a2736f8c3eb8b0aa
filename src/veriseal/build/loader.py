"""Which files glibc's dynamic loader maps for a program, decided without running anything.

As elf/rtld.c, elf/dl-deps.c and elf/dl-load.c of glibc do it, in a clean environment. Two things
are not known at build time. The processor: of a library that has variants for some processors
(glibc-hwcaps) all count, with what they need. And whether the program will gain privilege: then the
loader ignores $ORIGIN outside of its own directories. The processor's directories of glibc before
2.37 (tls, haswell and others) are not looked into.
"""

import os
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from veriseal.build import elf, search
from veriseal.build.elf import Elf
from veriseal.build.model import Place
from veriseal.build.scan import Node
from veriseal.build.system import CACHE, PRELOAD, System
from veriseal.errors import VerisealError

MISSING = "library-missing"
NO_INTERPRETER = "interpreter-missing"


class Mapped:
    """A file in the process.

    Attributes:
        path: by which it was opened.
        node: the file.
        elf: what it says.
        by: what asked for it; None for the program itself.
        origin: what $ORIGIN stands for.
    """

    __slots__ = ("by", "elf", "node", "origin", "path")

    def __init__(self, path: bytes, node: Node, found: Elf, by: "Mapped | None") -> None:
        self.path = path
        self.node = node
        self.elf = found
        self.by = by
        self.origin = path.rpartition(b"/")[0] or b"/"


class _Space:
    """A namespace of the loader: the names it knows, and what is mapped but not followed yet."""

    def __init__(self) -> None:
        self.waiting: deque[Mapped] = deque()
        self.names: set[bytes] = set()
        self._nodes: set[Node] = set()

    def add(self, *several: Mapped) -> list[Mapped]:
        """Map ``several``; those that were not mapped already."""
        new = []
        for one in several:
            self.names.add(one.path)
            if one.node in self._nodes:
                continue
            self._nodes.add(one.node)
            if one.elf.soname is not None:
                self.names.add(one.elf.soname)
            new.append(one)
        return new


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
        self._space = _Space()
        self._weak: set[tuple[Node, str | None]] = set()

    def start(self, found: Elf) -> None:
        """Become the program, whose file says ``found``. Raises OSError, VerisealError."""
        if found.interpreter is None:
            return
        self._main = main = Mapped(self._path, self._node, found, None)
        interpreter = self._interpreter(main, found.interpreter)
        self._system.architecture(found.kind, main.node.host)
        for path in (CACHE, PRELOAD):
            self._take(path, main)
        for name in found.audits:
            space = _Space()
            space.add(interpreter)
            space.waiting += self._map(space, self._expand(name, interpreter), interpreter)
            self._follow(space)
        self._space.waiting += self._space.add(main, interpreter)
        for name in self._system.preloads():
            if not self._is_of_another_kind(name):
                self._space.waiting += self._map(self._space, name, main)
        self._follow(self._space)

    def load(self, path: bytes) -> None:
        """Take in the regular file ``path`` later; a library as dlopen(3) does it.

        Raises OSError, VerisealError.
        """
        node = self._take(path, self._main)
        if node is None or not self._system.is_elf(node):
            return
        found = self._system.elf(node)
        if found.dynamic:
            self._system.architecture(found.kind, node.host)
            for one in (CACHE, PRELOAD):
                self._take(one, self._main)
            self._space.waiting += self._space.add(Mapped(path, node, found, self._main))
            self._follow(self._space)

    def _interpreter(self, main: Mapped, name: bytes) -> Mapped:
        place = self._system.model.find(name) if name.startswith(b"/") else None
        node = place and place.file
        if place is None or node is None:
            raise _no_interpreter(main, name, "nothing")
        if not search.is_glibc(name):
            raise search.unknown_loader(main.node.host, os.fsdecode(name))
        found = self._system.elf(node)
        if found.kind != main.elf.kind:
            raise _no_interpreter(main, name, "one of another architecture")
        self._take(name, main)
        return Mapped(name, node, found, None)

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

    def _follow(self, space: _Space) -> None:
        """Map what is needed by what is mapped, breadth first."""
        while space.waiting:
            one = space.waiting.popleft()
            filtered: list[Mapped] = []
            for how, name in one.elf.dependencies:
                try:
                    new = self._map(space, self._expand(name, one), one)
                    (space.waiting if how == elf.NEEDED else filtered).extend(new)
                except VerisealError as error:
                    if how != elf.AUXILIARY or error.reason != MISSING:
                        self.errors.append(error)
            # Their symbols come first, and so does what they need.
            space.waiting.extendleft(reversed(filtered))

    def _map(self, space: _Space, name: bytes, by: Mapped) -> list[Mapped]:
        """Map what ``name`` leads to; what was not mapped already."""
        if name in space.names:
            return []
        space.names.add(name)
        candidates = self._find(name, by)
        self.members.update((path, node) for path, node, _ in candidates)
        return space.add(*(Mapped(path, node, found, by) for path, node, found in candidates))

    def _find(self, name: bytes, by: Mapped) -> list["_Candidate"]:
        """All files that the loader may take for ``name``, on one processor or another."""
        if b"/" in name:
            if not name.startswith(b"/"):
                raise _relative(by, name)
            found = self._candidate(name, by)
            if found is None:
                raise self._missing(name, by, [name])
            return [found]
        looked: list[bytes] = []
        variants: list[_Candidate] = []
        for paths, base in self._attempts(name, by, looked):
            candidates = [self._candidate(path, by) for path in paths]
            variants += [one for one in candidates if one is not None]
            last = self._candidate(base, by) if base is not None else None
            if last is not None:
                return [*variants, last]
        raise self._missing(name, by, looked)

    def _attempts(
        self, name: bytes, by: Mapped, looked: list[bytes]
    ) -> Iterator[tuple[list[bytes], bytes | None]]:
        """Where ``name`` is looked for: variants for some processors, and the file for all."""
        for element, owner in self._search_path(by):
            yield self._in_directory(element, name, owner, looked)
        architecture = self._system.architecture(by.elf.kind, by.node.host)
        defaults = search.default_directories(architecture)
        entries = [
            one
            for one in self._system.cache().find(name)
            if one.flags in architecture.flags
            and not (by.elf.no_default and one.path.startswith(tuple(d + b"/" for d in defaults)))
        ]
        looked.append(CACHE)
        bases = [one.path for one in entries if not one.variant]
        yield [one.path for one in entries if one.variant], bases[0] if bases else None
        if not by.elf.no_default:
            for directory in defaults:
                yield self._in_directory(directory, name, by, looked)

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
                    raise _relative(owner, element)
                yield directory.rstrip(b"/"), owner

    def _in_directory(
        self, directory: bytes, name: bytes, owner: Mapped, looked: list[bytes]
    ) -> tuple[list[bytes], bytes]:
        model = self._system.model
        self._require_safe(model.find(directory or b"/"), directory or b"/", owner, searched=True)
        looked.append(directory or b"/")
        variants = [
            b"%s/glibc-hwcaps/%s/%s" % (directory, variant, name)
            for variant in model.variants(directory)
        ]
        return variants, directory + b"/" + name

    def _candidate(self, path: bytes, by: Mapped) -> "_Candidate | None":
        """What is at ``path``, if the loader takes it; it passes over files of another kind."""
        place = self._system.model.find(path)
        self._require_safe(place, path, by)
        if place.file is None:
            return None
        found = self._system.elf(place.file)
        return _Candidate(path, place.file, found) if found.kind == by.elf.kind else None

    def _expand(self, text: bytes, owner: Mapped) -> bytes:
        used = search.tokens(text)
        if not used:
            return text
        if b"PLATFORM" in used:
            raise VerisealError(
                "search-path-unknown",
                "where it looks for libraries depends on the processor",
                path=owner.node.host,
                expected="no $PLATFORM",
                found=os.fsdecode(text),
                remedy="Link it with another search path, or change that with patchelf",
            )
        architecture = self._system.architecture(owner.elf.kind, owner.node.host)
        values = {b"ORIGIN": owner.origin, b"LIB": self._system.lib(architecture)}
        return search.expand(text, values)

    def _require_safe(
        self, place: Place, path: bytes, by: Mapped | None, searched: bool = False
    ) -> None:
        weakness = self._system.model.weakness(place, exclusive=searched)
        key = by.node if by else self._node, weakness
        if weakness is None or key in self._weak:
            return
        self._weak.add(key)
        what = "a directory that it searches for libraries" if searched else "a file that it needs"
        self.errors.append(
            VerisealError(
                "search-path-open",
                f"{what} can be replaced in the running system",
                path=by.node.host if by else self._node.host,
                expected="directories in build.exclusive that only their owners can write to",
                found=f"{os.fsdecode(path)}: {weakness}",
                remedy="Move it, change who may write there, name it in build.exclusive, or take "
                "it out of the search path (patchelf --set-rpath)",
            )
        )

    def _missing(self, name: bytes, by: Mapped, looked: list[bytes]) -> VerisealError:
        places = ", ".join(map(os.fsdecode, dict.fromkeys(looked)))
        return VerisealError(
            MISSING,
            "a library that it needs is not in the tree",
            path=by.node.host,
            expected=f"{os.fsdecode(name)} in {places}",
            found=f"none, for {os.fsdecode(self._path)}",
            remedy="Put it into the tree and run ldconfig -r TREE; or name the programs that are "
            "to run in build.programs",
        )


def _chain(one: Mapped | None) -> Iterator[Mapped]:
    """``one``, what asked for it, what asked for that, and so on."""
    while one is not None:
        yield one
        one = one.by


class _Candidate(NamedTuple):
    path: bytes
    node: Node
    elf: Elf


def _relative(owner: Mapped, element: bytes) -> VerisealError:
    return VerisealError(
        "search-path-relative",
        "where it looks for libraries depends on the working directory",
        path=owner.node.host,
        expected="absolute paths, or $ORIGIN",
        found=os.fsdecode(element) or "an empty element",
        remedy="Link it with another search path, or change that with patchelf",
    )


def _no_interpreter(main: Mapped, name: bytes, found: str) -> VerisealError:
    return VerisealError(
        NO_INTERPRETER,
        "its ELF interpreter is not in the tree",
        path=main.node.host,
        expected=os.fsdecode(name),
        found=found,
        remedy="Put it into the tree, or name the programs that are to run in build.programs",
    )
