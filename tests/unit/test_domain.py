"""A signature of a file, of a manifest and of a trust statement: none is taken for another."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from veriseal import certificate, domain, manifest, merkle, signature
from veriseal.errors import VerisealError
from veriseal.manifest import Manifest
from veriseal.merkle import Parameters
from veriseal.trust import vouched
from veriseal.trust.model import Anchor

pytestmark = pytest.mark.unit

Cli = Callable[..., tuple[int, bytes, str]]
KINDS = {"file": Parameters(), "manifest": domain.MANIFEST, "statement": domain.STATEMENT}
RESERVED = [domain.MANIFEST.salt, domain.STATEMENT.salt, b"veriseal ", b"veriseal another"]


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "manifest.json"
    path.write_bytes(manifest.serialize(Manifest("debian:13", 999, 0, image=IMAGE)))
    return path


IMAGE = merkle.data_digest(b"an image", Parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_accepted_as_what_it_is_alone(
    kind: str, document: Path, rsa_key: signature.PrivateKey, certify: Callable[..., bytes]
) -> None:
    options = {"ca": True, "usages": ("key_cert_sign", "crl_sign"), "purposes": None}
    root = certificate.load_root(certify(rsa_key, **options), "root.pem")
    data = document.read_bytes()
    der = signature.make(merkle.data_digest(data, KINDS[kind]), rsa_key, root)

    def accepted(check: Callable[[], object]) -> bool:
        try:
            check()
        except VerisealError as error:
            return not error.reason.endswith("-not-signed")
        return True

    anchors = [Anchor("debian", root)]
    checks = {
        "manifest": lambda: manifest.check_signatures(data, {"a.sig": der}, [root], 1, "m"),
        "statement": lambda: vouched.signers(data, {"a.sig": der}, anchors, "trust.json"),
    }
    assert {name for name, check in checks.items() if accepted(check)} == {kind} - {"file"}


@pytest.mark.parametrize("salt", RESERVED)
def test_no_file_of_a_tree_has_such_a_salt(
    salt: bytes, document: Path, signer: list[str], cli: Cli, tmp_path: Path
) -> None:
    option = f"--salt={salt.hex()}"
    tree = tmp_path / "tree"
    tree.mkdir()
    words = ["--os=x", "--version=1", f"--out={tmp_path / 'out'}", *signer]
    for command in (
        ["sign", *signer, str(document)],
        ["enable", "--unsigned", str(document)],
        ["build", str(tree), *words],
    ):
        status, _, err = cli(*command, option)
        assert status == 2
        assert "this salt is that of manifests" in err
    assert sorted(path.name for path in tmp_path.rglob("*.sig")) == []


def test_the_manifest_of_a_digest_that_fsverity_computes(
    document: Path, signer: list[str], cli: Cli, fsverity: str
) -> None:
    salt = f"--salt={domain.MANIFEST.salt.hex()}"
    status, out, err = cli("sign", "--manifest", *signer, str(document))
    assert (status, err) == (0, "")
    command = [fsverity, "sign", salt, *signer, str(document), f"{document}.real"]
    assert subprocess.run(command, stdout=-1, check=True).stdout == out
    path = signer[1].partition("=")[2]
    loaded = certificate.load(Path(path).read_bytes(), path)
    ours = Path(f"{document}.{loaded.fingerprint[:16]}.sig").read_bytes()
    assert ours == Path(f"{document}.real").read_bytes()
    # The digest alone can be had, to check such a signature with OpenSSL.
    status, out, _ = cli("digest", salt, str(document))
    assert (status, out.decode()) == (0, f"{manifest.digest(document.read_bytes())} {document}\n")


def test_only_a_manifest_is_signed_as_one(
    document: Path, signer: list[str], cli: Cli, tmp_path: Path
) -> None:
    document.write_bytes(document.read_bytes().replace(b'"version": 999', b'"version": 0'))
    status, _, err = cli("sign", "--manifest", *signer, str(document))
    assert (status, list(tmp_path.glob("*.sig"))) == (1, [])
    assert "version" in err


@pytest.mark.parametrize(
    "option", ["--out-dir=d", "--hash-alg=sha512", "--block-size=1024", "--salt=00"]
)
def test_nothing_else_of_it_can_be_chosen(
    option: str, document: Path, signer: list[str], cli: Cli
) -> None:
    status, _, err = cli("sign", "--manifest", option, *signer, str(document))
    assert status == 2
    assert "Leave out" in err
