"""The trust statement: what it says, who may sign it, and what is refused."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from veriseal import certificate, closure, domain, manifest, signature
from veriseal.build.signer import assemble
from veriseal.certificate import Certificate
from veriseal.digest import SHA256, SHA512, Digest
from veriseal.errors import VerisealError
from veriseal.manifest import Manifest
from veriseal.trust import beside, statement, vouched
from veriseal.trust.model import Anchor
from veriseal.trust.statement import Statement, StatementRelease

from .replaced import huge, to_directory, to_fifo, to_link

pytestmark = pytest.mark.unit

Cli = Callable[..., tuple[int, bytes, str]]
Certify = Callable[..., bytes]
ROOT = {"ca": True, "usages": ("key_cert_sign", "crl_sign"), "purposes": None}
NAMES = ["debian", "debian:13"]


class Signer(NamedTuple):
    key: ec.EllipticCurvePrivateKey
    certificate: Certificate

    def sign(self, data: bytes) -> bytes:
        digest = vouched.digest(data)
        return signature.make(digest, self.key, self.certificate)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def new_root(certify: Certify, name: str = "Acme", **options: Any) -> Signer:
    key = new_key()
    data = certify(key, **{**ROOT, "subject": name, **options})
    return Signer(key, certificate.load_root(data, "root.pem"))


@pytest.fixture(scope="module")
def root(certify: Certify) -> Signer:
    return new_root(certify)


@pytest.fixture(scope="module")
def release(certify: Certify, root: Signer) -> Signer:
    key = new_key()
    data = certify(key, subject="Acme 13", issuer="Acme", signer=root.key)
    return Signer(key, certificate.load(data, "13.pem"))


@pytest.fixture(scope="module")
def made(certify: Certify, root: Signer, release: Signer) -> Statement:
    next_release = certificate.load(certify(new_key(), subject="Acme 14"), "14.pem")
    return Statement(
        "debian",
        7,
        1763764621,
        (
            StatementRelease("debian:13", 5, (release.certificate,)),
            StatementRelease("debian:14", 0, (next_release,)),
        ),
        (Digest(SHA256, bytes(32)), Digest(SHA512, bytes(64))),
        ("ab" * 32,),
        "trust.json",
        root.certificate,
    )


class Place:
    """A directory with a statement, as on the partition that an attacker can write to."""

    def __init__(self, directory: Path, anchors: list[Anchor]) -> None:
        self.directory = directory
        self.path = directory / "veriseal" / "trust.json"
        self.path.parent.mkdir()
        self.anchors = anchors

    def put(self, data: bytes, *signatures: bytes) -> None:
        self.path.write_bytes(data)
        for number, der in enumerate(signatures):
            Path(f"{self.path}.{number}.sig").write_bytes(der)

    def load(
        self, anchors: list[Anchor] | None = None, names: list[str] = NAMES, floor: int = 7
    ) -> Statement:
        chosen = self.anchors if anchors is None else anchors
        return statement.load("/veriseal/trust.json", chosen, names, floor, str(self.directory))

    def refused(self, reason: str, **options: Any) -> VerisealError:
        with pytest.raises(VerisealError) as caught:
            self.load(**options)
        error = caught.value
        assert error.reason == reason, str(error)
        assert error.path == str(self.path)
        assert error.remedy
        assert len(str(error)) < 2000
        return error


@pytest.fixture
def place(tmp_path: Path, root: Signer) -> Place:
    return Place(tmp_path, [Anchor("debian", root.certificate)])


def plain(one: Statement) -> Any:
    """With certificates by what they are."""
    releases = [(r.os, r.floor, [c.der for c in r.certificates]) for r in one.releases]
    return one._replace(releases=(), path="", signer=None), releases  # type: ignore[arg-type]


def test_what_is_written_is_read(made: Statement, root: Signer) -> None:
    data = statement.serialize(made)
    read = statement.parse(data, "t", root.certificate)
    assert plain(read) == plain(made)
    assert (read.path, read.signer) == ("t", root.certificate)
    assert statement.serialize(read) == data


def test_a_statement_is_read(place: Place, made: Statement, root: Signer) -> None:
    data = statement.serialize(made)
    place.put(data, root.sign(data))
    for floor in (0, 6, 7):
        read = place.load(floor=floor)
        assert plain(read) == plain(made)
        assert read.signer is root.certificate
        assert read.path == str(place.path)
    paths = [one.path for release in read.releases for one in release.certificates]
    assert paths == [
        f"{place.path} (certificate 1 of debian:13)",
        f"{place.path} (certificate 1 of debian:14)",
    ]


def test_an_older_one_is_refused(place: Place, made: Statement, root: Signer) -> None:
    data = statement.serialize(made)
    place.put(data, root.sign(data))
    error = place.refused("statement-rolled-back", floor=8)
    assert (error.expected, error.found) == ("version 8 or newer", "version 7")


def test_one_for_other_systems_is_refused(place: Place, made: Statement, root: Signer) -> None:
    data = statement.serialize(made._replace(os="debian:12"))
    place.put(data, root.sign(data))
    error = place.refused("other-os")
    assert (error.expected, error.found) == ("debian or debian:13", "debian:12")


# Who signed.


def test_without_a_signature(place: Place, made: Statement) -> None:
    place.put(statement.serialize(made))
    assert f"{place.path}.NAME.sig" in str(place.refused("statement-not-signed").found)


def test_without_an_anchor(place: Place, made: Statement, root: Signer) -> None:
    data = statement.serialize(made)
    place.put(data, root.sign(data))
    error = place.refused("statement-not-signed", anchors=[])
    assert "trust-anchor-image" in str(error.expected)


def test_a_strangers_root_of_the_same_name(
    place: Place, made: Statement, root: Signer, certify: Certify
) -> None:
    data = statement.serialize(made)
    stranger = new_root(certify)
    place.put(data, stranger.sign(data))
    assert f"{stranger.certificate.serial:x}" in str(place.refused("statement-not-signed").found)
    twin = new_root(certify, serial=root.certificate.serial)
    place.put(data, twin.sign(data))
    assert "not a signature of" in str(place.refused("statement-not-signed").found)
    # Where both are anchors, the one does not stand in the way of the other.
    anchors = [Anchor("debian", twin.certificate), Anchor("debian", root.certificate)]
    for signer in (twin, root):
        place.put(data, signer.sign(data))
        assert place.load(anchors=anchors).signer is signer.certificate


def test_a_release_certificate_signs_no_statement(
    place: Place, made: Statement, root: Signer, release: Signer
) -> None:
    data = statement.serialize(made)
    digest = vouched.digest(data)
    raw = release.key.sign(digest.formatted(), ec.ECDSA(hashes.SHA256()))
    # By its own name, and by that of the root.
    for signer in (release.certificate, root.certificate):
        place.put(data, assemble(raw, digest, signer))
        place.refused("statement-not-signed")
    anchors = [*place.anchors, Anchor("debian", release.certificate)]
    place.put(data, release.sign(data))
    place.refused("statement-not-signed", anchors=anchors)


def test_an_anchor_that_may_not_revoke(place: Place, made: Statement, certify: Certify) -> None:
    weak = new_root(certify, usages=("key_cert_sign",))
    data = statement.serialize(made)
    place.put(data, weak.sign(data))
    error = place.refused("statement-not-signed", anchors=[Anchor("debian", weak.certificate)])
    assert "cRLSign" in str(error.found)


@pytest.mark.parametrize("name", ["fedora", "debi", "debian:13", "debian:1", "debian:13:x"])
def test_an_anchor_of_another_system(
    name: str, place: Place, made: Statement, root: Signer
) -> None:
    data = statement.serialize(made)
    place.put(data, root.sign(data))
    error = place.refused("other-os", anchors=[Anchor(name, root.certificate)])
    assert error.expected == f"nothing but {name}"
    # The same root under a name that covers all.
    both = [Anchor(name, root.certificate), Anchor("debian", root.certificate)]
    assert place.load(anchors=both).signer is root.certificate


def test_an_anchor_of_one_release_says_nothing_of_the_next(
    place: Place, made: Statement, root: Signer
) -> None:
    anchors = [Anchor("debian:13", root.certificate)]
    data = statement.serialize(made._replace(os="debian:13"))
    place.put(data, root.sign(data))
    assert "debian:14" in str(place.refused("other-os", anchors=anchors).found)
    data = statement.serialize(made._replace(os="debian:13", releases=made.releases[:1]))
    place.put(data, root.sign(data))
    assert place.load(anchors=anchors).version == 7


def test_two_anchors_that_cover_half_each_cover_nothing(
    place: Place, made: Statement, root: Signer, certify: Certify
) -> None:
    other = new_root(certify, "Other")
    data = statement.serialize(made._replace(os="debian:13"))
    place.put(data, root.sign(data), other.sign(data))
    halves = [Anchor("debian:13", root.certificate), Anchor("debian:14", other.certificate)]
    place.refused("other-os", anchors=halves)


def test_a_statement_that_revokes_its_signer(
    place: Place, made: Statement, root: Signer, certify: Certify
) -> None:
    data = statement.serialize(made._replace(revoked_certificates=(root.certificate.fingerprint,)))
    place.put(data, root.sign(data))
    assert "Acme" in str(place.refused("bad-statement"))
    # When the root is replaced, the new one signs as well.
    new = new_root(certify, "Acme 2")
    both = [Anchor("debian", root.certificate), Anchor("debian", new.certificate)]
    place.refused("bad-statement", anchors=both)
    place.put(data, root.sign(data), new.sign(data))
    assert place.load(anchors=both).signer is new.certificate


def test_a_statement_that_revokes_another_certificate_with_a_key_it_needs(
    place: Place, made: Statement, root: Signer, certify: Certify
) -> None:
    twin = certificate.load_root(certify(root.key, **ROOT, subject="Twin"), "twin.pem")
    data = statement.serialize(made._replace(revoked_certificates=(twin.fingerprint,)))
    place.put(data, root.sign(data))
    # Whose key it is cannot be known without the certificate.
    assert place.load().version == 7
    both = [*place.anchors, Anchor("debian", twin)]
    assert "revokes the anchor" in place.refused("bad-statement", anchors=both).problem
    # A release with the key of an anchor, which is revoked.
    key = new_key()
    gone = certificate.load_root(certify(key, **ROOT, subject="Gone"), "gone.pem")
    same = certificate.load(certify(key, subject="Same key"), "same.pem")
    releases = (StatementRelease("debian:13", 0, (same,)),)
    data = statement.serialize(
        made._replace(releases=releases, revoked_certificates=(gone.fingerprint,))
    )
    place.put(data, root.sign(data))
    assert place.load().version == 7
    both = [*place.anchors, Anchor("debian", gone)]
    assert place.refused("bad-statement", anchors=both).found == "CN=Same key"


@pytest.mark.parametrize("shared", ["skid", "key", "number"])
def test_certificates_that_no_keyring_could_hold_together(
    shared: str, place: Place, made: Statement, root: Signer, certify: Certify
) -> None:
    key = new_key()
    shapes: dict[str, dict[str, Any]] = {"skid": {"skid": b"x" * 20}, "number": {"serial": 5}}
    more = shapes.get(shared, {})
    options = [{"subject": name, "issuer": "Acme", **more} for name in "ab"]
    pair = [
        certificate.load(certify(key if shared == "key" else new_key(), **one), "x.pem")
        for one in options
    ]
    releases = tuple(
        StatementRelease(f"debian:{number}", 0, (one,)) for number, one in enumerate(pair, 13)
    )
    data = statement.serialize(made._replace(releases=releases))
    text = signed(data, place, root)
    assert "certificate 1 of debian:14" in text
    assert "certificate 1 of debian:13" in text


def test_other_documents_of_the_same_signer(
    place: Place, root: Signer, release: Signer, made: Statement
) -> None:
    image = manifest.serialize(Manifest("debian:13", 7, 0, image=Digest(SHA256, bytes(32))))
    for data in (image, b"#!/bin/sh\n", b"\x7fELF", closure.serialize({}), b""):
        place.put(data, root.sign(data))
        place.refused("bad-statement")
    good = statement.serialize(made)
    for data, der in ((image, release.sign(image)), (good, release.sign(image))):
        place.put(data, der)
        place.refused("statement-not-signed")
    place.put(good, root.sign(image))
    place.refused("statement-not-signed")


@pytest.mark.parametrize(
    "damage",
    [
        lambda der: b"",
        lambda der: der[:-1],
        lambda der: der + b"\0",
        lambda der: der[:-1] + bytes([der[-1] ^ 1]),
        lambda der: b"garbage" * 100,
        lambda der: bytes(16129),
    ],
    ids=["empty", "cut", "more", "bit", "garbage", "large"],
)
def test_a_damaged_signature(
    damage: Callable[[bytes], bytes], place: Place, made: Statement, root: Signer
) -> None:
    data = statement.serialize(made)
    der = root.sign(data)
    place.put(data, damage(der))
    error = place.refused("statement-not-signed")
    assert "trust.json.0.sig" in str(error.found)
    # No nested advice, such as to sign what was damaged as if it were a file.
    assert "veriseal sign" not in str(error)
    assert "was changed, install both again" in str(error.remedy)
    # Beside a good one it counts for nothing.
    place.put(data, damage(der), der)
    assert place.load().version == 7


def test_a_signature_of_something_else(place: Place, made: Statement, root: Signer) -> None:
    data = statement.serialize(made)
    der = root.sign(data)
    for other in (data[:-1], data + b"\n", data.replace(b'"version": 7', b'"version": 9')):
        place.put(other, der)
        error = place.refused("statement-not-signed")
        assert "veriseal sign" not in str(error)
        assert "was changed, install both again" in str(error.remedy)


def test_many_signatures(place: Place, made: Statement, root: Signer, certify: Certify) -> None:
    data = statement.serialize(made)
    strange = new_root(certify).sign(data)
    place.put(data, *[strange] * (beside.MAX_SIGNATURES - 1), root.sign(data))
    assert place.load().version == 7
    place.put(data, *[strange] * beside.MAX_SIGNATURES)
    assert str(place.refused("statement-not-signed").found).endswith("; and 56 more")
    place.put(data, *[strange] * beside.MAX_SIGNATURES, root.sign(data))
    assert "65 signatures beside it" in place.refused("no-statement").problem


def test_what_is_too_much_is_not_read(place: Place, made: Statement, root: Signer) -> None:
    data = statement.serialize(made)
    place.put(data, *[b"x"] * beside.MAX_SIGNATURES)
    _, read = beside.read("/veriseal/trust.json", str(place.directory), 10)
    assert list(read.values()) == [b"x"] * 64
    place.put(data, *[b"x"] * (beside.MAX_SIGNATURES + 1))
    with pytest.raises(OSError, match="65 signatures"):
        beside.read("/veriseal/trust.json", str(place.directory), 10)
    with pytest.raises(VerisealError) as caught:
        statement.parse(data + b" " * statement.MAX_SIZE, "t", root.certificate)
    assert caught.value.problem == "too large"


# What lies there.


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "none": (Path.unlink, "no-statement"),
    "a link": (to_link, "no-statement"),
    "a fifo": (to_fifo, "no-statement"),
    "a directory": (to_directory, "no-statement"),
    "of 100 MB": (huge, "bad-statement"),
    "a link on the way": (lambda path: to_link(path.parent), "no-statement"),
    "no directory": (lambda path: shutil.rmtree(path.parent), "no-statement"),
    "no signature": (lambda path: Path(f"{path}.0.sig").unlink(), "statement-not-signed"),
    "signature a link": (lambda path: to_link(Path(f"{path}.0.sig")), "statement-not-signed"),
    "signature a fifo": (lambda path: to_fifo(Path(f"{path}.0.sig")), "statement-not-signed"),
    "signature of 100 MB": (lambda path: huge(Path(f"{path}.0.sig")), "statement-not-signed"),
    "signature a directory": (
        lambda path: to_directory(Path(f"{path}.0.sig")),
        "statement-not-signed",
    ),
    "signature of another file": (
        lambda path: Path(f"{path}.0.sig").rename(path.with_name("trust.jsonx.0.sig")),
        "statement-not-signed",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_lies_there_is_something_else(
    name: str, place: Place, made: Statement, root: Signer
) -> None:
    data = statement.serialize(made)
    place.put(data, root.sign(data))
    change, reason = CHANGES[name]
    change(place.path)
    started = time.monotonic()
    place.refused(reason)
    assert time.monotonic() - started < 5


def test_nothing_outside_is_read(place: Place, made: Statement, root: Signer) -> None:
    data = statement.serialize(made)
    place.put(data, root.sign(data))
    below = place.path.parent / "below"
    below.mkdir()
    with pytest.raises(VerisealError) as caught:
        statement.load("/../trust.json", place.anchors, NAMES, 0, str(below))
    assert caught.value.reason == "no-statement"
    with pytest.raises(VerisealError) as caught:
        statement.load("/trust.json", place.anchors, NAMES, 0, str(place.directory / "none"))
    assert caught.value.reason == "no-statement"


# What it says.


def change_release(**values: Any) -> Callable[[dict[str, Any]], object]:
    return lambda document: document["releases"][0].update(values)


def certificate_of(change: Callable[[str], str]) -> Callable[[dict[str, Any]], object]:
    def act(document: dict[str, Any]) -> None:
        release = document["releases"][0]
        release["certificates"] = [change(release["certificates"][0])]

    return act


BAD: dict[str, Callable[[dict[str, Any]], object]] = {
    "unknown key": lambda d: d.update(more=1),
    "unknown key of revoked": lambda d: d["revoked"].update(more=[]),
    "unknown key of a release": change_release(more=1),
    "format": lambda d: d.update(format="veriseal-manifest"),
    "schema": lambda d: d.update(schema=2),
    "schema true": lambda d: d.update(schema=True),
    "schema 1.0": lambda d: d.update(schema=1.0),
    "no os": lambda d: d.pop("os"),
    "empty os": lambda d: d.update(os=""),
    "os of a path": lambda d: d.update(os="debian/.."),
    "os of a release": change_release(os="debian:13:"),
    "version 0": lambda d: d.update(version=0),
    "version true": lambda d: d.update(version=True),
    "version text": lambda d: d.update(version="7"),
    "version large": lambda d: d.update(version=1 << 63),
    "created": lambda d: d.update(created=-1),
    "no releases": lambda d: d.update(releases=[]),
    "releases": lambda d: d.update(releases={}),
    "a release": lambda d: d.update(releases=["debian:13"]),
    "a release twice": lambda d: d["releases"][1].update(os="debian:13"),
    "a certificate twice": lambda d: d["releases"][1].update(
        certificates=d["releases"][0]["certificates"]
    ),
    "floor": change_release(floor=-1),
    "floor 1.0": change_release(floor=1.0),
    "no floor": lambda d: d["releases"][0].pop("floor"),
    "no certificates": change_release(certificates=[]),
    "certificates": change_release(certificates="x"),
    "certificate of null": change_release(certificates=[None]),
    "certificate of text": change_release(certificates=["\udcff"]),
    "certificate cut": certificate_of(lambda pem: pem[:-30]),
    "certificate and more": certificate_of(lambda pem: "x" + pem),
    "two certificates in one": certificate_of(lambda pem: pem + pem),
    "damaged certificate": certificate_of(lambda pem: pem[:40] + "AAAA" + pem[44:]),
    "no revoked": lambda d: d.pop("revoked"),
    "no revoked digests": lambda d: d["revoked"].pop("digests"),
    "revoked digest": lambda d: d["revoked"].update(digests=["x"]),
    "revoked digest in capitals": lambda d: d["revoked"].update(digests=["sha256:" + "AB" * 32]),
    "revoked certificate": lambda d: d["revoked"].update(certificates=["ab" * 31]),
    "revoked certificate in capitals": lambda d: d["revoked"].update(certificates=["AB" * 32]),
    "revoked certificate and a line": lambda d: d["revoked"].update(
        certificates=["ab" * 32 + "\n"]
    ),
}


def signed(document: bytes, place: Place, root: Signer) -> str:
    """The error of ``document``, validly signed."""
    place.put(document, root.sign(document))
    return str(place.refused("bad-statement"))


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_understood_is_refused(
    name: str, place: Place, made: Statement, root: Signer
) -> None:
    document = json.loads(statement.serialize(made))
    BAD[name](document)
    signed(json.dumps(document).encode(), place, root)


def test_text_that_is_no_statement(place: Place, made: Statement, root: Signer) -> None:
    good = statement.serialize(made)
    for data in (
        good[:-5],
        b"\xff",
        b"[" * 100000,
        b"[]",
        good.replace(b'"version": 7', b'"version": 7, "version": 8'),
        good.replace(b'"floor": 5', b'"floor": 5, "floor": 0'),
        good.replace(b'"version": 7', b'"version": NaN'),
        b" " * statement.MAX_SIZE + good,
    ):
        signed(data, place, root)


@given(st.binary())
def test_bytes_are_refused_not_raised(root: Signer, data: bytes) -> None:
    with pytest.raises(VerisealError):
        statement.parse(data, "t", root.certificate)


@pytest.mark.filterwarnings("ignore:SHA1 signatures are deprecated")
def test_certificates_that_do_not_count(
    place: Place,
    made: Statement,
    root: Signer,
    certify: Certify,
    key_pem: Callable[[Any], bytes],
) -> None:
    key = new_key()
    for pem, word in (
        (certify(key, **ROOT), "certificate authority"),
        (certify(key, usages=("key_agreement",)), "not one for signing programs"),
        (certify(key, algorithm=hashes.SHA1()), "algorithm that is not accepted"),  # noqa: S303
        (certify(ec.generate_private_key(ec.SECP521R1())), "cannot use this key"),
        (certify(key, skid=None), "key identifier"),
        (key_pem(key), "private key"),
        (certify(key) + key_pem(key), "private key"),
    ):
        document = json.loads(statement.serialize(made))
        document["releases"][1]["certificates"].append(pem.decode())
        text = signed(json.dumps(document).encode(), place, root)
        assert "certificate 2 of debian:14: " in text
        assert word in text


def test_a_certificate_cannot_count_and_be_revoked(
    place: Place, made: Statement, root: Signer, release: Signer
) -> None:
    both = made._replace(revoked_certificates=(release.certificate.fingerprint,))
    assert "CN=Acme 13" in signed(statement.serialize(both), place, root)


# The command.


def test_a_certificate_whose_key_is_revoked_is_not_stated(
    vendor: Callable[..., Any], tmp_path: Path, certify: Certify
) -> None:
    one = ["--release", "debian:13=13.pem"]
    clauses = {
        "13": "counts and its key is that of a revoked one",
        "root": "revokes the anchor that signed it",
    }
    for name, clause in clauses.items():
        key = serialization.load_pem_private_key((tmp_path / f"{name}.key").read_bytes(), None)
        (tmp_path / "twin.pem").write_bytes(certify(key, subject="Twin"))
        status, _, err = vendor(*one, "--revoke-cert", "twin.pem")
        assert status == 1
        assert clause in err
        assert names(tmp_path) == []


@pytest.fixture
def vendor(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes a vendor's files in the working directory; gives `trust statement` with the rest."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    short = ["--key-type", "ecdsa:p256", "--name", "Acme"]
    for name in ("root", "other"):
        outputs = ["--key-out", f"{name}.key", "--cert-out", f"{name}.pem"]
        assert cli("pki", "root", *short, *outputs)[0] == 0
    by = ["--root-key", "root.key", "--root-cert", "root.pem"]
    for name in ("13", "14", "14b"):
        outputs = ["--key-out", f"{name}.key", "--cert-out", f"{name}.pem"]
        assert cli("pki", "issue", *by, *short, "--os", f"debian:{name[:2]}", *outputs)[0] == 0

    def run(*options: str, signer: str = "root") -> tuple[int, bytes, str]:
        given = options or ("--release", "debian:13=13.pem@5", "--release", "debian:14=14.pem")
        who = ["--key", f"{signer}.key", "--cert", f"{signer}.pem", "--created", "5"]
        what = ["--os", "debian", "--version", "7", "--out", "trust.json"]
        return cli("trust", "statement", *what, *who, *given)

    return run


def read(tmp_path: Path, *anchors: str) -> Statement:
    roots = [certificate.load_root((tmp_path / f"{a}.pem").read_bytes(), a) for a in anchors]
    found = [Anchor("debian", one) for one in roots]
    return statement.load("trust.json", found, NAMES, 7, str(tmp_path))


def names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("trust"))


def test_making_one(vendor: Callable[..., Any], tmp_path: Path, fsverity: str) -> None:
    leaf = certificate.load((tmp_path / "14b.pem").read_bytes(), "14b.pem")
    colons = ":".join(f"{byte:02X}" for byte in bytes(range(32)))
    status, out, err = vendor(
        *("--release", "debian:13=13.pem@5", "--release", "debian:14=14.pem"),
        *("--revoke-digest", f"sha256:{'AB' * 32}", "--revoke-digest", f"sha512:{'01' * 64}"),
        *("--revoke-cert", "14b.pem", "--revoke-cert", colons),
    )
    assert status == 0, err
    made = read(tmp_path, "root")
    assert (made.os, made.version, made.created) == ("debian", 7, 5)
    assert [(one.os, one.floor) for one in made.releases] == [("debian:13", 5), ("debian:14", 0)]
    assert [str(one) for one in made.revoked] == ["sha256:" + "ab" * 32, "sha512:" + "01" * 64]
    assert made.revoked_certificates == (leaf.fingerprint, bytes(range(32)).hex())
    assert "debian:13: CN=Acme release debian:13" in err
    assert "another anchor" not in err
    command = [fsverity, "digest", f"--salt={domain.STATEMENT.salt.hex()}", "trust.json"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout == out


def test_several_certificates_of_a_release(vendor: Callable[..., Any], tmp_path: Path) -> None:
    assert vendor("--release", "debian:14=14.pem,14b.pem@9")[0] == 0
    (release,) = read(tmp_path, "root").releases
    assert (release.floor, len(release.certificates)) == (9, 2)


def test_a_time_that_the_certificates_do_not_cover(vendor: Callable[..., Any]) -> None:
    _, _, err = vendor()
    warnings = [line for line in err.splitlines() if "not valid before" in line]
    assert len(warnings) == 3
    assert all(line.startswith("veriseal: warning: ") for line in warnings)
    for line, of in zip(warnings, ("root.pem: ", "1 of debian:13", "1 of debian:14"), strict=True):
        assert of in line
    assert all("made on 1970-01-01" in line for line in warnings)


def test_the_same_again_and_another(vendor: Callable[..., Any], tmp_path: Path) -> None:
    assert vendor()[0] == 0
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    assert vendor()[0] == 0
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before
    # A second anchor signs the same; then there is another statement.
    status, _, err = vendor(signer="other")
    assert status == 0
    assert "veriseal: warning: needs another anchor" in err
    assert len(names(tmp_path)) == 3
    for anchors in (("root",), ("other",), ("root", "other")):
        assert read(tmp_path, *anchors).version == 7
    status, _, err = vendor("--release", "debian:13=13.pem@6")
    assert status == 0
    assert err.count("removed ") == 1
    assert names(tmp_path) == sorted(before)
    assert read(tmp_path, "root").releases[0].floor == 6


def test_a_lower_version_does_not_replace_a_higher_one(
    vendor: Callable[..., Any], tmp_path: Path
) -> None:
    one = ("--release", "debian:13=13.pem")
    assert vendor(*one, "--version", "5")[0] == 0
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    for signer in ("root", "other"):
        status, out, err = vendor(*one, "--version", "4", signer=signer)
        assert (status, out) == (1, b"")
        assert "higher than version 5" in err
        assert "Give a higher --version, or another file with --out" in err
        assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before
    # Both remedies do.
    assert vendor(*one, "--version", "4", "--out", "trust-4.json")[0] == 0
    status, _, err = vendor(*one, "--version", "6")
    assert status == 0
    assert "another statement" not in err.replace("it signed another statement", "")


def test_the_same_version_of_something_else_is_warned_of(
    vendor: Callable[..., Any], tmp_path: Path
) -> None:
    def warned(*options: str) -> bool:
        status, _, err = vendor(*options)
        assert status == 0
        text = "veriseal: warning: trust.json: replaces another statement of version 7."
        return any(line.startswith(text) for line in err.splitlines())

    assert not warned()
    assert not warned()
    assert warned("--release", "debian:13=13.pem@6")
    assert not warned("--release", "debian:13=13.pem@6", "--version", "8")


def test_what_is_no_statement_is_replaced(vendor: Callable[..., Any], tmp_path: Path) -> None:
    for data in (b"", b"{}", b"[" * 100000, b'{"version": 9}', bytes(statement.MAX_SIZE + 1)):
        (tmp_path / "trust.json").write_bytes(data)
        status, _, err = vendor()
        assert status == 0
        assert "replaces" not in err
        assert read(tmp_path, "root").version == 7
    (tmp_path / "trust.json").unlink()
    (tmp_path / "trust.json").mkdir()
    status, _, err = vendor()
    assert (status, err) == (1, "veriseal: trust.json: Is a directory\n")


def test_a_signer_elsewhere(vendor: Callable[..., Any], cli: Cli, tmp_path: Path) -> None:
    command = "openssl pkeyutl -sign -inkey root.key -pkeyopt digest:sha256"
    what = ["--os", "debian", "--version", "7", "--release", "debian:13=13.pem"]
    who = ["--signer", command, "--cert", "root.pem", "--out", str(tmp_path / "trust.json")]
    status, _, err = cli("trust", "statement", *what, *who)
    assert status == 0, err
    made = read(tmp_path, "root")
    assert abs(made.created - time.time()) < 60


@pytest.mark.parametrize("key_type", ["rsa:2048", "ecdsa:p384"])
def test_openssl_reads_the_signature(
    key_type: str, vendor: Callable[..., Any], cli: Cli, tmp_path: Path
) -> None:
    new = ["--key-out", "new.key", "--cert-out", "new.pem", "--key-type", key_type]
    assert cli("pki", "root", "--name", "New", *new)[0] == 0
    assert vendor(signer="new")[0] == 0
    (name,) = [one for one in names(tmp_path) if one.endswith(".sig")]
    digest = vouched.digest((tmp_path / "trust.json").read_bytes())
    content = tmp_path / "digest"
    for tool in ("cms", "smime"):
        command = ["openssl", tool, "-verify", "-binary", "-inform", "DER", "-in", name]
        command += ["-content", "digest", "-noverify", "-certfile", "new.pem"]
        content.write_bytes(digest.formatted())
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
        assert done.stdout == digest.formatted()
        content.write_bytes(digest.formatted()[:-1] + b"\0\0")
        assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode != 0


def test_nothing_is_written_that_a_boot_would_refuse(
    vendor: Callable[..., Any], tmp_path: Path
) -> None:
    assert vendor()[0] == 0
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    one = ["--release", "debian:13=13.pem@5"]
    for options, word in (
        ([*one, "--revoke-cert", "13.pem"], "both counts and is revoked"),
        ([*one, "--revoke-cert", "root.pem"], "revokes the anchor"),
        ([*one, "--release", "debian:13=14.pem"], "named twice"),
        ([*one, "--release", "debian:14=13.pem"], "named twice"),
        ([*one, "--release", "ubuntu:14=14.pem"], "does not vouch for all"),
        (["--release", "debian:13=root.pem"], "certificate authority"),
        (["--release", "debian:13=root.key"], "private key"),
        (["--release", "debian:13=none.pem"], "none.pem: No such file"),
        ([*one, "--revoke-cert", "13.key"], "private key"),
        ([*one, "--revoke-cert", "none"], "none: No such file"),
        ([*one, "--cert", "13.pem", "--key", "13.key"], "may not vouch for others"),
        ([*one, "--key", "13.key"], "not the private key of"),
    ):
        status, out, err = vendor(*options)
        assert (status, out) == (1, b""), options
        assert word in err
        # Neither to do the same again, nor what a machine would have to do that has it.
        assert "Make it again" not in err
        assert "Install" not in err
        assert "trust.json" not in err
        assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before


@pytest.mark.parametrize(
    "options",
    [
        ["--release", "13.pem"],
        ["--release", "=13.pem"],
        ["--release", "debian:13="],
        ["--release", f"debian:13=13.pem@{1 << 63}"],
        ["--release", "Debian:13=13.pem"],
        ["--release", "debian:13:=13.pem"],
        ["--release", "debian:13=13.pem", "--os", ".."],
        ["--release", "debian:13=13.pem", "--version", "0"],
        ["--release", "debian:13=13.pem", "--version", "x"],
        ["--release", "debian:13=13.pem", "--version", "9" * 5000],
        ["--release", "debian:13=13.pem@" + "9" * 5000],
        ["--release", "debian:13=13.pem", "--created", "-1"],
        ["--release", "debian:13=13.pem", "--revoke-digest", "sha256:00"],
        ["--os", "debian"],
        ["--release", "debian:13=13.pem", "--unknown"],
    ],
)
def test_wrong_usage(options: list[str], vendor: Callable[..., Any], tmp_path: Path) -> None:
    assert vendor(*options)[0] == 2
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--release", "debian 13=13.pem"], "--release: not the name of a release"),
        (["--os", "deb ian", "--release", "debian:13=13.pem"], "--os: not the name of a release"),
        (["--release", "debian:13=13.pem@x"], "--release: @FLOOR: not a number"),
    ],
)
def test_wrong_usage_names_the_option(
    options: list[str], says: str, vendor: Callable[..., Any]
) -> None:
    status, _, err = vendor(*options)
    assert status == 2
    assert err.startswith(f"veriseal: {says}")


def test_a_root_that_may_not_revoke_makes_none(
    vendor: Callable[..., Any], tmp_path: Path, certify: Certify, key_pem: Callable[[Any], bytes]
) -> None:
    key = new_key()
    (tmp_path / "weak.key").write_bytes(key_pem(key))
    (tmp_path / "weak.pem").write_bytes(certify(key, **{**ROOT, "usages": ("key_cert_sign",)}))
    status, _, err = vendor(signer="weak")
    assert status == 1
    assert "no keyUsage cRLSign" in err
    assert err.endswith("veriseal pki root\n")
    assert names(tmp_path) == []


def test_help_and_unknown_steps(cli: Cli) -> None:
    status, out, _ = cli("trust", "--help")
    assert status == 0
    assert b"make and sign a trust statement" in out
    status, out, _ = cli("trust", "statement", "--help")
    assert status == 0
    assert b"--revoke-cert" in out
    assert cli("trust")[0] == 2
    assert cli("trust", "other")[0] == 2


def test_a_root_of_veriseal_may_sign(vendor: Callable[..., Any], tmp_path: Path) -> None:
    root = certificate.load_root((tmp_path / "root.pem").read_bytes(), "root.pem")
    usage = root.x509.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.crl_sign
    assert usage.key_cert_sign
