"""What is said of the signatures of a manifest that is refused; a stranger can have made them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from asn1crypto import cms
from asn1crypto import x509 as names
from cryptography.hazmat.primitives.asymmetric import ec

from veriseal import certificate, manifest, merkle, signature
from veriseal.errors import VerisealError
from veriseal.manifest import Manifest
from veriseal.merkle import Parameters
from veriseal.tree import source
from veriseal.trust import model, vouched
from veriseal.trust import signer as signers
from veriseal.trust.model import Anchor, Ignored, Release, TrustSet

pytestmark = pytest.mark.unit

Certify = Callable[..., bytes]
IMAGE = merkle.data_digest(b"an image", Parameters())
DATA = manifest.serialize(Manifest("debian:13", 1, 0, image=IMAGE))
LONG = "\N{SNOWMAN}" * 4000


class Case:
    """A manifest, one certificate that counts and one that a mask takes away."""

    def __init__(self, top: Path, certify: Certify) -> None:
        self.top = top
        self.keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
        self.own, self.masked = (
            certificate.load(certify(key, subject=name), f"/{name}.pem")
            for key, name in zip(self.keys, ("own", "masked"), strict=True)
        )
        (top / manifest.NAME).write_bytes(DATA)

    def sign(self, name: str, der: bytes) -> None:
        (self.top / f"{manifest.NAME}.{name}.sig").write_bytes(der)

    def refusal(self, needed: int = 1) -> VerisealError:
        ignored = [Ignored("/masked.pem", model.MASKED, "masked by /x", "debian:13", self.masked)]
        found = TrustSet([Release("debian:13", self.own)], ignored, [], {})
        trust = source.Trust(
            [("debian:13", self.own)],
            needed,
            ["debian:13"],
            0,
            about=lambda names, os_name: signers.of_manifest(names, os_name, found),
        )
        directory = os.open(self.top, os.O_RDONLY)
        try:
            with pytest.raises(VerisealError) as caught:
                source.load(directory, str(self.top), trust)
        finally:
            os.close(directory)
        assert caught.value.reason == "manifest-not-signed"
        return caught.value


@pytest.fixture
def case(tmp_path: Path, certify: Certify) -> Case:
    return Case(tmp_path, certify)


def stranger(number: int, certify: Certify) -> bytes:
    """The signature of a certificate that has a long name and is not there."""
    key = ec.generate_private_key(ec.SECP256R1())
    der = signature.make(IMAGE, key, certificate.load(certify(key), "x"))
    outer = cms.ContentInfo.load(der)
    one = outer["content"]["signer_infos"][0]
    one["sid"].chosen["issuer"] = names.Name.build({"common_name": LONG})
    one["sid"].chosen["serial_number"] = number
    return bytes(outer.dump(force=True))


def test_who_signed_it_and_does_not_count_is_named(case: Case) -> None:
    case.sign("a", signature.make(manifest.digest(DATA), case.keys[1], case.masked))
    text = str(case.refusal())
    assert "/masked.pem (CN=masked) does not count: masked by /x" in text
    assert "take the mask away" in text


def test_every_signature_has_its_reason(case: Case, certify: Certify) -> None:
    case.sign("a", b"garbage")
    case.sign("b", stranger(1, certify))
    case.sign("c", signature.make(manifest.digest(DATA), case.keys[0], case.own))
    case.sign("d", signature.make(manifest.digest(DATA), case.keys[1], case.masked))
    found = str(case.refusal(needed=2).found)
    says = (
        "manifest.json.d.sig by issuer Common Name: masked",
        "manifest.json.c.sig by issuer Common Name: own",
        "manifest.json.b.sig by issuer Common Name: ",
        "manifest.json.a.sig: not a built-in signature",
    )
    assert "Sign" not in found
    places = [found.index(text) for text in says]
    assert places == sorted(places)


@pytest.mark.parametrize("of", ["another manifest", "a file", "nothing"])
def test_who_is_only_named_has_not_signed_it(case: Case, of: str) -> None:
    digest = {
        "another manifest": manifest.digest(DATA + b"\n"),
        "a file": merkle.data_digest(DATA, Parameters()),
        "nothing": IMAGE,
    }[of]
    case.sign("a", signature.make(digest, case.keys[1], case.masked))
    text = str(case.refusal())
    assert "is no signature of this manifest" in text
    assert "manifest.json.a.sig names issuer" in text
    assert "does not count" not in text
    assert "take the mask away" not in text


def test_a_flood_of_signatures(case: Case, certify: Certify) -> None:
    one = stranger(1, certify)
    assert len(one) > 10_000
    for number in range(60):
        case.sign(f"{number:02}", stranger(number + 1, certify))
    error = case.refusal()
    assert len(str(error)) < 4200
    assert len(str(error.found)) < 4200
    assert "and 5" in str(error.found)
    # They do not hide who did sign it.
    case.sign("zz", signature.make(manifest.digest(DATA), case.keys[1], case.masked))
    text = str(case.refusal())
    assert "masked by /x" in text
    assert "take the mask away" in text


def test_a_flood_of_signatures_of_a_statement(
    case: Case, certify: Certify, rsa_key: signature.PrivateKey
) -> None:
    options = {"ca": True, "usages": ("key_cert_sign", "crl_sign"), "purposes": None}
    root = certificate.load_root(certify(rsa_key, **options), "root.pem")
    ders: dict[str, bytes | OSError] = {
        f"{number}.sig": stranger(number + 1, certify) for number in range(60)
    }
    with pytest.raises(VerisealError) as caught:
        vouched.signers(DATA, ders, [Anchor("debian", root)] * 60, "trust.json")
    assert len(str(caught.value)) < 4200
    assert str(caught.value.expected).count("CN=") == 8
