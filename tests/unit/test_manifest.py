"""The manifest: what it says, who signed it, and whether it may count."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from veriseal import certificate, closure, domain, manifest, merkle, signature
from veriseal import signers as signed_by
from veriseal.certificate import Certificate
from veriseal.digest import SHA256, SHA512, Digest
from veriseal.errors import VerisealError
from veriseal.manifest import Attached, Manifest
from veriseal.merkle import Parameters
from veriseal.signature import PrivateKey
from veriseal.tree import source

from .replaced import huge, to_directory, to_fifo, to_link

pytestmark = pytest.mark.unit

LIST = b"/ 0 40755 2 0 0 0 0.0 - - -\n"
CLOSURES = closure.serialize({})
SIGNERS = signed_by.serialize([signed_by.Signed("debian:13", "0" * 64, "CN=Acme")])
TREE = Manifest(
    "debian:13",
    7,
    1763764621,
    tree=Attached(merkle.data_digest(LIST, manifest.PARAMETERS), len(LIST)),
    closures=Attached(merkle.data_digest(CLOSURES, manifest.PARAMETERS), len(CLOSURES)),
    signers=Attached(merkle.data_digest(SIGNERS, manifest.PARAMETERS), len(SIGNERS)),
    parameters=Parameters(SHA512, 1024, b"salt"),
    exclusive=("/usr",),
    mutable=("/var", "/etc/\udcff"),
    signed=("/usr/bin/*",),
    revoked=(Digest(SHA256, bytes(32)), Digest(SHA512, bytes(64))),
)
IMAGE = Manifest("debian:13", 7, 0, image=Digest(SHA512, bytes(64)))

Signer = tuple[PrivateKey, Certificate]


def equal(one: Manifest, two: Manifest) -> bool:
    def plain(value: Manifest) -> list[object]:
        parameters = value.parameters
        rest = list(value._replace(parameters=manifest.PARAMETERS))
        return [*rest, parameters.algorithm, parameters.block_size, parameters.salt]

    return plain(one) == plain(two)


@pytest.mark.parametrize("one", [TREE, IMAGE], ids=["tree", "image"])
def test_what_is_written_is_read(one: Manifest) -> None:
    data = manifest.serialize(one)
    assert equal(manifest.parse(data, "m"), one)
    assert manifest.serialize(manifest.parse(data, "m")) == data


def changed(change: Callable[[dict[str, Any]], object], one: Manifest = TREE) -> bytes:
    document = json.loads(manifest.serialize(one))
    change(document)
    return json.dumps(document).encode()


BAD: dict[str, bytes] = {
    "empty": b"",
    "not text": b"\xff",
    "deep": b"[" * 100000,
    "a list": b"[]",
    "large": b" " * manifest.MAX_SIZE + manifest.serialize(TREE),
    "cut": manifest.serialize(TREE)[:-5],
    "key twice": manifest.serialize(TREE).replace(b'"version": 7', b'"version": 7, "version": 8'),
    "unknown key": changed(lambda d: d.update(more=1)),
    "unknown key below": changed(lambda d: d["tree"].update(more=1)),
    "format": changed(lambda d: d.update(format="other")),
    "schema": changed(lambda d: d.update(schema=2)),
    "schema 3.0": changed(lambda d: d.update(schema=3.0)),
    "no os": changed(lambda d: d.pop("os")),
    "empty os": changed(lambda d: d.update(os="")),
    "version 0": changed(lambda d: d.update(version=0)),
    "version true": changed(lambda d: d.update(version=True)),
    "version 1.0": changed(lambda d: d.update(version=1.0)),
    "version text": changed(lambda d: d.update(version="7")),
    "version large": changed(lambda d: d.update(version=1 << 63)),
    "no tree": changed(lambda d: d.pop("tree")),
    "no closures": changed(lambda d: d.pop("closures")),
    "closures of no size": changed(lambda d: d["closures"].update(size=0)),
    "no signers": changed(lambda d: d.pop("signers")),
    "signers large": changed(lambda d: d["signers"].update(size=signed_by.MAX_SIZE + 1)),
    "tree and image": changed(lambda d: d.update(image={"digest": str(IMAGE.image)})),
    "size 0": changed(lambda d: d["tree"].update(size=0)),
    "size large": changed(lambda d: d["tree"].update(size=manifest.MAX_TREE_LIST_SIZE + 1)),
    "digest": changed(lambda d: d["tree"].update(digest="sha256:00")),
    "digest sha512": changed(lambda d: d["tree"].update(digest=str(IMAGE.image))),
    "digest upper": changed(lambda d: d["tree"].update(digest=d["tree"]["digest"].upper())),
    "algorithm": changed(lambda d: d["verity"].update(algorithm="md5")),
    "block size": changed(lambda d: d["verity"].update(block_size=3)),
    "salt": changed(lambda d: d["verity"].update(salt="xx")),
    "salt of manifests": changed(
        lambda d: d["verity"].update(salt=domain.MANIFEST.salt.hex(), algorithm="sha512")
    ),
    "salt of statements": changed(lambda d: d["verity"].update(salt=domain.STATEMENT.salt.hex())),
    "pattern": changed(lambda d: d.update(exclusive=["usr"])),
    "patterns": changed(lambda d: d.update(mutable="/var")),
    "revoked": changed(lambda d: d.update(revoked=["x"])),
    "nan": manifest.serialize(TREE).replace(b'"version": 7', b'"version": NaN'),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_understood_is_refused(name: str) -> None:
    with pytest.raises(VerisealError) as caught:
        manifest.parse(BAD[name], "m")
    assert caught.value.reason == "bad-manifest"
    assert caught.value.path == "m"
    assert len(str(caught.value)) < 2000
    assert str(caught.value).count("Make it again") == 1


@given(st.binary())
def test_bytes_are_refused_not_raised(data: bytes) -> None:
    with pytest.raises(VerisealError):
        manifest.parse(data, "m")


def test_the_operating_system() -> None:
    manifest.check_os(TREE, ["debian", "debian:13"], "m")
    for names in (["debian"], ["debian:12"], ["debian:13:x"], []):
        with pytest.raises(VerisealError) as caught:
            manifest.check_os(TREE, names, "m")
        assert caught.value.reason == "other-os"


def test_the_floor() -> None:
    manifest.check_version(TREE, 7, "m")
    manifest.check_version(TREE, 0, "m")
    with pytest.raises(VerisealError) as caught:
        manifest.check_version(TREE, 8, "m")
    assert caught.value.reason == "rolled-back"
    assert (caught.value.expected, caught.value.found) == ("version 8 or newer", "version 7")


DATA = manifest.serialize(TREE)


def sign(signer: Signer, data: bytes = DATA) -> bytes:
    return signature.make(manifest.digest(data), *signer)


@pytest.fixture(scope="module")
def signers(certify: Callable[..., bytes]) -> list[Signer]:
    """Two that count in most tests, and a third."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
    return [(key, certificate.load(certify(key), f"{n}.pem")) for n, key in enumerate(keys)]


