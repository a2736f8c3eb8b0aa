"""Which certificates are taken, and why the others are not."""

import base64
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import core
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from veriseal import pem
from veriseal.certificate import load, load_root
from veriseal.chain import check_issued_by
from veriseal.collisions import check as check_collisions
from veriseal.errors import VerisealError

pytestmark = pytest.mark.unit

Certify = Callable[..., bytes]


def refusal(data: bytes, loader: Callable[[bytes, str], object] = load) -> VerisealError:
    with pytest.raises(VerisealError) as caught:
        loader(data, "some/cert.pem")
    assert caught.value.path == "some/cert.pem"
    assert "some/cert.pem" in str(caught.value)
    return caught.value


def test_attributes(certify: Certify, rsa_key: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = load(certify(rsa_key, serial=0x1234), "some/cert.pem")
    assert loaded.path == "some/cert.pem"
    assert loaded.subject == loaded.issuer == "CN=Acme release fedora:43"
    assert loaded.serial == 0x1234
    assert len(loaded.skid) == 20
    assert loaded.key == "RSA-2048"
    assert len(bytes.fromhex(loaded.fingerprint)) == 32
    assert loaded.der[0] == 0x30
    assert loaded.issuer_der in loaded.der
    assert (loaded.not_before.year, loaded.not_after.year) == (2026, 2035)
    assert loaded.not_before.utcoffset() is not None


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: rsa.generate_private_key(65537, 3072), "RSA-3072"),
        (lambda: rsa.generate_private_key(65537, 4096), "RSA-4096"),
        (lambda: ec.generate_private_key(ec.SECP256R1()), "ECDSA-P256"),
        (lambda: ec.generate_private_key(ec.SECP384R1()), "ECDSA-P384"),
    ],
)
def test_keys_that_are_taken(make: Callable[[], Any], name: str, certify: Certify) -> None:
    assert load(certify(make()), "f").key == name


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: rsa.generate_private_key(65537, 1024), "RSA-1024"),  # noqa: S505
        (lambda: ec.generate_private_key(ec.SECP521R1()), "secp521r1"),
        (lambda: ec.generate_private_key(ec.SECP256K1()), "secp256k1"),
        (lambda: dsa.generate_private_key(1024), "DSA"),  # noqa: S505
    ],
)
def test_keys_that_are_refused(make: Callable[[], Any], name: str, certify: Certify) -> None:
    error = refusal(certify(make()))
    assert error.reason == "unsupported-key"
    assert name in str(error.found)


def test_ed25519_is_refused(certify: Certify) -> None:
    error = refusal(certify(ed25519.Ed25519PrivateKey.generate(), algorithm=None))
    assert error.reason == "unsupported-key"
    assert error.found == "Ed25519"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"ca": True}, "certificate-authority"),
        ({"usages": None}, "wrong-key-usage"),
        ({"usages": ("key_encipherment",)}, "wrong-key-usage"),
        ({"usages": ("digital_signature", "key_cert_sign")}, "wrong-key-usage"),
        ({"purposes": (ExtendedKeyUsageOID.SERVER_AUTH,)}, "wrong-key-usage"),
        ({"skid": None}, "no-key-identifier"),
        ({"skid": bytes(65)}, "no-key-identifier"),
        ({"skid": b""}, "no-key-identifier"),
        (
            {"extra": (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"),)},
            "unknown-critical-extension",
        ),
    ],
)
def test_contents_that_are_refused(
    options: dict[str, Any], reason: str, certify: Certify, ec_key: Any
) -> None:
    assert refusal(certify(ec_key, **options)).reason == reason


@pytest.mark.parametrize("options", [{"ca": None}, {"purposes": None}])
def test_extensions_that_may_be_missing(
    options: dict[str, Any], certify: Certify, ec_key: Any
) -> None:
    load(certify(ec_key, **options), "f")


OPENSSL_REQUEST = ["openssl", "req", "-x509", "-nodes", "-subj", "/CN=x", "-days", "9"]
USAGE = ["-addext", "keyUsage=digitalSignature", "-addext", "basicConstraints=CA:FALSE"]


