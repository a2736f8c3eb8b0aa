"""Three releases of one small system, each signed with a key of its own: debian:42, 43 and 44.

A machine has the first; what the others bring lies on its disk, built but not enabled. Each release
has an initrd of its own: the first is dracut's, and the others are what `veriseal boot install`
gives the initrd, put into one that has no certificate.
"""

from __future__ import annotations

import filecmp
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.boot import appliance, compiled
from tests.boot.appliance import Appliance, veriseal
from tests.boot.layout import FILES, MANIFEST
from tests.guest import root
from tests.guest.store import REPO, built, command, remove, say

FIRST, SECOND, LAST = NUMBERS = (42, 43, 44)
ANCHOR = "usr/share/voa/debian/trust-anchor-image/default/x509/vendor.pem"
UPGRADES = "var/lib/upgrades"
"""What the machine has of later releases: ``43/new``, ``43/release``, ``43/initrd``."""
SETTINGS = "etc/veriseal/veriseal.toml"
# Of the small system: what no boot of it needs, and no attempt of `inside`.
LEFT_OUT = (
    "boot opt/stranger/locale usr/bin/*-linux-gnu-* usr/bin/gcc* usr/bin/perl* usr/bin/strace "
    "usr/bin/sqv usr/bin/apt* usr/bin/rpm* usr/lib/apt usr/lib/dpkg usr/lib/file "
    "usr/lib/pcrlock.d usr/lib/python3.13/ensurepip usr/lib/python3.13/idlelib "
    "usr/lib/python3.13/lib2to3 usr/lib/python3.13/pydoc_data usr/lib/python3.13/test "
    "usr/lib/python3.13/tkinter usr/lib/python3.13/venv usr/lib/python3.13/wsgiref "
    "usr/lib/python3.13/_pyrepl usr/lib/python3.13/unittest usr/lib/python3.13/sqlite3 "
    "usr/lib/python3.13/dbm usr/lib/python3.13/curses usr/lib/systemd/catalog "
    "usr/lib/udev/hwdb.bin usr/lib/udev/hwdb.d usr/lib/x86_64-linux-gnu/*.a "
    "usr/lib/x86_64-linux-gnu/gconv usr/lib/x86_64-linux-gnu/gprofng "
    "usr/lib/x86_64-linux-gnu/ldscripts usr/lib/x86_64-linux-gnu/lib?san.so* "
    "usr/lib/x86_64-linux-gnu/libhwasan* usr/lib/x86_64-linux-gnu/libubsan* "
    "usr/lib/x86_64-linux-gnu/perl* usr/lib/modules/*/kernel/[!d]* "
    "usr/lib/modules/*/kernel/drivers/[!cv]* usr/share/[!dv]* usr/share/d[!b]* "
    "usr/lib/python3/dist-packages/_pytest usr/lib/python3/dist-packages/pytest* "
    "usr/lib/python3/dist-packages/hypothesis* usr/lib/python3/dist-packages/attr* "
    "usr/lib/python3/dist-packages/dateutil usr/lib/python3/dist-packages/packaging "
    "usr/lib/python3/dist-packages/*-info usr/lib/python3.13/asyncio usr/lib/python3.13/xml* "
    "usr/lib/python3.13/multiprocessing usr/lib/x86_64-linux-gnu/libisl.* "
    "usr/lib/x86_64-linux-gnu/libbfd* usr/lib/x86_64-linux-gnu/libgprofng* "
    "usr/lib/x86_64-linux-gnu/librpm* usr/lib/x86_64-linux-gnu/libxml2* "
    "usr/lib/x86_64-linux-gnu/rpm-plugins usr/lib/x86_64-linux-gnu/pkgconfig"
).split()


class Releases(NamedTuple):
    """What the boots are made of.

    Attributes:
        image: the disk, with the first release.
        initrds: of each release, by its number; the first is dracut's.
        given: what `veriseal boot install` gives the initrd of a release, by ``NUMBER``.
        keys: of the vendor, of its releases, and of a stranger.
        digests: of the first release's files, by path.
    """

    image: Path
    initrds: Mapping[int, Path]
    given: Path
    keys: Path
    digests: Path

    def digest(self, path: str) -> str:
        """Of a file of the first release, as `veriseal digest` says it."""
        return str(json.loads(self.digests.read_text())[path])


