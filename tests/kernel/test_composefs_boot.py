"""`veriseal boot verify` on a composefs root: the real step, with a real image at /sysroot.

Each case runs with ``boot.keyring = "off"``, and again in the sealed system.
"""

import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from veriseal import journal, manifest, policy, report, table
from veriseal.boot import floor, verify
from veriseal.kernel import keyring

from . import helpers, images
from .conftest import Sealed
from .helpers import Result, Signer
from .images import Image, mounted, named, on

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(
        helpers.KERNEL_VERSION < (6, 12), reason="erofs mounts no files yet, or verity=require"
    ),
]

Cli = Callable[..., Result]
DIGEST_FILES = policy.Policy().images
FLOOR = 5
ROOT = verify.SYSROOT


class Machine:
    """An initrd that is about to check the composefs root at /sysroot.

    Attributes:
        place: a directory on the disk, with the images as bootc names them.
    """

    def __init__(
        self, place: str, cli: Cli, signers: dict[str, Signer], image_signer: Signer | None
    ) -> None:
        self.place = place
        self._cli = cli
        self._signers = signers
        self._image_signer = image_signer
        self._keyring = "require" if image_signer is not None else "off"
        self._after_seal = b""
        self._digest_files = DIGEST_FILES
        self.command_line = f"{place}.cmdline"

    def seal(self) -> None:
        """What the step before leaves; in the sealed system that is there already."""
        self.configure()
        if self._keyring == "off":
            done = self._cli("boot", "seal")
            assert done.status == 0, done.err
        self._after_seal = helpers.read(report.PATH)

    def configure(self, build: str = "", **boot: object) -> None:
        """Settings besides those that every case has; ``image_file`` is bootc's by default."""
        boot = {"image_file": f"{self.place}/images/{{digest}}", **boot}
        boot = {"root": "composefs", "keyring": self._keyring, **boot}
        self._digest_files = str(boot.get("images", DIGEST_FILES))
        lines = [f"{key} = {json.dumps(value)}" for key, value in boot.items() if value]
        text = "\n".join(["[boot]", *lines, "[build]", build])
        helpers.write(policy.PATHS[-1], text.encode())

    def image(self, name: str) -> Image:
        """A new image on the disk."""
        made = images.make(self.place, name, signer=self._image_signer)
        path = f"{self.place}/images/{made.digest.value.hex()}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.rename(made.path, path)
        return made._replace(path=path)

    def enable(self, path: str, data: bytes) -> None:
        """Give ``path``, which holds ``data``, the verity of an image."""
        by = self._image_signer
        helpers.enable(path, b"" if by is None else helpers.sign(data, by))

    def describe(
        self, image: Image, signer: str = "rsa2048", version: int = 7, os_name: str = "debian:13"
    ) -> str:
        """Put the digest file of ``image`` into the initrd; gives its directory."""
        by = self._signers[signer]
        words = [f"--image={image.path}", f"--out={self._digest_files}", f"--os={os_name}"]
        words += [f"--version={version}", "--created=1", "--json"]
        done = self._cli("build", *words, f"--key={by.key_path}", f"--cert={by.cert_path}")
        assert done.status == 0, done.err
        built = json.loads(done.out)
        assert built["image_digest"] == str(image.digest)
        return os.path.dirname(str(built["manifest"]))

    def verify(self, command_line: str) -> Result:
        """Run the step as the first of this boot. Nothing on the disk may change by it."""
        helpers.write(report.PATH, self._after_seal)
        helpers.write(self.command_line, f"root=/dev/vda {command_line} quiet\n".encode())
        before = on_disk(self.place)
        done = self._cli("boot", "verify")
        assert on_disk(self.place) == before
        return done

    def accept(self, image: Image, command_line: str | None = None) -> dict[str, Any]:
        """The step accepts ``image``; gives what the report says of it."""
        done = self.verify(by_digest(image) if command_line is None else command_line)
        assert (done.status, done.err) == (0, "")
        assert report.state().manifest == report.VERIFIED
        tree: Any = report.read()["tree"]
        assert (tree["image"], tree["findings"]) == (str(image.digest), [])
        assert (tree["os"], tree["floor"], tree["mode"]) == ("debian:13", FLOOR, "enforce")
        assert helpers.read(f"{ROOT}/usr/bin/program") == image.program
        assert os.path.exists(table.PATH)
        return dict(tree)

    def refuse(self, command_line: str, reason: str) -> dict[str, Any]:
        """The step refuses for ``reason``; gives all that the report says of it."""
        started = time.time()
        done = self.verify(command_line)
        assert done.status == 1
        assert report.state().manifest == report.FAILED
        written = report.read()
        failure: Any = written["failure"]
        assert failure["reason"] == reason, failure
        assert "tree" not in written
        assert failure["problem"] in done.err
        logged = helpers.records(journal.VERIFY_FAILED, since=started, VERISEAL_REASON=reason)
        assert str(failure["problem"]) in str(logged[-1]["MESSAGE"])
        return dict(failure)


