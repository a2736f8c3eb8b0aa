"""What an ELF file says to the kernel and to the dynamic loader.

The header, the program headers, PT_INTERP, the dynamic segment and its strings, with pyelftools'
structures. Sections are not looked at: nothing that runs a program does, they can be stripped,
and they can say something else. Source: elf(5), fs/binfmt_elf.c, elf/dl-load.c of glibc.
"""

import functools
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from elftools.elf.enums import ENUM_DT_FLAGS_1
from elftools.elf.structs import ELFStructs

from veriseal.errors import VerisealError

MAGIC = b"\x7fELF"

NEEDED = "needed"
FILTER = "filter"
AUXILIARY = "auxiliary"

_MAX_PROGRAM_HEADERS = 1 << 16  # bytes, as fs/binfmt_elf.c has it
_MAX_DYNAMIC = 1 << 18  # bytes: more than 10,000 needed libraries
_MAX_STRING = 1 << 16  # bytes: search paths can be long
_MAX_INTERPRETER = 4096  # bytes: PATH_MAX
_IDENT_SIZE = 16
_CLASSES = {1: 32, 2: 64}
_ENCODINGS = {1: True, 2: False}

_DEPENDENCIES = {"DT_NEEDED": NEEDED, "DT_FILTER": FILTER, "DT_AUXILIARY": AUXILIARY}
_AUDITS = ("DT_AUDIT", "DT_DEPAUDIT")


class Elf(NamedTuple):
    """An ELF file.

    Attributes:
        kind: class (32 or 64), whether little-endian, machine (``EM_X86_64``): a process holds
            files of one kind only.
        type: ``ET_EXEC``, ``ET_DYN`` and others.
        interpreter: what PT_INTERP names; None without it.
        dynamic: whether there is a dynamic segment.
        dependencies: `NEEDED`, `FILTER` or `AUXILIARY` and the name, in the file's order.
        soname, rpath, runpath: None if there is none. Never both of the latter: beside a
            DT_RUNPATH the loader ignores DT_RPATH.
        audits: DT_AUDIT and DT_DEPAUDIT, as written.
        no_default: DF_1_NODEFLIB, the default directories do not count.
        pie: DF_1_PIE.
    """

    kind: tuple[int, bool, str]
    type: str
    interpreter: bytes | None = None
    dynamic: bool = False
    dependencies: tuple[tuple[str, bytes], ...] = ()
    soname: bytes | None = None
    rpath: bytes | None = None
    runpath: bytes | None = None
    audits: tuple[bytes, ...] = ()
    no_default: bool = False
    pie: bool = False

    @property
    def is_program(self) -> bool:
        """Whether the kernel can start it, and it is meant to be started."""
        if self.type == "ET_EXEC":
            return True
        return self.type == "ET_DYN" and (
            self.interpreter is not None or self.pie or not self.dynamic
        )


def read(fd: int, path: str) -> Elf:
    """The ELF file that is open as ``fd``; ``path`` is for messages.

    Reads a bounded part of it, whatever it says. Raises OSError, VerisealError ``bad-elf``.
    """
    try:
        return _read(fd)
    except _DamagedError as error:
        problem = str(error)
    except OSError:
        raise
    except Exception as error:
        # pyelftools raises whatever comes up: its own errors, those of struct, ValueError...
        problem = f"{type(error).__name__}: {error}"
    raise VerisealError(
        "bad-elf",
        f"a damaged ELF file: {problem}",
        path=path,
        remedy="Mend it; or, where nothing is to run it, take its x bits away",
    )


class _DamagedError(Exception):
    """Its text says what is wrong."""


def _read(fd: int) -> Elf:
    ident = _bytes(fd, 0, _IDENT_SIZE)
    if ident[:4] != MAGIC or ident[4] not in _CLASSES or ident[5] not in _ENCODINGS:
        raise _DamagedError("no class or no byte order")
    bits, little = _CLASSES[ident[4]], _ENCODINGS[ident[5]]
    basic = _structs(bits, little, None)
    header = basic.Elf_Ehdr.parse(_bytes(fd, 0, basic.Elf_Ehdr.sizeof()))
    machine, kind = str(header["e_machine"]), str(header["e_type"])
    found = Elf((bits, little, machine), kind)
    if kind not in ("ET_EXEC", "ET_DYN"):
        return found
    structs = _structs(bits, little, machine)
    segments = _segments(fd, header, structs)
    for segment in segments:
        # The kernel takes the first, the loader the last dynamic segment.
        if segment["p_type"] == "PT_INTERP" and found.interpreter is None:
            found = found._replace(interpreter=_interpreter(fd, segment))
    dynamic = [segment for segment in segments if segment["p_type"] == "PT_DYNAMIC"]
    if not dynamic:
        return found
    return _with_dynamic(found, fd, list(_tags(fd, dynamic[-1], structs)), segments)