def os_name(number: int) -> str:
    """Of a release, in VOA's naming."""
    return f"debian:{number}"


def certificate(number: int) -> str:
    """Where a release's certificate lies, in any tree."""
    return f"usr/share/voa/{os_name(number)}/image/default/x509/release.pem"


def build(of: Appliance) -> Releases:
    """The releases, built where they are missing."""
    inputs = [of.image.parent.name, Path(__file__).read_text(), _provision().read_text()]
    place = built("releases", inputs, lambda part, scratch: _make(part, scratch, of))
    initrds = {number: place / f"initrd-{number}" for number in NUMBERS}
    return Releases(
        place / "image", initrds, place / "given", place / "keys", place / "digests.json"
    )


def _provision() -> Path:
    return FILES / "provision-releases"


def _make(part: Path, scratch: Path, of: Appliance) -> None:
    say("building three releases of a small system (about two minutes)")
    trees = {number: scratch / str(number) for number in NUMBERS}
    first = trees[FIRST]
    part.mkdir()
    scratch.mkdir()
    kernel = root.tree(first, of.kernel.name)
    command(["make", "-s", "install", f"DESTDIR={first}"], cwd=REPO)
    kiosks = scratch / "kiosks"
    for number in reversed(NUMBERS):
        compiled.of_release(first, number)
        shutil.copytree(first / "opt/kiosk", kiosks / str(number))
    _keys(part / "keys")
    _configure(first, FIRST, part / "keys")
    # For the floor alone: the tree is not final yet.
    nothing = scratch / "nothing-signed.toml"
    nothing.write_text("[build]\nsign = []\nprograms = []\n")
    _release(first, FIRST, part / "keys", scratch / "nothing", "--config", nothing)
    with appliance.chroot(first):
        appliance.dracut(first, kernel, f"initrd-{FIRST}", part, ["--add", "veriseal"])
    appliance.settle(first)
    for pattern in LEFT_OUT:
        for path in first.glob(pattern):
            remove(path)
    out = scratch / "releases"
    _release(first, FIRST, part / "keys", out / str(FIRST))
    _digests(first, part / "digests.json")
    for number in (SECOND, LAST):
        before, tree = trees[number - 1], trees[number]
        command(["cp", "-a", before, tree])
        shutil.copytree(kiosks / str(number), tree / "opt/kiosk", dirs_exist_ok=True)
        (tree / "opt/kiosk/bin/added").write_text(f"#!/bin/sh\necho added in {number}\n")
        (tree / "opt/kiosk/bin/added").chmod(0o755)
        _configure(tree, number, part / "keys")
        earlier = number - 1
        _release(tree, number, part / "keys", out / str(number), "--keep", out / str(earlier),
                 "--keep-cert", part / "keys" / f"{earlier}.pem")  # fmt: skip
    for number in NUMBERS:
        _give(trees[number], part / "given" / str(number))
    for number in (SECOND, LAST):
        place = first / UPGRADES / str(number)
        _difference(trees[number - 1], trees[number], place / "new")
        shutil.copytree(out / str(number), place / "release")
    _initrds(of.bare, part, scratch / "unpacked", first / UPGRADES)
    shutil.copytree(out / str(FIRST), first / UPGRADES / str(FIRST) / "release")
    for number in NUMBERS:
        shutil.copy2(part / "keys" / f"{number}.pem", first / UPGRADES)
    root.ext4(part / "image", "1G", first)
    appliance.provision(part / "image", _provision().name)


def _keys(keys: Path) -> None:
    """A vendor's root and the releases' keys, and a stranger's of the same shape."""
    keys.mkdir()
    for name, numbers in (("vendor", NUMBERS), ("stranger", (FIRST,))):
        anchor: list[str | Path]
        anchor = ["--root-key", keys / f"{name}.key", "--root-cert", keys / f"{name}.pem"]
        veriseal("pki", "root", "--name", name, "--key-out", keys / f"{name}.key",
                 "--cert-out", keys / f"{name}.pem", "--key-type", "ecdsa:p256")  # fmt: skip
        for number in numbers:
            own = f"{number}" if name == "vendor" else f"{name}-{number}"
            veriseal("pki", "issue", *anchor, "--os", os_name(number), "--name", name,
                     "--key-out", keys / f"{own}.key", "--cert-out", keys / f"{own}.pem",
                     "--key-type", "rsa:2048")  # fmt: skip


