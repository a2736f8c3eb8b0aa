"""Initrds of the real dracut: looked into, and installed or refused by kernel-install."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel import helpers
from tests.kernel.helpers import Result, Signer

pytestmark = pytest.mark.chroot

PLUGINS = "/usr/lib/kernel/install.d"
SETTINGS = "/etc/veriseal/veriseal.toml"
DRACUT = "/etc/dracut.conf.d/veriseal.conf"
# What takes long is left out: kernel modules, udev, compression.
SMALL = 'no_kernel="yes"\ncompress="cat"\ndracutmodules+=" base systemd systemd-initrd {} "\n'
VERSION = "6.0-test"


class Machine:
    """A Debian root as a machine that installs kernels."""

    def __init__(self, top: Path, signer: Signer) -> None:
        self.boot = top / "boot"
        self.top = top
        self.signer = signer
        self.certificate = f"{helpers.VOA}/plan.pem"
        self.configuration = top / "kernel"
        self.kernel = top / "vmlinuz"
        self.kernel.write_bytes(b"kernel")
        self.configuration.mkdir()
        (self.configuration / "install.conf").write_text(
            "layout=bls\ninitrd_generator=dracut\nuki_generator=none\n"
        )
        (self.configuration / "cmdline").write_text("quiet\n")

    def trust(self) -> None:
        helpers.write(self.certificate, Path(self.signer.cert_path).read_bytes())
        helpers.write(SETTINGS, b"")
        helpers.write(DRACUT, SMALL.format("veriseal").encode())

    def install(self, *initrds: Path) -> Result:
        """kernel-install add, with dracut's plugin, ours, and the one that copies."""
        shutil.rmtree(self.boot, ignore_errors=True)
        (self.boot / "loader/entries").mkdir(parents=True)
        names = ("50-dracut.install", "60-veriseal.install", "90-loaderentry.install")
        done = subprocess.run(
            ["kernel-install", "add", VERSION, str(self.kernel), *map(str, initrds)],
            capture_output=True,
            env={
                "PATH": os.environ["PATH"],
                "BOOT_ROOT": str(self.boot),
                "MACHINE_ID": "0123456789abcdef0123456789abcdef",
                "KERNEL_INSTALL_CONF_ROOT": str(self.configuration),
                "KERNEL_INSTALL_PLUGINS": " ".join(f"{PLUGINS}/{name}" for name in names),
            },
        )
        return Result(done.returncode, done.stdout, done.stderr.decode())

    @property
    def installed(self) -> bool:
        return any((self.boot / "loader/entries").iterdir())

    def plan(self, *initrds: Path) -> tuple[int, Any]:
        options = [f"--initrd={path}" for path in initrds]
        done = subprocess.run(
            [helpers.VERISEAL, "trust", "plan", "--without-tree", "--json", *options],
            capture_output=True,
        )
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def refusal(self, *initrds: Path) -> list[str]:
        status, document = self.plan(*initrds)
        assert status == 1
        return [one["name"] for one in document["findings"] if one["level"] == "error"]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    top = tmp_path_factory.mktemp("plan")
    signer = helpers.make_signer(str(top), "plan", "ecdsa:p256", helpers.make_root())
    made = Machine(top, signer)
    made.trust()
    yield made
    for path in (made.certificate, SETTINGS, DRACUT):
        if os.path.lexists(path):
            os.unlink(path)


@pytest.fixture(scope="module")
def initrd(machine: Machine) -> Path:
    """Made by dracut and put into its place by kernel-install, after our plugin looked at it."""
    done = machine.install()
    assert (done.status, machine.installed) == (0, True), done
    (made,) = machine.boot.glob(f"*/{VERSION}/initrd")
    kept = machine.top / "initrd.img"
    shutil.copy(made, kept)
    kept.chmod(0o600)
    return kept


def test_an_initrd_that_boots_is_installed(machine: Machine, initrd: Path) -> None:
    status, document = machine.plan(initrd)
    assert (status, document["findings"]) == (0, [])
    (one,) = document["certificates"]["staying"]
    assert one["path"] == f"initrd:{machine.certificate}"
    assert one["fingerprint"] == machine.signer.certificate.fingerprint


