"""The appliance: a Debian root, signed and enabled as a whole, with its manifest and initrds."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.boot import compiled
from tests.boot.layout import (
    DATA,
    FILES,
    MANIFEST,
    OS,
    OTHER,
    RELEASE,
    RELEASED,
    SIGNATURES,
    STRANGE,
    STRANGE_LIBRARY,
    STRANGER,
    STRAY,
    STRAY_LIBRARY,
    STRAY_SIGNED,
)
from tests.guest import root, run
from tests.guest.machine import Disk
from tests.guest.store import BUILD, REPO, GuestError, built, command, remove, say
from veriseal.voa import LOAD_PATHS

INSIDE = Path(__file__).parent / "inside"
VERSION = 2
"""Of the manifest; the initrd knows it and refuses version 1."""
KIOSK = "veriseal-run@opt-kiosk-bin-kiosk"
"""The unit of the kiosk."""
SIGNERS = {
    "release": (*STRAY_SIGNED, STRAY_LIBRARY),
    "stranger": (STRANGE, STRANGE_LIBRARY),
}
"""Of the strays."""
CONFIGURATION = """\
[build]
programs = ["/usr", "/opt/kiosk/bin"]
mutable = [
    "/etc/.pwd.lock", "/etc/.updated", "/etc/machine-id",
    "/home", "/root", "/run", "/tmp", "/var",
]
"""
# An appliance compiles nothing, tests nothing and makes no initrds.
LEFT_OUT = (
    "usr/include usr/lib/gcc usr/lib/linux usr/lib/rpm usr/libexec/gcc usr/share/zoneinfo "
    "usr/share/lintian usr/share/bash-completion usr/lib/dracut/modules.d "
    "usr/lib/python3/dist-packages/_pytest usr/lib/python3/dist-packages/hypothesis"
).split()
# dracut's own level, 15, takes a minute; the initrd is a little larger this way.
COMPRESS = "zstd -3 -q -T0"
CHROOT_MOUNTS = ("proc", "sys", "dev")


class Appliance(NamedTuple):
    """What a boot is made of. ``initrd`` carries the release certificate, ``bare`` none.

    ``trees`` holds small trees to build, and the keys for that.
    """

    kernel: root.Kernel
    image: Path
    initrd: Path
    bare: Path
    without_module: Path
    trees: Path


def build(kernel_name: str = root.DEFAULT_KERNEL) -> Appliance:
    """The appliance, built where it is missing."""
    kernel = root.kernel(kernel_name)
    place = built(f"appliance-{kernel_name}", _inputs(kernel), lambda part, scratch: _make(
        part, scratch, kernel_name
    ))  # fmt: skip
    return Appliance(
        kernel,
        place / "image",
        place / "initrd",
        place / "initrd-bare",
        place / "initrd-without-module",
        place / "trees",
    )


def _inputs(kernel: root.Kernel) -> list[object]:
    sources = [
        path
        for top in (
            "src",
            "units",
            "dracut",
            "tests/boot/files",
            "tests/boot/inside",
            "tests/boot/appliance.py",
            "tests/boot/compiled.py",
            "tests/boot/layout.py",
            "tests/kernel/data/hostile_fuse.c",
        )
        for path in sorted([REPO / top, *(REPO / top).rglob("*")])
        if path.is_file() and "__pycache__" not in path.parts and ".egg-info" not in str(path)
    ]
    texts = [[str(path.relative_to(REPO)), path.read_text()] for path in sources]
    return [root.debian().name, kernel.release, (REPO / "Makefile").read_text(), texts]


def _make(part: Path, scratch: Path, kernel_name: str) -> None:
    say("building the appliance (about three minutes)")
    tree = scratch / "tree"
    scratch.mkdir()
    part.mkdir()
    kernel = root.tree(tree, kernel_name)
    command(["make", "-s", "install", f"DESTDIR={tree}"], cwd=REPO)
    compiled.programs(tree)
    compiled.small_trees(tree, part / "trees")
    keys = _keys(scratch / "keys", tree)
    for name in ("release.key", "release.pem"):
        shutil.copy2(keys / name, part / "trees")
    _configure(tree)
    # For the floor alone: the tree is not final yet.
    _release(tree, keys, scratch / "first", ["--config", _nothing_signed(scratch)])
    with chroot(tree):
        dracut(tree, kernel, "initrd", part, ["--add", "veriseal"])
        dracut(tree, kernel, "initrd-without-module", part, ["--omit", "veriseal"])
    # dracut makes none that would not boot.
    _without_certificates(part / "initrd", part / "initrd-bare", scratch / "bare")
    # After dracut: the initrd gets all of systemd's generators, as on any machine.
    settle(tree)
    _sign_strays(tree, keys)
    _release(tree, keys, scratch / "release", [])
    shutil.copytree(scratch / "release", tree / RELEASED)
    _other_manifests(tree, keys, scratch)
    root.ext4(part / "image", "2G", tree)
    provision(part / "image", "provision")


def _configure(tree: Path) -> None:
    """The settings; one of the strays is revoked."""
    (tree / "etc/veriseal").mkdir()
    digest = veriseal("digest", tree / STRAY / "revoked").split()[0]
    text = f'{CONFIGURATION}revoked = ["{digest}"]\n'
    (tree / "etc/veriseal/veriseal.toml").write_text(text)


def _keys(keys: Path, tree: Path) -> Path:
    """The release's keys and a stranger's, of the same shape; the release's certificate."""
    keys.mkdir()
    for name in ("release", "stranger"):
        root_key, root_cert = keys / f"{name}-root.key", keys / f"{name}-root.pem"
        key, cert = keys / f"{name}.key", keys / f"{name}.pem"
        veriseal("pki", "root", "--name", name, "--key-out", root_key, "--cert-out", root_cert,
                 "--key-type", "ecdsa:p256")  # fmt: skip
        veriseal("pki", "issue", "--root-key", root_key, "--root-cert", root_cert, "--os", OS,
                 "--name", name, "--key-out", key, "--cert-out", cert,
                 "--key-type", "rsa:2048")  # fmt: skip
        shutil.copy2(cert, tree / DATA)
    voa = tree / RELEASE.lstrip("/")
    voa.parent.mkdir(parents=True)
    shutil.copy2(keys / "release.pem", voa)
    return keys


