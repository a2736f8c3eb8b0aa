"""The closures of all programs of a tree: what each needs before it runs, and what it loads."""

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from veriseal.build import undecided
from veriseal.build.elf import Elf
from veriseal.build.loader import Process
from veriseal.build.model import Model
from veriseal.build.scan import Node
from veriseal.build.search import Kind
from veriseal.build.system import System
from veriseal.closure import Closures, Member
from veriseal.digest import Digest
from veriseal.errors import VerisealError, path_of
from veriseal.pattern import Patterns

_X_BITS = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH
_SCRIPT = b"#!"


class Wanted(NamedTuple):
    """Whose closures, and what belongs into them.

    Attributes:
        programs: where programs are.
        signed: what has verity. A file that has none cannot be started, nor be a member.
        loads: patterns of further members, by the path of the program.
    """

    programs: Patterns
    signed: Patterns
    loads: Mapping[str, tuple[str, ...]]


class Built(NamedTuple):
    """What `build` finds.

    Attributes:
        closures: of all programs.
        errors: what is wrong, each said once.
        foreign: programs that get no closure, for the tree has no loader for any program of their
            architecture, though for others: what perf and valgrind bring for foreign processes.
    """

    closures: Closures
    errors: list[VerisealError]
    foreign: list[VerisealError]


def build(model: Model, digests: Mapping[Node, Digest], wanted: Wanted) -> Built:
    """The closure of each program of the tree.

    ``digests`` are those of the regular files. The closure of a script has nothing but what it is
    declared to load: its interpreter is a program of its own.
    """
    builder = _Builder(model, digests, wanted)
    builder.run()
    return Built(builder.closures, builder.errors, builder.foreign)


class _Builder:
    def __init__(self, model: Model, digests: Mapping[Node, Digest], wanted: Wanted) -> None:
        self.closures: Closures = {}
        self.errors: list[VerisealError] = []
        self.foreign: list[VerisealError] = []
        self._model = model
        self._system = System(model)
        self._digests = digests
        self._wanted = wanted
        self._loads = {
            path.encode("utf-8", "surrogateescape"): found for path, found in wanted.loads.items()
        }
        self._said: set[tuple[str, ...]] = set()
        self._kinds: set[Kind] = set()
        self._without_loader: list[tuple[Kind, VerisealError]] = []

    def run(self) -> None:
        for path, node in self._model.nodes.items():
            with self._collecting(node.host):
                if self._may_be_program(path, node):
                    self._program(path, node)
        for kind, error in self._without_loader:
            if self._kinds and kind not in self._kinds:
                self.foreign.append(error)
            else:
                self._say(error)
        for path in self._loads:
            if path not in self.closures:
                self._say(self._no_program(path))

    def _may_be_program(self, path: bytes, node: Node) -> bool:
        mode = node.status.st_mode
        return (
            stat.S_ISREG(mode)
            and bool(mode & _X_BITS)
            and self._wanted.programs.cover(path)
            and any(map(self._wanted.signed.cover, node.paths))
        )

    def _program(self, path: bytes, node: Node) -> None:
        found = self._system.elf(node) if self._system.is_elf(node) else None
        if found is None and not self._system.head(node).startswith(_SCRIPT):
            return
        if found is not None and not found.is_program:
            return
        # Whatever is wrong with it, it is a program.
        self.closures[path] = ()
        process = Process(self._system, path, node)
        if found is not None and not self._start(process, found, path):
            return
        for text in self._loads.get(path, ()):
            self._load(process, text, node)
        for error in process.errors:
            self._say(error)
        self.closures[path] = tuple(self._member(*one, path) for one in process.members.items())

    def _start(self, process: Process, found: Elf, path: bytes) -> bool:
        try:
            process.start(found)
        except VerisealError as error:
            if error.reason != undecided.NO_INTERPRETER or path in self._loads:
                raise
            self._without_loader.append((found.kind, error))
            del self.closures[path]
            return False
        if found.interpreter is not None:
            self._kinds.add(found.kind)
        return True

    def _load(self, process: Process, text: str, program: Node) -> None:
        pattern = Patterns([text])
        paths = [path for path in self._model.nodes if pattern.cover(path)]
        files = [path for path in paths if self._model.find(path).file is not None]
        if not files:
            raise VerisealError(
                "loads-nothing",
                "no file of the tree matches what the program is declared to load",
                path=program.host,
                expected=text,
                found="none",
                remedy="Correct loads of this program; patterns name files where they are, "
                "through no link",
            )
        for path in files:
            process.load(path)

    def _member(self, path: bytes, node: Node | None, program: bytes) -> Member:
        if node is None:
            return Member(path, None)
        if not any(map(self._wanted.signed.cover, node.paths)):
            self._say(
                VerisealError(
                    "member-unsigned",
                    "a program needs this file, which would have no verity: it would not start",
                    path=node.host,
                    expected="a path that build.sign names",
                    found=f"{os.fsdecode(path)}, for {os.fsdecode(program)}",
                    remedy="Name it in build.sign, or keep the program out of build.sign or "
                    "build.programs",
                )
            )
        return Member(path, self._digests[node])

    def _no_program(self, path: bytes) -> VerisealError:
        place = self._model.find(path)
        found = "nothing, or what is not listed"
        if place.path != path and place.node is not None:
            found = f"another name of {os.fsdecode(place.path)}"
        elif place.file is not None:
            found = "a file that is none, cannot be executed, or is not in build.programs and sign"
        elif place.node is not None:
            found = "something else"
        return VerisealError(
            "not-a-program",
            "a program is configured that is none",
            path=os.fsdecode(path),
            expected="an executable ELF program or a script of the tree",
            found=found,
            remedy="Correct its path in [program], or take it out",
        )

    @contextlib.contextmanager
    def _collecting(self, path: str) -> Iterator[None]:
        try:
            yield
        except VerisealError as error:
            self._say(error)
        except OSError as error:
            where = path_of(error) or path
            self._say(VerisealError("system-call", error.strerror or str(error), path=where))

    def _say(self, error: VerisealError) -> None:
        """Keep ``error``, unless another program had it already."""
        detail = error.found
        if error.reason in (undecided.MISSING, "member-unsigned"):
            detail = error.expected  # what was found also names the program
        key = (error.reason, str(error.path), str(detail))
        if key not in self._said:
            self._said.add(key)
            self.errors.append(error)
