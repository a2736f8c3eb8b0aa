"""The boot steps and a trust statement: read once, kept, never older, and what it revokes."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from veriseal import certificate, domain, journal, policy, report, table
from veriseal.boot import floor, gather
from veriseal.boot.floor import Floor
from veriseal.build import keys, pki
from veriseal.certificate import Certificate
from veriseal.digest import SHA256, Digest
from veriseal.kernel import mounts
from veriseal.signature import PrivateKey
from veriseal.trust import statement
from veriseal.trust.statement import Statement, StatementRelease

from . import helpers
from .helpers import PING, Release, Signer
from .test_boot_verify import (
    BUILT,
    WITHOUT_KEYRING,
    Booted,
    boot,
    logged,
    measured,
    refused,
    release,
    root,
    sign_again,
    signature_path,
    tree,
    verify,
)

# They are fixtures.
__all__ = ["release", "root", "tree"]

pytestmark = pytest.mark.kernel

CREATED = int(time.time()) - 1000
ANCHORS = "/etc/voa/debian/trust-anchor-image/default/x509"
STATEMENT = "/etc/veriseal/trust.json"
IN_INITRD = f'[trust]\nstatement = "{STATEMENT}"\n'
ON_DEVICE = '[trust]\nstatement = "/trust.json"\nstatement_device = "/dev/disk/by-label/TRUST"\n'
INSTEAD = 'without_statement = "built-in"\n'
CONSOLE_LINES = 10


class Vendor(NamedTuple):
    """A vendor with an anchor in the initrd and one release."""

    key: PrivateKey
    anchor: Certificate
    signer: Signer

    def state(self, path: str, version: int = 3, os_name: str = "debian:13", **more: Any) -> str:
        """Put a statement there, signed by the anchor; gives ``path``."""
        names = (StatementRelease(os_name, 0, (self.signer.certificate,)),)
        said = Statement("debian", version, CREATED, names, (), (), path, self.anchor)
        data = statement.serialize(said._replace(**more))
        root = Signer(self.key, self.anchor, "", "")
        helpers.write(f"{path}.acme.sig", helpers.sign(data, root, domain.STATEMENT))
        return helpers.write(path, data)


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Vendor:
    key = keys.generate("ecdsa:p256")
    anchor = certificate.load_root(pki.make_root("Vendor", key, 3650), "vendor")
    directory = str(tmp_path_factory.mktemp("vendor"))
    return Vendor(key, anchor, helpers.make_signer(directory, "v", "rsa:2048", (key, anchor)))


@pytest.fixture
def stated(root: str, initrd: str, vendor: Vendor) -> Iterator[str]:
    """As `root`, but the manifest is signed by the vendor, whose anchor is in the initrd."""
    os.unlink(f"{initrd}/release.pem")
    helpers.write(f"{ANCHORS}/vendor.pem", as_pem(vendor.anchor))
    os.unlink(signature_path())
    sign_again(vendor.signer)
    vendor.state(STATEMENT)
    yield root
    for path in (STATEMENT, f"{STATEMENT}.acme.sig"):
        with suppress(FileNotFoundError):
            os.unlink(path)


def as_pem(one: Certificate) -> bytes:
    return one.x509.public_bytes(Encoding.PEM)


def seal_refused(settings: str, reason: str) -> str:
    """The seal step refuses, and so does the other; the console's text."""
    helpers.write(policy.PATHS[-1], settings.encode())
    started = time.monotonic()
    done = helpers.command("boot", "seal")
    assert done.status == 1
    assert time.monotonic() - started < 10
    failure = report.read()["failure"]
    assert isinstance(failure, dict)
    assert failure["reason"] == reason
    assert verify().done.status == 1
    assert not os.path.exists(table.PATH)
    assert len(done.err.splitlines()) <= CONSOLE_LINES
    return done.err


def test_a_statement_in_the_initrd(stated: str, vendor: Vendor) -> None:
    since = time.time()
    booted = boot(IN_INITRD + WITHOUT_KEYRING)
    assert (booted.done.status, booted.done.err) == (0, "")
    trust = booted.report["trust"]
    assert (trust["origin"], trust["statement"]) == ("statement", 3)
    assert trust["window"] == {"debian": "current", "debian:13": "current"}
    assert [one["subject"] for one in trust["anchors"]] == [vendor.anchor.subject]
    (record,) = logged(journal.STATEMENT_READ, since)
    assert record["MESSAGE"] == "trust statement version 3 counts"
    shown = helpers.command("status").out.decode()
    assert "trust from:          the trust statement, version 3\n" in shown


