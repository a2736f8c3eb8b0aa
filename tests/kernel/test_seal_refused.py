"""What the agent refuses before it seals: each with its reason, and with nothing left behind.

The fixture `keyring_state` checks after each test that the keyring is empty, open and unsealed
and that the sysctl is not set.
"""

import json
import os
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from veriseal import journal, report
from veriseal.boot import agent, throwaway
from veriseal.kernel import keyring

from . import helpers
from .helpers import Result, Signer

pytestmark = pytest.mark.kernel

Cli = Callable[..., Result]
Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def make_certificate(key: Key, *, ca: bool = False, skid: bytes = b"identifier") -> bytes:
    """A self-signed certificate, PEM: made like the throwaway one, but for what is given."""
    pattern = x509.load_der_x509_certificate(throwaway.certificate())
    usage = pattern.extensions.get_extension_for_class(x509.KeyUsage).value
    builder = (
        x509.CertificateBuilder()
        .subject_name(pattern.subject)
        .issuer_name(pattern.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(throwaway._NOT_BEFORE)
        .not_valid_after(throwaway._NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier(skid), critical=False)
    )
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM)


def refused(cli: Cli, reason: str) -> str:
    """Run the agent, which must fail with ``reason``; gives its message."""
    done = cli("boot", "seal")
    assert done.status == 1
    written = report.read()
    assert written["keyring"] == "failed"
    failure = written["failure"]
    assert isinstance(failure, dict)
    assert failure["reason"] == reason
    message = done.err.splitlines()[-1]
    assert str(failure["problem"]) in message
    logged = helpers.records(journal.SEAL_FAILED, VERISEAL_REASON=reason)
    assert message.removeprefix("veriseal: ") in str(logged[-1]["MESSAGE"])
    return message


def test_a_dry_run_changes_nothing(initrd: str, rsa: Signer, cli: Cli) -> None:
    helpers.write(f"{initrd}/release.pem", helpers.read(rsa.cert_path))
    if os.path.exists(report.PATH):
        os.unlink(report.PATH)
    assert (
        f"enrol debian:13 (current): {rsa.certificate.subject}"
        in cli("boot", "seal", "--dry-run").out.decode()
    )
    plan = json.loads(cli("boot", "seal", "--dry-run", "--json").out)
    assert [one["fingerprint"] for one in plan["enrol"]] == [rsa.certificate.fingerprint]
    assert not os.path.exists(report.PATH)


def test_no_certificate(initrd: str, cli: Cli) -> None:
    message = refused(cli, "no-certificates")
    assert initrd in message
    assert "debian:13" in message


def test_a_certificate_only_in_run_voa_counts_for_nothing(
    initrd: str, rsa: Signer, cli: Cli
) -> None:
    path = f"{initrd}/release.pem".replace("/etc/", "/run/", 1)
    helpers.write(path, helpers.read(rsa.cert_path))
    refused(cli, "no-certificates")
    os.unlink(path)


def test_a_masked_certificate(initrd: str, rsa: Signer, cli: Cli) -> None:
    lower = f"{initrd}/release.pem".replace("/etc/", "/usr/share/", 1)
    helpers.write(lower, helpers.read(rsa.cert_path))
    os.symlink("/dev/null", f"{initrd}/release.pem")
    message = refused(cli, "no-certificates")
    assert f"{initrd}/release.pem (a mask)" in message
    assert f"{lower} (masked by {initrd}/release.pem)" in message
    os.unlink(lower)


def test_a_broken_certificate_is_an_error_though_another_is_good(
    initrd: str, rsa: Signer, cli: Cli
) -> None:
    good = helpers.read(rsa.cert_path)
    helpers.write(f"{initrd}/a.pem", good)
    helpers.write(f"{initrd}/b.pem", good.replace(b"MII", b"!II"))
    assert f"{initrd}/b.pem" in refused(cli, "not-a-certificate")


def test_two_certificates_in_one_file(initrd: str, rsa: Signer, stranger: Signer, cli: Cli) -> None:
    both = helpers.read(rsa.cert_path) + helpers.read(stranger.cert_path)
    helpers.write(f"{initrd}/both.pem", both)
    assert "a file of its own" in refused(cli, "several-certificates")


def test_an_ed25519_certificate(initrd: str, cli: Cli) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    helpers.write(f"{initrd}/release.pem", make_certificate(key))
    assert "Ed25519" in refused(cli, "unsupported-key")


def test_a_certificate_authority(initrd: str, cli: Cli) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    helpers.write(f"{initrd}/release.pem", make_certificate(key, ca=True))
    refused(cli, "certificate-authority")


def test_two_certificates_with_the_same_key_identifier(initrd: str, cli: Cli) -> None:
    for name in ("a", "b"):
        key = ec.generate_private_key(ec.SECP256R1())
        helpers.write(f"{initrd}/{name}.pem", make_certificate(key, skid=b"same"))
    message = refused(cli, "certificate-collision")
    assert f"{initrd}/a.pem" in message
    assert f"{initrd}/b.pem" in message


def test_a_link_to_a_certificate_elsewhere_does_not_count(
    initrd: str, rsa: Signer, cli: Cli
) -> None:
    os.symlink(rsa.cert_path, f"{initrd}/release.pem")
    assert f"a link to {rsa.cert_path}" in refused(cli, "no-certificates")


def test_a_stranger_in_the_keyring_is_named_and_left_for_inspection(
    initrd: str, rsa: Signer, stranger: Signer, cli: Cli
) -> None:
    helpers.write(f"{initrd}/release.pem", helpers.read(rsa.cert_path))
    with helpers.enrolled(stranger):
        message = refused(cli, "unknown-keys")
        assert "Acme stranger release" in message
        ring = keyring.fs_verity_keyring()
        assert len(keyring.contents(ring)) == 1


def test_a_bad_setting(initrd: str, rsa: Signer, cli: Cli) -> None:
    helpers.write(f"{initrd}/release.pem", helpers.read(rsa.cert_path))
    path = helpers.write("/etc/veriseal/veriseal.toml", b"[trust]\nrelease = []\n")
    assert "previous" in refused(cli, "bad-configuration")
    os.unlink(path)


def test_outside_of_an_initrd_the_report_stays(initrd: str, rsa: Signer, cli: Cli) -> None:
    helpers.write(f"{initrd}/release.pem", helpers.read(rsa.cert_path))
    report.write(report.State("sealed", "pending", "both"), {})
    before = helpers.read(report.PATH)
    os.unlink(agent.INITRD_RELEASE)
    done = cli("boot", "seal")
    helpers.write(agent.INITRD_RELEASE, b"")
    assert done.status == 1
    assert done.err.startswith(f"veriseal: {agent.INITRD_RELEASE}: this is not an initrd")
    assert helpers.read(report.PATH) == before
    os.unlink(report.PATH)


def test_not_as_root(initrd: str, rsa: Signer) -> None:
    helpers.write(f"{initrd}/release.pem", helpers.read(rsa.cert_path))
    before = helpers.read(report.PATH) if os.path.exists(report.PATH) else None
    done = helpers.run(["setpriv", "--reuid=65534", helpers.VERISEAL, "boot", "seal"])
    assert done.status == 1
    assert done.err == "veriseal: only root can fill the .fs-verity keyring\n"
    after = helpers.read(report.PATH) if os.path.exists(report.PATH) else None
    assert after == before