def by_digest(image: Image) -> str:
    return f"composefs={image.digest.value.hex()}"


def on_disk(place: str) -> dict[str, tuple[object, ...]]:
    """Everything below ``place``, so that any write would show; reading changes no times here."""
    found: dict[str, tuple[object, ...]] = {}
    for directory, names, others in os.walk(place):
        for name in (".", *names, *others):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            contents = helpers.read(path) if stat.S_ISREG(status.st_mode) else None
            found[path] = (
                *(status.st_ino, status.st_mode, status.st_nlink, status.st_size),
                *(status.st_mtime_ns, status.st_ctime_ns, os.listxattr(path), contents),
            )
    return found


def put(path: str, data: bytes | None) -> None:
    """The file as it was before a test."""
    if data is not None:
        helpers.write(path, data)
    elif os.path.exists(path):
        os.unlink(path)


@pytest.fixture
def initrd_files(monkeypatch: pytest.MonkeyPatch, place: str) -> Iterator[None]:
    """Files of the initrd and of /run that are as before afterwards."""
    paths = (policy.PATHS[-1], floor.PATH, report.PATH)
    before = {path: helpers.read(path) if os.path.exists(path) else None for path in paths}
    helpers.write(floor.PATH, floor.serialize(floor.Floor(FLOOR)).encode())
    os.makedirs(ROOT, exist_ok=True)
    monkeypatch.setattr(verify, "COMMAND_LINE", f"{place}.cmdline")
    yield
    assert not os.path.ismount(ROOT)
    for path, data in before.items():
        put(path, data)
    for path in (table.PATH, f"{table.PATH}.real", f"{place}.cmdline"):
        put(path, None)
    shutil.rmtree(DIGEST_FILES, ignore_errors=True)


