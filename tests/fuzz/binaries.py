"""Targets that are read when a release is built: ELF files and the cache of the dynamic loader."""

import os
import struct

from tests.fuzz import workplace
from tests.fuzz.contract import attempt
from veriseal.build import elf as elf_files
from veriseal.build import ldcache
from veriseal.errors import VerisealError

_STRINGS = b"\0libc.so.6\0libself.so\0$ORIGIN/../lib\0libaudit.so\0"
_INTERPRETER = b"/lib64/ld-linux-x86-64.so.2\0"
# p_type and d_tag: elf(5).
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 1, 5, 14, 15, 29
_DT_FLAGS_1, _DT_AUDIT = 0x6FFFFFFB, 0x6FFFFEFC


def elf_seeds() -> list[bytes]:
    """Programs of 64 and of 32 bits, of either byte order, and one without dynamic segment."""
    return [
        _elf(64, "<", 62),
        _elf(32, ">", 20),
        _elf(64, "<", 183, dynamic=False),
        _elf(32, "<", 3, runpath=False),
    ]


def _elf(bits: int, order: str, machine: int, dynamic: bool = True, runpath: bool = True) -> bytes:
    word = "Q" if bits == 64 else "I"
    head_size, segment_size = (64, 56) if bits == 64 else (52, 32)
    segments = 3 if dynamic else 1
    at_interpreter = head_size + segments * segment_size
    at_strings = at_interpreter + len(_INTERPRETER)
    at_tags = at_strings + len(_STRINGS)
    offset = _STRINGS.index
    tags = (
        (_DT_NEEDED, offset(b"libc")),
        (_DT_STRTAB, at_strings),
        (_DT_SONAME, offset(b"libself")),
        (_DT_RUNPATH if runpath else _DT_RPATH, offset(b"$ORIGIN")),
        (_DT_AUDIT, offset(b"libaudit")),
        (_DT_FLAGS_1, 0x08000000),
        (0, 0),
    )
    table = b"".join(struct.pack(f"{order}2{word}", *tag) for tag in tags) if dynamic else b""
    size = at_tags + len(table)
    places = [
        (_PT_LOAD, 0, size),
        (_PT_INTERP, at_interpreter, len(_INTERPRETER)),
        (_PT_DYNAMIC, at_tags, len(table)),
    ]
    ident = b"\x7fELF" + bytes((bits // 32, 1 if order == "<" else 2, 1)) + bytes(9)
    header = ident + struct.pack(
        f"{order}HHI3{word}I6H",
        *(3, machine, 1, 0, head_size, 0),
        *(0, head_size, segment_size, segments, 0, 0, 0),
    )
    for kind, at, length in places[:segments]:
        if bits == 64:
            header += struct.pack(f"{order}II6Q", kind, 5, at, at, at, length, length, 1)
        else:
            header += struct.pack(f"{order}8I", kind, at, at, at, length, length, 5, 1)
    return header + _INTERPRETER + _STRINGS + table


def elf(data: bytes) -> None:
    """What is found in the file stands in the file; and twice the same is found."""
    path = workplace.put("program", data)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = attempt(elf_files.read, fd, path)
        again = attempt(elf_files.read, fd, path)
    finally:
        os.close(fd)
    if isinstance(found, VerisealError):
        assert found.reason == "bad-elf"
        return
    assert found == again
    names = [name for _, name in found.dependencies] + [*found.audits]
    names += [name for name in (found.interpreter, found.soname, found.runpath) if name is not None]
    assert all(name in data and b"\0" not in name for name in names)
    assert found.rpath is None or found.runpath is None
    assert found.is_program in (True, False)


def cache_seeds() -> list[bytes]:
    """A cache in today's format, alone and after the old one, and one of the other byte order."""
    return [_cache("<"), _old() + _cache("<"), _cache(">")]


def _cache(order: str) -> bytes:
    files = ((b"libc.so.6", b"/usr/lib/libc.so.6", 0), (b"libz.so.1", b"/opt/libz.so.1", 1 << 62))
    at = 48 + 24 * len(files)
    strings = entries = b""
    for name, path, hwcap in files:
        key = at + len(strings)
        strings += name + b"\0" + path + b"\0"
        entries += struct.pack(f"{order}iIIIQ", 0x0303, key, key + len(name) + 1, 0, hwcap)
    flag = 2 if order == "<" else 3
    head = (b"glibc-ld.so.cache1.1", len(files), len(strings), flag, 0)
    return struct.pack(f"{order}20sIIB3xI12x", *head) + entries + strings


def _old() -> bytes:
    return struct.pack("=11sxI", b"ld.so-1.7.0", 1) + struct.pack("=iII", 3, 0, 0) + bytes(4)


def cache(data: bytes) -> None:
    """Each file that is found for a name stands in the cache."""
    found = attempt(ldcache.parse, data, "ld.so.cache")
    if isinstance(found, VerisealError):
        return
    for name in (b"libc.so.6", b"libc.so.06", b"libz.so.1", b""):
        for entry in found.find(name):
            assert entry.path + b"\0" in data
            assert b"\0" not in entry.path
