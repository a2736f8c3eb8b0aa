"""What an ELF file says, and ELF files that lie."""

import os
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from veriseal.build import elf
from veriseal.build.elf import Elf
from veriseal.errors import VerisealError

pytestmark = pytest.mark.unit

Make = Callable[..., bytes]
X86_64 = (64, True, "EM_X86_64")
LOADER = b"/lib64/ld-linux-x86-64.so.2"
FULL = (
    ("needed", b"libb.so.2"),
    ("filter", b"libf.so"),
    ("needed", b"liba.so.1"),
    ("auxiliary", b"libx.so"),
    ("soname", b"libme.so.3"),
    ("audit", b"one.so:two.so"),
    ("depaudit", b"three.so"),
)


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], Elf]:
    def call(data: bytes) -> Elf:
        path = tmp_path / "file"
        path.write_bytes(data)
        return read_path(path)

    return call


def read_path(path: Path | str) -> Elf:
    fd = os.open(path, os.O_RDONLY)
    try:
        return elf.read(fd, str(path))
    finally:
        os.close(fd)


def test_everything_that_counts(read: Callable[[bytes], Elf], elf_file: Make) -> None:
    data = elf_file(*FULL, ("rpath", b"$ORIGIN:/opt"), interpreter=LOADER, flags_1=0x08000800)
    assert read(data) == Elf(
        X86_64,
        "ET_DYN",
        LOADER,
        dynamic=True,
        dependencies=(
            (elf.NEEDED, b"libb.so.2"),
            (elf.FILTER, b"libf.so"),
            (elf.NEEDED, b"liba.so.1"),
            (elf.AUXILIARY, b"libx.so"),
        ),
        soname=b"libme.so.3",
        rpath=b"$ORIGIN:/opt",
        audits=(b"one.so:two.so", b"three.so"),
        no_default=True,
        pie=True,
    )


@pytest.mark.parametrize(
    ("bits", "order", "machine", "name"),
    [(32, "<", 3, "EM_386"), (32, ">", 8, "EM_MIPS"), (64, ">", 22, "EM_S390")],
)
def test_other_machines(
    read: Callable[[bytes], Elf], elf_file: Make, bits: int, order: str, machine: int, name: str
) -> None:
    made = elf_file(*FULL, bits=bits, order=order, machine=machine, interpreter=b"/lib/ld.so.1")
    found = read(made)
    assert found.kind == (bits, order == "<", name)
    assert found.interpreter == b"/lib/ld.so.1"
    assert found.soname == b"libme.so.3"
    assert len(found.dependencies) == 4


def test_a_runpath_takes_the_place_of_an_rpath(
    read: Callable[[bytes], Elf], elf_file: Make
) -> None:
    found = read(elf_file(("rpath", b"/a"), ("runpath", b"/b")))
    assert (found.rpath, found.runpath) == (None, b"/b")
    # Even an empty one.
    found = read(elf_file(("rpath", b"/a"), ("runpath", b"")))
    assert (found.rpath, found.runpath) == (None, b"")


def test_of_a_tag_that_comes_twice_the_last_counts(
    read: Callable[[bytes], Elf], elf_file: Make
) -> None:
    assert read(elf_file(("rpath", b"/a"), ("rpath", b"/b"))).rpath == b"/b"


def test_names_are_bytes(read: Callable[[bytes], Elf], elf_file: Make) -> None:
    names = (b"lib\xff\xfe.so", b"lib\n.so", b"")
    found = read(elf_file(*(("needed", name) for name in names)))
    assert tuple(name for _, name in found.dependencies) == names


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"kind": 2, "dynamic": False}, True),  # static
        ({"kind": 2, "interpreter": LOADER}, True),
        ({"kind": 3, "interpreter": LOADER}, True),
        ({"kind": 3, "flags_1": 0x08000000}, True),  # static, position-independent
        ({"kind": 3, "dynamic": False}, True),
        ({"kind": 3}, False),  # a library
        ({"kind": 1}, False),  # an object, a kernel module
        ({"kind": 4}, False),  # a core dump
        ({"kind": 0xFE01}, False),
    ],
)
def test_what_a_program_is(
    read: Callable[[bytes], Elf], elf_file: Make, options: dict[str, int], expected: bool
) -> None:
    assert read(elf_file(**options)).is_program is expected