def _nothing_signed(scratch: Path) -> Path:
    path = scratch / "nothing-signed.toml"
    path.write_text(f"{CONFIGURATION}sign = []\n")
    return path


def _release(tree: Path, keys: Path, out: Path, options: list[str | Path]) -> None:
    """Build the release and install its manifest, as README says."""
    veriseal("build", tree, "--os", OS, "--version", str(VERSION), "--key", keys / "release.key",
             "--cert", keys / "release.pem", "--out", out, *options)  # fmt: skip
    (tree / MANIFEST).mkdir(exist_ok=True)
    for path in out.iterdir():
        if path.is_file():
            shutil.copy2(path, tree / MANIFEST)


def _sign_strays(tree: Path, keys: Path) -> None:
    for name, names in SIGNERS.items():
        files = [tree / STRAY / one for one in names]
        veriseal("sign", "--key", keys / f"{name}.key", "--cert", keys / f"{name}.pem",
                 "--out-dir", tree / SIGNATURES, *files)  # fmt: skip


def _other_manifests(tree: Path, keys: Path, scratch: Path) -> None:
    """An earlier version's, another system's and a stranger's: each signed, each of this tree."""
    text = (scratch / "release/manifest.json").read_text()
    changed = {
        "earlier": ("release", text.replace(f'"version": {VERSION}', '"version": 1')),
        "other-os": ("release", text.replace(OS, "debian:12")),
        "strangers": ("stranger", text),
    }
    for name, (signer, manifest) in changed.items():
        place = tree / OTHER / name
        place.mkdir(parents=True)
        (place / "manifest.json").write_text(manifest)
        veriseal("sign", "--key", keys / f"{signer}.key", "--cert", keys / f"{signer}.pem",
                 "--manifest", "--out", place / "signature", place / "manifest.json")  # fmt: skip