def settings(number: int, trust: str = "", previous: bool = True, following: bool = True) -> str:
    """The settings of a release, with more for the section trust."""
    lines = ["[trust]", trust]
    if number > FIRST and previous:
        lines.append(f'previous = ["{os_name(number - 1)}"]')
    if number < LAST and following:
        lines.append(f'next = ["{os_name(number + 1)}"]')
    build = re.sub("(?m)^programs = .*", 'programs = ["/opt/kiosk/bin"]', appliance.CONFIGURATION)
    return "\n".join([*lines, build])


def _configure(tree: Path, number: int, keys: Path) -> None:
    """What says which release it is, its settings, and the certificates of its window."""
    release = tree / "usr/lib/os-release"
    text = re.sub("(?m)^VERSION_ID=.*", f'VERSION_ID="{number}"', release.read_text())
    release.write_text(text)
    (tree / SETTINGS).parent.mkdir(exist_ok=True)
    (tree / SETTINGS).write_text(settings(number))
    for path in (tree / "usr/share/voa").glob("debian:*"):
        remove(path)
    wanted = {ANCHOR: keys / "vendor.pem"}
    for one in NUMBERS:
        if abs(one - number) <= 1:
            wanted[certificate(one)] = keys / f"{one}.pem"
    for name, source in wanted.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, tree / name)


def _release(tree: Path, number: int, keys: Path, out: Path, *options: str | Path) -> None:
    """Build a release and install its manifest."""
    out.parent.mkdir(exist_ok=True)
    remove(tree / MANIFEST)
    veriseal("build", tree, "--os", os_name(number), "--version", str(number),
             "--key", keys / f"{number}.key", "--cert", keys / f"{number}.pem",
             "--out", out, *options)  # fmt: skip
    (tree / MANIFEST).mkdir()
    for path in out.iterdir():
        if path.is_file():
            shutil.copy2(path, tree / MANIFEST)


def _digests(tree: Path, place: Path) -> None:
    paths = ("opt/kiosk/bin/app", "opt/kiosk/lib/libgreet.so.1")
    said = veriseal("digest", *(tree / path for path in paths)).splitlines()
    place.write_text(json.dumps({p: line.split()[0] for p, line in zip(paths, said, strict=True)}))


def _give(tree: Path, place: Path) -> None:
    """What the dracut module puts into the initrd of a release, without what is everywhere."""
    given = tree / "run/initrd"
    given.mkdir()
    with appliance.chroot(tree):
        command(["chroot", tree, "veriseal", "boot", "install", "/run/initrd"])
    shutil.copytree(given, place, symlinks=True)
    remove(given)
    for name in (SETTINGS, "usr/lib/veriseal/os-release"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(tree / SETTINGS, place / SETTINGS)
    shutil.copy2(tree / "usr/lib/os-release", place / "usr/lib/veriseal/os-release")


def _initrds(bare: Path, part: Path, top: Path, upgrades: Path) -> None:
    """Those of the later releases, which the machine has as well; and a bad one of the first's."""
    appliance.unpack(bare, top)
    for number in NUMBERS:
        remove(top / "usr/share/voa")
        shutil.copytree(part / "given" / str(number), top, symlinks=True, dirs_exist_ok=True)
        if number == FIRST:
            (top / SETTINGS).write_text(settings(number, following=False))
            appliance.pack(top, upgrades / "without-next")
        else:
            appliance.pack(top, upgrades / str(number) / "initrd")
            shutil.copy2(upgrades / str(number) / "initrd", part / f"initrd-{number}")


def _difference(before: Path, after: Path, place: Path) -> None:
    """The regular files of ``after`` that ``before`` does not have, or has otherwise."""
    for path in sorted(after.rglob("*")):
        name = path.relative_to(after)
        if path.is_symlink() or not path.is_file() or MANIFEST in str(name):
            continue
        old = before / name
        if old.is_file() and filecmp.cmp(path, old, shallow=False):
            continue
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place / name)
