"""The tree as the system that boots it will see it: its paths, through its own links. Pure but for
reading links and attributes; nothing outside of the tree is looked at.
"""

import os
import stat
from typing import NamedTuple

from veriseal.build import scan, search
from veriseal.build.scan import Node, Scan
from veriseal.pattern import EXCLUSIVE, MUTABLE, Rules

_MAX_LINKS = 40  # as the kernel has it: MAXSYMLINKS, include/linux/namei.h
_HWCAPS = b"/glibc-hwcaps"
_ACL = "system.posix_acl_access"


class Place(NamedTuple):
    """Where a path leads.

    Attributes:
        path: without links; if nothing is there, of the first component that is missing.
        node: what is there; None if nothing is, or nothing that is listed.
        writable: who else may write in a directory on the way, or in the place itself.
    """

    path: bytes
    node: Node | None
    writable: str | None

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
        self._names: dict[bytes, list[bytes]] = {}
        self._variants: dict[bytes, list[bytes]] = {}
        self._writable: dict[bytes, str | None] = {}
        for path in self.nodes:
            directory, _, name = path.rpartition(b"/")
            self._names.setdefault(directory, []).append(name)

    def find(self, path: bytes) -> Place:
        """Where the absolute ``path`` leads. Raises OSError if a link cannot be read."""
        place = self._places.get(path)
        if place is None:
            place = self._places[path] = self._walk(path)
        return place

    def variants(self, directory: bytes) -> list[bytes]:
        """What is searched with ``directory``, on some processors: paths.

        All that is in glibc-hwcaps, and first that itself, even if it is not there; and below
        ``directory`` the names that glibc before 2.37 knows, in any order: what has several by
        links has one of them.
        """
        if directory not in self._variants:
            hwcaps = directory + _HWCAPS
            found = [hwcaps, *(hwcaps + b"/" + name for name in self._listed(hwcaps))]
            seen, waiting = {self.find(directory).path}, [directory]
            for one in waiting:
                for name in filter(search.PROCESSORS.__contains__, self._listed(one)):
                    below = one + b"/" + name
                    place = self.find(below)
                    if place.path not in seen:
                        seen.add(place.path)
                        waiting.append(below)
            self._variants[directory] = found + waiting[1:]
        return self._variants[directory]

    def _listed(self, directory: bytes) -> list[bytes]:
        place = self.find(directory or b"/")
        return sorted(self._names.get(place.path.rstrip(b"/"), [])) if place.is_directory else []

    def weakness(self, place: Place, exclusive: bool = False) -> str | None:
        """Why what is at ``place`` may be another file in the running system; None if it cannot.

        With ``exclusive`` also if something may be added there.
        """
        if place.writable is not None:
            return place.writable
        kind = self._rules.kind(place.path)
        if kind == MUTABLE:
            return f"{os.fsdecode(place.path)} is in build.mutable"
        if exclusive and kind != EXCLUSIVE:
            return f"{os.fsdecode(place.path)} is not in build.exclusive"
        return None

    def _walk(self, path: bytes) -> Place:
        here, links = b"", 0
        waiting = path.split(b"/")[::-1]
        writable = self._writer(b"/")
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
                writable = writable or self._writer(here)
        return Place(here or b"/", self.nodes.get(here or b"/"), writable)

    def _writer(self, directory: bytes) -> str | None:
        """Who else may write in ``directory``; None if only root and the owner of the tree may.

        Who owns the root directory could put another one in the place of each: so it is where the
        builder owns the tree. Members of a group are not looked up, as they come and go: that of
        Debian's /usr/local, staff, is empty, until somebody joins it.
        """
        if directory not in self._writable:
            node = self.nodes.get(directory)
            shown = os.fsdecode(directory)
            self._writable[directory] = None if node is None else self._other_writer(node, shown)
        return self._writable[directory]

    def _other_writer(self, node: Node, shown: str) -> str | None:
        mode, root = node.status.st_mode, self.nodes[b"/"].status
        if mode & stat.S_IWOTH:
            return f"anybody may write in {shown}"
        if node.status.st_uid not in (0, root.st_uid):
            return f"user {node.status.st_uid} owns {shown}"
        if not mode & stat.S_IWGRP:
            return None  # nor does a list give more than that: it is its mask
        if node.status.st_gid not in (0, root.st_gid if root.st_uid else 0):
            return f"group {node.status.st_gid} may write in {shown}"
        if _ACL in scan.attributes(node):
            return f"by an access control list others may write in {shown}"
        return None