def test_the_statement_is_read_once(stated: str, vendor: Vendor) -> None:
    helpers.write(policy.PATHS[-1], (IN_INITRD + WITHOUT_KEYRING).encode())
    helpers.must_command("boot", "seal")
    vendor.state(STATEMENT, 4, "debian:14")
    booted = verify()
    assert (booted.done.status, booted.done.err) == (0, "")
    assert booted.report["trust"]["statement"] == 3


def test_what_was_kept_is_judged_again(stated: str, vendor: Vendor) -> None:
    helpers.write(policy.PATHS[-1], (IN_INITRD + WITHOUT_KEYRING).encode())
    helpers.must_command("boot", "seal")
    kept = f"{gather.KEPT}/trust.json"
    helpers.write(kept, helpers.read(kept).replace(b"debian:13", b"debian:12"))
    refused(verify(), "statement-not-signed")
    vendor.state(kept, 9)
    refused(verify(), "other-trust")
    os.unlink(kept)
    refused(verify(), "no-statement")


def rolled_back(vendor: Vendor) -> None:
    helpers.write(floor.PATH, floor.serialize(Floor(BUILT, 0, 4)).encode())


def unsigned(vendor: Vendor) -> None:
    os.unlink(f"{STATEMENT}.acme.sig")


def absent(vendor: Vendor) -> None:
    os.unlink(STATEMENT)


def fifo(vendor: Vendor) -> None:
    os.unlink(STATEMENT)
    os.mkfifo(STATEMENT)


def linked(vendor: Vendor) -> None:
    shutil.move(STATEMENT, "/etc/veriseal/elsewhere.json")
    os.symlink("elsewhere.json", STATEMENT)


def of_another_system(vendor: Vendor) -> None:
    vendor.state(STATEMENT, os="debian:12")


def self_revoked(vendor: Vendor) -> None:
    vendor.state(STATEMENT, revoked_certificates=(vendor.anchor.fingerprint,))


UNUSABLE: dict[Callable[[Vendor], None], str] = {
    rolled_back: "statement-rolled-back",
    unsigned: "statement-not-signed",
    absent: "no-statement",
    fifo: "no-statement",
    linked: "no-statement",
    of_another_system: "other-os",
    self_revoked: "bad-statement",
}


@pytest.mark.parametrize("spoil", UNUSABLE)
def test_a_statement_that_cannot_be_used(
    stated: str, initrd: str, vendor: Vendor, spoil: Callable[[Vendor], None]
) -> None:
    spoil(vendor)
    settings = IN_INITRD + WITHOUT_KEYRING
    said = seal_refused(settings, UNUSABLE[spoil])
    assert "/etc/veriseal" in said or "debian:12" in said
    # Only where the settings say so by name does the initrd's own set count.
    helpers.write(f"{initrd}/release.pem", helpers.read(vendor.signer.cert_path))
    seal_refused(settings, UNUSABLE[spoil])
    since = time.time()
    booted = boot(IN_INITRD + INSTEAD + WITHOUT_KEYRING)
    assert booted.done.status == 0, booted.done
    assert booted.report["trust"]["origin"] == "built-in"
    assert logged(journal.STATEMENT_NOT_USED, since)
    assert "not used:            " in helpers.command("status").out.decode()


def test_a_device_that_is_not_there(stated: str, initrd: str, vendor: Vendor) -> None:
    said = seal_refused(ON_DEVICE + WITHOUT_KEYRING, "no-statement")
    assert said.startswith("veriseal: /dev/disk/by-label/TRUST: ")
    helpers.write(f"{initrd}/release.pem", helpers.read(vendor.signer.cert_path))
    settings = ON_DEVICE + INSTEAD + WITHOUT_KEYRING
    helpers.write(policy.PATHS[-1], settings.encode())
    done = helpers.command("boot", "seal")
    assert done.status == 0
    (line,) = done.err.splitlines()
    assert line.startswith("veriseal: the trust statement is not used, the certificates of the ")
    assert verify().done.status == 0


@pytest.fixture
def device(stated: str) -> Iterator[str]:
    """What the mount unit would have mounted."""
    os.makedirs(gather.MOUNT_POINT, exist_ok=True)
    with helpers.mounted("tmpfs", gather.MOUNT_POINT, "-t", "tmpfs", "-o", "mode=0755"):
        yield gather.MOUNT_POINT


