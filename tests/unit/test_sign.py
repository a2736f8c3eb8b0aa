"""`veriseal sign` beside `fsverity sign`."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from veriseal import certificate, signature
from veriseal.build import files
from veriseal.digest import Digest

pytestmark = pytest.mark.unit

Cli = Callable[..., tuple[int, bytes, str]]


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    """Paths of files, one of them large enough to be shared by all processors."""
    made = []
    for name, size in (("empty", 0), ("small", 5000), ("large", (33 << 20) + 5)):
        path = tmp_path / name
        path.write_bytes(os.urandom(size))
        made.append(str(path))
    return made


def real(fsverity: str, path: str, signer: list[str], *options: str) -> tuple[bytes, bytes]:
    command = [fsverity, "sign", *options, *signer, path, f"{path}.real"]
    printed = subprocess.run(command, stdout=-1, check=True).stdout
    return printed, Path(f"{path}.real").read_bytes()


PARAMETERS: list[list[str]] = [
    [],
    ["--hash-alg=sha512"],
    ["--block-size=1024", "--salt=00ff", "--hash-alg=sha512"],
]


@pytest.mark.parametrize("options", PARAMETERS, ids=" ".join)
def test_beside_each_file_like_fsverity(
    options: list[str], data: list[str], signer: list[str], cli: Cli, fsverity: str
) -> None:
    status, out, err = cli("sign", *signer, *options, *data)
    assert (status, err) == (0, "")
    expected = [real(fsverity, path, signer, *options) for path in data]
    assert out == b"".join(printed for printed, _ in expected)
    assert [Path(f"{path}.sig").read_bytes() for path in data] == [sig for _, sig in expected]


def test_named_by_digest(data: list[str], signer: list[str], cli: Cli, tmp_path: Path) -> None:
    for algorithm, digits in (("sha256", 64), ("sha512", 128)):
        out_dir = tmp_path / algorithm / "deeper"
        options = [f"--out-dir={out_dir}", f"--hash-alg={algorithm}"]
        status, out, _ = cli("sign", *signer, *options, *data)
        assert status == 0
        names = sorted(path.name for path in out_dir.iterdir())
        digests = [line.rsplit("(", 1)[1].rstrip(")\n") for line in out.decode().splitlines()]
        assert names == sorted(f"{digest.split(':')[1]}.sig" for digest in digests)
        assert all(len(name) == digits + 4 for name in names)
        cert_path = signer[1].split("=")[1]
        loaded = certificate.load(Path(cert_path).read_bytes(), cert_path)
        for text in digests:
            digest = Digest.parse(text)
            der = (out_dir / f"{digest.value.hex()}.sig").read_bytes()
            signature.verify(der, digest, loaded)


def test_out(data: list[str], signer: list[str], cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "here.sig"
    assert cli("sign", *signer, f"--out={out}", data[1])[0] == 0
    assert out.stat().st_mode & 0o777 == 0o644
    assert cli("sign", *signer, f"--out={out}", *data)[0] == 2
    assert cli("sign", *signer, f"--out={out}", "--out-dir=d", data[1])[0] == 2


def test_failures_are_all_reported(
    data: list[str], signer: list[str], cli: Cli, tmp_path: Path
) -> None:
    missing = [str(tmp_path / name) for name in ("m1", "m2")]
    status, out, err = cli("sign", *signer, missing[0], data[0], str(tmp_path), missing[1])
    assert status == 1
    assert out.count(b"\n") == 1
    assert [line.split(": ")[1] for line in err.splitlines()] == [
        missing[0],
        str(tmp_path),
        missing[1],
    ]


def test_unwritable_place_is_named(data: list[str], signer: list[str], cli: Cli) -> None:
    os.mkdir(f"{data[1]}.sig")
    status, _, err = cli("sign", *signer, data[1])
    assert status == 1
    assert f"{data[1]}.sig: Is a directory" in err
    assert not [name for name in os.listdir(os.path.dirname(data[1])) if name.endswith(".tmp")]


def test_a_signature_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "f.sig"
    path.write_bytes(b"old")
    before = path.open("rb")
    files.replace(str(path), b"new")
    assert before.read() == b"old"
    before.close()
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["f.sig"]


def test_key_of_another_certificate(
    data: list[str],
    signer: list[str],
    cli: Cli,
    tmp_path: Path,
    ec_key: Any,
    key_pem: Callable[[Any], bytes],
) -> None:
    other = tmp_path / "other.key"
    other.write_bytes(key_pem(ec_key))
    status, _, err = cli("sign", f"--key={other}", signer[1], data[0])
    assert status == 1
    assert f"{other}: not the private key of" in err
    assert not os.path.exists(f"{data[0]}.sig")


def test_refused_certificate(
    data: list[str],
    signer: list[str],
    cli: Cli,
    tmp_path: Path,
    rsa_key: Any,
    certify: Callable[..., bytes],
) -> None:
    cert = tmp_path / "ca.pem"
    cert.write_bytes(certify(rsa_key, ca=True))
    status, _, err = cli("sign", signer[0], f"--cert={cert}", data[0])
    assert status == 1
    assert f"{cert}: this is the certificate of a certificate authority" in err


def test_missing_options_and_files(data: list[str], signer: list[str], cli: Cli) -> None:
    assert cli("sign", data[0])[0] == 2
    assert cli("sign", *signer)[0] == 2
    status, _, err = cli("sign", "--key=/nonexistent/key", signer[1], data[0])
    assert status == 1
    assert "/nonexistent/key: No such file" in err


def test_ecdsa(
    data: list[str],
    cli: Cli,
    tmp_path: Path,
    ec_key: Any,
    certify: Callable[..., bytes],
    key_pem: Callable[[Any], bytes],
) -> None:
    key, cert = tmp_path / "key", tmp_path / "cert"
    key.write_bytes(key_pem(ec_key))
    cert.write_bytes(certify(ec_key))
    status, out, _ = cli("sign", f"--key={key}", f"--cert={cert}", *data)
    assert status == 0
    loaded = certificate.load(cert.read_bytes(), "cert")
    signatures = [Path(f"{path}.sig").read_bytes() for path in data]
    for line, der in zip(out.decode().splitlines(), signatures, strict=True):
        signature.verify(der, Digest.parse(line.rsplit("(", 1)[1].rstrip(")")), loaded)
    # Forked signers must not share their random numbers: equal ones give the key away.
    assert len({signature.inspect(der).raw[:20] for der in signatures}) == len(signatures)
