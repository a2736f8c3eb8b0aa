"""`veriseal enable`: all but the kernel, whose part a model plays here.

The model keeps its state in files, as the workers that enable are processes of their own. The
real kernel is asked in the tests of the guest.
"""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from veriseal import certificate, manifest, signature
from veriseal.build import walk
from veriseal.digest import SHA256, SHA512, Algorithm, Digest
from veriseal.errors import VerisealError
from veriseal.kernel import verity
from veriseal.merkle import Parameters, data_digest, file_digest

pytestmark = pytest.mark.unit

Cli = Callable[..., tuple[int, bytes, str]]


class Kernel:
    """A model of a file system with fs-verity and built-in signatures."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.refuse: int | None = None
        self.change: Callable[[], None] | None = None

    def _record(self, fd: int) -> Path:
        return self.state / str(os.fstat(fd).st_ino)

    def put(self, path: Path, digest: Digest, der: bytes) -> None:
        text = f"{digest} {der.hex()}"
        (self.state / str(path.stat().st_ino)).write_text(text)

    def measure(self, fd: int, path: str | None = None) -> Digest:
        try:
            return Digest.parse(self._record(fd).read_text().split(" ")[0])
        except FileNotFoundError:
            raise verity.failure(OSError(errno.ENODATA, ""), path) from None

    def read_signature(self, fd: int, path: str | None = None) -> bytes:
        der = bytes.fromhex(self._record(fd).read_text().split(" ")[1])
        if not der:
            raise VerisealError("unsigned", "no signature", path=path)
        return der

    def enable(
        self,
        fd: int,
        algorithm: Algorithm,
        block_size: int,
        salt: bytes = b"",
        der: bytes = b"",
        path: str | None = None,
    ) -> None:
        if self.refuse is not None:
            raise verity.failure(OSError(self.refuse, ""), path)
        if self.change is not None:
            self.change()
        size = os.fstat(fd).st_size
        digest = file_digest(fd, size, Parameters(algorithm, block_size, salt))
        with self._record(fd).open("x") as file:
            file.write(f"{digest} {der.hex()}")

    @property
    def count(self) -> int:
        return len(list(self.state.iterdir()))


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    state = tmp_path / "kernel"
    state.mkdir()
    model = Kernel(state)
    for name in ("measure", "enable", "read_signature"):
        monkeypatch.setattr(verity, name, getattr(model, name))
    return model


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    for number in range(30):
        path = top / f"d{number % 3}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(number * 500))
    (top / "large").write_bytes(os.urandom((33 << 20) + 1))
    return top


class Signer:
    def __init__(self, key: Any, pem: bytes, path: Path) -> None:
        path.write_bytes(pem)
        self.path = str(path)
        self.key = key
        self.certificate = certificate.load(pem, self.path)

    def sign(self, data: bytes, parameters: Parameters | None = None) -> tuple[Digest, bytes]:
        digest = data_digest(data, parameters or Parameters())
        return digest, signature.make(digest, self.key, self.certificate)

    def sign_into(self, directory: Path, *files: Path) -> str:
        directory.mkdir(parents=True, exist_ok=True)
        for file in files:
            digest, der = self.sign(file.read_bytes())
            (directory / f"{digest.value.hex()}.sig").write_bytes(der)
        return str(directory)


@pytest.fixture
def signer(tmp_path: Path, ec_key: Any, certify: Callable[..., bytes]) -> Signer:
    return Signer(ec_key, certify(ec_key), tmp_path / "cert.pem")


def files_in(tree: Path) -> list[Path]:
    return sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())


def test_tree_with_signatures(
    kernel: Kernel, tree: Path, signer: Signer, cli: Cli, tmp_path: Path
) -> None:
    signed = files_in(tree)[::2]
    signatures = signer.sign_into(tmp_path / "sigs", *signed)
    arguments = ["enable", "--signatures", signatures, "--cert", signer.path, str(tree)]
    rest = len(files_in(tree)) - len(signed)
    status, out, err = cli(*arguments)
    assert (status, out) == (0, b"")
    left = f"{rest} without a signature and left as they are"
    assert err == f"{len(signed)} enabled, 0 already, 0 failed, {left}\n"
    assert kernel.count == len(signed)
    status, _, err = cli(*arguments)
    assert status == 0
    assert err == f"0 enabled, {len(signed)} already, 0 failed, {left}\n"


def released(tmp_path: Path, signer: Signer, *files: Path, **values: Any) -> str:
    """A directory as `veriseal build` writes it, as far as `enable` looks at it."""
    directory = tmp_path / "release"
    signer.sign_into(directory / "signatures", *files)
    signed = {"signed": ("/d0", "/d1"), "mutable": ("/d1/f1",), **values}
    attached = manifest.Attached(Digest(SHA256, bytes(32)), 1)
    statement = manifest.Manifest("debian:13", 1, 0, attached, attached, attached, **signed)
    (directory / "manifest.json").write_bytes(manifest.serialize(statement))
    return str(directory)


def test_of_a_release_only_what_the_manifest_demands(
    kernel: Kernel, tree: Path, signer: Signer, cli: Cli, tmp_path: Path
) -> None:
    files = files_in(tree)
    (tree / "d1/f1").write_bytes(b"mutable")
    # The same contents where they may change: an empty lock file, for example.
    (tree / "d2/same").write_bytes((tree / "d0/f0").read_bytes())
    os.link(tree / "d2/f2", tree / "d0/second-name")
    release = released(tmp_path, signer, *files)
    status, _, err = cli("enable", "--release", release, "--json", str(tree))
    assert status == 0, err
    wanted = [*(tree / "d0").iterdir(), *(tree / "d1").iterdir()]
    wanted.remove(tree / "d1/f1")
    assert err == f"{len(wanted)} enabled, 0 already, 0 failed\n"
    assert kernel.count == len(wanted)


def test_of_a_release_every_file_must_have_its_signature(
    kernel: Kernel, tree: Path, signer: Signer, cli: Cli, tmp_path: Path
) -> None:
    release = released(tmp_path, signer, *files_in(tree))
    (tree / "d0/new").write_bytes(b"changed since the build")
    status, _, err = cli("enable", "--release", release, str(tree))
    assert status == 1
    assert "d0/new: there is no signature for this file" in err


def test_a_release_has_its_own_parameters(
    kernel: Kernel, tree: Path, signer: Signer, cli: Cli, tmp_path: Path
) -> None:
    parameters = Parameters(SHA512, 1024, b"salt")
    release = released(tmp_path, signer, signed=("/d0/f3",), parameters=parameters)
    digest, der = signer.sign((tree / "d0/f3").read_bytes(), parameters)
    (Path(release) / "signatures" / f"{digest.value.hex()}.sig").write_bytes(der)
    assert cli("enable", "--release", release, str(tree))[0] == 0
    assert kernel.count == 1


@pytest.mark.parametrize("what", ["two trees", "a file"])
def test_a_release_is_for_one_tree(
    kernel: Kernel, tree: Path, signer: Signer, cli: Cli, tmp_path: Path, what: str
) -> None:
    release = released(tmp_path, signer)
    paths = [str(tree), str(tree)] if what == "two trees" else [str(tree / "large")]
    status, _, err = cli("enable", "--release", release, *paths)
    assert status == 2
    assert "--release is for one tree" in err


def test_interrupted_run_is_resumed(
    kernel: Kernel, tree: Path, signer: Signer, cli: Cli, tmp_path: Path
) -> None:
    files = files_in(tree)
    signatures = signer.sign_into(tmp_path / "sigs", *files)
    assert cli("enable", "--signatures", signatures, *map(str, files[:7]))[0] == 0
    status, _, err = cli("enable", "--signatures", signatures, str(tree))
    assert status == 0
    assert err == f"{len(files) - 7} enabled, 7 already, 0 failed\n"


def test_signature_beside(kernel: Kernel, tree: Path, signer: Signer, cli: Cli) -> None:
    path = tree / "d0" / "f3"
    Path(f"{path}.sig").write_bytes(signer.sign(path.read_bytes())[1])
    status, _, err = cli("enable", str(tree))
    assert status == 0
    others = len(files_in(tree)) - 2
    assert err.startswith(f"1 enabled, 0 already, 0 failed, {others} without")


def test_one_signature(
    kernel: Kernel, tree: Path, signer: Signer, cli: Cli, tmp_path: Path
) -> None:
    path, sig = tree / "d0" / "f3", tmp_path / "sig"
    sig.write_bytes(signer.sign(path.read_bytes())[1])
    assert cli("enable", "--signature", str(sig), str(tree))[0] == 2
    assert cli("enable", "--signature", str(sig), str(path), str(path))[0] == 2
    status, _, err = cli("enable", "--signature", f"{sig}x", str(path))
    assert status == 1
    assert f"{sig}x: No such file" in err
    assert kernel.count == 0
    assert cli("enable", "--signature", str(sig), str(path))[0] == 0


def test_other_parameters(kernel: Kernel, tree: Path, signer: Signer, cli: Cli) -> None:
    path = tree / "d0" / "f3"
    parameters = Parameters(SHA512, 1024, b"\1")
    Path(f"{path}.sig").write_bytes(signer.sign(path.read_bytes(), parameters)[1])
    options = ["--hash-alg=sha512", "--block-size=1024", "--salt=01", "--cert", signer.path]
    assert cli("enable", *options, str(path))[0] == 0
    status, _, err = cli("enable", "--hash-alg=sha512", str(path))
    assert status == 1
    assert str(data_digest(path.read_bytes(), parameters)) in err
    assert str(data_digest(path.read_bytes(), Parameters(SHA512))) in err


def test_several_signers(
    kernel: Kernel, tree: Path, signer: Signer, cli: Cli, tmp_path: Path, certify: Any, rsa_key: Any
) -> None:
    paths = [tree / "d0/f3", tree / "d1/f4"]
    other = Signer(rsa_key, certify(rsa_key), tmp_path / "other.pem")
    stranger = Signer(rsa_key, certify(rsa_key), tmp_path / "stranger.pem")
    signatures = signer.sign_into(tmp_path / "sigs", paths[0])
    other.sign_into(tmp_path / "sigs", paths[1])
    words = ["enable", "--signatures", signatures, *map(str, paths), f"--cert={signer.path}"]
    status, _, err = cli(*words, f"--cert={stranger.path}")
    assert status == 1
    assert err.endswith("1 enabled, 0 already, 1 failed\n")
    assert "signed by another certificate" in err
    status, _, err = cli(*words, f"--cert={other.path}")
    assert (status, err) == (0, "1 enabled, 1 already, 0 failed\n")


def test_named_file_without_signature(
    kernel: Kernel, tree: Path, signer: Signer, cli: Cli, tmp_path: Path
) -> None:
    path = tree / "d0" / "f3"
    for options in ([], ["--signatures", signer.sign_into(tmp_path / "sigs")]):
        status, _, err = cli("enable", *options, str(path))
        assert status == 1
        assert f"{path}: there is no signature" in err
    assert kernel.count == 0


def test_nothing_to_enable_is_a_failure(kernel: Kernel, tree: Path, cli: Cli) -> None:
    status, _, err = cli("enable", str(tree))
    assert status == 1
    assert f"{tree}: no file has a signature" in err


def test_unsigned_must_be_said(kernel: Kernel, tree: Path, cli: Cli, signer: Signer) -> None:
    path = tree / "d0" / "f3"
    assert cli("enable", "--unsigned", "--cert", signer.path, str(path))[0] == 2
    assert cli("enable", "--unsigned", str(path))[0] == 0
    assert cli("enable", "--unsigned", str(path))[2] == "0 enabled, 1 already, 0 failed\n"
    Path(f"{path}.sig").write_bytes(signer.sign(path.read_bytes())[1])
    status, _, err = cli("enable", str(path))
    assert status == 1
    assert "without a signature" in err
    assert "cannot be added later" in err


def test_already_with_a_signature_but_unsigned_was_said(
    kernel: Kernel, tree: Path, cli: Cli, signer: Signer
) -> None:
    path = tree / "d0" / "f3"
    kernel.put(path, *signer.sign(path.read_bytes()))
    status, _, err = cli("enable", "--unsigned", str(path))
    assert status == 1
    assert "another signature" in err


def test_already_with_another_signature(
    kernel: Kernel, tree: Path, cli: Cli, signer: Signer
) -> None:
    path = tree / "d0" / "f3"
    kernel.put(path, *signer.sign(path.read_bytes()))
    # ECDSA: signing again gives another signature.
    Path(f"{path}.sig").write_bytes(signer.sign(path.read_bytes())[1])
    status, _, err = cli("enable", str(path))
    assert status == 1
    assert f"{path}: verity is enabled with the same digest but another signature" in err


def test_bad_signatures_are_found_before(
    kernel: Kernel,
    tree: Path,
    cli: Cli,
    signer: Signer,
    tmp_path: Path,
    rsa_key: Any,
    certify: Callable[..., bytes],
) -> None:
    path, sig = tree / "d0" / "f3", tmp_path / "sig"
    other = Signer(rsa_key, certify(rsa_key), tmp_path / "other.pem")
    for der, word in (
        (other.sign(path.read_bytes())[1], "signed by another certificate"),
        (signer.sign(b"other contents")[1], "not a signature of"),
        (b"garbage", "not a built-in signature"),
        (bytes(20_000), "not a built-in signature"),
    ):
        sig.write_bytes(der)
        status, _, err = cli("enable", f"--signature={sig}", f"--cert={signer.path}", str(path))
        assert status == 1
        assert f"{sig}: {word}" in err
    assert kernel.count == 0


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (errno.ENOKEY, "no certificate in the .fs-verity keyring"),
        (errno.EKEYREJECTED, "not a signature of this file"),
        (errno.ETXTBSY, "open for writing"),
        (errno.EROFS, "read-only"),
        (errno.EOPNOTSUPP, "tune2fs -O verity"),
    ],
)
def test_refusals_of_the_kernel(
    number: int, word: str, kernel: Kernel, tree: Path, cli: Cli
) -> None:
    kernel.refuse = number
    path = tree / "d0" / "f3"
    status, _, err = cli("enable", "--unsigned", str(path))
    assert status == 1
    assert f"veriseal: {path}: " in err
    assert word in err
    assert err.endswith("0 enabled, 0 already, 1 failed\n")


def test_file_that_changes_after_its_digest(kernel: Kernel, tree: Path, cli: Cli) -> None:
    path = tree / "d0" / "f3"
    kernel.change = lambda: None if path.write_bytes(b"other") else None
    status, _, err = cli("enable", "--unsigned", str(path))
    assert status == 1
    assert "changed before verity was enabled" in err


def test_links_and_special_files(kernel: Kernel, tree: Path, cli: Cli, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_bytes(b"")
    (tree / "link").symlink_to(outside / "f")
    (tree / "directory").symlink_to(outside)
    os.mkfifo(tree / "fifo")
    os.link(tree / "d0" / "f3", tree / "again")
    names = len(files_in(tree))
    status, _, err = cli("enable", "--unsigned", str(tree))
    assert (status, err) == (0, f"{names - 1} enabled, 1 already, 0 failed\n")
    for name, word in (
        ("link", "is a symbolic link"),
        ("directory", "is a symbolic link"),
        ("fifo", "not a regular file"),
        ("missing", "No such file"),
    ):
        status, _, err = cli("enable", "--unsigned", str(tree / name))
        assert status == 1
        assert f"{tree / name}: {word}" in err


def test_same_file_given_twice(kernel: Kernel, tree: Path, cli: Cli) -> None:
    path = str(tree / "d0" / "f3")
    status, _, err = cli("enable", "--unsigned", path, path, str(tree / "d0"))
    assert status == 0
    assert err == "10 enabled, 2 already, 0 failed\n"


def test_json(kernel: Kernel, tree: Path, signer: Signer, cli: Cli, tmp_path: Path) -> None:
    path = tree / "d0" / "f3"
    signatures = signer.sign_into(tmp_path / "sigs", path)
    arguments = ["enable", "--json", "--signatures", signatures]
    status, out, _ = cli(*arguments, str(tree / "d0"), str(tree / "missing"))
    report = json.loads(out)
    assert status == 1
    counts = {name: value for name, value in report.items() if name != "files"}
    assert counts == {
        "schema": 1,
        "enabled": 1,
        "already": 0,
        "without_signature": 9,
        "failed": 1,
    }
    states = {one["path"]: one.get("state") for one in report["files"]}
    assert states[str(path)] == "enabled"
    assert states[str(tree / "missing")] is None
    assert list(states.values()).count("without-signature") == 9


def test_walk_stays_on_one_file_system() -> None:
    found = walk.find(["/sys/kernel"])
    assert found.errors == []
    if os.path.ismount("/sys/kernel/security"):
        assert not [path for path in found.inside if path.startswith("/sys/kernel/security/")]
    device = os.stat("/sys/kernel").st_dev
    assert all(os.lstat(path).st_dev == device for path in found.inside[:500])


def test_walk_reports_what_it_cannot_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "z").write_bytes(b"")
    real = os.scandir

    def scandir(path: str) -> Any:
        if path.endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = walk.find([str(tmp_path)])
    assert found.inside == [str(tmp_path / "z")]
    assert [error.path for error in found.errors] == [str(tmp_path / "closed")]