class Cases:
    """What is accepted and refused, whatever the keyring."""

    def test_mounted_by_the_tool(self, machine: Machine, rsa: Signer) -> None:
        image = machine.image("image")
        machine.describe(image)
        with mounted(image, ROOT, f"ro,digest={image.digest.value.hex()}"):
            tree = machine.accept(image)
            assert tree["signed_by"] == [rsa.certificate.fingerprint]
            assert (tree["version"], tree["not_covered"]) == (7, [])
            # Such a mount does not say what it is.
            machine.configure(image_file="")
            machine.refuse(by_digest(image), "image-unknown")
            machine.refuse("", "no-image-named")
            machine.refuse(f"composefs=?{image.digest.value.hex()}", "verity-optional")
            off = f"{by_digest(image)} ostree.prepare-root.composefs=0"
            machine.refuse(off, "checks-switched-off")
        machine.refuse(by_digest(image), "not-mounted")

    def test_the_mount_names_the_image(self, machine: Machine) -> None:
        image, other = machine.image("image"), machine.image("other")
        machine.describe(image)
        machine.describe(other)
        with named(image, ROOT, image.name):
            machine.accept(image)
            machine.configure(image_file="")
            machine.accept(image)
            machine.refuse(by_digest(other), "other-image")
        with named(other, ROOT, image.name):
            # The name alone is worth as much as who mounted it; the file says more.
            machine.configure()
            machine.refuse(by_digest(image), "image-not-in-use")

    def test_only_another_deployment_has_a_digest_file(self, machine: Machine) -> None:
        image, other = machine.image("image"), machine.image("other")
        directory = machine.describe(other)
        with mounted(image, ROOT, "ro,verity"):
            failure = machine.refuse(by_digest(image), "no-manifest")
            assert failure["path"] == f"{DIGEST_FILES}/{image.digest.value.hex()}"
            machine.refuse(by_digest(other), "image-not-in-use")
            # Signed, but of another image.
            shutil.copytree(directory, failure["path"])
            failure = machine.refuse(by_digest(image), "other-image")
            assert (failure["expected"], failure["found"]) == (
                str(image.digest),
                str(other.digest),
            )
        with mounted(other, ROOT, "ro,verity"):
            machine.accept(other)

    def test_every_deployment_stays_bootable(self, machine: Machine) -> None:
        made = [machine.image(name) for name in ("first", "second")]
        for version, image in enumerate(made, FLOOR):
            machine.describe(image, version=version)
        for image in made:
            with mounted(image, ROOT, "ro,verity"):
                machine.accept(image)

    def test_digest_files_that_do_not_count(self, machine: Machine) -> None:
        image = machine.image("image")
        with mounted(image, ROOT, "ro,verity"):
            directory = machine.describe(image, version=FLOOR - 1)
            failure = machine.refuse(by_digest(image), "rolled-back")
            assert failure["found"] == f"version {FLOOR - 1}"
            machine.describe(image, os_name="fedora:43")
            machine.refuse(by_digest(image), "other-os")
            machine.describe(image, signer="stranger")
            failure = machine.refuse(by_digest(image), "manifest-not-signed")
            assert "its certificate is not in the initrd" in failure["found"]
            machine.describe(image)
            machine.accept(image)
            path = f"{directory}/{manifest.NAME}"
            data = helpers.read(path)
            helpers.write(path, data.replace(b'"version": 7', b'"version": 8'))
            machine.refuse(by_digest(image), "manifest-not-signed")
            helpers.write(path, data)
            for name in os.listdir(directory):
                if name.endswith(".sig"):
                    os.unlink(f"{directory}/{name}")
            machine.refuse(by_digest(image), "manifest-not-signed")

    def test_the_kernel_must_agree(
        self, machine: Machine, rsa: Signer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It does with every good signature, so here its answer is changed."""
        image = machine.image("image")
        machine.describe(image)
        real, asked = keyring.pkey_verify, []

        def pkey_verify(key: int, how: str, hashed: bytes, raw: bytes) -> None:
            asked.append(how)
            real(key, how, hashed, raw[:-1] + bytes([raw[-1] ^ 1]))

        with mounted(image, ROOT, "ro,verity"):
            with monkeypatch.context() as patch:
                patch.setattr(keyring, "pkey_verify", pkey_verify)
                failure = machine.refuse(by_digest(image), "kernel-disagrees")
            assert rsa.certificate.subject in failure["expected"]
            assert asked == ["enc=pkcs1 hash=sha256"]
            machine.accept(image)

    def test_signatures_of_two_certificates(self, machine: Machine) -> None:
        image = machine.image("image")
        directory = machine.describe(image)
        machine.configure(signatures_needed=2)
        with mounted(image, ROOT, "ro,verity"):
            (name,) = (name for name in os.listdir(directory) if name.endswith(".sig"))
            shutil.copy(f"{directory}/{name}", f"{directory}/{manifest.NAME}.again.sig")
            machine.refuse(by_digest(image), "manifest-not-signed")
            machine.describe(image, signer="rsa3072")
            assert len(machine.accept(image)["signed_by"]) == 2

    def test_verity_that_is_not_required(self, machine: Machine) -> None:
        image = machine.image("image")
        machine.describe(image)
        with mounted(image, ROOT, "ro"):
            machine.refuse(by_digest(image), "verity-not-required")
        layers = "lowerdir+={lower},datadir+={objects},verity=on"
        with named(image, ROOT, image.name, layers):
            machine.refuse(by_digest(image), "verity-not-required")

    def test_an_etc_of_its_own(self, machine: Machine) -> None:
        image = machine.image("image")
        machine.describe(image)
        etc = f"{machine.place}/etc"
        os.mkdir(etc)
        with mounted(image, ROOT, "ro,verity"), on(f"{ROOT}/etc", "--bind", etc):
            failure = machine.refuse(by_digest(image), "hidden-by-mount")
            assert failure["path"] == f"{ROOT}/etc"
            for pattern in ("/etc", "/e*"):
                machine.configure(f'mutable = ["{pattern}"]')
                assert machine.accept(image)["not_covered"] == ["/etc"]
            said = helpers.records(journal.VERIFY_NOT_COVERED)
            assert said[-1]["MESSAGE"] == "not covered: /etc"
            with on(f"{ROOT}/usr", "-t", "tmpfs", "tmpfs"):
                assert machine.refuse(by_digest(image), "hidden-by-mount")["path"] == f"{ROOT}/usr"
            machine.configure('mutable = ["/etc/*"]')
            machine.refuse(by_digest(image), "hidden-by-mount")

    def test_a_mount_beside_what_is_exclusive(self, machine: Machine) -> None:
        image = machine.image("image")
        machine.describe(image)
        with mounted(image, ROOT, "ro,verity"), on(f"{ROOT}/sysroot", "-t", "tmpfs", "tmpfs"):
            assert machine.accept(image)["not_covered"] == ["/sysroot"]
            machine.configure('exclusive = ["/sys*/ostree"]')
            machine.refuse(by_digest(image), "hidden-by-mount")

    def test_an_image_replaced_after_mounting(self, machine: Machine) -> None:
        image, other = machine.image("image"), machine.image("other")
        machine.describe(image)
        with mounted(image, ROOT, "ro,verity"):
            machine.accept(image)
            data = helpers.read(image.path)
            os.rename(image.path, f"{machine.place}/away")
            os.link(other.path, image.path)
            machine.refuse(by_digest(image), "other-image")
            helpers.write(image.path, data)
            machine.refuse(by_digest(image), "no-verity")
            machine.enable(image.path, data)
            machine.refuse(by_digest(image), "image-not-in-use")
            os.unlink(image.path)
            machine.refuse(by_digest(image), "not-found")

    def test_ostree_names_a_deployment(self, machine: Machine) -> None:
        made = [machine.image(name) for name in ("image", "other")]
        # They are signed, so they can lie on the disk, too.
        digest_files = f"{machine.place}/digest-files"
        by_deployment = machine.place + "{ostree}/.ostree.cfs"
        machine.configure(image_file=by_deployment, images=digest_files)
        for number, image in enumerate(made):
            place = f"{machine.place}/ostree/deploy/debian/deploy/{number}abc.0"
            os.makedirs(place)
            os.rename(image.path, f"{place}/.ostree.cfs")
            made[number] = image._replace(path=f"{place}/.ostree.cfs")
            entry = f"{machine.place}/ostree/boot.1.1/debian/{number}def"
            os.makedirs(entry)
            os.symlink(f"../../../deploy/debian/deploy/{number}abc.0", f"{entry}/0")
        os.symlink("boot.1.1", f"{machine.place}/ostree/boot.1")
        image, other = made
        machine.describe(image)
        deployment = "ostree=/ostree/boot.1/debian/0def/0"
        with mounted(image, ROOT, "ro,verity"):
            machine.accept(image, deployment)
            machine.accept(image, f"{deployment} {by_digest(image)}")
            machine.refuse(f"{deployment} {by_digest(other)}", "no-manifest")
            machine.refuse("ostree=/ostree/boot.1/debian/1def/0", "no-manifest")
            machine.describe(other)
            # Genuine, but not what is mounted.
            machine.refuse("ostree=/ostree/boot.1/debian/1def/0", "image-not-in-use")
            machine.refuse(f"{deployment} {by_digest(other)}", "other-image")
            machine.refuse("ostree=/ostree/boot.0/debian/0def/0", "not-found")
            machine.refuse("", "no-deployment-named")
            machine.refuse(f"{deployment} {deployment}", "several-deployments-named")
            machine.refuse("ostree=/ostree/../ostree/boot.1/debian/0def/0", "bad-deployment-name")
            machine.configure(image_file="", images=digest_files)
            machine.refuse(deployment, "no-image-named")
        machine.configure(image_file=by_deployment, images=digest_files)
        with mounted(other, ROOT, "ro,verity"):
            machine.refuse(deployment, "image-not-in-use")
            machine.accept(other, "ostree=/ostree/boot.1/debian/1def/0")
            # A link could lead to files that somebody else keeps.
            os.rename(digest_files, f"{digest_files}.away")
            os.symlink(f"{digest_files}.away", digest_files)
            machine.refuse("ostree=/ostree/boot.1/debian/1def/0", "no-manifest")

    def test_what_is_not_enforced_is_reported(self, machine: Machine) -> None:
        image = machine.image("image")
        machine.configure(mode="report")
        with mounted(image, ROOT, "ro,verity"):
            done = machine.verify(by_digest(image))
            assert done.status == 0
            failure: Any = report.read()["failure"]
            assert failure["reason"] == "no-manifest"
            said = helpers.records(journal.VERIFY_FAILED, VERISEAL_REASON="no-manifest")[-1]
            assert "reported, not enforced" in str(said["MESSAGE"])


# The two file systems differ in what test_composefs.py is about; here one each is enough.
@pytest.mark.parametrize("place", ["btrfs"], indirect=True)
class TestWithoutKeyring(Cases):
    """boot.keyring = "off"."""

    @pytest.fixture
    def machine(
        self, initrd: str, initrd_files: None, place: str, cli: Cli, signers: dict[str, Signer]
    ) -> Machine:
        for name in ("rsa2048", "rsa3072"):
            helpers.write(f"{initrd}/{name}.pem", helpers.read(signers[name].cert_path))
        machine = Machine(place, cli, signers, None)
        machine.seal()
        return machine


@pytest.mark.parametrize("place", ["ext4"], indirect=True)
class TestSealed(Cases):
    """The kernel requires a signature of every file with verity, so images and objects have one."""

    @pytest.fixture
    def machine(
        self,
        sealed: Sealed,
        initrd_files: None,
        place: str,
        cli: Cli,
        signers: dict[str, Signer],
    ) -> Machine:
        machine = Machine(place, cli, signers, signers["rsa2048"])
        machine.seal()
        return machine

    def test_what_composefs_itself_makes_is_of_no_use(self, machine: Machine) -> None:
        """It signs nothing: neither the image can be mounted, nor an object be read."""
        words = ("-o", f"basedir={machine.place}/objects,ro,verity", f"{machine.place}/unsigned")
        reads: list[str] = []

        def read() -> None:
            with mounted(image, ROOT, "ro,verity"):
                assert helpers.read(f"{ROOT}/etc/small") == b"image"
                path = f"{ROOT}/usr/bin/program"
                reads.append(helpers.outcome(lambda: helpers.read(path)))

        helpers.set_sysctl(False)
        try:
            images.make(machine.place, "unsigned")
            image = images.make(machine.place, "image", sealed=False)
            machine.enable(image.path, helpers.read(image.path))
            read()
            helpers.must_run("mount.composefs", *words, ROOT)
            helpers.must_run("umount", ROOT)
        finally:
            helpers.set_sysctl(True)
        helpers.evict()
        assert helpers.run(["mount.composefs", *words, ROOT]).status != 0
        read()
        # overlayfs says EIO for whatever it cannot verify.
        assert reads == ["accepted", "EIO"]
