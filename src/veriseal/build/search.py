"""Where glibc's dynamic loader looks for libraries: what depends on the architecture, and the
tokens in search paths. Pure.

Source: elf/dl-load.c, sysdeps/*/dl-cache.h, sysdeps/generic/ldconfig.h of glibc.
"""

import functools
import re
from typing import NamedTuple

from veriseal.errors import VerisealError

Kind = tuple[int, bool, str]
"""As `elf.Elf` has it: class, whether little-endian, machine."""

_INTERPRETER = re.compile(rb"ld-linux[^/]*\.so\.[0-9]+|ld(64)?\.so\.[0-9]+|ld-[0-9.]+\.so")
_TOKEN = re.compile(rb"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)(?![A-Za-z0-9_]))")


class Architecture(NamedTuple):
    """What the loaders of one kind of file have compiled in.

    Attributes:
        triplets: Debian's names of its directories.
        flags: of its entries in ld.so.cache.
        lib: what $LIB stands for where there is no such directory.
    """

    triplets: tuple[bytes, ...]
    flags: frozenset[int]
    lib: bytes


def _known(triplets: str, flags: set[int], lib: bytes = b"lib64") -> Architecture:
    return Architecture(tuple(triplets.encode().split()), frozenset(flags), lib)


ARCHITECTURES: dict[Kind, Architecture] = {
    (64, True, "EM_X86_64"): _known("x86_64-linux-gnu", {0x303}),
    (32, True, "EM_X86_64"): _known("x86_64-linux-gnux32", {0x803}, b"libx32"),
    (32, True, "EM_386"): _known("i386-linux-gnu", {1, 3}, b"lib"),
    (64, True, "EM_AARCH64"): _known("aarch64-linux-gnu", {0xA03}),
    (32, True, "EM_ARM"): _known(
        "arm-linux-gnueabihf arm-linux-gnueabi", {3, 0x903, 0xB03}, b"lib"
    ),
    (64, True, "EM_RISCV"): _known("riscv64-linux-gnu", {0xF03, 0x1003}, b"lib64/lp64d"),
    (64, True, "EM_PPC64"): _known("powerpc64le-linux-gnu", {0x503}),
    (64, False, "EM_S390"): _known("s390x-linux-gnu", {0x403}),
}


def unknown_loader(path: str, found: str) -> VerisealError:
    """Why the closure of ``path`` is not known."""
    return VerisealError(
        "unknown-loader",
        "which libraries its dynamic loader takes is not known",
        path=path,
        expected="glibc's, of a known architecture",
        found=found,
        remedy="Link it statically, or name the programs that are to run in build.programs",
    )


def is_glibc(interpreter: bytes) -> bool:
    """Whether the ELF interpreter of this path is glibc's."""
    return _INTERPRETER.fullmatch(interpreter.rpartition(b"/")[2]) is not None


@functools.lru_cache
def default_directories(architecture: Architecture) -> tuple[bytes, ...]:
    """Where every library is looked for in the end: those of all distributions.

    A loader has some of them only. What it would not find there is not in the tree either, or a
    file of another kind, which it passes over.
    """
    names = [b"lib/" + triplet for triplet in architecture.triplets]
    names += [name for name in (architecture.lib, b"lib64", b"lib") if name not in names]
    return tuple(top + name for name in dict.fromkeys(names) for top in (b"/", b"/usr/"))


def elements(path: bytes) -> list[bytes]:
    """The directories of a DT_RPATH or DT_RUNPATH, as written; an empty one has none."""
    return path.split(b":") if path else []


def tokens(text: bytes) -> set[bytes]:
    """Which of ORIGIN, LIB and PLATFORM are in ``text``."""
    return {braced or plain for braced, plain in _TOKEN.findall(text)}


def expand(text: bytes, values: dict[bytes, bytes]) -> bytes:
    """``text`` with its tokens replaced."""
    return _TOKEN.sub(lambda match: values[match[1] or match[2]], text)
