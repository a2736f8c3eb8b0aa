"""What all programs of a tree have in common: files read once, and the loader's configuration."""

import os
import re

from veriseal.build import elf, ldcache, scan, search, undecided
from veriseal.build.elf import Elf
from veriseal.build.ldcache import Cache
from veriseal.build.model import Model
from veriseal.build.scan import Node
from veriseal.build.search import Architecture, Kind
from veriseal.errors import VerisealError

CACHE = b"/etc/ld.so.cache"
PRELOAD = b"/etc/ld.so.preload"

_MAX_PRELOAD = 1 << 16
_SEPARATORS = re.compile(rb"[: \t\n]+")


class System:
    """A tree, as its programs find it.

    Attributes:
        model: its paths.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._heads: dict[Node, bytes] = {}
        self._elves: dict[Node, Elf] = {}
        self._cache: Cache | None = None
        self._preloads: list[bytes] | None = None

    def head(self, node: Node) -> bytes:
        """The first bytes of a regular file. Raises OSError, VerisealError."""
        if node not in self._heads:
            with scan.opened(node) as (fd, _):
                self._heads[node] = os.pread(fd, len(elf.MAGIC), 0)
        return self._heads[node]

    def is_elf(self, node: Node) -> bool:
        return self.head(node).startswith(elf.MAGIC)

    def elf(self, node: Node) -> Elf:
        """What a regular file says. Raises OSError, VerisealError (``bad-elf``)."""
        if node not in self._elves:
            with scan.opened(node) as (fd, _):
                self._elves[node] = elf.read(fd, node.host)
        return self._elves[node]

    def cache(self) -> Cache:
        """What ld.so.cache says; nothing if there is none. Raises OSError, VerisealError."""
        if self._cache is None:
            file = self.configured(CACHE)
            if file is None:
                self._cache = Cache({})
            else:
                data = scan.contents(file, ldcache.MAX_SIZE)
                self._cache = ldcache.parse(data, file.host)
        return self._cache

    def stale(self, path: bytes) -> VerisealError:
        """What to say of a cache that names ``path``."""
        file = self.model.find(CACHE).file
        return undecided.stale_cache(file.host if file else os.fsdecode(CACHE), path)

    def preloads(self) -> list[bytes]:
        """What ld.so.preload names. Raises OSError, VerisealError."""
        if self._preloads is None:
            file = self.configured(PRELOAD)
            text = b"" if file is None else scan.contents(file, _MAX_PRELOAD)
            if file is not None and (b"#" in text or b"\0" in text):
                raise undecided.comments(file.host, "#" if b"#" in text else "a NUL byte")
            self._preloads = [one for one in _SEPARATORS.split(text) if one]
        return self._preloads

    def configured(self, path: bytes) -> Node | None:
        """The file `CACHE` or `PRELOAD`; None if there is none.

        Raises OSError, and VerisealError ``not-a-regular-file`` if something else is there: the
        launcher would refuse every program.
        """
        file = self.model.find(path).file
        directory, _, name = path.rpartition(b"/")
        node = self.model.nodes.get(self.model.find(directory).path + b"/" + name)
        if file is None and node is not None:
            raise undecided.no_file(node.host)
        return file

    def architecture(self, kind: Kind, path: str) -> Architecture:
        """What loaders of ``kind`` have compiled in. Raises VerisealError ``unknown-loader``."""
        found = search.ARCHITECTURES.get(kind)
        if found is None:
            raise undecided.unknown_loader(path, f"that of {kind[2]}, {kind[0]} bits")
        return found

    def lib(self, architecture: Architecture) -> bytes:
        """What $LIB stands for."""
        for triplet in architecture.triplets:
            if self.model.find(b"/usr/lib/" + triplet).is_directory:
                return b"lib/" + triplet
        return architecture.lib
