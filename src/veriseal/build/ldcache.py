"""/etc/ld.so.cache: which file the dynamic loader takes for the name of a library.

glibc's format of today, alone or after the one of before 2.2. No library reads it.
Source: sysdeps/generic/dl-cache.h, elf/dl-cache.c, elf/cache.c of glibc.
"""

import re
import struct
from typing import NamedTuple

from veriseal.errors import VerisealError

MAX_SIZE = 1 << 26
"""Bytes: a hundred times what a desktop system has."""

_OLD = b"ld.so-1.7.0"
_OLD_HEADER = struct.Struct("=11sxI")  # magic, number of entries
_OLD_ENTRY_SIZE = 12
_NEW = b"glibc-ld.so.cache1.1"
_ALIGNMENT = 8
_MAX_STRING = 4096  # PATH_MAX
# Magic, entries, bytes of strings, byte order, extension, unused.
_HEADERS = {order: struct.Struct(f"{order}20sIIB3xI12x") for order in "<>"}
# Flags, key, value, version of the system, hwcap.
_ENTRIES = {order: struct.Struct(f"{order}iIIIQ") for order in "<>"}
_BYTE_ORDERS = {0: "<>", 2: "<", 3: ">"}
_BYTE_ORDER_MASK = 3
_LEADING_ZEROS = re.compile(rb"(?<![0-9])0+(?=[0-9])")


class Entry(NamedTuple):
    """A file for a name.

    Attributes:
        flags: which loader it is for: FLAG_* of sysdeps/generic/ldconfig.h.
        path: as it is opened.
        variant: it is for some processors only (glibc-hwcaps, and what was before it).
    """

    flags: int
    path: bytes
    variant: bool


class Cache:
    """What is in a cache."""

    def __init__(self, entries: dict[bytes, list[Entry]]) -> None:
        self._entries = entries

    def find(self, name: bytes) -> list[Entry]:
        """The files for the library ``name``, of all loaders, in order."""
        return self._entries.get(_key(name), [])


def parse(data: bytes, path: str) -> Cache:
    """The cache in ``data``, the contents of ``path``. Raises VerisealError ``bad-ld-cache``."""
    if len(data) > MAX_SIZE:
        raise _bad(path, "too large", f"at most {MAX_SIZE} bytes", f"{len(data)} bytes")
    data = data[_start(data, path) :]
    order = _order(data, path)
    _magic, count, strings, _order_flag, _extension = _HEADERS[order].unpack_from(data)
    size = _HEADERS[order].size
    end = size + count * _ENTRIES[order].size
    if end + strings > len(data):
        raise _bad(path, "cut off", f"at least {end + strings} bytes", f"{len(data)} bytes")
    entries: dict[bytes, list[Entry]] = {}
    for flags, key, value, _version, hwcap in _ENTRIES[order].iter_unpack(data[size:end]):
        entry = Entry(flags, _string(data, value, path), hwcap != 0)
        entries.setdefault(_key(_string(data, key, path)), []).append(entry)
    return Cache(entries)


def _start(data: bytes, path: str) -> int:
    """Where the format of today begins; offsets of strings count from there."""
    if data.startswith(_NEW):
        return 0
    if data.startswith(_OLD) and len(data) >= _OLD_HEADER.size:
        count: int = _OLD_HEADER.unpack_from(data)[1]
        end = _OLD_HEADER.size + count * _OLD_ENTRY_SIZE
        start = -(-end // _ALIGNMENT) * _ALIGNMENT
        if data.startswith(_NEW, start):
            return start
    raise _bad(path, "not of a known format", _NEW.decode(), repr(data[: len(_NEW)]))


def _order(data: bytes, path: str) -> str:
    size = _HEADERS["<"].size
    if len(data) < size:
        raise _bad(path, "cut off", f"at least {size} bytes", f"{len(data)} bytes")
    flag = _HEADERS["<"].unpack_from(data)[3] & _BYTE_ORDER_MASK
    for order in _BYTE_ORDERS.get(flag, ""):
        # Older versions do not say: the number of entries then fits in one order only.
        count: int = _HEADERS[order].unpack_from(data)[1]
        if size + count * _ENTRIES[order].size <= len(data):
            return order
    raise _bad(path, "cut off, or of no byte order")


def _string(data: bytes, offset: int, path: str) -> bytes:
    end = data.find(b"\0", offset, offset + _MAX_STRING)
    if end < 0:
        raise _bad(path, f"no string at {offset}", found=f"{len(data)} bytes")
    return data[offset:end]


def _key(name: bytes) -> bytes:
    """The loader compares digits as numbers."""
    return _LEADING_ZEROS.sub(b"", name)


def _bad(path: str, problem: str, expected: object = None, found: object = None) -> VerisealError:
    return VerisealError(
        "bad-ld-cache",
        f"the cache of the dynamic loader cannot be read: {problem}",
        path=path,
        expected=expected,
        found=found,
        remedy="Make it again with: ldconfig -r TREE",
    )