def pack(directory: Path, image: Path) -> Path:
    """An initrd as cpio(1) makes it."""
    names = [".", *(str(path.relative_to(directory)) for path in sorted(directory.rglob("*")))]
    packed = subprocess.run(
        ["cpio", "--quiet", "-o", "-H", "newc"],
        input="\n".join(names).encode(),
        stdout=subprocess.PIPE,
        cwd=directory,
        check=True,
    )
    image.write_bytes(packed.stdout)
    image.chmod(0o600)
    return image


def test_a_later_initrd_takes_the_place_of_files(
    machine: Machine, initrd: Path, tmp_path: Path
) -> None:
    mask = tmp_path / "more" / machine.certificate.lstrip("/")
    mask.parent.mkdir(parents=True)
    mask.symlink_to("/dev/null")
    second = pack(tmp_path / "more", tmp_path / "second.img")
    assert machine.refusal(initrd, second) == ["no-certificates"]
    assert machine.plan(second, initrd)[0] == 0
    assert machine.refusal(second) == ["no-agent"]
    done = machine.install(initrd, second)
    assert (done.status, machine.installed) == (1, False)
    assert "no-certificates" in done.err
    assert "would not boot this system" in done.err


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("cut", "bad-initrd"),
        ("foreign", "no-agent"),
        ("text", "bad-initrd"),
        ("empty", "bad-initrd"),
    ],
)
def test_an_initrd_that_is_damaged_or_foreign(
    machine: Machine, initrd: Path, tmp_path: Path, damage: str, reason: str
) -> None:
    image = tmp_path / "image"
    if damage == "cut":
        image.write_bytes(initrd.read_bytes()[: initrd.stat().st_size // 2])
    elif damage == "foreign":
        (tmp_path / "tree/bin").mkdir(parents=True)
        (tmp_path / "tree/bin/sh").touch()
        pack(tmp_path / "tree", image)
    else:
        image.write_bytes(b"no initrd at all\n" * 100 if damage == "text" else b"")
    image.chmod(0o600)
    assert machine.refusal(image) == [reason]
    done = machine.install(image)
    assert (done.status, machine.installed) == (1, False)


def test_an_initrd_that_others_can_write(machine: Machine, initrd: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    shutil.copy(initrd, image)
    image.chmod(0o666)
    assert machine.refusal(image) == ["untrusted-initrd"]


def test_an_initrd_without_the_module_is_refused(machine: Machine, initrd: Path) -> None:
    helpers.write(DRACUT, SMALL.format("").encode())
    try:
        done = machine.install()
    finally:
        machine.trust()
    assert (done.status, machine.installed) == (1, False)
    assert "no-agent" in done.err
    assert f"{VERSION} is not installed" in done.err


def test_a_machine_that_does_not_ask_for_veriseal_is_left_alone(
    machine: Machine, initrd: Path, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"any")
    os.unlink(SETTINGS)
    os.unlink(DRACUT)
    try:
        done = machine.install(image)
    finally:
        machine.trust()
    assert (done.status, machine.installed) == (0, True)
    assert "veriseal" not in done.err


@pytest.mark.parametrize("path", [SETTINGS, DRACUT])
def test_either_setting_asks_for_it(
    machine: Machine, initrd: Path, tmp_path: Path, path: str
) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"any")
    os.unlink(path)
    try:
        done = machine.install(image)
    finally:
        machine.trust()
    assert (done.status, machine.installed) == (1, False)


def test_without_any_initrd(machine: Machine, initrd: Path) -> None:
    (machine.configuration / "install.conf").write_text("layout=bls\ninitrd_generator=none\n")
    try:
        done = machine.install()
    finally:
        (machine.configuration / "install.conf").write_text(
            "layout=bls\ninitrd_generator=dracut\nuki_generator=none\n"
        )
    assert (done.status, machine.installed) == (1, False)
    assert "no initrd to look at" in done.err