def openssl(tmp_path: Path, *options: str) -> bytes:
    out = tmp_path / "cert.pem"
    command = [*OPENSSL_REQUEST, *options, "-keyout", str(tmp_path / "key"), "-out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    return out.read_bytes()


def test_certificates_of_openssl_are_taken(tmp_path: Path) -> None:
    load(openssl(tmp_path, "-newkey", "rsa:2048", *USAGE), "f")


@pytest.mark.parametrize(
    ("options", "reasons"),
    [
        (["-newkey", "rsa:2048", "-sha1"], ["weak-certificate-signature"]),
        (["-newkey", "rsa:2048", "-md5"], ["weak-certificate-signature"]),
        (
            ["-newkey", "rsa:2048", "-sigopt", "rsa_padding_mode:pss"],
            ["weak-certificate-signature"],
        ),
        (["-newkey", "rsa-pss"], ["unsupported-key"]),
        (
            ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
            + ["-pkeyopt", "ec_param_enc:explicit"],
            ["unsupported-key", "malformed-certificate"],
        ),
    ],
    ids=lambda value: value[-1],
)
def test_certificates_the_kernel_refuses(
    options: list[str], reasons: list[str], tmp_path: Path
) -> None:
    assert refusal(openssl(tmp_path, *options, *USAGE)).reason in reasons


def test_version_1_is_refused(tmp_path: Path) -> None:
    request, key = tmp_path / "request", tmp_path / "key"
    for command in (
        ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x"]
        + ["-keyout", str(key), "-out", str(request)],
        ["x509", "-req", "-in", str(request), "-key", str(key), "-out", str(tmp_path / "cert")],
    ):
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    assert refusal((tmp_path / "cert").read_bytes()).reason == "malformed-certificate"


def test_files_that_hold_something_else(
    certify: Certify, ec_key: Any, key_pem: Callable[[Any], bytes]
) -> None:
    good = certify(ec_key)
    load(b"\n\n" + good + b"\n \n", "f")
    load(good.replace(b"\n", b"\r\n"), "f")
    load(good.rstrip(), "f")
    other = certify(ec_key)
    for data, reason in [
        (b"", "not-a-certificate"),
        (b"\n", "not-a-certificate"),
        (good + good, "several-certificates"),
        (good + other, "several-certificates"),
        (good + key_pem(ec_key), "private-key-exposed"),
        (key_pem(ec_key), "private-key-exposed"),
        (b"subject=CN\n" + good, "not-a-certificate"),
        (good + b"trailing", "not-a-certificate"),
        (good + b"\0", "not-a-certificate"),
        (good.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"), "not-a-certificate"),
        (good.replace(b"END CERTIFICATE", b"END CERTIFICATES"), "not-a-certificate"),
        (good[:-30], "not-a-certificate"),
        (good.replace(b"M", b"*", 1), "not-a-certificate"),
        (load(good, "f").der, "not-a-certificate"),
        (good + b"\n" * pem.MAX_FILE_SIZE, "certificate-too-large"),
        (b"-----BEGIN " * 5000, "not-a-certificate"),
        (b"\xff" * 1000, "not-a-certificate"),
    ]:
        assert refusal(data).reason == reason, data[:60]


def test_private_key_is_not_quoted(ec_key: Any, key_pem: Callable[[Any], bytes]) -> None:
    text = key_pem(ec_key)
    assert text.splitlines()[1].decode() not in str(refusal(text))


@pytest.fixture(scope="module")
def good_der(certify: Certify, ec_key: Any) -> bytes:
    return load(certify(ec_key), "f").der


@settings(deadline=None, max_examples=400)
@given(data=st.data())
def test_damaged_certificates_never_crash(data: st.DataObject, good_der: bytes) -> None:
    damaged = bytearray(good_der)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    text = to_pem(bytes(damaged[: data.draw(st.integers(1, len(damaged)))]))
    try:
        load(text, "f")
    except VerisealError as error:
        assert error.path == "f"  # noqa: PT017


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300))
def test_arbitrary_files_never_crash(data: bytes) -> None:
    for contents in (data, to_pem(data)):
        with pytest.raises(VerisealError):
            load(contents, "f")


def to_pem(der: bytes) -> bytes:
    body = base64.encodebytes(der)
    return b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"


def renamed(der: bytes, kind: str) -> bytes:
    """``der`` with a subject in this type of string."""
    made = asn1_x509.Certificate.load(der)
    name = asn1_x509.Name.build({"common_name": "x"})
    name.chosen[0][0]["value"] = asn1_x509.DirectoryString(kind, "B\xfc")
    made["tbs_certificate"]["subject"] = name
    return bytes(made.dump(force=True))


def test_trailing_bytes_in_the_block(good_der: bytes) -> None:
    assert refusal(to_pem(good_der + b"\0")).reason == "malformed-certificate"


def test_a_serial_number_too_long_to_be_written_down(good_der: bytes) -> None:
    made = asn1_x509.Certificate.load(good_der)
    made["tbs_certificate"]["serial_number"] = int.from_bytes(b"\x11" * 2000, "big")
    error = refusal(to_pem(made.dump(force=True)))
    assert (error.reason, error.found) == ("bad-serial", "15997 bits")


def test_a_date_in_the_year_0(good_der: bytes) -> None:
    made = asn1_x509.Certificate.load(good_der)
    time = core.GeneralizedTime.load(b"\x18\x0f00000101000000Z")
    made["tbs_certificate"]["validity"]["not_before"] = asn1_x509.Time("general_time", time)
    error = refusal(to_pem(made.dump(force=True)))
    assert (error.reason, error.found) == ("malformed-certificate", "year 0 is out of range")


@pytest.mark.parametrize("kind", ["bmp_string", "universal_string"])
def test_a_name_in_another_encoding(good_der: bytes, kind: str) -> None:
    assert load(to_pem(renamed(good_der, kind)), "f").subject == "CN=B\xfc"


