"""Signatures by a command: the key is elsewhere, and its answer is not believed."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from veriseal import certificate, merkle, signature
from veriseal.build import signer
from veriseal.certificate import Certificate
from veriseal.digest import SHA256, SHA512, Algorithm, Digest
from veriseal.errors import VerisealError
from veriseal.merkle import Parameters

pytestmark = pytest.mark.unit

Cli = Callable[..., tuple[int, bytes, str]]
Made = tuple[Any, Certificate, str]
"""A private key, its certificate, the path of the key's file; beside that is the certificate's."""


def make(directory: Path, key: Any, certify: Any, key_pem: Any) -> Made:
    path, cert = directory / "key", directory / "cert"
    path.write_bytes(key_pem(key))
    cert.write_bytes(certify(key))
    return key, certificate.load(cert.read_bytes(), str(cert)), str(path)


@pytest.fixture(params=["rsa", "p256", "p384"])
def made(request: pytest.FixtureRequest, tmp_path: Path, certify: Any, key_pem: Any) -> Made:
    makers: dict[str, Callable[[], Any]] = {
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    }
    return make(tmp_path, makers[request.param](), certify, key_pem)


@pytest.fixture
def rsa_made(tmp_path: Path, rsa_key: Any, certify: Any, key_pem: Any) -> Made:
    return make(tmp_path, rsa_key, certify, key_pem)


def digest_of(data: bytes, algorithm: Algorithm = SHA256) -> Digest:
    return merkle.data_digest(data, Parameters(algorithm))


def openssl(key: str, algorithm: Algorithm = SHA256) -> list[str]:
    return ["openssl", "pkeyutl", "-sign", "-inkey", key, "-pkeyopt", f"digest:{algorithm.name}"]


def shell(script: str, *arguments: str) -> list[str]:
    return ["sh", "-c", script, "sh", *arguments]


@pytest.mark.parametrize("algorithm", [SHA256, SHA512], ids=str)
def test_openssl_as_the_command(made: Made, algorithm: Algorithm) -> None:
    key, cert, path = made
    digest = digest_of(b"program", algorithm)
    der = signer.Command(openssl(path, algorithm), cert).sign(digest)
    signature.verify(der, digest, cert)
    if isinstance(key, rsa.RSAPrivateKey):
        assert der == signature.make(digest, key, cert)


@pytest.mark.parametrize("algorithm", [SHA256, SHA512], ids=str)
def test_the_frame_is_that_of_the_library(made: Made, algorithm: Algorithm) -> None:
    key, cert, _ = made
    digest = digest_of(b"program", algorithm)
    expected = signature.make(digest, key, cert)
    raw = signature.inspect(expected).raw
    assert signer.assemble(raw, digest, cert) == expected


@pytest.mark.parametrize("algorithm", [SHA256, SHA512], ids=str)
def test_what_is_to_be_signed(algorithm: Algorithm, tmp_path: Path, rsa_made: Made) -> None:
    digest = digest_of(b"program", algorithm)
    hashed = subprocess.run(
        ["openssl", "dgst", f"-{algorithm.name}", "-binary"],
        input=digest.formatted(),
        stdout=-1,
        check=True,
    ).stdout
    got = tmp_path / "got"
    keep = shell('cat >"$1"; exit 3', str(got))
    with pytest.raises(VerisealError):
        signer.Command(keep, rsa_made[1]).sign(digest)
    assert got.read_bytes() == hashed


def refusal(command: list[str], cert: Certificate, timeout: float = 20) -> VerisealError:
    with pytest.raises(VerisealError) as caught:
        signer.Command(command, cert, timeout).sign(digest_of(b"program"))
    assert caught.value.reason == signer.FAILED
    assert caught.value.path == command[0]
    return caught.value


@pytest.mark.parametrize(
    ("command", "problem", "found"),
    [
        (["/nonexistent/signer"], "cannot be run: No such file", None),
        (["/"], "cannot be run: Permission denied", None),
        (["a\0b"], "cannot be run: embedded null byte", None),
        (shell("echo first >&2; echo 'no such slot' >&2; echo >&2; exit 7"), "status 7", "no such"),
        (shell("cat; exit 1"), "ended with status 1", None),
        (shell("kill -9 $$"), "ended by signal 9", None),
        (shell("exit 0"), "wrote nothing", None),
        (shell("echo 'PIN expired' >&2"), "wrote nothing", "PIN expired"),
        (shell("exec head -c 5000 /dev/zero"), "wrote more than 4096 bytes", None),
        (shell("echo rubbish"), "is not a signature of what it was given", "8 bytes"),
        (shell("head -c 256 /dev/zero"), "is not a signature of what it was given", "256 bytes"),
        (shell("head -c 300000 /dev/zero >&2; exit 1"), "status 1", None),
    ],
)
def test_refused(command: list[str], problem: str, found: str | None, rsa_made: Made) -> None:
    error = refusal(command, rsa_made[1])
    assert problem in error.problem
    assert (found in (error.found or "")) if found else True


def test_a_signature_by_another_key_or_of_something_else(
    rsa_made: Made, tmp_path: Path, key_pem: Any
) -> None:
    _, cert, path = rsa_made
    other = tmp_path / "other"
    other.write_bytes(key_pem(rsa.generate_private_key(65537, 2048)))
    assert "is not a signature" in refusal(openssl(str(other)), cert).problem
    script = "head -c 32 /dev/zero | openssl pkeyutl -sign -inkey $1 -pkeyopt digest:sha256"
    assert "is not a signature" in refusal(shell(script, path), cert).problem
    # The hash of the hash: what `openssl dgst -sign` makes of standard input.
    assert (
        "is not a signature" in refusal(shell("openssl dgst -sha256 -sign $1", path), cert).problem
    )


def test_one_that_hangs_is_ended(rsa_made: Made, tmp_path: Path) -> None:
    mark = tmp_path / "process"
    started = time.monotonic()
    error = refusal(shell('echo $$ >"$1"; exec sleep 60', str(mark)), rsa_made[1], timeout=0.5)
    assert "did not end within" in error.problem
    assert time.monotonic() - started < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), signal.SIG_DFL)


def test_what_a_command_leaves_behind_is_not_waited_for(rsa_made: Made) -> None:
    _, cert, path = rsa_made
    digest = digest_of(b"program")
    started = time.monotonic()
    command = shell("sleep 20 & exec " + shlex.join(openssl(path)))
    signature.verify(signer.Command(command, cert).sign(digest), digest, cert)
    assert time.monotonic() - started < 15


def test_a_command_that_reads_nothing_is_no_broken_pipe(rsa_made: Made, tmp_path: Path) -> None:
    _, cert, path = rsa_made
    digest = digest_of(b"program")
    hashed = tmp_path / "hash"
    hashed.write_bytes(signer.to_be_signed(digest))
    command = [*openssl(path), "-in", str(hashed)]
    signature.verify(signer.Command(command, cert).sign(digest), digest, cert)


def test_descriptors_are_closed(rsa_made: Made) -> None:
    _, cert, path = rsa_made
    before = os.listdir("/proc/self/fd")
    refusal(["/nonexistent"], cert)
    refusal(shell("exit 1"), cert)
    signer.Command(openssl(path), cert).sign(digest_of(b""))
    assert os.listdir("/proc/self/fd") == before


def test_sign_with_a_command_gives_the_same_files(rsa_made: Made, cli: Cli, tmp_path: Path) -> None:
    _, cert, path = rsa_made
    files = [tmp_path / name for name in "abc"]
    for file in files:
        file.write_bytes(os.urandom(9000))
    by_key, by_command = tmp_path / "key.d", tmp_path / "command.d"
    names = [str(file) for file in files]
    assert (
        cli("sign", f"--key={path}", f"--cert={cert.path}", f"--out-dir={by_key}", *names)[0] == 0
    )
    command = shlex.join(openssl(path))
    status, out, err = cli(
        "sign", f"--signer={command}", f"--cert={cert.path}", f"--out-dir={by_command}", *names
    )
    assert (status, err) == (0, "")
    assert out.count(b"\n") == len(files)
    assert sorted(os.listdir(by_key)) == sorted(os.listdir(by_command))
    for name in os.listdir(by_key):
        assert (by_key / name).read_bytes() == (by_command / name).read_bytes()


def test_a_broken_command_is_said_once_and_writes_nothing(
    rsa_made: Made, cli: Cli, tmp_path: Path
) -> None:
    _, cert, _ = rsa_made
    files = [tmp_path / f"f{number}" for number in range(300)]
    for file in files:
        file.write_bytes(b"x")
    command = shlex.join([sys.executable, "-c", "raise SystemExit('no token')"])
    status, _, err = cli(
        "sign", f"--signer={command}", f"--cert={cert.path}", *[str(file) for file in files]
    )
    assert status == 1
    assert err.count("\n") == 1
    assert "no token" in err
    assert not list(tmp_path.glob("*.sig"))


@pytest.mark.parametrize(
    "options",
    [
        ["--signer=true", "--key=k"],
        ["--signer="],
        ["--signer='"],
        ["--signer=true", "--passphrase-file=p"],
        [],
    ],
)
def test_wrong_usage(options: list[str], rsa_made: Made, cli: Cli) -> None:
    assert cli("sign", *options, f"--cert={rsa_made[1].path}", "file")[0] == 2
