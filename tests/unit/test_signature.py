"""Built-in signatures: made like `fsverity sign`, read strictly, verified."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import cms
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from veriseal import signature
from veriseal.certificate import Certificate, load
from veriseal.digest import MAX_SIGNATURE_SIZE, SHA256, SHA512, Algorithm, Digest
from veriseal.errors import VerisealError
from veriseal.merkle import Parameters, data_digest

pytestmark = pytest.mark.unit

Certify = Callable[..., bytes]
Pem = Callable[[Any], bytes]
KEYS = ["rsa", "p256", "p384"]


class Signer:
    """A key with its certificate, in memory and in files."""

    def __init__(self, key: Any, certify: Certify, key_pem: Pem, directory: Path) -> None:
        self.key = key
        self.cert_path, self.key_path = directory / "cert.pem", directory / "key.pem"
        self.cert_path.write_bytes(certify(key))
        self.key_path.write_bytes(key_pem(key))
        self.certificate: Certificate = load(self.cert_path.read_bytes(), str(self.cert_path))


@pytest.fixture
def signer(
    request: pytest.FixtureRequest,
    rsa_key: Any,
    ec_key: Any,
    certify: Certify,
    key_pem: Pem,
    tmp_path: Path,
) -> Signer:
    kind = getattr(request, "param", "rsa")
    keys = {"rsa": rsa_key, "p256": ec_key}
    key = keys.get(kind) or ec.generate_private_key(ec.SECP384R1())
    return Signer(key, certify, key_pem, tmp_path)


def digest_of(data: bytes, algorithm: Algorithm = SHA256) -> Digest:
    return data_digest(data, Parameters(algorithm))


def refusal(
    der: bytes, digest: Digest | None = None, by: Certificate | None = None
) -> VerisealError:
    def check() -> None:
        if digest is None or by is None:
            signature.inspect(der, "some/file.sig")
        else:
            signature.verify(der, digest, by, "some/file.sig")

    with pytest.raises(VerisealError) as caught:
        check()
    assert caught.value.path == "some/file.sig"
    return caught.value


def real_signature(fsverity: str, signer: Signer, data: bytes, algorithm: Algorithm) -> bytes:
    directory = signer.cert_path.parent
    (directory / "data").write_bytes(data)
    command = [fsverity, "sign", "data", "sig", f"--hash-alg={algorithm}"]
    command += [f"--key={signer.key_path}", f"--cert={signer.cert_path}"]
    subprocess.run(command, cwd=directory, check=True, stdout=subprocess.DEVNULL)
    return (directory / "sig").read_bytes()


@pytest.mark.parametrize("algorithm", [SHA256, SHA512], ids=str)
def test_rsa_is_byte_for_byte_that_of_fsverity(
    algorithm: Algorithm, signer: Signer, fsverity: str
) -> None:
    expected = real_signature(fsverity, signer, b"data", algorithm)
    digest = digest_of(b"data", algorithm)
    assert signature.make(digest, signer.key, signer.certificate) == expected


@pytest.mark.parametrize("signer", KEYS, indirect=True)
@pytest.mark.parametrize("algorithm", [SHA256, SHA512], ids=str)
def test_ours_and_theirs_verify(algorithm: Algorithm, signer: Signer, fsverity: str) -> None:
    digest = digest_of(b"data", algorithm)
    theirs = real_signature(fsverity, signer, b"data", algorithm)
    ours = signature.make(digest, signer.key, signer.certificate)
    signature.verify(theirs, digest, signer.certificate)
    signature.verify(ours, digest, signer.certificate)
    # All but the signature itself is the same: ECDSA has a random part.
    for one, other in ((ours, theirs), (theirs, ours)):
        info = signature.inspect(one)
        assert info.digest_algorithm == algorithm.name
        assert one.endswith(info.raw)
        assert info.issuer_der in other  # type: ignore[operator]


@pytest.mark.parametrize("signer", KEYS, indirect=True)
@pytest.mark.parametrize("algorithm", [SHA256, SHA512], ids=str)
@pytest.mark.parametrize("command", ["cms", "smime"])
def test_openssl_verifies(
    command: str, algorithm: Algorithm, signer: Signer, tmp_path: Path
) -> None:
    digest = digest_of(b"data", algorithm)
    made = signature.make(digest, signer.key, signer.certificate)
    (tmp_path / "sig").write_bytes(made)
    (tmp_path / "formatted").write_bytes(digest.formatted())
    arguments = ["-verify", "-binary", "-inform", "DER", "-in", "sig", "-content", "formatted"]
    arguments += ["-certfile", str(signer.cert_path), "-noverify", "-out", "out"]
    subprocess.run(["openssl", command, *arguments], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "formatted").write_bytes(digest_of(b"other", algorithm).formatted())
    result = subprocess.run(
        ["openssl", command, *arguments], cwd=tmp_path, check=False, capture_output=True
    )
    assert result.returncode != 0


def test_inspect(signer: Signer) -> None:
    info = signature.inspect(signature.make(digest_of(b""), signer.key, signer.certificate))
    assert info.serial == signer.certificate.serial
    assert info.issuer_der == signer.certificate.issuer_der
    assert info.skid is None
    assert (info.digest_algorithm, info.signature_algorithm) == ("sha256", "rsa")
    assert len(info.raw) == 256
    assert info.names(signer.certificate)
    assert f"serial {signer.certificate.serial:x}" in info.signer


@pytest.mark.parametrize("signer", KEYS, indirect=True)
def test_other_file_is_a_mismatch(signer: Signer) -> None:
    made = signature.make(digest_of(b"ping"), signer.key, signer.certificate)
    error = refusal(made, digest_of(b"poweroff"), signer.certificate)
    assert error.reason == "signature-mismatch"
    # The same number of bytes, under the other algorithm.
    assert refusal(made, digest_of(b"ping", SHA512), signer.certificate).reason == error.reason


def test_other_signer(signer: Signer, certify: Certify, ec_key: Any, rsa_key: Any) -> None:
    digest = digest_of(b"")
    made = signature.make(digest, signer.key, signer.certificate)
    other = load(certify(ec_key), "other.pem")
    assert refusal(made, digest, other).reason == "other-signer"
    # The same name and number, but another key of the same or another kind.
    same = {"serial": signer.certificate.serial}
    for key in (ec_key, ec.generate_private_key(ec.SECP384R1())):
        impostor = load(certify(key, **same), "other.pem")
        assert refusal(made, digest, impostor).reason == "signature-mismatch"


def openssl_signature(signer: Signer, digest: Digest, *options: str) -> bytes:
    directory = signer.cert_path.parent
    (directory / "formatted").write_bytes(digest.formatted())
    command = ["openssl", "cms", "-sign", "-binary", "-md", "sha256", "-in", "formatted"]
    command += ["-signer", str(signer.cert_path), "-inkey", str(signer.key_path)]
    command += ["-outform", "DER", "-out", "sig", *options]
    subprocess.run(command, cwd=directory, check=True, capture_output=True)
    return (directory / "sig").read_bytes()


@pytest.mark.parametrize("signer", KEYS, indirect=True)
def test_signer_named_by_key_identifier(signer: Signer, certify: Certify, rsa_key: Any) -> None:
    digest = digest_of(b"x")
    made = openssl_signature(signer, digest, "-noattr", "-nocerts", "-keyid")
    info = signature.inspect(made)
    assert (info.skid, info.serial) == (signer.certificate.skid, None)
    assert signer.certificate.skid.hex() in info.signer
    signature.verify(made, digest, signer.certificate)
    other = load(certify(rsa_key, skid=b"other"), "other.pem")
    assert refusal(made, digest, other).reason == "other-signer"


@pytest.mark.parametrize(
    "options",
    [
        ["-nocerts"],
        ["-noattr"],
        ["-noattr", "-nocerts", "-nodetach"],
        ["-noattr", "-nocerts", "-md", "sha1"],
        ["-noattr", "-nocerts", "-keyopt", "rsa_padding_mode:pss"],
    ],
    ids=" ".join,
)
def test_other_forms_of_pkcs7_are_refused(options: list[str], signer: Signer) -> None:
    made = openssl_signature(signer, digest_of(b"x"), *options)
    assert refusal(made).reason == "malformed-signature"


def test_two_signers_are_refused(signer: Signer) -> None:
    outer = cms.ContentInfo.load(signature.make(digest_of(b""), signer.key, signer.certificate))
    infos = outer["content"]["signer_infos"]
    outer["content"]["signer_infos"] = [infos[0], infos[0].copy()]
    error = refusal(outer.dump(force=True))
    assert error.reason == "malformed-signature"
    assert error.expected == "one signer"


def test_no_signer_is_refused(signer: Signer) -> None:
    outer = cms.ContentInfo.load(signature.make(digest_of(b""), signer.key, signer.certificate))
    outer["content"]["signer_infos"] = []
    assert refusal(outer.dump(force=True)).reason == "malformed-signature"


def test_encodings_and_sizes(signer: Signer) -> None:
    good = signature.make(digest_of(b""), signer.key, signer.certificate)
    length = int.from_bytes(good[2:4], "big")
    for bad in (
        b"",
        b"\0",
        good + b"\0",
        good[:-1],
        good + good,
        # The same length in three bytes; then of indefinite length.
        b"\x30\x83" + length.to_bytes(3, "big") + good[4:],
        b"\x30\x80" + good[4:] + b"\0\0",
        good + bytes(MAX_SIGNATURE_SIZE),
        b"\x30\x80" * 8000,
        b"\xa0\x80" * 8000,
        b"\x30" * MAX_SIGNATURE_SIZE,
        b"-----BEGIN PKCS7-----\n",
    ):
        assert refusal(bad).reason == "malformed-signature"


@settings(deadline=None, max_examples=500)
@given(st.binary(max_size=400))
def test_arbitrary_bytes_never_crash(data: bytes) -> None:
    with pytest.raises(VerisealError):
        signature.inspect(data)


@pytest.fixture(scope="module")
def made(ec_key: Any, certify: Certify) -> tuple[bytes, Certificate]:
    cert = load(certify(ec_key), "cert.pem")
    return signature.make(digest_of(b""), ec_key, cert), cert


@settings(deadline=None, max_examples=1000)
@given(data=st.data())
def test_damaged_signatures_never_verify(
    data: st.DataObject, made: tuple[bytes, Certificate]
) -> None:
    good, cert = made
    damaged = bytearray(good)
    place = data.draw(st.integers(0, len(good) - 1))
    damaged[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(VerisealError):
        signature.verify(bytes(damaged), digest_of(b""), cert)