@functools.lru_cache(maxsize=16)
def _structs(bits: int, little: bool, machine: str | None) -> Any:
    # Making them takes longer than reading a file.
    structs = ELFStructs(little_endian=little, elfclass=bits)
    structs.create_basic_structs()
    if machine is not None:
        structs.create_advanced_structs(None, machine, None)
    return structs


def _segments(fd: int, header: Any, structs: Any) -> list[Any]:
    size, count = structs.Elf_Phdr.sizeof(), header["e_phnum"]
    if header["e_phentsize"] != size or not 0 < count * size <= _MAX_PROGRAM_HEADERS:
        raise _DamagedError(f"{count} program headers of {header['e_phentsize']} bytes")
    data = _bytes(fd, header["e_phoff"], count * size)
    return [structs.Elf_Phdr.parse(data[at : at + size]) for at in range(0, len(data), size)]


def _interpreter(fd: int, segment: Any) -> bytes:
    size = segment["p_filesz"]
    if not 2 <= size <= _MAX_INTERPRETER:
        raise _DamagedError(f"the name of its interpreter has {size} bytes")
    data = _bytes(fd, segment["p_offset"], size)
    if data[-1:] != b"\0":
        raise _DamagedError("the name of its interpreter has no end")
    return data[: data.index(b"\0")]


def _tags(fd: int, segment: Any, structs: Any) -> Iterator[tuple[str, int]]:
    size = segment["p_filesz"]
    if size > _MAX_DYNAMIC:
        raise _DamagedError(f"a dynamic segment of {size} bytes")
    data = _bytes(fd, segment["p_offset"], size)
    step = structs.Elf_Dyn.sizeof()
    for at in range(0, size - step + 1, step):
        tag = structs.Elf_Dyn.parse(data[at : at + step])
        if tag["d_tag"] == "DT_NULL":
            return
        yield str(tag["d_tag"]), tag["d_val"]
    raise _DamagedError("the dynamic segment has no end")


def _with_dynamic(found: Elf, fd: int, tags: list[tuple[str, int]], segments: list[Any]) -> Elf:
    # Of a tag that comes twice the last counts, but for the dependencies.
    values = dict(tags)

    def text(offset: int) -> bytes:
        return _string(fd, _file_offset(values["DT_STRTAB"], segments), offset)

    def of(name: str) -> bytes | None:
        return text(values[name]) if name in values else None

    flags = values.get("DT_FLAGS_1", 0)
    runpath = of("DT_RUNPATH")
    return found._replace(
        dynamic=True,
        dependencies=tuple(
            (_DEPENDENCIES[name], text(value)) for name, value in tags if name in _DEPENDENCIES
        ),
        soname=of("DT_SONAME"),
        rpath=of("DT_RPATH") if runpath is None else None,
        runpath=runpath,
        audits=tuple(one for one in map(of, _AUDITS) if one),
        no_default=bool(flags & ENUM_DT_FLAGS_1["DF_1_NODEFLIB"]),
        pie=bool(flags & ENUM_DT_FLAGS_1["DF_1_PIE"]),
    )


def _file_offset(address: int, segments: list[Any]) -> int:
    for segment in segments:
        start = segment["p_vaddr"]
        if segment["p_type"] == "PT_LOAD" and start <= address < start + segment["p_filesz"]:
            return int(segment["p_offset"] + address - start)
    raise _DamagedError("its strings are not in the file")


def _string(fd: int, table: int, offset: int) -> bytes:
    data = os.pread(fd, _MAX_STRING, table + offset)
    end = data.find(b"\0")
    if end < 0:
        raise _DamagedError("a string has no end")
    return data[:end]


def _bytes(fd: int, offset: int, size: int) -> bytes:
    data = os.pread(fd, size, offset)
    if len(data) != size:
        raise _DamagedError(f"it ends before byte {offset + size}")
    return data
