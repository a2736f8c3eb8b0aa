"""The cache of the dynamic loader, as ldconfig writes it and as nobody does."""

import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veriseal.build import ldcache
from veriseal.build.ldcache import Entry
from veriseal.errors import VerisealError

pytestmark = pytest.mark.unit

MAGIC = b"glibc-ld.so.cache1.1"
LIB64 = 0x303
Row = tuple[int, bytes, bytes, int]


def cache(rows: list[Row], order: str = "<", flag: int = 2) -> bytes:
    """A cache of flags, name, path and hwcap of each entry."""
    header = struct.Struct(f"{order}20sIIB3xI12x")
    entry = struct.Struct(f"{order}iIIIQ")
    start = header.size + len(rows) * entry.size
    strings, entries = b"", b""
    for flags, name, path, hwcap in rows:
        key, value = start + len(strings), start + len(strings) + len(name) + 1
        entries += entry.pack(flags, key, value, 0, hwcap)
        strings += name + b"\0" + path + b"\0"
    return header.pack(MAGIC, len(rows), len(strings), flag, 0) + entries + strings


ROWS: list[Row] = [
    (LIB64, b"libz.so.1", b"/usr/lib/x/glibc-hwcaps/x86-64-v3/libz.so.1", 1 << 62),
    (LIB64, b"libz.so.1", b"/usr/lib/x/libz.so.1", 0),
    (3, b"libz.so.1", b"/usr/lib/i/libz.so.1", 0),
    (LIB64, b"liba.so", b"/usr/lib/x/liba.so", 0),
]
WANTED = [Entry(flags, path, hwcap != 0) for flags, _, path, hwcap in ROWS]


@pytest.mark.parametrize(("order", "flag"), [("<", 2), (">", 3), ("<", 0), (">", 0)])
def test_entries_in_order(order: str, flag: int) -> None:
    found = ldcache.parse(cache(ROWS, order, flag), "cache")
    assert found.find(b"libz.so.1") == WANTED[:3]
    assert found.find(b"liba.so") == WANTED[3:]
    assert found.find(b"libz.so") == []


def test_after_the_old_format() -> None:
    for count in (0, 1, 2, 7):
        old = struct.pack("<11sxI", b"ld.so-1.7.0", count) + bytes(12 * count)
        data = old + bytes(-len(old) % 8) + cache(ROWS)
        assert ldcache.parse(data, "cache").find(b"libz.so.1") == WANTED[:3]


def test_digits_are_numbers() -> None:
    found = ldcache.parse(cache([(LIB64, b"lib2.so.007", b"/p", 0)]), "cache")
    assert found.find(b"lib02.so.7") == [Entry(LIB64, b"/p", False)]
    assert found.find(b"lib2.so.70") == []
    found = ldcache.parse(cache([(LIB64, b"lib.so.0", b"/p", 0)]), "cache")
    assert len(found.find(b"lib.so.000")) == 1


@pytest.mark.parametrize("style", ["new", "compat"])
def test_what_ldconfig_writes(tmp_path: Path, elf_file: Callable[..., bytes], style: str) -> None:
    """With the libraries of this machine, some for one processor, and its own list of them."""
    ldconfig = shutil.which("ldconfig", path="/usr/sbin:/sbin")
    assert ldconfig is not None
    place = tmp_path / "lib"
    for name in ("", "glibc-hwcaps/x86-64-v2/", "glibc-hwcaps/x86-64-v3/"):
        (place / name).mkdir(parents=True, exist_ok=True)
        data = elf_file(("soname", b"libveriseal.so.10"), ("needed", b"libc.so.6"))
        (place / f"{name}libveriseal.so.10").write_bytes(data)
    out, conf = tmp_path / "cache", tmp_path / "conf"
    conf.write_text(f"{place}\n")
    write: list[str | Path] = [ldconfig, "-X", "-i", "-c", style, "-f", conf, "-C", out]
    subprocess.run(write, check=True, stderr=subprocess.DEVNULL)
    said = subprocess.run(
        [ldconfig, "-p", "-C", out], check=True, capture_output=True, env={"LC_ALL": "C"}
    ).stdout.splitlines()
    wanted = [line.split()[0] + b" " + line.split(b" => ")[1] for line in said if b" => " in line]
    found = ldcache.parse(out.read_bytes(), str(out))
    names = list(dict.fromkeys(line.split()[0] for line in wanted))
    ours = [name + b" " + one.path for name in names for one in found.find(name)]
    assert sorted(ours) == sorted(wanted)
    own = [os.fsencode(place) + end for end in (b"/glibc-hwcaps/x86-64-v3/", b"/")]
    entries = found.find(b"libveriseal.so.10")
    if style == "new":
        assert Entry(LIB64, own[0] + b"libveriseal.so.10", True) in entries
    assert entries[-1].path == own[1] + b"libveriseal.so.10"
    assert not entries[-1].variant


def bad(data: bytes) -> str:
    with pytest.raises(VerisealError) as caught:
        ldcache.parse(data, "cache")
    assert caught.value.reason == "bad-ld-cache"
    assert "ldconfig" in str(caught.value)
    return str(caught.value)


def test_truncated_anywhere() -> None:
    data = cache(ROWS)
    for length in range(len(data)):
        bad(data[:length])
    old = struct.pack("<11sxI", b"ld.so-1.7.0", 3) + bytes(36)
    for length in range(len(old)):
        bad(old[:length])


@pytest.mark.parametrize(
    ("offset", "value", "problem"),
    [
        (16, b"9", "known format"),
        (20, b"\xff\xff\xff\xff", "cut off"),  # entries
        (20, b"\xff\xff\xff\x7f", "cut off"),
        (24, b"\xff\xff\xff\xff", "cut off"),  # bytes of strings
        (28, b"\1", "byte order"),
        (28, b"\3", "byte order"),
        (48 + 4, b"\xff\xff\xff\xff", "no string"),  # key
        (48 + 8, b"\0\xff\0\0", "no string"),  # value
    ],
)
def test_a_damaged_field(offset: int, value: bytes, problem: str) -> None:
    data = cache(ROWS)
    assert problem in bad(data[:offset] + value + data[offset + len(value) :])


def test_a_string_without_end() -> None:
    assert "no string" in bad(cache(ROWS)[:-1] + b"x")


def test_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ldcache, "MAX_SIZE", 100)
    assert "too large" in bad(cache(ROWS))


@settings(deadline=None, max_examples=300)
@given(
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=8),
    prefix=st.sampled_from([b"", b"ld.so-1.7.0\0\0\0\0\0", b"ld.so-1.7.0\0\1\0\0\0" + bytes(16)]),
)
def test_any_bytes(changes: list[tuple[int, int]], prefix: bytes) -> None:
    data = bytearray(prefix + cache(ROWS))
    for offset, value in changes:
        data[offset % len(data)] = value
    try:
        ldcache.parse(bytes(data), "cache")
    except VerisealError as error:
        assert error.reason == "bad-ld-cache"  # noqa: PT017 nothing is fine, too