# Roots.

ROOT: dict[str, Any] = {
    "subject": "Acme root",
    "ca": True,
    "usages": ("key_cert_sign", "crl_sign"),
    "purposes": None,
}


def test_root_vouches(certify: Certify, rsa_key: Any, ec_key: Any) -> None:
    root = load_root(certify(rsa_key, **ROOT), "root.pem")
    issued = load(certify(ec_key, issuer="Acme root", signer=rsa_key), "f")
    check_issued_by(issued, root)
    other = load_root(certify(ec_key, **ROOT), "other.pem")
    forged = load(certify(ec_key, issuer="Acme root"), "some/cert.pem")
    stranger = load(certify(ec_key, issuer="Other root", signer=rsa_key), "some/cert.pem")
    for one, by in ((issued, other), (forged, root), (stranger, root)):
        with pytest.raises(VerisealError) as caught:
            check_issued_by(one, by)
        assert caught.value.reason == "not-vouched"
        assert by.path in str(caught.value)
    check_issued_by(forged, other)


def test_release_certificate_is_no_root(certify: Certify, ec_key: Any) -> None:
    assert refusal(certify(ec_key), load_root).reason == "not-an-authority"
    without_usage = certify(ec_key, **{**ROOT, "usages": None})
    assert refusal(without_usage, load_root).reason == "not-an-authority"


# Collisions.


def collision(*texts: bytes) -> VerisealError:
    with pytest.raises(VerisealError) as caught:
        check_collisions([load(text, f"{number}.pem") for number, text in enumerate(texts)])
    assert "0.pem" in str(caught.value)
    assert "1.pem" in str(caught.value)
    return caught.value


def test_different_certificates_do_not_collide(certify: Certify, rsa_key: Any, ec_key: Any) -> None:
    check_collisions([])
    check_collisions([load(certify(key), "f") for key in (rsa_key, ec_key)])


def test_same_file_twice(certify: Certify, ec_key: Any) -> None:
    text = certify(ec_key)
    assert collision(text, text).reason == "duplicate-certificate"
    assert collision(text, b"\n" + text).reason == "duplicate-certificate"


def test_same_key_twice(certify: Certify, ec_key: Any) -> None:
    error = collision(certify(ec_key), certify(ec_key, subject="Other"))
    assert error.reason == "certificate-collision"
    assert "subject key identifier" in error.problem


def test_same_issuer_and_serial(certify: Certify, rsa_key: Any, ec_key: Any) -> None:
    error = collision(certify(rsa_key, serial=7), certify(ec_key, serial=7))
    assert error.reason == "certificate-collision"
    assert "serial" in error.problem


def test_identifier_made_to_look_like_issuer_and_serial(
    certify: Certify, rsa_key: Any, ec_key: Any
) -> None:
    victim = certify(rsa_key, subject="V", serial=7)
    name = load(victim, "f").issuer_der
    attacker = certify(ec_key, subject="A", skid=b"\7" + name)
    assert collision(victim, attacker).reason == "certificate-collision"


def test_hash_of_signature_is_looked_up_for_every_accepted_algorithm(
    certify: Certify, rsa_key: Any, ec_key: Any
) -> None:
    for key in (rsa_key, ec_key):
        for algorithm in (hashes.SHA256(), hashes.SHA384(), hashes.SHA512()):
            root = load_root(certify(key, **ROOT, algorithm=algorithm), "root")
            check_issued_by(load_root(certify(key, **ROOT, algorithm=algorithm), "f"), root)
        weak = certify(key, algorithm=hashes.SHA224())
        assert refusal(weak).reason == "weak-certificate-signature"


@pytest.mark.parametrize("oid", ["2.5.29.17", "2.5.29.30", "2.5.29.35"])
@pytest.mark.parametrize("tag", [0xA3, 0xA5])
def test_names_of_forms_that_nothing_understands(
    oid: str, tag: int, certify: Certify, ec_key: Any
) -> None:
    """x400Address and ediPartyName, in an alternative name, a constraint, an issuer."""
    name = bytes([tag, 2, 0x30, 0])
    values = {
        "2.5.29.17": b"\x30\x04" + name,
        "2.5.29.30": b"\x30\x08\xa0\x06\x30\x04" + name,
        "2.5.29.35": b"\x30\x09\xa1\x04" + name + b"\x82\x01\x01",
    }
    extra = (x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), values[oid]),)
    for options in ({}, ROOT):
        loader = load_root if options else load
        assert refusal(certify(ec_key, extra=extra, **options), loader).reason in (
            "malformed-certificate",
            "unknown-critical-extension",
        )


def test_a_long_name_is_shown_in_part(certify: Certify, rsa_key: Any) -> None:
    many = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "\N{SNOWMAN}" * 64)] * 100)
    one = load(certify(rsa_key, issuer=many, subject=many), "x")
    assert len(one.subject) < 210
    assert one.issuer == one.subject
    assert one.issuer_der == many.public_bytes()
