"""Vendor roots and release certificates."""

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from veriseal.build import files, keys
from veriseal.certificate import Certificate, load, load_root
from veriseal.chain import check_issued_by
from veriseal.collisions import check as check_collisions
from veriseal.errors import VerisealError

pytestmark = pytest.mark.unit

Cli = Callable[..., tuple[int, bytes, str]]


@pytest.fixture
def root(tmp_path: Path, cli: Cli) -> Callable[..., list[str]]:
    """Make a root; returns the options that name it to `pki issue`."""

    def make(*options: str, name: str = "root") -> list[str]:
        key, cert = str(tmp_path / f"{name}.key"), str(tmp_path / f"{name}.pem")
        arguments = ["--name", f"Acme {name}", "--key-out", key, "--cert-out", cert, *options]
        status, out, err = cli("pki", "root", "--key-type", "ecdsa:p256", *arguments)
        assert (status, out) == (0, b""), err
        return ["--root-key", key, "--root-cert", cert]

    return make


def outputs(tmp_path: Path, name: str) -> list[str]:
    return ["--key-out", str(tmp_path / f"{name}.key"), "--cert-out", str(tmp_path / f"{name}.pem")]


def read(path: Path) -> Certificate:
    return load(path.read_bytes(), str(path))


ISSUE = ["--os", "fedora:43", "--name", "Acme", "--key-type", "ecdsa:p256"]


@pytest.mark.parametrize("key_type", keys.KEY_TYPES)
def test_root_and_release(
    key_type: str, tmp_path: Path, root: Callable[..., list[str]], cli: Cli
) -> None:
    by = root()
    status, out, err = cli(
        "pki", "issue", *by, *ISSUE, *outputs(tmp_path, "43"), "--key-type", key_type
    )
    assert (status, out) == (0, b"")
    authority = load_root((tmp_path / "root.pem").read_bytes(), "root.pem")
    issued = read(tmp_path / "43.pem")
    check_issued_by(issued, authority)
    assert issued.subject == "CN=Acme release fedora:43"
    assert f"{issued.serial:x}" in err
    assert "voa/fedora:43/image/default/x509/" in err
    key = keys.load(str(tmp_path / "43.key"), lambda: None)
    keys.check_match(key, "43.key", issued)
    for name, mode in (("root.key", 0o600), ("43.key", 0o600), ("43.pem", 0o644)):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode
    constraints = authority.x509.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value.path_length == 0
    identifier = issued.x509.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert identifier.key_identifier == authority.skid


def test_a_release_whose_name_leaves_parts_out(
    tmp_path: Path, root: Callable[..., list[str]], cli: Cli
) -> None:
    options = [*ISSUE, *outputs(tmp_path, "x"), "--os", "arch:::cashier"]
    status, _, err = cli("pki", "issue", *root(), *options)
    assert status == 0
    assert "/usr/share/voa/arch:::cashier/image/default/x509/NAME.pem" in err
    assert "/usr/share/voa/arch/trust-anchor-image/default/x509/NAME.pem" in err


def test_openssl_accepts_the_chain(
    tmp_path: Path, root: Callable[..., list[str]], cli: Cli
) -> None:
    cli("pki", "issue", *root(), *ISSUE, *outputs(tmp_path, "43"))
    command = ["openssl", "verify", "-x509_strict", "-purpose", "any", "-CAfile", "root.pem"]
    subprocess.run([*command, "43.pem"], cwd=tmp_path, check=True, capture_output=True)


def test_releases_do_not_collide(tmp_path: Path, root: Callable[..., list[str]], cli: Cli) -> None:
    by = root()
    for name in ("a", "b", "c"):
        cli("pki", "issue", *by, *ISSUE, *outputs(tmp_path, name))
    certificates = [read(tmp_path / f"{name}.pem") for name in ("a", "b", "c")]
    check_collisions(certificates)
    assert all(0 < one.serial < 1 << 159 for one in certificates)


def test_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    for mask in (0o077, 0o000):
        before = os.umask(mask)
        try:
            path = tmp_path / f"{mask}"
            files.create(str(path), b"x", 0o644)
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_nothing_is_overwritten(tmp_path: Path, cli: Cli, root: Callable[..., list[str]]) -> None:
    root()
    contents = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for key, cert in (("root.key", "new.pem"), ("new.key", "root.pem")):
        status, _, err = cli(
            "pki", "root", "--name", "n", "--key-type", "ecdsa:p256",
            "--key-out", str(tmp_path / key), "--cert-out", str(tmp_path / cert),
        )  # fmt: skip
        assert status == 1
        assert "already exists" in err
        assert "root." in err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == contents