def test_a_real_program() -> None:
    found = read_path(os.path.realpath(sys.executable))
    assert found.is_program
    assert found.interpreter is not None
    assert b"libc.so.6" in [name for _, name in found.dependencies]


def test_sections_are_not_looked_at(read: Callable[[bytes], Elf], elf_file: Make) -> None:
    plain = elf_file(*FULL)
    for place, count, names in ((1 << 62, 5, 3), (len(plain), 0xFFFF, 0xFFFF), (0, 0, 0xFFFF)):
        lying = bytearray(plain + b"\xff" * 1000)
        struct.pack_into("<Q", lying, 40, place)
        struct.pack_into("<HH", lying, 60, count, names)
        assert read(bytes(lying)) == read(plain)


def damaged(read: Callable[[bytes], Elf], data: bytes) -> str:
    with pytest.raises(VerisealError) as caught:
        read(data)
    assert caught.value.reason == "bad-elf"
    assert caught.value.path is not None
    return caught.value.problem


def test_truncated_anywhere(read: Callable[[bytes], Elf], elf_file: Make) -> None:
    data = elf_file(*FULL, interpreter=LOADER)
    for length in range(len(data)):
        damaged(read, data[:length])
    read(data)


@pytest.mark.parametrize(
    ("offset", "layout", "value", "problem"),
    [
        (0, "<I", 0, "no class"),
        (4, "<B", 3, "no class"),
        (5, "<B", 0, "no byte order"),
        (32, "<Q", 1 << 63, "OverflowError"),  # e_phoff
        (32, "<Q", 1 << 40, "ends before"),
        (54, "<H", 57, "program headers"),  # e_phentsize
        (56, "<H", 0, "program headers"),  # e_phnum
        (56, "<H", 0xFFFF, "program headers"),
        (64 + 16, "<Q", 1 << 40, "strings are not in the file"),  # p_vaddr of PT_LOAD
        (64 + 8, "<Q", 1 << 40, "a string has no end"),  # p_offset of PT_LOAD
        (64 + 56 + 32, "<Q", 1 << 62, "a dynamic segment of"),  # p_filesz of PT_DYNAMIC
        (64 + 56 + 32, "<Q", 16, "has no end"),
        (64 + 56 + 8, "<Q", (1 << 64) - 1, "OverflowError"),
        (64 + 112 + 32, "<Q", 1, "interpreter has 1 bytes"),  # p_filesz of PT_INTERP
        (64 + 112 + 32, "<Q", 1 << 40, "interpreter has"),
        (64 + 112 + 32, "<Q", 5, "interpreter has no end"),
    ],
)
def test_a_damaged_field(
    read: Callable[[bytes], Elf],
    elf_file: Make,
    offset: int,
    layout: str,
    value: int,
    problem: str,
) -> None:
    data = bytearray(elf_file(*FULL, interpreter=LOADER))
    struct.pack_into(layout, data, offset, value)
    assert problem in damaged(read, bytes(data))


@settings(
    deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=8))
def test_any_bytes(
    read: Callable[[bytes], Elf], elf_file: Make, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(elf_file(*FULL, interpreter=LOADER))
    for offset, value in changes:
        data[offset % len(data)] = value
    try:
        read(bytes(data))
    except VerisealError as error:
        assert error.reason == "bad-elf"  # noqa: PT017 nothing is fine, too


def test_a_giant_is_read_at_once(tmp_path: Path, elf_file: Make) -> None:
    """Nothing that a file says makes the reader go on and on."""
    path = tmp_path / "giant"
    data = bytearray(elf_file(*FULL, interpreter=LOADER))
    struct.pack_into("<Q", data, 64 + 56 + 32, 1 << 18)  # the dynamic segment: all zeros follow
    struct.pack_into("<H", data, 56, 1170)  # program headers, up to the limit
    path.write_bytes(data)
    os.truncate(path, 1 << 40)
    before = time.monotonic()
    read_path(path)
    tags = struct.pack("<qQ", 1, 1) * (1 << 14)
    path.write_bytes(elf_file() + tags)
    with open(path, "r+b") as file:
        file.seek(64 + 56 + 8)
        file.write(struct.pack("<QQQQ", len(elf_file()), 0, 0, len(tags)))
    with pytest.raises(VerisealError, match="has no end"):
        read_path(path)
    assert time.monotonic() - before < 5


def test_an_unreadable_file_is_not_called_damaged(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(IsADirectoryError):
            elf.read(fd, "directory")
    finally:
        os.close(fd)