def test_a_statement_on_a_device(device: str, vendor: Vendor) -> None:
    vendor.state(f"{device}/trust.json", 5)
    booted = boot(ON_DEVICE + WITHOUT_KEYRING)
    assert (booted.done.status, booted.done.err) == (0, "")
    assert booted.report["trust"]["statement"] == 5


def test_a_link_out_of_the_device(device: str) -> None:
    os.symlink(STATEMENT, f"{device}/trust.json")
    said = seal_refused(ON_DEVICE + WITHOUT_KEYRING, "no-statement")
    assert f"{device}/trust.json" in said


def test_a_revoked_program(stated: str, vendor: Vendor) -> None:
    digest = measured(stated + PING)
    vendor.state(STATEMENT, revoked=(digest, Digest(SHA256, bytes(32))))
    booted = boot(IN_INITRD + WITHOUT_KEYRING)
    refused(booted, "tree-refused")
    assert booted.found() == [("revoked", PING)]
    assert len(booted.done.err.splitlines()) <= CONSOLE_LINES
    # The launcher goes by the head of the report.
    assert report.state().revoked == [str(digest), str(Digest(SHA256, bytes(32)))]


def test_a_floor_for_the_release(stated: str, vendor: Vendor) -> None:
    names = (StatementRelease("debian", BUILT + 1, (vendor.signer.certificate,)),)
    vendor.state(STATEMENT, releases=names)
    message = refused(boot(IN_INITRD + WITHOUT_KEYRING), "rolled-back")
    assert f"expected version {BUILT + 1} or newer" in message


def test_a_manifest_of_a_dropped_release_is_named_with_its_certificate(
    root: str, initrd: str, rsa: Signer, vendor: Vendor
) -> None:
    outside = helpers.write(
        initrd.replace("debian:13", "debian:12") + "/old.pem", helpers.read(vendor.signer.cert_path)
    )
    os.unlink(signature_path())
    sign_again(vendor.signer)
    booted = boot()
    message = refused(booted, "manifest-not-signed")
    subject = vendor.signer.certificate.subject
    why = "for debian:12, which is outside the window"
    assert f"{outside} ({subject}) does not count: {why}" in message
    assert "trust.previous" in message
    assert len(booted.done.err.splitlines()) <= CONSOLE_LINES


def test_a_masked_certificate_is_named(root: str, initrd: str) -> None:
    lower = initrd.replace("/etc/", "/usr/share/", 1) + "/release.pem"
    helpers.write(lower, helpers.read(f"{initrd}/release.pem"))
    os.unlink(f"{initrd}/release.pem")
    os.symlink("/dev/null", f"{initrd}/release.pem")
    said = seal_refused(WITHOUT_KEYRING, "no-certificates")
    assert f"{lower} (masked by {initrd}/release.pem)" in said
    os.unlink(lower)


def test_an_anchor_of_another_vendor(root: str, initrd: str, vendor: Vendor) -> None:
    helpers.write(f"{ANCHORS}/vendor.pem", as_pem(vendor.anchor))
    said = seal_refused(WITHOUT_KEYRING, "no-certificates")
    assert f"{initrd}/release.pem" in said


def test_many_files_of_a_key_that_is_not_enrolled_take_ten_lines(
    root: str, release: Release, rsa: Signer
) -> None:
    with helpers.enrolled(rsa):
        top = helpers.install_tree(release, "/verity/test-boot-lost")
    helpers.evict()
    with helpers.mounted(top, root, "--bind"):
        booted: Booted = boot()
        refused(booted, "tree-refused")
    shutil.rmtree(top)
    lines = booted.done.err.splitlines()
    assert len(lines) <= CONSOLE_LINES
    (line,) = (one for one in lines if " not-enrolled: signed by " in one)
    assert rsa.certificate.subject in line
    assert 'boot.keyring = "off" enrols no key' in line


@pytest.mark.parametrize("point", ["/verity", "/btrfs"])
def test_where_a_device_is_mounted(point: str) -> None:
    device = mounts.at(mounts.read(), point).source
    assert gather.mounted_at(device) == point
    assert gather.mounted_at("/dev/nosuch") is None


def test_a_file_system_that_says_it_is_of_a_device(tmp_path: Path) -> None:
    """Whoever mounts a FUSE file system chooses what it is called; so does this tmpfs."""
    device = "/dev/disk/by-id/virtio-payload"
    with helpers.mounted(device, str(tmp_path), "-t", "tmpfs"):
        (claims,) = [one.source for one in mounts.read() if one.point == str(tmp_path)]
        assert os.stat(claims).st_rdev == os.stat(device).st_rdev
        assert gather.mounted_at(device) is None