def test_keys_are_not_written_through_links(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(VerisealError) as caught:
        files.create(str(tmp_path / "link"), b"secret", 0o600)
    assert caught.value.reason == "exists"
    assert not (tmp_path / "elsewhere").exists()


def test_encrypted_keys(tmp_path: Path, root: Callable[..., list[str]], cli: Cli) -> None:
    good, bad, empty = tmp_path / "good", tmp_path / "bad", tmp_path / "empty"
    good.write_bytes(b"correct horse\r\nsecond line\n")
    bad.write_bytes(b"wrong")
    empty.write_bytes(b"\n")
    by = root("--encrypt", "--passphrase-file", str(good))
    assert b"ENCRYPTED PRIVATE KEY" in (tmp_path / "root.key").read_bytes()
    for options, word in (
        ([], "is encrypted"),
        (["--root-passphrase-file", str(bad)], "does not open"),
        (["--root-passphrase-file", str(empty)], "no passphrase"),
        (["--root-passphrase-file", str(tmp_path / "none")], "No such file"),
    ):
        status, _, err = cli("pki", "issue", *by, *ISSUE, *outputs(tmp_path, "x"), *options)
        assert status == 1
        assert word in err
        assert str(tmp_path) in err
    options = ["--root-passphrase-file", str(good)]
    assert cli("pki", "issue", *by, *ISSUE, *outputs(tmp_path, "x"), *options)[0] == 0


def test_encrypting_needs_a_passphrase(tmp_path: Path, cli: Cli) -> None:
    arguments = ["--name", "n", *outputs(tmp_path, "x")]
    assert cli("pki", "root", *arguments, "--encrypt")[0] == 2
    assert cli("pki", "root", *arguments, "--passphrase-file", "f")[0] == 2
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_root_cannot_issue(
    tmp_path: Path, root: Callable[..., list[str]], cli: Cli
) -> None:
    by = root()
    cli("pki", "issue", *by, *ISSUE, *outputs(tmp_path, "43"))
    release = ["--root-key", str(tmp_path / "43.key"), "--root-cert", str(tmp_path / "43.pem")]
    status, _, err = cli("pki", "issue", *release, *ISSUE, *outputs(tmp_path, "x"))
    assert status == 1
    assert "43.pem" in err
    assert "may not vouch" in err
    mixed = ["--root-key", str(tmp_path / "43.key"), "--root-cert", str(tmp_path / "root.pem")]
    status, _, err = cli("pki", "issue", *mixed, *ISSUE, *outputs(tmp_path, "x"))
    assert status == 1
    assert "43.key: not the private key of" in err
    assert not (tmp_path / "x.key").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        ["--os", "Fedora 43"],
        ["--os", "fedora/43"],
        ["--os", ".."],
        ["--os", ""],
        ["--os", "fedora:43:"],
        ["--os", "a:b:c:d:e:f"],
        ["--name", "A\nB"],
        ["--name", "A" * 60],
        ["--days", "0"],
        ["--days", "36501"],
        ["--days", "9999"],
        ["--key-type", "ed25519"],
    ],
)
def test_wrong_usage(
    wrong: list[str], tmp_path: Path, root: Callable[..., list[str]], cli: Cli
) -> None:
    by = root()
    assert cli("pki", "issue", *by, *ISSUE, *outputs(tmp_path, "x"), *wrong)[0] == 2
    assert not (tmp_path / "x.key").exists()


def test_release_ends_with_its_root(
    tmp_path: Path, root: Callable[..., list[str]], cli: Cli
) -> None:
    by = root("--days", "30")
    assert cli("pki", "issue", *by, *ISSUE, *outputs(tmp_path, "x"))[0] == 0
    authority = load_root((tmp_path / "root.pem").read_bytes(), "root.pem")
    assert read(tmp_path / "x.pem").not_after == authority.not_after


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not-a-key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not-a-key"),
        (b"x" * (keys.MAX_FILE_SIZE + 1), "not-a-key"),
        (b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n", "key-encrypted"),
    ],
)
def test_files_that_are_no_keys(data: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "k"
    path.write_bytes(data)
    with pytest.raises(VerisealError) as caught:
        keys.load(str(path), lambda: None)
    assert caught.value.reason == reason
    assert caught.value.path == str(path)


def test_ed25519_keys_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "k"
    command = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(VerisealError) as caught:
        keys.load(str(path), lambda: None)
    assert caught.value.reason == "unsupported-key"
