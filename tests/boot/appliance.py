"""The appliance: a Debian root with the kiosk's files signed and enabled, and its initrds."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.guest import root, run
from tests.guest.machine import Disk
from tests.guest.store import BUILD, REPO, GuestError, built, command, remove, say

FILES = Path(__file__).parent / "files"
OS = "debian:13"
RELEASE = f"/usr/share/voa/{OS}/image/default/x509/release.pem"
BIN = "opt/kiosk/bin"
SIGNATURES = "var/lib/veriseal/signatures"

# Built from one source; each is a different file.
SIGNED = ("kiosk", "program", "changed", "other-signature", "damaged-signature")
STRANGE = "stranger"
UNSIGNED = "no-signature"
PLAIN = "no-verity"
SCRIPTS = {
    "script": "#!/bin/sh\necho script: up\n",
    "script-of-unsigned": f"#!/{BIN}/{PLAIN}\n",
    "script-by-env": "#!/usr/bin/env sh\necho evil\n",
    "python-script": "#!/usr/bin/python3.13\nprint('python-script: up')\n",
}
INTERPRETERS = ("usr/bin/dash", "usr/bin/python3.13")
# dracut's own level, 15, takes a minute; the initrd is a little larger this way.
COMPRESS = "zstd -3 -q -T0"
CHROOT_MOUNTS = ("proc", "sys", "dev")


class Appliance(NamedTuple):
    """What a boot is made of. ``initrd`` carries the release certificate, ``bare`` none."""

    kernel: root.Kernel
    image: Path
    initrd: Path
    bare: Path
    without_module: Path


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
    )


def _inputs(kernel: root.Kernel) -> list[object]:
    sources = [
        path
        for top in (
            "src",
            "units",
            "dracut",
            "tests/boot/files",
            "tests/boot/appliance.py",
            "tests/boot/attacks.py",
        )
        for path in sorted([REPO / top, *(REPO / top).rglob("*")])
        if path.is_file() and "__pycache__" not in path.parts and ".egg-info" not in str(path)
    ]
    texts = [[str(path.relative_to(REPO)), path.read_text()] for path in sources]
    return [root.debian().name, kernel.release, (REPO / "Makefile").read_text(), texts]


def _make(part: Path, scratch: Path, kernel_name: str) -> None:
    say("building the appliance (about two minutes)")
    tree = scratch / "tree"
    scratch.mkdir()
    part.mkdir()
    kernel = root.tree(tree, kernel_name)
    command(["make", "-s", "install", f"DESTDIR={tree}"], cwd=REPO)
    _programs(tree)
    _sign(tree, scratch)
    with _chroot(tree):
        _dracut(tree, kernel, "initrd", part, ["--add", "veriseal"])
        (tree / RELEASE.lstrip("/")).rename(scratch / "aside.pem")
        _dracut(tree, kernel, "initrd-bare", part, ["--add", "veriseal"])
        (scratch / "aside.pem").rename(tree / RELEASE.lstrip("/"))
        _dracut(tree, kernel, "initrd-without-module", part, ["--omit", "veriseal"])
    # After dracut: the initrd gets all of systemd's generators, as on any machine.
    _settle(tree)
    root.ext4(part / "image", "2G", tree)
    _enable(part / "image")


def _programs(tree: Path) -> None:
    """Compile and write what the kiosk runs, and what it must not run."""
    place = tree / BIN
    place.mkdir(parents=True)
    for name in (*SIGNED, STRANGE, UNSIGNED, PLAIN):
        source = FILES / "kiosk.c"
        shutil.copy2(source, tree / "tmp" / source.name)
        command(["chroot", tree, "gcc", "-O1", f'-DNAME="{name}"', "-Wl,--build-id",
                 "-o", f"/{BIN}/{name}", f"/tmp/{source.name}"])  # fmt: skip
    for name, text in SCRIPTS.items():
        (place / name).write_text(text)
        (place / name).chmod(0o755)
    shutil.copy2(FILES / "evil.c", tree / "tmp")
    (tree / "opt/stranger").mkdir()
    command(["chroot", tree, "gcc", "-shared", "-fPIC", "-o", "/opt/stranger/evil.so",
             "/tmp/evil.c"])  # fmt: skip
    (tree / "opt/stranger/sitecustomize.py").write_text('print("evil code in python")\n')


def _sign(tree: Path, scratch: Path) -> None:
    """Make the keys, and sign: the release's files and the stranger's."""
    keys = scratch / "keys"
    keys.mkdir()
    data = tree / "var/lib/veriseal"
    data.mkdir(parents=True)
    programs = [tree / BIN / name for name in (*SIGNED, *SCRIPTS)]
    programs += [tree / name for name in INTERPRETERS]
    for name, files in (("release", programs), ("stranger", [tree / BIN / STRANGE])):
        root_key, root_cert = keys / f"{name}-root.key", keys / f"{name}-root.pem"
        key, cert = keys / f"{name}.key", keys / f"{name}.pem"
        veriseal("pki", "root", "--name", name, "--key-out", root_key, "--cert-out", root_cert,
                 "--key-type", "ecdsa:p256")  # fmt: skip
        veriseal("pki", "issue", "--root-key", root_key, "--root-cert", root_cert, "--os", OS,
                 "--name", name, "--key-out", key, "--cert-out", cert,
                 "--key-type", "rsa:2048")  # fmt: skip
        veriseal("sign", "--key", key, "--cert", cert, "--out-dir", tree / SIGNATURES, *files)
        shutil.copy2(cert, data)
    voa = tree / RELEASE.lstrip("/")
    voa.parent.mkdir(parents=True)
    shutil.copy2(keys / "release.pem", voa)


def veriseal(*arguments: str | Path) -> str:
    """Run the project's own command line, from the sources."""
    return command(
        ["/usr/bin/python3", "-m", "veriseal", *arguments], env={"PYTHONPATH": str(REPO / "src")}
    )


