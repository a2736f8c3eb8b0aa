"""What is compiled and written into the appliance, and the small trees that are built beside it.

The compiler is that of the appliance's own tree, which loses it before its release is built.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.boot import layout
from tests.boot.layout import BIN, FILES, LIB, ODD, STRANGER, STRAY
from tests.guest.store import command

_MACHINE = slice(18, 20)
"""`e_machine` in an ELF header, see elf(5)."""
_AARCH64 = (183).to_bytes(2, "little")
_ORIGIN = "$ORIGIN/../lib"
_LOADER = ("usr/lib64/ld-linux-x86-64.so.2", "usr/lib/x86_64-linux-gnu/libc.so.6")


def programs(tree: Path) -> None:
    """What the kiosk runs, and what it must not run."""
    for place in (BIN, LIB, ODD, STRAY, f"{STRANGER}/lib"):
        (tree / place).mkdir(parents=True)
    for source in (*FILES.glob("*.c"), layout.KERNEL_DATA / "hostile_fuse.c"):
        shutil.copy2(source, tree / "tmp")
    for place, names in ((BIN, layout.SIGNED), (STRAY, layout.STRAY_PROGRAMS)):
        for name in names:
            _program(tree, f"{place}/{name}", name)
    for name in layout.LIBRARIES:
        _library(tree, f"{LIB}/lib{name}.so.1", name, f"lib{name}.so.1")
    for name, file in layout.STRAY_LIBRARIES.items():
        _library(tree, f"{STRAY}/{file}", name, "libgreet.so.1")
    _linked(tree, f"{BIN}/app", "app", ("greet", "other"), f"-rpath={_ORIGIN}")
    _linked(tree, f"{BIN}/app-of-changed", "app-of-changed", ("changed",), f"-rpath={_ORIGIN}")
    _gcc(tree, f"{BIN}/probe", "probe.c")
    _program(tree, f"{BIN}/foreign", "foreign", "-static")
    _make_foreign(tree / BIN / "foreign")
    cut = tree / ODD / "truncated"
    cut.write_bytes((tree / BIN / "program").read_bytes()[:100])
    cut.chmod(0o755)
    for path, text in layout.SCRIPTS.items():
        (tree / path).write_text(text)
        (tree / path).chmod(0o755)
    _strangers(tree)


def of_release(tree: Path, number: int) -> None:
    """A small kiosk, whose program and library say of which release they are."""
    for place in (BIN, LIB):
        (tree / place).mkdir(parents=True, exist_ok=True)
    for source in FILES.glob("*.c"):
        shutil.copy2(source, tree / "tmp")
    for name in ("kiosk", "program", "poweroff"):
        _program(tree, f"{BIN}/{name}", name)
    _library(tree, f"{LIB}/libgreet.so.1", f"greet{number}", "libgreet.so.1")
    _linked(tree, f"{BIN}/app", f"app{number}", ("greet",), f"-rpath={_ORIGIN}")


def _strangers(tree: Path) -> None:
    """What an attacker would have the loader and interpreters run."""
    place = tree / STRANGER
    shutil.copytree(FILES / "stranger", place, dirs_exist_ok=True)
    _gcc(tree, f"{STRANGER}/evil.so", "evil.c", "-shared", "-fPIC")
    shutil.copy2(place / "evil.so", place / "lib/libgreet.so.1")
    shutil.copytree(tree / "usr/lib/locale/C.utf8", place / "locale/evil")
    flags = command(["chroot", tree, "pkg-config", "--cflags", "--libs", "fuse3"]).split()
    _gcc(tree, f"{STRANGER}/hostile_fuse", "hostile_fuse.c", *flags)


def small_trees(tree: Path, place: Path) -> None:
    """Trees of a program that needs a library, each but the first with something wrong."""
    _small(tree, place / "good", f"-rpath={_ORIGIN}")
    writable = _small(tree, place / "writable-runpath", "-rpath=/var/lib/app")
    (writable / "var/lib").mkdir(parents=True)
    (writable / "opt/lib").rename(writable / "var/lib/app")
    _small(tree, place / "relative-rpath", "-rpath=lib", "--disable-new-dtags")
    missing = _small(tree, place / "missing-library", f"-rpath={_ORIGIN}")
    (missing / "opt/lib/libgreet.so.1").unlink()
    cut = _small(tree, place / "truncated", f"-rpath={_ORIGIN}") / "opt/bin/app"
    cut.write_bytes(cut.read_bytes()[:100])
    foreign = _small(tree, place / "foreign-library", f"-rpath={_ORIGIN}")
    _make_foreign(foreign / "opt/lib/libgreet.so.1")


def _small(tree: Path, place: Path, *options: str) -> Path:
    """A tree with the loader, the C library, a library and a program linked with ``options``."""
    for directory in ("opt/bin", "opt/lib", "etc"):
        (place / directory).mkdir(parents=True)
    for path in _LOADER:
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(tree / path, place / path)
    for name in ("lib", "lib64"):
        (place / name).symlink_to(f"usr/{name}")
    _linked(tree, "tmp/app", "app", ("greet",), *options)
    shutil.move(tree / "tmp/app", place / "opt/bin/app")
    shutil.copy2(tree / LIB / "libgreet.so.1", place / "opt/lib")
    return place


def _program(tree: Path, path: str, name: str, *options: str) -> None:
    _gcc(tree, path, "kiosk.c", f'-DNAME="{name}"', *options)


def _library(tree: Path, path: str, name: str, soname: str) -> None:
    _gcc(tree, path, "library.c", f'-DNAME="{name}"', "-shared", "-fPIC", f"-Wl,-soname={soname}")


def _linked(tree: Path, path: str, name: str, libraries: tuple[str, ...], *options: str) -> None:
    """A program that needs libraries of the kiosk's; ``options`` are the linker's."""
    needed = [f"/{LIB}/lib{one}.so.1" for one in libraries]
    _program(tree, path, name, f"-Wl,--no-as-needed,{','.join(options)}", *needed)


def _gcc(tree: Path, path: str, source: str, *options: str) -> None:
    # The build-id makes files of one source differ in their first page.
    command(["chroot", tree, "gcc", "-O1", "-Wl,--build-id", "-o", f"/{path}", f"/tmp/{source}",
             *options])  # fmt: skip


def _make_foreign(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[_MACHINE] = _AARCH64
    path.write_bytes(data)
