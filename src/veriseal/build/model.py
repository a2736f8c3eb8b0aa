"""The tree as the system that boots it will see it: its paths, through its own links. Pure but for
reading links; nothing outside of the tree is looked at.
"""

import os
import stat
from typing import NamedTuple

from veriseal.build.scan import Node, Scan
from veriseal.pattern import EXCLUSIVE, MUTABLE, Rules

_MAX_LINKS = 40  # as the kernel has it: MAXSYMLINKS, include/linux/namei.h


class Place(NamedTuple):
    """Where a path leads.

    Attributes:
        path: without links; if nothing is there, of the first component that is missing.
        node: what is there; None if nothing is, or nothing that is listed.
        writable: a directory on the way, or the place itself, in which anybody may write.
    """

    path: bytes
    node: Node | None
    writable: bytes | None

    @property
    def file(self) -> Node | None:
        """The regular file that is there, if one is."""
        return self.node if self._is(stat.S_IFREG) else None

    @property
    def is_directory(self) -> bool:
        return self._is(stat.S_IFDIR)

    def _is(self, kind: int) -> bool:
        return self.node is not None and stat.S_IFMT(self.node.status.st_mode) == kind


class Model:
    """What was scanned.

    Attributes:
        nodes: by each of their paths.
    """

    def __init__(self, found: Scan, rules: Rules) -> None:
        """``rules`` are those of the scan."""
        self.nodes: dict[bytes, Node] = {path: node for node in found.nodes for path in node.paths}
        self._rules = rules
        self._places: dict[bytes, Place] = {}
        self._below: dict[bytes, list[bytes]] = {}
        for path in self.nodes:
            directory, _, name = path.rpartition(b"/")
            if directory.endswith(b"/glibc-hwcaps"):
                self._below.setdefault(directory, []).append(name)

    def find(self, path: bytes) -> Place:
        """Where the absolute ``path`` leads. Raises OSError if a link cannot be read."""
        place = self._places.get(path)
        if place is None:
            place = self._places[path] = self._walk(path)
        return place

    def variants(self, directory: bytes) -> list[bytes]:
        """For which processors ``directory`` has libraries of their own: names, in order."""
        place = self.find(directory + b"/glibc-hwcaps")
        return sorted(self._below.get(place.path, [])) if place.is_directory else []

    def weakness(self, place: Place, exclusive: bool = False) -> str | None:
        """Why what is at ``place`` may be another file in the running system; None if it cannot.

        With ``exclusive`` also if something may be added there.
        """
        if place.writable is not None:
            return f"anybody may write in {os.fsdecode(place.writable)}"
        kind = self._rules.kind(place.path)
        if kind == MUTABLE:
            return f"{os.fsdecode(place.path)} is in build.mutable"
        if exclusive and kind != EXCLUSIVE:
            return f"{os.fsdecode(place.path)} is not in build.exclusive"
        return None

    def _walk(self, path: bytes) -> Place:
        here, links = b"", 0
        waiting = path.split(b"/")[::-1]
        writable = self._writable(b"/")
        while waiting:
            name = waiting.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                here = here.rpartition(b"/")[0]
                continue
            below = here + b"/" + name
            node = self.nodes.get(below)
            if node is not None and stat.S_ISLNK(node.status.st_mode):
                links += 1
                target = os.fsencode(os.readlink(node.host))
                if links > _MAX_LINKS:
                    return Place(below, None, writable)
                if target.startswith(b"/"):
                    here = b""
                waiting.extend(target.split(b"/")[::-1])
                continue
            is_directory = node is not None and stat.S_ISDIR(node.status.st_mode)
            if not is_directory and (node is None or any(waiting)):
                return Place(below, None, writable)
            here = below
            if is_directory:
                writable = writable or self._writable(here)
        return Place(here or b"/", self.nodes.get(here or b"/"), writable)

    def _writable(self, directory: bytes) -> bytes | None:
        node = self.nodes.get(directory)
        if node is not None and node.status.st_mode & stat.S_IWOTH:
            return directory
        return None