def veriseal(*arguments: str | Path) -> str:
    """Run the project's own command line, from the sources."""
    return command(
        ["/usr/bin/python3", "-m", "veriseal", *arguments], env={"PYTHONPATH": str(REPO / "src")}
    )


def settle(tree: Path) -> None:
    """Make it boot fast and without questions, and start the kiosk and the attacks."""
    root.trim(tree)
    for path in (*(tree / name for name in LEFT_OUT), *(tree / "tmp").iterdir()):
        remove(path)
    (tree / "etc/hostname").write_text("appliance\n")
    (tree / "etc/fstab").write_text("")
    bytecode = shutil.ignore_patterns("__pycache__")
    shutil.copytree(INSIDE, tree / STRANGER / "inside", ignore=bytecode)
    units = tree / "etc/systemd/system"
    shutil.copy2(FILES / "attacks.service", units)
    wants = units / "multi-user.target.wants"
    wants.mkdir()
    (wants / "attacks.service").symlink_to("../attacks.service")
    (wants / f"{KIOSK}.service").symlink_to("/usr/lib/systemd/system/veriseal-run@.service")


@contextlib.contextmanager
def chroot(tree: Path) -> Iterator[None]:
    """Mount in the tree what the commands need that are run there."""
    mounted: list[Path] = []
    try:
        for name in CHROOT_MOUNTS:
            command(["mount", "--bind", f"/{name}", tree / name])
            mounted.append(tree / name)
        yield
    finally:
        for path in reversed(mounted):
            command(["umount", path])


def dracut(tree: Path, kernel: root.Kernel, name: str, part: Path, options: list[str]) -> None:
    """Make an initrd in the tree, and put it into ``part``."""
    said = command(["chroot", tree, "dracut", "--force", "--no-hostonly", "--kver", kernel.release,
                    "--compress", COMPRESS, *options, f"/tmp/{name}"])  # fmt: skip
    if "FAILED" in said:
        raise GuestError(f"dracut left something out of {name}:\n{said}")
    shutil.copy2(tree / "tmp" / name, part / name)


def _without_certificates(initrd: Path, bare: Path, top: Path) -> None:
    unpack(initrd, top)
    for directory in LOAD_PATHS:
        remove(top / directory.lstrip("/"))
    pack(top, bare)


def unpack(initrd: Path, top: Path) -> None:
    """Unpack one of dracut's initrds into a new directory."""
    top.mkdir()
    command(["sh", "-euc", f"zstd -dqc '{initrd}' | (cd '{top}' && cpio --quiet -idm)"])


def pack(top: Path, initrd: Path) -> None:
    """Make an initrd of a directory, as dracut does."""
    archive = f"find . -print0 | cpio --quiet -0 -o -H newc | {COMPRESS} -c"
    command(["sh", "-euc", f"cd '{top}' && {archive} >'{initrd}'"])


def provision(image: Path, script: str) -> None:
    """Run a script of `FILES` in the test guest, with the disk."""
    result = run.run(FILES / script, disks=[Disk(image, "appliance", snapshot=False)])
    if result.status != 0:
        raise GuestError(
            f"the appliance could not be provisioned, status {result.status}:\n"
            f"{result.output.read_text()}{result.output.with_name('stderr').read_text()}"
        )


def copy_image(image: Path, name: str) -> Path:
    """A copy to change, as sparse as the original; the caller removes it."""
    copy = copy_of(name)
    remove(copy)
    command(["cp", "--sparse=always", "--reflink=auto", image, copy])
    return copy


def copy_of(name: str) -> Path:
    """Where `copy_image` puts it."""
    return BUILD / f"changed-{name}.img"
