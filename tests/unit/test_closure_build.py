"""The closures of programs: whose, what is in them, and what fails the build.

That they are what the dynamic loader itself takes is shown in tests/kernel.
"""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from veriseal import closure, merkle, policy
from veriseal.build import closures, scan
from veriseal.build.closures import Built, Wanted
from veriseal.build.model import Model
from veriseal.closure import Closures
from veriseal.digest import Digest
from veriseal.errors import VerisealError
from veriseal.merkle import Parameters
from veriseal.pattern import Patterns, Rules

pytestmark = pytest.mark.unit

Make = Callable[..., bytes]
PLAIN = Parameters()
LOADER = b"/lib64/ld-linux-x86-64.so.2"
LIB = "/usr/lib/x86_64-linux-gnu"
ALWAYS = [LOADER.decode(), "/etc/ld.so.cache", "/etc/ld.so.preload"]
"""In the closure of every dynamic program, before its libraries."""


class Tree:
    """A tree with a loader, and what is put into it."""

    def __init__(self, top: Path, make: Make) -> None:
        self.top = top
        self.make = make
        self.loads: dict[str, tuple[str, ...]] = {}
        self.programs = policy.Policy().programs
        self.sign = policy.EXCLUSIVE
        self.mutable: tuple[str, ...] = ()
        for name in ("usr/lib64", "usr/bin", "etc"):
            (top / name).mkdir(parents=True)
        for name in ("lib", "lib64", "bin"):
            (top / name).symlink_to(f"usr/{name}")
        self.write(LOADER.decode(), make(("soname", b"ld-linux-x86-64.so.2")), 0o755)

    def host(self, path: str) -> Path:
        return self.top / path.lstrip("/")

    def write(self, path: str, data: bytes, mode: int = 0o644) -> str:
        place = self.host(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        place.chmod(mode)
        return path

    def library(self, path: str, *tags: tuple[str, bytes], **options: Any) -> str:
        return self.write(path, self.make(*tags, **options, tail=path.encode()))

    def program(self, path: str, *tags: tuple[str, bytes], **options: Any) -> str:
        data = self.make(*tags, interpreter=LOADER, **options, tail=path.encode())
        return self.write(path, data, 0o755)

    def build(self) -> tuple[Closures, list[VerisealError]]:
        built = self.built()
        assert built.foreign == []
        return built.closures, built.errors

    def built(self) -> Built:
        rules = Rules(policy.EXCLUSIVE, self.mutable)
        found = scan.scan(str(self.top), rules)
        assert found.errors == []
        digests = {
            node: merkle.data_digest(Path(node.host).read_bytes(), PLAIN)
            for node in found.nodes
            if os.path.isfile(node.host) and not os.path.islink(node.host)
        }
        wanted = Wanted(Patterns(self.programs), Patterns(self.sign), self.loads)
        return closures.build(Model(found, rules), digests, wanted)

    def needs(self, path: str) -> list[str]:
        """The closure of a program, but for what is in all of them."""
        made, errors = self.build()
        assert errors == []
        members = made[path.encode()]
        for member in members:
            name = os.fsdecode(member.path)
            if member.digest is None:
                assert name in ALWAYS
            else:
                real = os.path.join(self.top, *self._resolve(name))
                assert member.digest == merkle.data_digest(Path(real).read_bytes(), PLAIN)
        names = [os.fsdecode(member.path) for member in members]
        assert names[: len(ALWAYS)] == ALWAYS
        return names[len(ALWAYS) :]

    def _resolve(self, name: str) -> list[str]:
        # By the kernel, in a tree whose absolute links were made to lead here.
        real = os.path.realpath(f"{self.top}{name}")
        return [os.path.relpath(real, self.top)]

    def errors(self) -> list[VerisealError]:
        return self.build()[1]

    def error(self, reason: str) -> VerisealError:
        (error,) = self.errors()
        assert error.reason == reason
        assert error.path is not None
        assert error.remedy is not None
        return error


@pytest.fixture
def tree(tmp_path: Path, elf_file: Make) -> Tree:
    return Tree(tmp_path / "tree", elf_file)


def needed(*names: str) -> list[tuple[str, bytes]]:
    return [("needed", os.fsencode(name)) for name in names]


def rpath(text: str) -> tuple[str, bytes]:
    return "rpath", text.encode()


def runpath(text: str) -> tuple[str, bytes]:
    return "runpath", text.encode()


class TestPrograms:
    def test_which_there_are(self, tree: Tree) -> None:
        tree.program("/usr/bin/dynamic")
        tree.write("/usr/bin/static", tree.make(kind=2, dynamic=False), 0o755)
        tree.write("/usr/bin/static-pie", tree.make(flags_1=0x08000000), 0o711)
        tree.write("/usr/bin/script", b"#!/bin/sh\n", 0o755)
        tree.write("/usr/lib/helper", b"#!/usr/bin/env python3\n", 0o401)
        tree.program("/opt/app/bin")
        tree.library("/usr/lib/libx.so")
        tree.host("/usr/lib/libx.so").chmod(0o755)
        tree.write("/usr/lib/module.ko", tree.make(kind=1), 0o755)
        tree.write("/usr/lib/text", b"no program", 0o755)
        tree.write("/usr/lib/empty", b"", 0o755)
        tree.write("/usr/lib/not-executable", tree.make(kind=2, dynamic=False))
        tree.write("/srv/unsigned", b"#!/bin/sh\n", 0o755)
        tree.host("/usr/bin/link").symlink_to("script")
        made, errors = tree.build()
        assert errors == []
        assert {name.decode() for name in made} == {
            *("/usr/bin/dynamic", "/usr/bin/static", "/usr/bin/static-pie", "/usr/bin/script"),
            *("/usr/lib/helper", "/opt/app/bin"),
        }
        assert [member.path.decode() for member in made[b"/usr/bin/dynamic"]] == ALWAYS
        assert {made[name] for name in made if b"dynamic" not in name and b"app" not in name} == {
            ()
        }

    def test_where_they_are_is_configured(self, tree: Tree) -> None:
        tree.programs = ("/opt", "/usr/bin/a*")
        for path in ("/opt/x/y", "/usr/bin/abc", "/usr/bin/b"):
            tree.write(path, b"#!/bin/sh\n", 0o755)
        tree.program("/usr/lib/would-fail", *needed("nothing.so"))
        made, errors = tree.build()
        assert (sorted(made), errors) == ([b"/opt/x/y", b"/usr/bin/abc"], [])

    def test_what_has_no_verity_can_be_no_program(self, tree: Tree) -> None:
        tree.program("/usr/bin/x", *needed("nothing.so"))
        tree.sign = ()
        assert tree.build() == ({}, [])

    def test_each_name_of_a_file_has_its_closure(self, tree: Tree) -> None:
        tree.program("/usr/bin/x", *needed("libx.so"), runpath("$ORIGIN/lib"))
        tree.host("/opt/x").mkdir(parents=True)
        os.link(tree.host("/usr/bin/x"), tree.host("/opt/x/x"))
        tree.library("/usr/bin/lib/libx.so")
        tree.library("/opt/x/lib/libx.so")
        assert tree.needs("/usr/bin/x") == ["/usr/bin/lib/libx.so"]
        assert tree.needs("/opt/x/x") == ["/opt/x/lib/libx.so"]


class TestSearch:
    def test_libraries_of_libraries_breadth_first(self, tree: Tree) -> None:
        tree.program("/usr/bin/x", *needed("liba.so", "libb.so"))
        tree.library(f"{LIB}/liba.so", *needed("libc.so", "libb.so"))
        tree.library(f"{LIB}/libb.so", *needed("liba.so"))
        tree.library(f"{LIB}/libc.so", *needed("ld-linux-x86-64.so.2"))
        names = [f"/lib/x86_64-linux-gnu/lib{name}.so" for name in "abc"]
        assert tree.needs("/usr/bin/x") == names

    def test_a_name_that_is_known_is_not_searched(self, tree: Tree) -> None:
        """Neither by the soname, nor by the path, nor by another name of the same file."""
        tree.program(
            "/usr/bin/x",
            *needed("liba.so", "real.so", "/lib/x86_64-linux-gnu/liba.so", "other.so"),
        )
        tree.library(f"{LIB}/liba.so", ("soname", b"real.so"), *needed("libz.so"))
        tree.library(f"{LIB}/real.so", *needed("missing.so"))
        tree.library(f"{LIB}/libz.so")
        os.link(tree.host(f"{LIB}/liba.so"), tree.host(f"{LIB}/other.so"))
        lib = "/lib/x86_64-linux-gnu"
        assert tree.needs("/usr/bin/x") == [f"{lib}/liba.so", f"{lib}/other.so", f"{lib}/libz.so"]

    def test_rpath_is_inherited_and_runpath_is_not(self, tree: Tree) -> None:
        for directory in ("/opt/a", "/opt/b", LIB):
            tree.library(f"{directory}/libdeep.so")
        tree.library("/opt/a/libmid.so", *needed("libdeep.so"))
        tree.program("/usr/bin/r", *needed("libmid.so"), rpath("/opt/a"))
        tree.program("/usr/bin/run", *needed("libmid.so"), runpath("/opt/a"))
        assert tree.needs("/usr/bin/r") == ["/opt/a/libmid.so", "/opt/a/libdeep.so"]
        assert tree.needs("/usr/bin/run")[1] == "/lib/x86_64-linux-gnu/libdeep.so"
        # A library's own comes first; its runpath shuts out all rpaths.
        tree.library("/opt/a/libmid.so", *needed("libdeep.so"), rpath("/opt/b"))
        assert tree.needs("/usr/bin/r")[1] == "/opt/b/libdeep.so"
        tree.library("/opt/a/libmid.so", *needed("libdeep.so"), runpath("/opt/nothing"))
        assert tree.needs("/usr/bin/r")[1] == "/lib/x86_64-linux-gnu/libdeep.so"

    def test_an_empty_search_path_is_none(self, tree: Tree) -> None:
        tree.library(f"{LIB}/liba.so")
        tree.program("/usr/bin/x", *needed("liba.so"), rpath(""))
        assert tree.needs("/usr/bin/x") == ["/lib/x86_64-linux-gnu/liba.so"]

    @pytest.mark.parametrize("text", ["$ORIGIN/../lib", "${ORIGIN}/../lib/", "/opt/$LIB/../../lib"])
    def test_tokens(self, tree: Tree, text: str) -> None:
        tree.program("/opt/bin/x", *needed("liba.so"), runpath(f"/opt/none:{text}"))
        tree.library("/opt/lib/liba.so")
        tree.host("/opt/lib/x86_64-linux-gnu").mkdir(parents=True)
        tree.host(LIB).mkdir(parents=True)
        (name,) = tree.needs("/opt/bin/x")
        origin = text.replace("$ORIGIN", "/opt/bin").replace("${ORIGIN}", "/opt/bin")
        directory = origin.replace("$LIB", "lib/x86_64-linux-gnu").rstrip("/")
        assert name == f"{directory}/liba.so"

    def test_what_only_looks_like_a_token(self, tree: Tree) -> None:
        for name in ("$LIBX", "$ORIGINAL", "${LIB", "$HOME"):
            tree.library(f"/opt/{name}/{name}.so")
            tree.program(f"/usr/bin/{name}", *needed(f"{name}.so"), runpath(f"/opt/{name}"))
            assert tree.needs(f"/usr/bin/{name}") == [f"/opt/{name}/{name}.so"]

    def test_lib_without_debians_directories(self, tree: Tree) -> None:
        tree.library("/usr/lib64/liba.so")
        tree.program("/usr/bin/x", *needed("liba.so"), runpath("/usr/$LIB"))
        assert tree.needs("/usr/bin/x") == ["/usr/lib64/liba.so"]

    def test_origin_of_a_library_is_where_it_was_opened(self, tree: Tree) -> None:
        tree.library("/opt/real/liba.so", *needed("libb.so"), runpath("$ORIGIN"))
        tree.library("/opt/link/libb.so")
        tree.host("/opt/link/liba.so").symlink_to("../real/liba.so")
        tree.program("/usr/bin/x", *needed("liba.so"), runpath("/opt/link"))
        assert tree.needs("/usr/bin/x") == ["/opt/link/liba.so", "/opt/link/libb.so"]

    def test_paths_and_tokens_as_names(self, tree: Tree) -> None:
        tree.program("/opt/bin/x", *needed("/opt/liba.so", "$ORIGIN/libb.so"))
        tree.library("/opt/liba.so")
        tree.library("/opt/bin/libb.so")
        assert tree.needs("/opt/bin/x") == ["/opt/liba.so", "/opt/bin/libb.so"]

    def test_other_kinds_of_files_are_passed_over(self, tree: Tree) -> None:
        tree.program("/usr/bin/x", *needed("liba.so"), runpath("/opt/a:/opt/b:/opt/c"))
        tree.library("/opt/a/liba.so", bits=32, machine=3)
        tree.library("/opt/b/liba.so", machine=183)
        tree.host("/opt/c/liba.so").mkdir(parents=True)
        tree.library("/usr/lib/liba.so")
        assert tree.needs("/usr/bin/x") == ["/lib/liba.so"]

    def test_default_directories_all_count(self, tree: Tree) -> None:
        """A loader searches some of them; each file is named once, with what it needs."""
        tree.program("/usr/bin/x", *needed("liba.so"))
        wanted: list[str] = []
        for directory in ("/usr/lib", "/usr/lib64", LIB):
            tree.library(f"{directory}/liba.so")
            wanted.insert(0, f"{directory.removeprefix('/usr')}/liba.so")
            assert tree.needs("/usr/bin/x") == wanted
        tree.library("/usr/lib/liba.so", *needed("libb.so"))
        tree.library("/usr/lib64/libb.so")
        assert tree.needs("/usr/bin/x") == [*wanted, "/lib64/libb.so"]

    def test_without_default_directories(self, tree: Tree) -> None:
        tree.program("/usr/bin/x", *needed("liba.so"), runpath("/opt"), flags_1=0x800)
        tree.library(f"{LIB}/liba.so")
        assert "none" in str(tree.error("library-missing"))
        write_cache(tree, ("liba.so", f"{LIB}/liba.so", 0))
        assert "none" in str(tree.error("library-missing"))
        write_cache(tree, ("liba.so", "/opt/elsewhere/liba.so", 0))
        tree.library("/opt/elsewhere/liba.so")
        assert tree.needs("/usr/bin/x") == ["/opt/elsewhere/liba.so"]
        # Not every loader takes /lib64 for one of its own.
        tree.library("/usr/lib64/liba.so")
        write_cache(
            tree, ("liba.so", "/lib64/liba.so", 0), ("liba.so", "/opt/elsewhere/liba.so", 0)
        )
        assert tree.needs("/usr/bin/x") == ["/lib64/liba.so", "/opt/elsewhere/liba.so"]
        write_cache(
            tree, ("liba.so", "/opt/elsewhere/liba.so", 0), ("liba.so", "/lib64/liba.so", 0)
        )
        assert tree.needs("/usr/bin/x") == ["/opt/elsewhere/liba.so"]

    def test_the_cache(self, tree: Tree) -> None:
        tree.program("/usr/bin/x", *needed("liba.so", "libb.so", "libc.so"))
        for path in ("/opt/liba.so", f"{LIB}/liba.so", f"{LIB}/libb.so", "/opt/libc.so"):
            tree.library(path)
        write_cache(
            tree,
            ("liba.so", "/opt/liba.so", 0),
            ("libb.so", "/opt/gone/libb.so", 0, 3),
            ("libc.so", "/opt/32/libc.so", 0, 3),
            ("libc.so", "/opt/libc.so", 0),
            ("libc.so", "/opt/later/libc.so", 0, 3),
            ("libz.so", "/opt/nobody/needs/libz.so", 0),
        )
        wanted = ["/opt/liba.so", "/lib/x86_64-linux-gnu/libb.so", "/opt/libc.so"]
        assert tree.needs("/usr/bin/x") == wanted

    def test_of_all_kinds_of_entries_the_first_count(self, tree: Tree) -> None:
        """Which of them a loader for 32-bit Arm takes, its ELF header does not say."""
        options: dict[str, Any] = {"bits": 32, "machine": 40}
        for path in ("/usr/lib/ld-linux.so.3", "/opt/soft/liba.so", "/opt/hard/liba.so"):
            tree.library(path, **options)
        data = tree.make(*needed("liba.so"), interpreter=b"/lib/ld-linux.so.3", **options)
        tree.write("/usr/bin/x", data, 0o755)
        rows = (("soft", 0xB03), ("hard", 0x903), ("soft", 0x903))
        write_cache(tree, *(("liba.so", f"/opt/{name}/liba.so", 0, kind) for name, kind in rows))
        made, errors = tree.build()
        assert errors == []
        names = {member.path.decode() for member in made[b"/usr/bin/x"]}
        assert names >= {"/opt/soft/liba.so", "/opt/hard/liba.so"}

    def test_runpath_comes_before_the_cache(self, tree: Tree) -> None:
        tree.program("/usr/bin/x", *needed("liba.so"), runpath("/opt/run"))
        tree.library("/opt/run/liba.so")
        tree.library("/opt/liba.so")
        write_cache(tree, ("liba.so", "/opt/liba.so", 0))
        assert tree.needs("/usr/bin/x") == ["/opt/run/liba.so"]

    def test_variants_for_processors_all_count(self, tree: Tree) -> None:
        """With what each of them needs, wherever they are."""
        tree.program("/usr/bin/x", *needed("liba.so", "libb.so"), runpath("/opt"))
        tree.library("/opt/liba.so")
        tree.library("/opt/glibc-hwcaps/x86-64-v2/liba.so")
        tree.library("/opt/glibc-hwcaps/x86-64-v4/liba.so", *needed("libv4.so"))
        tree.library("/opt/glibc-hwcaps/power10/libb.so", *needed("libv4.so"))
        tree.library(f"{LIB}/libv4.so")
        tree.library(f"{LIB}/glibc-hwcaps/x86-64-v3/libb.so")
        tree.library(f"{LIB}/libb.so")
        write_cache(
            tree,
            ("libb.so", f"{LIB}/glibc-hwcaps/x86-64-v3/libb.so", 1 << 62),
            ("libb.so", f"{LIB}/libb.so", 0),
        )
        assert tree.needs("/usr/bin/x") == [
            "/opt/glibc-hwcaps/x86-64-v2/liba.so",
            "/opt/glibc-hwcaps/x86-64-v4/liba.so",
            "/opt/liba.so",
            "/opt/glibc-hwcaps/power10/libb.so",
            f"{LIB}/glibc-hwcaps/x86-64-v3/libb.so",
            f"{LIB}/libb.so",
            "/lib/x86_64-linux-gnu/libv4.so",
        ]

    def test_a_variant_alone_is_not_enough(self, tree: Tree) -> None:
        tree.program("/usr/bin/x", *needed("liba.so"))
        tree.library(f"{LIB}/glibc-hwcaps/x86-64-v2/liba.so")
        tree.error("library-missing")

    def test_directories_by_processor_of_an_earlier_glibc(self, tree: Tree) -> None:
        """One below another, in any order; what links give two names has one."""
        tree.program("/usr/bin/x", *needed("liba.so"), runpath("/opt"))
        for below in ("", "tls/", "haswell/avx512_1/", "x86_64/haswell/", "others/", "x86_64/no/"):
            tree.library(f"/opt/{below}liba.so")
        tree.host("/opt/tls/x86_64").symlink_to("../x86_64")
        for name in ("tls", "vx", "vxe", "neon"):
            tree.host(f"/opt/haswell/{name}").symlink_to(".")
        assert tree.needs("/usr/bin/x") == [
            *("/opt/tls/liba.so", "/opt/haswell/avx512_1/liba.so", "/opt/x86_64/haswell/liba.so"),
            "/opt/liba.so",
        ]

    def test_variants_by_links(self, tree: Tree) -> None:
        tree.program("/usr/bin/x", *needed("liba.so"), runpath("/opt/lib"))
        tree.library("/opt/lib/liba.so")
        tree.library("/opt/hw/x86-64-v2/liba.so")
        tree.library("/opt/v3/liba.so")
        tree.host("/opt/lib/glibc-hwcaps").symlink_to("../hw")
        tree.host("/opt/hw/x86-64-v3").symlink_to("../v3")
        hwcaps = "/opt/lib/glibc-hwcaps"
        assert tree.needs("/usr/bin/x") == [
            *(f"{hwcaps}/x86-64-v2/liba.so", f"{hwcaps}/x86-64-v3/liba.so", "/opt/lib/liba.so"),
        ]

    def test_what_only_a_variant_brings_hides_nothing(self, tree: Tree) -> None:
        """Neither its SONAME, nor what it needs: on other processors that is looked for."""
        tree.program("/usr/bin/x", *needed("liba.so", "libb.so"), runpath("/opt"))
        v4 = "/opt/glibc-hwcaps/x86-64-v4"
        tree.library("/opt/liba.so")
        tree.library(
            f"{v4}/liba.so", ("soname", b"libb.so"), *needed("libc.so"), runpath("/opt/v4")
        )
        tree.library("/opt/libb.so", *needed("libc.so"), runpath("/opt"))
        for path in ("/opt/v4/libc.so", "/opt/libc.so"):
            tree.library(path)
        assert tree.needs("/usr/bin/x") == [
            *(f"{v4}/liba.so", "/opt/liba.so", "/opt/libb.so", "/opt/v4/libc.so", "/opt/libc.so"),
        ]
        # A name that all of them have is known on each processor.
        tree.library("/opt/liba.so", ("soname", b"libb.so"))
        assert "/opt/libb.so" not in tree.needs("/usr/bin/x")

    def test_filters(self, tree: Tree) -> None:
        tree.program("/usr/bin/x", *needed("liba.so"), rpath("/opt"))
        tree.library(
            f"{LIB}/liba.so", ("filter", b"f.so"), ("auxiliary", b"x.so"), ("auxiliary", b"no.so")
        )
        for name in ("f", "x"):
            tree.library(f"{LIB}/{name}.so")
        lib = "/lib/x86_64-linux-gnu"
        assert tree.needs("/usr/bin/x") == [f"{lib}/liba.so", f"{lib}/f.so", f"{lib}/x.so"]

    def test_preloaded_libraries(self, tree: Tree) -> None:
        tree.program("/usr/bin/x", *needed("liba.so"), runpath("/opt/x"))
        tree.write("/usr/bin/static", tree.make(kind=2, dynamic=False), 0o755)
        tree.library("/opt/x/liba.so")
        tree.library("/opt/x/p1.so", *needed("libp.so"))
        tree.library("/opt/p2.so")
        tree.library("/opt/p3.so", bits=32, machine=3)
        tree.library(f"{LIB}/libp.so")
        text = b"p1.so\n\t/usr/../opt/p2.so:/opt/$LIB/../../p3.so\n $LIB.so"
        tree.host(LIB).mkdir(parents=True, exist_ok=True)
        tree.host("/opt/lib/x86_64-linux-gnu").mkdir(parents=True)
        # In a name without a slash the loader replaces nothing.
        tree.library("/opt/x/$LIB.so")
        tree.write("/etc/ld.so.preload", text)
        made, errors = tree.build()
        assert errors == []
        names = [member.path.decode() for member in made[b"/usr/bin/x"]]
        assert names == [
            *ALWAYS,
            *("/opt/x/p1.so", "/usr/../opt/p2.so", "/opt/lib/x86_64-linux-gnu/../../p3.so"),
            *("/opt/x/$LIB.so", "/opt/x/liba.so", "/lib/x86_64-linux-gnu/libp.so"),
        ]
        (preload,) = [one for one in made[b"/usr/bin/x"] if one.path == b"/etc/ld.so.preload"]
        assert preload.digest == merkle.data_digest(text, PLAIN)
        assert made[b"/usr/bin/static"] == ()

    def test_32_bits(self, tree: Tree) -> None:
        loader = b"/lib/ld-linux.so.2"
        options: dict[str, Any] = {"bits": 32, "machine": 3}
        tree.library("/usr/lib/ld-linux.so.2", **options)
        data = tree.make(*needed("liba.so", "libb.so"), interpreter=loader, **options)
        tree.write("/usr/bin/x", data, 0o755)
        tree.library(f"{LIB}/liba.so")
        tree.library("/usr/lib/i386-linux-gnu/liba.so", **options)
        tree.library("/opt/libb.so", **options)
        write_cache(tree, ("libb.so", "/opt/wrong.so", 0), ("libb.so", "/opt/libb.so", 0, 3))
        made, errors = tree.build()
        assert errors == []
        names = [member.path.decode() for member in made[b"/usr/bin/x"]]
        assert names[0] == loader.decode()
        assert names[3:] == ["/lib/i386-linux-gnu/liba.so", "/opt/libb.so"]


def write_cache(tree: Tree, *rows: tuple[Any, ...]) -> None:
    """An ld.so.cache: name, path, hwcap, and flags if they are not those of 64 bits."""
    start = 48 + 24 * len(rows)
    strings, entries = b"", b""
    for name, path, hwcap, *flags in rows:
        key, value = start + len(strings), start + len(strings) + len(name) + 1
        entries += struct.pack("<iIIIQ", *(flags or [0x303]), key, value, 0, hwcap)
        strings += f"{name}\0{path}\0".encode()
    head = struct.pack("<20sIIB3xI12x", b"glibc-ld.so.cache1.1", len(rows), len(strings), 2, 0)
    tree.write("/etc/ld.so.cache", head + entries + strings)


class TestLinks:
    def test_absolute_ones_lead_into_the_tree(self, tree: Tree) -> None:
        tree.program("/usr/bin/x", *needed("liba.so"), runpath("/opt/lib"))
        tree.library("/opt/one/liba.so.1")
        tree.host("/opt/lib").symlink_to("/opt/two")
        tree.host("/opt/two").mkdir()
        tree.host("/opt/two/liba.so").symlink_to("/opt/../opt/./one/liba.so.1")
        made, errors = tree.build()
        assert errors == []
        member = made[b"/usr/bin/x"][-1]
        assert member.path == b"/opt/lib/liba.so"
        data = tree.host("/opt/one/liba.so.1").read_bytes()
        assert member.digest == merkle.data_digest(data, PLAIN)

    def test_never_to_this_machines_files(self, tree: Tree, tmp_path: Path) -> None:
        tree.library("/opt/../../liba.so")
        assert (tmp_path / "liba.so").exists()
        (tmp_path / "libs").mkdir()
        (tmp_path / "libs/liba.so").write_bytes((tmp_path / "liba.so").read_bytes())
        tree.program("/usr/bin/x", *needed("liba.so"), runpath("/opt/a:/opt/b:/opt/c"))
        tree.host("/opt/a").symlink_to(tmp_path / "libs")
        tree.host("/opt/b").symlink_to("../../libs")
        tree.host("/opt/c").mkdir()
        tree.host("/opt/c/liba.so").symlink_to(tmp_path / "liba.so")
        found = {error.reason for error in tree.errors()}
        assert found == {"library-missing", "search-path-open"}

    def test_too_many(self, tree: Tree) -> None:
        tree.program("/usr/bin/x", *needed("liba.so"), runpath("/opt/loop:/opt/40"))
        tree.library("/opt/end/liba.so")
        tree.host("/opt/loop").symlink_to("loop")
        tree.host("/opt/1").symlink_to("end")
        for number in range(2, 41):
            tree.host(f"/opt/{number}").symlink_to(str(number - 1))
        assert tree.needs("/usr/bin/x") == ["/opt/40/liba.so"]
        tree.host("/opt/end").rename(tree.host("/opt/real"))
        tree.host("/opt/end").symlink_to("real")
        tree.error("library-missing")


class TestLoads:
    def test_with_what_they_need(self, tree: Tree) -> None:
        tree.program("/opt/app/bin", *needed("liba.so"), rpath("/opt/app/lib"))
        tree.library(f"{LIB}/liba.so")
        tree.library("/opt/app/plugins/one.so", *needed("liba.so", "libp.so"))
        tree.library("/opt/app/lib/libp.so")
        tree.write("/opt/app/plugins/two.txt", b"no library")
        tree.write("/opt/app/data/deep/file", b"\x7fEL")
        tree.loads = {"/opt/app/bin": ("/opt/app/plugins/*.so", "/opt/app/data")}
        assert tree.needs("/opt/app/bin") == [
            *("/lib/x86_64-linux-gnu/liba.so", "/opt/app/plugins/one.so"),
            *("/opt/app/lib/libp.so", "/opt/app/data/deep/file"),
        ]

    def test_by_links(self, tree: Tree) -> None:
        tree.program("/opt/app")
        tree.library("/opt/lib/real.so.1")
        tree.host("/opt/lib/a.so").symlink_to("real.so.1")
        tree.host("/opt/lib/gone.so").symlink_to("none")
        tree.loads = {"/opt/app": ("/opt/lib/*.so",)}
        assert tree.needs("/opt/app") == ["/opt/lib/a.so"]

    @pytest.mark.parametrize("kind", ["script", "static"])
    def test_of_what_has_no_loader_of_its_own(self, tree: Tree, kind: str) -> None:
        data = b"#!/bin/sh\n" if kind == "script" else tree.make(kind=2, dynamic=False)
        tree.write("/opt/app", data, 0o755)
        tree.library("/opt/plugin.so", *needed("liba.so"), runpath("$ORIGIN/lib"))
        tree.library("/opt/lib/liba.so")
        tree.write("/opt/data.py", b"pass\n")
        tree.loads = {"/opt/app": ("/opt/data.py", "/opt/plugin.so")}
        made, errors = tree.build()
        assert errors == []
        assert [member.path.decode() for member in made[b"/opt/app"]] == [
            *("/opt/data.py", "/opt/plugin.so", *ALWAYS[1:], "/opt/lib/liba.so"),
        ]

    @pytest.mark.parametrize("text", ["/opt/none/*", "/opt/empty", "/bin/x"])
    def test_of_nothing(self, tree: Tree, text: str) -> None:
        tree.program("/usr/bin/x")
        tree.host("/opt/empty").mkdir(parents=True)
        tree.loads = {"/usr/bin/x": (text,)}
        error = tree.error("loads-nothing")
        assert error.expected == text
        assert error.path == str(tree.host("/usr/bin/x"))

    @pytest.mark.parametrize(
        ("path", "found"),
        [
            ("/usr/bin/none", "nothing"),
            ("/bin/x", "another name of /usr/bin/x"),
            ("/usr/bin", "something else"),
            ("/usr/bin/text", "a file that is none"),
            ("/usr/bin/x/", "another name of /usr/bin/x"),
            ("/srv/unsigned", "build.programs and sign"),
        ],
    )
    def test_of_no_program(self, tree: Tree, path: str, found: str) -> None:
        tree.program("/usr/bin/x")
        tree.write("/usr/bin/text", b"text", 0o755)
        tree.program("/srv/unsigned")
        tree.loads = {path: ()}
        assert found in str(tree.error("not-a-program"))


class TestRefused:
    def test_a_library_that_is_not_in_the_tree(self, tree: Tree) -> None:
        tree.program("/usr/bin/x", *needed("liba.so"), rpath("/opt/x"))
        tree.program("/usr/bin/y", *needed("liba.so"))
        tree.library(f"{LIB}/liba.so", *needed("libnone.so.5"), rpath("/opt/a"))
        both = tree.errors()
        assert [error.reason for error in both] == ["library-missing"] * 2
        first = both[0]
        assert first.path == str(tree.host(f"{LIB}/liba.so"))
        assert first.expected is not None
        assert first.expected.startswith("libnone.so.5 in /opt/a, /opt/x, /etc/ld.so.cache, /lib/")
        assert first.found == "none, for /usr/bin/x"
        assert "ldconfig" in str(first)

    def test_what_concerns_many_programs_is_said_once(self, tree: Tree) -> None:
        for number in range(20):
            tree.program(f"/usr/bin/{number}", *needed("liba.so"))
        tree.library(f"{LIB}/liba.so", *needed("libnone.so"))
        assert len(tree.errors()) == 1

    @pytest.mark.parametrize("text", ["/tmp/lib", "/opt/open/lib", "/opt/link", "/srv", "/var/x"])
    def test_a_search_path_into_what_others_can_change(self, tree: Tree, text: str) -> None:
        """Whether or not anything is there."""
        tree.mutable = ("/var",)
        tree.program("/usr/bin/x", *needed("liba.so"), runpath(text))
        tree.library(f"{LIB}/liba.so")
        for name in ("/tmp", "/opt/open", "/srv", "/var"):
            tree.host(name).mkdir(parents=True)
        tree.host("/tmp").chmod(0o1777)
        tree.host("/opt/open").chmod(0o777)
        tree.host("/opt/link").symlink_to("/tmp/elsewhere")
        error = tree.error("search-path-open")
        assert error.path == str(tree.host("/usr/bin/x"))
        assert error.found is not None
        assert error.found.startswith(f"{text}: ")
        for there in ("/tmp/lib", "/opt/open/lib", "/srv"):
            tree.library(f"{there}/liba.so")
        assert "search-path-open" in {error.reason for error in tree.errors()}

    def test_a_place_where_a_library_could_be_added(self, tree: Tree) -> None:
        """Each is taken before, or instead of, what the closure has."""
        lib, hwcaps = f"{LIB}/liba.so", "/opt/lib/glibc-hwcaps"
        tree.program("/usr/bin/x", *needed("liba.so"), runpath("/opt/lib"))
        tree.library(lib)
        tree.host("/opt/lib/tls").mkdir(parents=True)
        tree.host("/opt/hw/x86-64-v3").mkdir(parents=True)
        tree.host("/srv").mkdir()
        tree.mutable = ("/opt/free",)
        links = {
            "/opt/lib/liba.so": "/srv/liba.so",
            hwcaps: "/srv/hw",
            f"{hwcaps}/x86-64-v2": "/srv",
            "/opt/lib/haswell": "/srv/haswell",
            "/opt/lib/tls/x86_64": "/opt/free",
        }
        for path, target in links.items():
            if path.startswith(hwcaps + "/"):
                tree.host(hwcaps).symlink_to("../hw")
            tree.host(path).symlink_to(target)
            rule = "is in build.mutable" if "free" in target else "is not in build.exclusive"
            assert tree.error("search-path-open").found == f"{path}: {target} {rule}"
            tree.host(path).unlink()
            tree.host(hwcaps).unlink(missing_ok=True)
        assert tree.needs("/usr/bin/x") == ["/lib/x86_64-linux-gnu/liba.so"]
        tree.library(lib, ("auxiliary", b"/srv/aux.so"))
        assert tree.error("search-path-open").path == str(tree.host(lib))

    def test_a_directory_of_the_loaders_files_that_is_open(self, tree: Tree) -> None:
        """Neither is there, so each could be added."""
        tree.program("/usr/bin/x")
        tree.host("/srv").mkdir()
        tree.host("/etc").rename(tree.host("/srv/etc"))
        tree.host("/etc").symlink_to("srv/etc")
        assert [(error.reason, error.found) for error in tree.errors()] == [
            ("search-path-open", f"/etc/{name}: /srv/etc/{name} is not in build.exclusive")
            for name in ("ld.so.cache", "ld.so.preload")
        ]

    def test_a_library_of_another_kind_that_could_become_one_of_this(self, tree: Tree) -> None:
        """It is no member, so nobody looks at it again."""
        tree.program("/usr/bin/x", *needed("liba.so"), runpath("/opt"))
        tree.library(f"{LIB}/liba.so")
        tree.library("/srv/liba.so", bits=32, machine=3)
        tree.host("/opt").mkdir()
        tree.host("/opt/liba.so").symlink_to("/srv/liba.so")
        assert "/srv/liba.so" in str(tree.error("search-path-open").found)

    def test_a_directory_of_the_builders_own_group(self, tree: Tree) -> None:
        """Whoever builds has a tree of his own, in which he may write."""
        tree.program("/usr/bin/x", *needed("liba.so"), runpath("/opt"))
        tree.library("/opt/liba.so")
        tree.host("/opt").chmod(0o775)
        assert tree.needs("/usr/bin/x") == ["/opt/liba.so"]

    def test_declared_files_where_others_could_be_added(self, tree: Tree) -> None:
        tree.program("/usr/bin/x")
        tree.library("/srv/plug/a.so")
        tree.sign = (*tree.sign, "/srv")
        tree.loads = {"/usr/bin/x": ("/srv/plug/*.so",)}
        error = tree.error("search-path-open")
        assert error.path == str(tree.host("/usr/bin/x"))
        assert error.found == "/srv/plug: /srv/plug is not in build.exclusive"

    @pytest.mark.parametrize("mode", [0o4755, 0o2755])
    def test_origin_in_what_gains_privilege(self, tree: Tree, mode: int) -> None:
        tree.program("/opt/bin/x", *needed("liba.so"), runpath("/opt/lib"))
        tree.host("/opt/bin/x").chmod(mode)
        tree.library("/opt/lib/liba.so", *needed("libb.so"))
        tree.library(f"{LIB}/libb.so")
        assert tree.needs("/opt/bin/x")[0] == "/opt/lib/liba.so"
        tree.library("/opt/lib/liba.so", *needed("libb.so"), runpath("$ORIGIN/../x"))
        error = tree.error("search-path-unknown")
        assert error.path == str(tree.host("/opt/bin/x"))
        assert error.found == "$ORIGIN/../x of /opt/lib/liba.so"

    @pytest.mark.parametrize("tag", ["audit", "depaudit"])
    def test_auditors(self, tree: Tree, tag: str) -> None:
        tree.program("/usr/bin/x", (tag, b"one.so:/opt/two.so"))
        assert tree.error("audited").found == "one.so:/opt/two.so"

    def test_a_search_path_that_is_not_reached_harms_nobody(self, tree: Tree) -> None:
        tree.program("/usr/bin/x", *needed("liba.so"), runpath("/opt/a:/tmp:$PLATFORM::rel"))
        tree.library("/opt/a/liba.so")
        assert tree.needs("/usr/bin/x") == ["/opt/a/liba.so"]

    @pytest.mark.parametrize("path", ["/usr/lib/open/liba.so", "/var/liba.so"])
    def test_a_library_that_others_can_replace(self, tree: Tree, path: str) -> None:
        tree.mutable = ("/var",)
        tree.program("/usr/bin/x", *needed(path))
        tree.library(path)
        tree.host("/usr/lib/open").mkdir(parents=True, exist_ok=True)
        tree.host("/usr/lib/open").chmod(0o757)
        reasons = {error.reason for error in tree.errors()}
        assert "search-path-open" in reasons

    @pytest.mark.parametrize("how", ["rpath", "runpath"])
    @pytest.mark.parametrize("text", [":/opt", "/opt/none:", "lib", "./lib", "/opt/none::/x"])
    def test_a_relative_search_path(self, tree: Tree, how: str, text: str) -> None:
        tree.program("/usr/bin/x", *needed("liba.so"), (how, text.encode()))
        error = tree.error("search-path-relative")
        assert error.path == str(tree.host("/usr/bin/x"))

    def test_a_relative_name(self, tree: Tree) -> None:
        tree.program("/usr/bin/x", *needed("lib/liba.so"))
        assert tree.error("search-path-relative").found == "lib/liba.so"

    @pytest.mark.parametrize("text", ["/opt/$PLATFORM", "/opt/${PLATFORM}/lib"])
    def test_a_search_path_by_processor(self, tree: Tree, text: str) -> None:
        tree.program("/usr/bin/x", *needed("liba.so"), runpath(text))
        assert tree.error("search-path-unknown").found == text

    def test_a_member_without_verity(self, tree: Tree) -> None:
        tree.program("/usr/bin/x", *needed("/srv/liba.so"))
        tree.program("/usr/bin/y", *needed("/srv/liba.so"))
        tree.library("/srv/liba.so")
        error = tree.error("member-unsigned")
        assert error.path == str(tree.host("/srv/liba.so"))
        assert error.found == "/srv/liba.so, for /usr/bin/x"

    @pytest.mark.parametrize(
        "name",
        [
            *(b"/lib/ld-musl-x86_64.so.1", b"/lib/ld-uClibc.so.0", b"/bin/x", b"/opt/loader"),
            # Of another prefix.
            *(b"/opt/ld-linux-x86-64.so.2", b"/usr/bin/ld-linux-x86-64.so.2"),
        ],
    )
    def test_another_loader(self, tree: Tree, name: bytes) -> None:
        tree.host("/usr/lib").mkdir(parents=True)
        tree.library(name.decode())
        tree.write("/usr/bin/p", tree.make(interpreter=name), 0o755)
        assert tree.error("unknown-loader").found == name.decode()

    def test_a_link_to_another_loader(self, tree: Tree) -> None:
        tree.library("/opt/g/ld-linux-x86-64.so.2")
        tree.host("/lib64/ld-linux-x86-64.so.2").unlink()
        tree.host("/lib64/ld-linux-x86-64.so.2").symlink_to("/opt/g/ld-linux-x86-64.so.2")
        tree.program("/usr/bin/x")
        assert tree.error("unknown-loader").found == "/opt/g/ld-linux-x86-64.so.2"

    def test_another_architecture(self, tree: Tree) -> None:
        tree.library("/usr/lib/ld.so.1", bits=32, order=">", machine=2)
        data = tree.make(bits=32, order=">", machine=2, interpreter=b"/lib/ld.so.1")
        tree.write("/usr/bin/x", data, 0o755)
        assert "EM_SPARC" in str(tree.error("unknown-loader"))

    @pytest.mark.parametrize("name", [b"/lib/ld-linux.so.2", b"ld-linux-x86-64.so.2", b"/usr/lib"])
    def test_no_interpreter(self, tree: Tree, name: bytes) -> None:
        tree.write("/usr/bin/x", tree.make(interpreter=name), 0o755)
        error = tree.error("interpreter-missing")
        assert (error.expected, error.found) == (name.decode(), "nothing")

    def test_programs_of_an_architecture_that_cannot_run_here(self, tree: Tree) -> None:
        """As perf has one for 32-bit processes: an error only if it is asked for."""
        options: dict[str, Any] = {"bits": 32, "machine": 3, "interpreter": b"/lib/ld-linux.so.2"}
        tree.write("/usr/lib/helper", tree.make(**options), 0o755)
        assert tree.error("interpreter-missing").path == str(tree.host("/usr/lib/helper"))
        tree.program("/usr/bin/x")
        built = tree.built()
        assert (set(built.closures), built.errors) == ({b"/usr/bin/x"}, [])
        (error,) = built.foreign
        assert error.path == str(tree.host("/usr/lib/helper"))
        tree.loads = {"/usr/lib/helper": ()}
        assert {error.reason for error in tree.errors()} == {"interpreter-missing"}
        tree.loads = {}
        tree.write("/usr/bin/y", tree.make(interpreter=b"/lib/ld-linux.so.9"), 0o755)
        (error,) = tree.built().errors
        assert (error.reason, error.path) == ("interpreter-missing", str(tree.host("/usr/bin/y")))

    def test_an_interpreter_of_another_architecture(self, tree: Tree) -> None:
        tree.library("/usr/lib/ld-linux.so.2", bits=32, machine=3)
        tree.write("/usr/bin/x", tree.make(interpreter=b"/lib/ld-linux.so.2"), 0o755)
        assert "another architecture" in str(tree.error("interpreter-missing"))

    def test_a_damaged_program(self, tree: Tree) -> None:
        tree.write("/usr/bin/x", b"\x7fELF and no more", 0o755)
        assert tree.error("bad-elf").path == str(tree.host("/usr/bin/x"))

    def test_a_library_that_is_none(self, tree: Tree) -> None:
        tree.program("/usr/bin/x", *needed("libc.so"))
        tree.write(f"{LIB}/libc.so", b"GROUP ( /lib/libc.so.6 )")
        assert tree.error("bad-elf").path == str(tree.host(f"{LIB}/libc.so"))

    def test_a_damaged_cache(self, tree: Tree) -> None:
        tree.write("/etc/ld.so.cache", b"glibc-ld.so.cache1.1")
        tree.program("/usr/bin/x", *needed("liba.so"))
        assert tree.error("bad-ld-cache").path == str(tree.host("/etc/ld.so.cache"))

    @pytest.mark.parametrize("variant", [0, 1 << 62])
    def test_a_cache_that_names_what_is_not_there(self, tree: Tree, variant: int) -> None:
        """The loader would go on to the default directories."""
        for name in ("x", "y"):
            tree.program(f"/usr/bin/{name}", *needed("liba.so"))
        for path in (f"{LIB}/liba.so", "/opt/liba.so"):
            tree.library(path)
        rows = ("liba.so", "/opt/gone/liba.so", variant), ("liba.so", "/opt/liba.so", 0)
        write_cache(tree, *rows)
        error = tree.error("stale-ld-cache")
        assert error.path == str(tree.host("/etc/ld.so.cache"))
        assert error.found == "/opt/gone/liba.so"
        tree.library("/opt/gone/liba.so", bits=32, machine=3)
        assert tree.error("stale-ld-cache").found == "/opt/gone/liba.so"

    @pytest.mark.parametrize("name", ["/etc/ld.so.cache", "/etc/ld.so.preload"])
    @pytest.mark.parametrize("kind", ["link", "directory"])
    def test_what_configures_the_loader_is_no_file(self, tree: Tree, name: str, kind: str) -> None:
        tree.program("/usr/bin/x")
        if kind == "link":
            tree.host(name).symlink_to("nothing")
        else:
            tree.host(name).mkdir()
        assert tree.error("not-a-regular-file").path == str(tree.host(name))

    @pytest.mark.parametrize("text", [b"/opt/a.so\n# none", b"#", b"/opt/a.so\0/opt/b.so"])
    def test_a_preload_that_is_not_read_as_it_looks(self, tree: Tree, text: bytes) -> None:
        tree.write("/etc/ld.so.preload", text)
        for name in ("x", "y"):
            tree.program(f"/usr/bin/{name}")
        assert tree.error("bad-ld-preload").path == str(tree.host("/etc/ld.so.preload"))

    def test_a_preload_without_end(self, tree: Tree) -> None:
        tree.write("/etc/ld.so.preload", b"/x " * 40_000)
        tree.program("/usr/bin/x")
        assert tree.error("too-large").path == str(tree.host("/etc/ld.so.preload"))

    def test_a_file_that_changed_since_it_was_hashed(self, tree: Tree) -> None:
        tree.program("/usr/bin/x")
        found = scan.scan(str(tree.top), Rules(policy.EXCLUSIVE, ()))
        tree.host("/usr/bin/x").chmod(0o700)
        wanted = Wanted(Patterns(["/"]), Patterns(["/"]), {})
        digests = dict.fromkeys(found.nodes, merkle.data_digest(b"", PLAIN))
        built = closures.build(Model(found, Rules((), ())), digests, wanted)
        assert [error.reason for error in built.errors] == ["changed-while-read"]


class TestBuild:
    @pytest.fixture
    def run(
        self, cli: Any, signer: list[str], tree: Tree, tmp_path: Path
    ) -> Callable[..., tuple[int, Any, str]]:
        def call(config: str = "", out: str = "out") -> tuple[int, Any, str]:
            (tmp_path / "config").write_text(config)
            words = [f"--out={tmp_path / out}", "--os=x", "--version=1", "--created=5", "--json"]
            config = f"--config={tmp_path / 'config'}"
            status, stdout, err = cli("build", str(tree.top), *words, *signer, config)
            return status, json.loads(stdout) if stdout else None, err

        return call

    def test_they_are_part_of_the_release(
        self, run: Callable[..., Any], tree: Tree, tmp_path: Path
    ) -> None:
        tree.program("/usr/bin/x", *needed("liba.so"))
        tree.write("/usr/bin/script", b"#!/bin/sh\n", 0o755)
        tree.library(f"{LIB}/liba.so")
        tree.library("/opt/plugin.so")
        config = '[program."/usr/bin/script"]\nloads = ["/opt/plugin.so"]\n'
        status, report, err = run(config)
        assert status == 0, err
        assert report["programs"] == 2
        assert "2 programs; " in err
        data = (tmp_path / "out/closures.json").read_bytes()
        made = closure.parse(data, "closures.json")
        assert set(made) == {b"/usr/bin/x", b"/usr/bin/script"}
        assert [member.path for member in made[b"/usr/bin/script"]][0] == b"/opt/plugin.so"
        document = json.loads((tmp_path / "out/manifest.json").read_bytes())
        said = document["closures"]
        assert said["size"] == len(data)
        assert Digest.parse(said["digest"]) == merkle.data_digest(data, PLAIN)
        run(config, out="again")
        assert (tmp_path / "again/closures.json").read_bytes() == data

    def test_what_is_wrong_is_said_and_there_is_no_release(
        self, run: Callable[..., Any], tree: Tree, tmp_path: Path
    ) -> None:
        tree.program("/usr/bin/x", *needed("libnone.so"))
        tree.program("/usr/bin/y", *needed("liba.so"), runpath("rel"))
        status, report, err = run()
        assert status == 1
        reasons = [error["reason"] for error in report["errors"]]
        assert reasons == ["library-missing", "search-path-relative"]
        assert "2 failed" in err
        assert "veriseal: " in err
        assert not (tmp_path / "out/manifest.json").exists()
        assert not (tmp_path / "out/closures.json").exists()
        status, _, err = run('[build]\nprograms = ["/opt"]\n')
        assert status == 0, err

    def test_nothing_signed_needs_nothing(self, run: Callable[..., Any], tree: Tree) -> None:
        tree.program("/usr/bin/x", *needed("libnone.so"))
        status, report, _ = run("[build]\nsign = []\n")
        assert (status, report["programs"]) == (0, 0)