def count(signatures: dict[str, bytes], signers: list[Signer], needed: int) -> list[str]:
    found, _ = manifest.check_signatures(DATA, signatures, [c for _, c in signers], needed, "m")
    return [one.signer.fingerprint for one in found]


def test_certificates_are_counted_not_files(signers: list[Signer]) -> None:
    ours = signers[:2]
    one, two = (sign(signer) for signer in ours)
    assert len(count({"a": one}, ours, 1)) == 1
    assert len(count({"a": one, "b": two}, ours, 2)) == 2
    with pytest.raises(VerisealError) as caught:
        count({f"{n}": one for n in range(20)}, ours, 2)
    assert caught.value.reason == "manifest-not-signed"


def test_a_stranger_does_not_count_and_is_named(signers: list[Signer]) -> None:
    *ours, stranger = signers
    with pytest.raises(VerisealError) as caught:
        count({"a.sig": sign(stranger)}, ours, 1)
    assert "a.sig" in str(caught.value.found)
    assert f"{stranger[1].serial:x}" in str(caught.value.found)
    # Beside a good one it is ignored, and that is said.
    certificates = [one for _, one in ours]
    both = {"a.sig": sign(stranger), "b.sig": sign(ours[0])}
    found, ignored = manifest.check_signatures(DATA, both, certificates, 1, "m")
    assert [one.signer for one in found] == [ours[0][1]]
    assert "a.sig" in ignored[0]


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
def test_a_damaged_signature(signers: list[Signer], damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(VerisealError) as caught:
        count({"a": damage(sign(signers[0]))}, signers, 1)
    assert caught.value.reason == "manifest-not-signed"
    # Whoever damaged it is not to be helped to a good signature of that.
    assert "Sign" not in str(caught.value.found)
    assert "was changed, install both again" in str(caught.value.remedy)


def test_a_signature_of_another_file(signers: list[Signer]) -> None:
    with pytest.raises(VerisealError):
        count({"a": sign(signers[0], DATA + b"\n")}, signers, 1)
    with pytest.raises(VerisealError) as caught:
        count({"a": sign(signers[2])}, signers[:2], 1)
    assert "certificate of its signer" in str(caught.value.remedy)


@pytest.fixture
def place(tmp_path: Path, signers: list[Signer]) -> Path:
    """A manifest directory."""
    (tmp_path / "manifest.json").write_bytes(DATA)
    (tmp_path / "manifest.json.one.sig").write_bytes(sign(signers[0]))
    (tmp_path / "tree.dump").write_bytes(LIST)
    (tmp_path / "closures.json").write_bytes(CLOSURES)
    (tmp_path / "signers.json").write_bytes(SIGNERS)
    return tmp_path


def load(
    place: Path, signers: list[Signer], needed: int = 1, os_name: str | None = None
) -> source.Release:
    root = os.open(place.parent, os.O_RDONLY)
    directory = source.open_directory(root, place.name, str(place))
    trust = source.Trust([(os_name, one) for _, one in signers], needed, ["debian", "debian:13"], 7)
    try:
        return source.load(directory, str(place), trust)
    finally:
        os.close(directory)
        os.close(root)


def test_a_release_is_read(place: Path, signers: list[Signer]) -> None:
    one = load(place, signers)
    assert (one.tree_list, one.closures, one.signers) == (LIST, CLOSURES, SIGNERS)
    assert [found.signer for found in one.signatures] == [signers[0][1]]
    assert one.manifest.version == 7


def add_many(place: Path) -> None:
    for number in range(64):
        (place / f"manifest.json.{number}.sig").touch()


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda d: (d / "manifest.json").unlink(), "no-manifest"),
    "manifest edited": (
        lambda d: (d / "manifest.json").write_bytes(DATA.replace(b": 7", b": 8")),
        "manifest-not-signed",
    ),
    "manifest a link": (lambda d: to_link(d / "manifest.json"), "no-manifest"),
    "manifest a fifo": (lambda d: to_fifo(d / "manifest.json"), "not-a-regular-file"),
    "manifest of 100 MB": (lambda d: huge(d / "manifest.json"), "manifest-not-signed"),
    "no signature": (lambda d: (d / "manifest.json.one.sig").unlink(), "manifest-not-signed"),
    "signature of 100 MB": (lambda d: huge(d / "manifest.json.one.sig"), "manifest-not-signed"),
    "signature a link": (lambda d: to_link(d / "manifest.json.one.sig"), "no-manifest"),
    "signature a fifo": (lambda d: to_fifo(d / "manifest.json.one.sig"), "not-a-regular-file"),
    "too many signatures": (
        add_many,
        "manifest-not-signed",
    ),
    "no list": (lambda d: (d / "tree.dump").unlink(), "no-manifest"),
    "list cut": (lambda d: (d / "tree.dump").write_bytes(LIST[:-1]), "attached-changed"),
    "list longer": (lambda d: (d / "tree.dump").write_bytes(LIST * 2), "attached-changed"),
    "list edited": (
        lambda d: (d / "tree.dump").write_bytes(LIST.replace(b"755", b"777")),
        "attached-changed",
    ),
    "list of 100 MB": (lambda d: huge(d / "tree.dump"), "attached-changed"),
    "no signers": (lambda d: (d / "signers.json").unlink(), "no-manifest"),
    "signers edited": (
        lambda d: (d / "signers.json").write_bytes(SIGNERS.replace(b"13", b"12")),
        "attached-changed",
    ),
    "signers a link": (lambda d: to_link(d / "signers.json"), "no-manifest"),
    "list a directory": (
        lambda d: to_directory(d / "tree.dump"),
        "not-a-regular-file",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_release_that_was_changed(place: Path, signers: list[Signer], name: str) -> None:
    change, reason = CHANGES[name]
    change(place)
    with pytest.raises(VerisealError) as caught:
        load(place, signers)
    assert caught.value.reason == reason
    assert caught.value.path is not None
    assert caught.value.path.startswith(str(place))


def test_a_directory_behind_a_link(place: Path, signers: list[Signer], tmp_path: Path) -> None:
    link = place.with_name("link")
    link.symlink_to(place.name)
    with pytest.raises(VerisealError) as caught:
        load(link, signers)
    assert caught.value.reason == "no-manifest"


def test_two_of_two_are_needed(place: Path, signers: list[Signer]) -> None:
    with pytest.raises(VerisealError):
        load(place, signers, needed=2)
    (place / "manifest.json.two.sig").write_bytes(sign(signers[1]))
    assert len(load(place, signers, needed=2).signatures) == 2


def test_a_certificate_of_another_release_does_not_count(
    place: Path, signers: list[Signer]
) -> None:
    for name in ("debian:13", "debian"):
        assert load(place, signers, os_name=name).manifest.os == "debian:13"
    for name in ("debian:14", "debian:1", "debian:13:x"):
        with pytest.raises(VerisealError) as caught:
            load(place, signers, os_name=name)
        assert caught.value.reason == "manifest-not-signed"
        assert "of another release" in str(caught.value)
