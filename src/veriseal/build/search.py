"""Where glibc's dynamic loader looks for libraries: what depends on the architecture, and the
tokens in search paths. Pure.

Source: elf/dl-load.c, sysdeps/*/dl-cache.h, sysdeps/generic/ldconfig.h of glibc.
"""

import functools
import re
from typing import NamedTuple

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


PROCESSORS = frozenset(
    name.encode()
    for name in (
        "tls x86_64 sse2 avx512_1 haswell xeon_phi i386 i486 i586 i686 aarch64 atomics "
        "v4l v5l v6l v7l v8l vfp neon half thumb fastmult fast-mult "
        "altivec dfp power4 power5 power5+ power6 power6x power7 power8 power9 power10 "
        "ppc970 ppc-cell-be ppca2 ppc405 ppc440 ppc464 ppc476 "
        "zarch ldisp eimm vx vxe vxe2 g5 z900 z990 z9-109 z10 z196 zEC12 z13 z14 z15 z16"
    ).split()
)
"""The directories that glibc before 2.37 searches below each other one, and below one another: by
what the processor is and can (elf/dl-hwcaps.c, sysdeps/*/dl-procinfo.h)."""


def is_glibc(interpreter: bytes) -> bool:
    """Whether the ELF interpreter of this path is glibc's, by its name."""
    return _INTERPRETER.fullmatch(interpreter.rpartition(b"/")[2]) is not None


@functools.lru_cache
def default_directories(architecture: Architecture) -> tuple[bytes, ...]:
    """Where every library is looked for in the end: those of all distributions.

    A loader has some of them only, in an order of its own.
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