def _settle(tree: Path) -> None:
    """Make it boot fast and without questions, and start the kiosk and the attacks."""
    root.trim(tree)
    (tree / "etc/hostname").write_text("appliance\n")
    (tree / "etc/fstab").write_text("")
    shutil.copy2(FILES.parent / "attacks.py", tree / "opt/stranger")
    units = tree / "etc/systemd/system"
    shutil.copy2(FILES / "attacks.service", units)
    wants = units / "multi-user.target.wants"
    wants.mkdir()
    (wants / "attacks.service").symlink_to("../attacks.service")
    (wants / "veriseal-kiosk@kiosk.service").symlink_to(
        "/usr/lib/systemd/system/veriseal-kiosk@.service"
    )


@contextlib.contextmanager
def _chroot(tree: Path) -> Iterator[None]:
    mounted: list[Path] = []
    try:
        for name in CHROOT_MOUNTS:
            command(["mount", "--bind", f"/{name}", tree / name])
            mounted.append(tree / name)
        yield
    finally:
        for path in reversed(mounted):
            command(["umount", path])


def _dracut(tree: Path, kernel: root.Kernel, name: str, part: Path, options: list[str]) -> None:
    said = command(["chroot", tree, "dracut", "--force", "--no-hostonly", "--kver", kernel.release,
                    "--compress", COMPRESS, *options, f"/tmp/{name}"])  # fmt: skip
    if "FAILED" in said:
        raise GuestError(f"dracut left something out of {name}:\n{said}")
    shutil.copy2(tree / "tmp" / name, part / name)


def _enable(image: Path) -> None:
    result = run.run(FILES / "provision", disks=[Disk(image, "appliance", snapshot=False)])
    if result.status != 0:
        raise GuestError(
            f"the appliance could not be provisioned, status {result.status}:\n"
            f"{result.output.read_text()}{result.output.with_name('stderr').read_text()}"
        )


def copy_image(image: Path, name: str) -> Path:
    """A copy to change, as sparse as the original; the caller removes it."""
    copy = BUILD / f"changed-{name}.img"
    remove(copy)
    command(["cp", "--sparse=always", "--reflink=auto", image, copy])
    return copy
