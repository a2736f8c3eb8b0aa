"""`veriseal build`: the list of a tree, its manifest and signatures."""

import datetime
import errno
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

import veriseal
from veriseal import certificate, domain, dump, manifest, merkle, policy, signature
from veriseal.build import files, keys, scan, walk
from veriseal.digest import SHA256, SHA512, Digest
from veriseal.errors import VerisealError
from veriseal.kernel import mounts
from veriseal.merkle import Parameters
from veriseal.pattern import Rules
from veriseal.signers import Signed
from veriseal.signers import parse as read_signers

pytestmark = pytest.mark.unit

Cli = Callable[..., tuple[int, bytes, str]]
PLAIN = Parameters()
MTIME_NS = 1_763_764_621_123_456_789
CREATED = 1_782_864_000
"""Seconds since 1970; the certificates are valid then."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """One of everything that needs no privilege."""
    top = tmp_path / "tree"
    (top / "usr/bin").mkdir(parents=True)
    (top / "usr/bin/ping").write_bytes(b"p" * 5000)
    (top / "usr/bin/zing").write_bytes(os.urandom(200_000))
    (top / "usr/bin-").write_bytes(b"sorts before bin/ as text, after it by component")
    (top / "usr/small").write_bytes(b"-")
    (top / "usr/inline").write_bytes(bytes(range(64)))
    (top / "usr/not-inline").write_bytes(bytes(range(65)))
    (top / "usr/empty").write_bytes(b"")
    (top / "etc").mkdir()
    (top / "etc/machine-id").write_bytes(b"x" * 33)
    (top / "etc/link").symlink_to("../usr/bin/ping")
    (top / "a b\n=\\").mkdir()
    os.link(top / "usr/bin/ping", top / "usr/bin/pong")
    os.link(top / "usr/bin/ping", top / "a b\n=\\/ping")
    (top / "var/lib").mkdir(parents=True)
    (top / "var/lib/data").write_bytes(b"d" * 100)
    os.mkfifo(top / "etc/fifo")
    weird = os.fsencode(top) + b"/\xff\xfe-\xc3\xa4"
    with open(weird, "wb") as file:
        file.write(b"w" * 1000)
    os.setxattr(top / "usr/bin/zing", "user.b", b"1\0=")
    os.setxattr(top / "usr/bin/zing", "user.a", b"")
    os.setxattr(top / "etc", "user.d", b"-")
    for path in [*top.rglob("*"), top]:
        os.utime(path, ns=(MTIME_NS, MTIME_NS), follow_symlinks=False)
    return top


@pytest.fixture
def run(cli: Cli, signer: list[str], tree: Path, tmp_path: Path) -> Callable[..., Any]:
    """`veriseal build` with whatever else is given; status, report, stderr."""

    def call(*options: str, top: Path = tree, out: str = "out") -> tuple[int, Any, str]:
        words = [f"--out={tmp_path / out}", "--os=fedora:43", "--version=7", f"--created={CREATED}"]
        status, stdout, err = cli("build", str(top), *words, *signer, "--json", *options)
        return status, json.loads(stdout) if stdout else None, err

    return call


def configure(tmp_path: Path, text: str) -> str:
    path = tmp_path / "test.toml"
    path.write_text(f"[build]\n{text}\n")
    return f"--config={path}"


def listed(out: Path) -> dict[bytes, dump.Entry]:
    with open(out / "tree.dump", "rb") as file:
        return {entry.path: entry for entry in dump.parse(file)}


def contents(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()
    }


def loaded(signer: list[str]) -> certificate.Certificate:
    path = signer[1].split("=")[1]
    return certificate.load(Path(path).read_bytes(), path)


def test_the_list_says_what_the_tree_is(run: Any, tree: Path, tmp_path: Path) -> None:
    status, report, _ = run()
    assert status == 0
    entries = listed(tmp_path / "out")
    found = {b"/": tree} | {
        b"/" + os.fsencode(path.relative_to(tree)): path for path in tree.rglob("*")
    }
    assert set(entries) == set(found)
    assert report["entries"] == len(found)
    for name, path in found.items():
        entry, status = entries[name], os.lstat(path)
        assert entry.mode == status.st_mode
        assert (entry.uid, entry.gid, entry.rdev) == (status.st_uid, status.st_gid, 0)
        assert entry.mtime == divmod(status.st_mtime_ns, 10**9)
        if stat.S_ISREG(status.st_mode):
            data = path.read_bytes()
            digest = merkle.data_digest(data, PLAIN).value
            assert (entry.size, entry.nlink) == (len(data), status.st_nlink)
            if 0 < len(data) <= 64:
                assert (entry.content, entry.digest, entry.payload) == (data, None, None)
            else:
                assert (entry.content, entry.digest) == (None, digest)
        elif stat.S_ISLNK(status.st_mode):
            target = os.fsencode(os.readlink(path))
            assert (entry.payload, entry.size) == (target, len(target))
        else:
            assert (entry.size, entry.payload, entry.digest) == (0, None, None)
    zing = entries[b"/usr/bin/zing"]
    digits = zing.digest.hex() if zing.digest else ""
    assert zing.payload == f"{digits[:2]}/{digits[2:]}".encode()
    assert zing.xattrs == ((b"user.a", b""), (b"user.b", b"1\0="))
    assert entries[b"/etc"].xattrs == ((b"user.d", b"-"),)
    assert entries[b"/usr/empty"].payload is None
    assert entries[b"/"].nlink == 2 + 4
    assert entries[b"/etc"].nlink == 2


def test_the_first_name_is_the_file_and_the_others_are_links(run: Any, tmp_path: Path) -> None:
    assert run()[0] == 0
    entries = listed(tmp_path / "out")
    names = [name for name, entry in entries.items() if entry.nlink == 3 and entry.size == 5000]
    assert names == [b"/a b\n=\\/ping", b"/usr/bin/ping", b"/usr/bin/pong"]
    first, *others = [entries[name] for name in names]
    assert not first.hardlink
    for other in others:
        assert other == first._replace(path=other.path, payload=first.path, hardlink=True)


def attached(path: Path) -> manifest.Attached:
    data = path.read_bytes()
    return manifest.Attached(merkle.data_digest(data, PLAIN), len(data))


def test_manifest_and_signatures(
    run: Any, cli: Cli, tree: Path, tmp_path: Path, signer: list[str]
) -> None:
    _, report, err = run(configure(tmp_path, 'mutable = ["/etc/machine-id"]'))
    assert err == f"9 files, {report['bytes']} bytes, 0 programs; 7 signed, 0 kept, 0 failed\n"
    out = tmp_path / "out"
    cert = loaded(signer)
    data = (out / "manifest.json").read_bytes()
    made = manifest.parse(data, "manifest.json")
    assert made._replace(parameters=PLAIN) == manifest.Manifest(
        "fedora:43",
        7,
        CREATED,
        tree=attached(out / "tree.dump"),
        closures=attached(out / "closures.json"),
        signers=attached(out / "signers.json"),
        parameters=PLAIN,
        exclusive=policy.EXCLUSIVE,
        mutable=("/etc/machine-id",),
        signed=policy.EXCLUSIVE,
    )
    assert made.tree is not None
    assert report["tree_digest"] == str(made.tree.digest)
    digest = Digest.parse(report["manifest_digest"])
    assert digest == merkle.data_digest(data, domain.MANIFEST)
    name = f"manifest.json.{cert.fingerprint[:16]}.sig"
    assert report["signature"] == str(out / name)
    signature.verify((out / name).read_bytes(), digest, cert)
    signed = {path.name for path in (out / "signatures").iterdir()}
    wanted = set()
    for path in tree.rglob("*"):
        # By default all that is exclusive, which here is /usr; /a... is another name of ping.
        if stat.S_ISREG(os.lstat(path).st_mode) and "usr" in path.parts:
            value = merkle.data_digest(path.read_bytes(), PLAIN)
            wanted.add(f"{value.value.hex()}.sig")
            der = (out / "signatures" / f"{value.value.hex()}.sig").read_bytes()
            signature.verify(der, value, cert)
    assert signed == wanted
    status, _, err = cli(
        "verify", str(tree), f"--manifest={out}", signer[1], "--os=fedora:43", "--without-verity"
    )
    assert status == 0, err


def test_a_hard_link_is_signed_whichever_of_its_names_is_to_be(run: Any, tmp_path: Path) -> None:
    _, report, _ = run(configure(tmp_path, 'sign = ["/usr/bin/pong"]'))
    assert report["signed"] == 1


def test_which_files_are_signed_is_configured(run: Any, tmp_path: Path) -> None:
    assert run(configure(tmp_path, "sign = []"))[1]["signed"] == 0
    assert run(configure(tmp_path, 'sign = ["/var/lib/*"]'), out="b")[1]["signed"] == 1
    assert run(configure(tmp_path, 'exclusive = ["/var"]'), out="c")[1]["signed"] == 9
    made = manifest.parse((tmp_path / "c/manifest.json").read_bytes(), "")
    assert made.exclusive == made.signed == (*policy.EXCLUSIVE, "/var")


def test_a_file_with_a_revoked_digest_is_in_no_release(
    run: Any, tree: Path, tmp_path: Path
) -> None:
    revoked = merkle.data_digest((tree / "usr/bin/zing").read_bytes(), Parameters())
    status, report, _ = run(configure(tmp_path, f'revoked = ["{revoked}"]'))
    assert status == 1
    (error,) = report["errors"]
    assert error["reason"] == "revoked"
    assert error["path"] == str(tree / "usr/bin/zing")
    # What is not in the tree is revoked for whoever checks a tree against the manifest.
    other = merkle.data_digest(b"other", Parameters())
    assert run(configure(tmp_path, f'revoked = ["{other}"]'), out="b")[0] == 0
    assert manifest.parse((tmp_path / "b/manifest.json").read_bytes(), "").revoked == (other,)


def test_other_parameters(run: Any, tree: Path, tmp_path: Path) -> None:
    assert run("--hash-alg=sha512", "--block-size=1024", "--salt=00ff")[0] == 0
    parameters = Parameters(SHA512, 1024, b"\0\xff")
    ping = merkle.data_digest((tree / "usr/bin/zing").read_bytes(), parameters)
    assert listed(tmp_path / "out")[b"/usr/bin/zing"].digest == ping.value
    assert (tmp_path / "out/signatures" / f"{ping.value.hex()}.sig").exists()
    made = manifest.parse((tmp_path / "out/manifest.json").read_bytes(), "")
    assert (made.parameters.algorithm, made.parameters.block_size) == (SHA512, 1024)
    assert made.parameters.salt == b"\0\xff"
    # The manifest and the list are always digested in the same way.
    assert made.tree == attached(tmp_path / "out/tree.dump")


def copy_in_reverse(tree: Path, to: Path) -> None:
    """The same tree, its directories filled in another order."""
    subprocess.run(["cp", "-a", tree, to], check=True)
    for path in sorted(to.rglob("*"), reverse=True):
        if not path.is_dir() or path.is_symlink():
            status = os.lstat(path)
            if status.st_nlink == 1:
                path.rename(f"{path}~")
                Path(f"{path}~").rename(path)
    for path in [*to.rglob("*"), to]:
        os.utime(path, ns=(MTIME_NS, MTIME_NS), follow_symlinks=False)


def test_the_same_tree_gives_the_same_bytes(
    run: Any, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run()[0] == 0
    first = contents(tmp_path / "out")
    copy_in_reverse(tree, tmp_path / "copy")
    before = os.umask(0o077)
    try:
        assert run(top=tmp_path / "copy", out="copied")[0] == 0
    finally:
        os.umask(before)
    assert contents(tmp_path / "copied") == first
    assert (tmp_path / "copied/manifest.json").stat().st_mode & 0o777 == 0o644
    # One processor, another order of directories, a path with a slash at its end.
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: _Reversed(real(path)))
    assert run(top=Path(f"{tree}/"), out="alone")[0] == 0
    assert contents(tmp_path / "alone") == first


class _Reversed:
    def __init__(self, listing: Any) -> None:
        self._entries = list(listing)[::-1]

    def __enter__(self) -> Iterator[Any]:
        return iter(self._entries)

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "POSIX", "tr_TR.ISO-8859-9"])
def test_the_same_bytes_in_any_locale(
    run: Any, tree: Path, tmp_path: Path, signer: list[str], locale: str
) -> None:
    assert run()[0] == 0
    command = [sys.executable, "-m", "veriseal", "build", str(tree), *signer, "--os=fedora:43"]
    environment = {
        "PYTHONPATH": str(Path(veriseal.__file__).parents[1]),
        "PATH": os.environ["PATH"],
        "SOURCE_DATE_EPOCH": str(CREATED),
        "LC_ALL": locale,
    }
    subprocess.run(
        [*command, "--version=7", f"--out={tmp_path / 'other'}"], env=environment, check=True
    )
    assert contents(tmp_path / "other") == contents(tmp_path / "out")


def test_the_time_of_creation(
    cli: Cli, signer: list[str], tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def created(*options: str) -> int:
        words = ["build", str(tree), "--os=x", "--version=1", f"--out={tmp_path / 'o'}", *signer]
        assert cli(*words, *options)[0] == 0
        return manifest.parse((tmp_path / "o/manifest.json").read_bytes(), "").created

    monkeypatch.setattr("time.time", lambda: 1234.9)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert created() == 1234
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "77")
    assert created() == 77
    assert created("--created=0") == 0
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    words = ["--os=x", "--version=1", f"--out={tmp_path / 'p'}"]
    assert cli("build", str(tree), *words, *signer)[0] == 2


@pytest.mark.parametrize(
    ("date", "says"),
    [
        ("2026-07-01", None),
        ("2025-12-31", "not valid before 2026-01-01, and what is signed says that it was made on"),
        ("2999-01-01", "expired on "),
    ],
)
def test_a_time_of_creation_that_the_certificate_does_not_cover(
    cli: Cli, signer: list[str], tree: Path, tmp_path: Path, date: str, says: str | None
) -> None:
    when = datetime.datetime.fromisoformat(f"{date}T00:00:00+00:00").timestamp()
    words = ["--os=x", "--version=1", f"--out={tmp_path / 'o'}", f"--created={when:.0f}"]
    status, _, err = cli("build", str(tree), *words, *signer)
    assert status == 0
    if says is None:
        assert "valid" not in err
    else:
        assert f"veriseal: warning: {tmp_path}" in err
        assert says in err
        assert date in err
        assert "whose clock is not set refuses it" in err


def test_signatures_that_are_there_are_kept_and_bad_ones_replaced(
    run: Any, tmp_path: Path, ec_key: Any, certify: Any, key_pem: Any
) -> None:
    (tmp_path / "signer/key").write_bytes(key_pem(ec_key))
    (tmp_path / "signer/cert").write_bytes(certify(ec_key))
    assert run()[1]["signed"] == 8
    out = tmp_path / "out"
    first = contents(out)
    (out / "signatures/of-another-build.sig").write_bytes(b"left alone")
    _, report, _ = run()
    assert (report["signed"], report["kept"]) == (0, 8)
    # ECDSA signatures differ each time they are made, the manifest's too.
    assert contents(out) == {**first, "signatures/of-another-build.sig": b"left alone"}
    damaged, truncated, swapped, *_ = sorted(name for name in first if "signatures/" in name)
    (out / damaged).write_bytes(first[damaged][:-1] + b"\xff")
    (out / truncated).write_bytes(b"")
    (out / swapped).write_bytes(first[damaged])
    _, report, _ = run()
    assert (report["signed"], report["kept"]) == (3, 5)
    cert = certificate.load((tmp_path / "signer/cert").read_bytes(), "")
    for name in (damaged, truncated, swapped):
        digest = Digest.parse("sha256:" + Path(name).stem)
        signature.verify((out / name).read_bytes(), digest, cert)


def test_signatures_by_another_certificate_are_made_again(
    run: Any, tmp_path: Path, rsa_key: Any, certify: Any
) -> None:
    run()
    (tmp_path / "signer/cert").write_bytes(certify(rsa_key))
    assert run()[1]["signed"] == 8
    # It is another manifest, for it says who signed the files.
    assert len(list((tmp_path / "out").glob("manifest.json.*.sig"))) == 1


def test_a_signer_for_build(run: Any, cli: Cli, tree: Path, tmp_path: Path) -> None:
    assert run()[0] == 0
    directory = tmp_path / "signer"
    command = f"openssl pkeyutl -sign -inkey {directory / 'key'} -pkeyopt digest:sha256"
    words = [
        str(tree),
        "--os=fedora:43",
        "--version=7",
        f"--created={CREATED}",
        f"--out={tmp_path / 'b'}",
    ]
    status, _, err = cli("build", *words, f"--signer={command}", f"--cert={directory / 'cert'}")
    assert status == 0, err
    assert contents(tmp_path / "b") == contents(tmp_path / "out")
    words[-1] = f"--out={tmp_path / 'c'}"
    status, _, err = cli("build", *words, "--signer=false", f"--cert={directory / 'cert'}")
    assert status == 1
    assert err == "veriseal: false: the signer ended with status 1\n"
    assert contents(tmp_path / "c") == {}


def test_the_command_that_the_help_has_for_a_further_signer(
    run: Any,
    cli: Cli,
    signer: list[str],
    tree: Path,
    tmp_path: Path,
    ec_key: Any,
    certify: Any,
    key_pem: Any,
) -> None:
    """Followed as it stands there, it makes a signature that counts."""
    assert run()[0] == 0
    (tmp_path / "key").write_bytes(key_pem(ec_key))
    (tmp_path / "cert").write_bytes(certify(ec_key, subject="Another"))
    status, out, _ = cli("build", "--help")
    assert status == 0
    found = [line.split() for line in out.decode().splitlines() if "veriseal sign " in line]
    assert len(found) == 1
    places = {"KEY": tmp_path / "key", "CERT": tmp_path / "cert", "DIR": tmp_path / "out"}
    words = ["/".join(str(places.get(part, part)) for part in one.split("/")) for one in found[0]]
    assert words[0] == "veriseal"
    status, _, err = cli(*words[1:])
    assert (status, err) == (0, "")
    certs = [signer[1], f"--cert={tmp_path / 'cert'}", "--signatures-needed=2", "--os=fedora:43"]
    words = [str(tree), f"--manifest={tmp_path / 'out'}", "--without-verity", *certs]
    status, out, err = cli("verify", *words)
    assert (status, out) == (0, b""), err


def test_verify_says_how_to_check_a_tree_of_another_system(
    run: Any,
    cli: Cli,
    signer: list[str],
    tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run()[0] == 0
    # That of this machine could be the tree's.
    monkeypatch.setattr("veriseal.osrelease.read", lambda: {"ID": "none", "VERSION_ID": "1"})
    words = [str(tree), f"--manifest={tmp_path / 'out'}", "--without-verity"]
    status, _, err = cli("verify", *words)
    assert status == 1
    assert err.endswith("For a tree of another system: --cert FILE --os NAME\n")
    for more in ([], ["--os=fedora:99"]):
        status, _, err = cli("verify", *words, signer[1], *more)
        assert status == 1
        assert err.endswith("found fedora:43). Say with --os of which release the tree is to be\n")
    assert cli("verify", *words, signer[1], "--os=fedora:43")[0] == 0


class TestMutable:
    def paths(self, run: Any, tmp_path: Path, config: str, **more: Any) -> set[bytes]:
        status, _, err = run(configure(tmp_path, config), **more)
        assert status == 0, err
        return set(listed(tmp_path / "out"))

    def test_a_directory_is_listed_without_its_contents(self, run: Any, tmp_path: Path) -> None:
        paths = self.paths(run, tmp_path, 'mutable = ["/var", "/etc/machine-id", "/etc/l*"]')
        assert b"/var" in paths
        assert not {b"/var/lib", b"/etc/machine-id", b"/etc/link"} & paths
        assert b"/etc/fifo" in paths

    def test_something_exclusive_below_is_listed_with_its_parents(
        self, run: Any, tree: Path, tmp_path: Path
    ) -> None:
        (tree / "var/lib/extensions/x/y").mkdir(parents=True)
        (tree / "var/log").mkdir()
        paths = self.paths(run, tmp_path, 'mutable = ["/var", "/var/lib/extensions/x"]')
        names = {path for path in paths if path.startswith(b"/var")}
        assert names == {b"/var", b"/var/lib", b"/var/lib/extensions", b"/var/lib/extensions/x"}
        assert listed(tmp_path / "out")[b"/var"].nlink == 3

    def test_nothing_exclusive_below_lists_no_parents(self, run: Any, tmp_path: Path) -> None:
        paths = self.paths(run, tmp_path, 'mutable = ["/var"]')
        assert {path for path in paths if path.startswith(b"/var")} == {b"/var"}

    def test_what_is_mutable_need_not_be_readable(
        self, run: Any, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tree / "srv").mkdir()
        forbid(monkeypatch, "srv")
        assert b"/srv" in self.paths(run, tmp_path, 'mutable = ["/srv", "/var"]')
        # But in /var may be what is exclusive.
        forbid(monkeypatch, "var")
        assert run(configure(tmp_path, 'mutable = ["/var"]'))[0] == 1

    def test_the_manifest_directory_of_the_tree(self, run: Any, tree: Path, tmp_path: Path) -> None:
        place = tree / manifest.DIRECTORY
        place.mkdir(parents=True)
        assert run()[0] == 0
        before = (tmp_path / "out/tree.dump").read_bytes()
        times = os.stat(place)
        for name, data in contents(tmp_path / "out").items():
            if "/" not in name:
                (place / name).write_bytes(data)
        os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert run()[0] == 0
        assert (tmp_path / "out/tree.dump").read_bytes() == before
        assert b"/usr/lib/veriseal/manifest" in listed(tmp_path / "out")


def forbid(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Tests may run as root, who may read everything."""
    real = os.scandir

    def scandir(path: str) -> Any:
        if str(path).endswith(name):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)


class TestErrors:
    def test_all_are_said_and_there_is_no_release(
        self, run: Any, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        forbid(monkeypatch, "lib")
        real_open, real_list = os.open, os.listxattr

        def opens(path: Any, *rest: Any, **more: Any) -> int:
            if str(path).endswith("zing"):
                raise PermissionError(errno.EACCES, "Permission denied", path)
            return real_open(path, *rest, **more)

        def lists(path: Any, **more: Any) -> list[str]:
            if str(path).endswith("fifo"):
                raise PermissionError(errno.EPERM, "Operation not permitted", path)
            return real_list(path, **more)

        monkeypatch.setattr(os, "open", opens)
        monkeypatch.setattr(os, "listxattr", lists)
        status, report, err = run()
        assert status == 1
        wrong = {str(tree / name) for name in ("var/lib", "usr/bin/zing", "etc/fifo")}
        assert {error["path"] for error in report["errors"]} == wrong
        assert all(path in err for path in wrong)
        assert "3 failed" in err
        assert "manifest" not in report
        assert not [name for name in contents(tmp_path / "out") if "signatures" not in name]

    def test_the_release_of_before_stays_whole(self, run: Any, tree: Path, tmp_path: Path) -> None:
        assert run()[0] == 0
        before = contents(tmp_path / "out")
        (tree / "usr/new").write_bytes(b"n" * 100)
        with pytest.MonkeyPatch.context() as patch:
            forbid(patch, "etc")
            assert run()[0] == 1
        after = contents(tmp_path / "out")
        assert {name: after[name] for name in before} == before

    @pytest.mark.parametrize("failing", ["tree.dump", "sig", "manifest.json"])
    def test_interrupted_while_writing(
        self, run: Any, tmp_path: Path, failing: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = os.rename

        def rename(source: str, target: str) -> None:
            if target.endswith(failing) and "signatures" not in target:
                raise OSError(errno.ENOSPC, "No space left on device", target)
            real(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", rename)
            status, _, err = run()
        assert status == 1
        assert "No space left on device" in err
        names = contents(tmp_path / "out")
        assert "manifest.json" not in names
        assert not [name for name in names if name.endswith(".tmp")]
        _, report, _ = run()
        assert (report["signed"], report["kept"]) == (0, 8)

    def change(self, node: scan.Node, how: Callable[[], object]) -> VerisealError:
        with pytest.raises(VerisealError) as caught:
            scan.read(node, lambda fd, size: how() and None or merkle.file_digest(fd, size, PLAIN))
        assert caught.value.reason == "changed-while-read"
        assert caught.value.path == node.host
        return caught.value

    def test_a_file_that_changes_while_it_is_read(self, tree: Path) -> None:
        def node() -> scan.Node:
            found = scan.scan(str(tree), Rules((), ()))
            return next(one for one in found.nodes if one.host.endswith("zing"))

        path = tree / "usr/bin/zing"
        status = os.stat(path)

        def same_size_and_time() -> None:
            data = bytearray(path.read_bytes())
            data[5] ^= 1
            with open(path, "r+b") as file:
                file.write(data)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

        scan.read(node(), lambda fd, size: merkle.file_digest(fd, size, PLAIN))
        self.change(node(), same_size_and_time)
        self.change(node(), lambda: path.chmod(0o755))
        self.change(node(), lambda: os.setxattr(path, "user.new", b""))
        before = node()
        shutil.copy2(path, f"{path}~")
        os.rename(f"{path}~", path)
        with pytest.raises(VerisealError, match="changed while the tree was read"):
            scan.read(before, lambda fd, size: merkle.file_digest(fd, size, PLAIN))

    def test_a_file_that_becomes_a_link_is_not_followed(self, tree: Path) -> None:
        found = scan.scan(str(tree), Rules((), ()))
        node = next(one for one in found.nodes if one.host.endswith("zing"))
        os.unlink(node.host)
        os.symlink("/etc/passwd", node.host)
        with pytest.raises(OSError, match="symbolic link"):
            scan.read(node, lambda fd, size: merkle.file_digest(fd, size, PLAIN))

    def test_a_mount_point_is_an_error_unless_it_is_mutable(
        self, run: Any, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = mounts.read()
        points = [str(tree / "var/lib"), str(tree / "usr/small"), str(tmp_path / "tree-2"), "/"]
        fake = [real[0]._replace(point=point) for point in (*points, str(tree))]
        monkeypatch.setattr(mounts, "read", lambda: fake)
        status, report, err = run()
        assert status == 1
        assert [error["path"] for error in report["errors"]] == points[1::-1]
        assert {error["reason"] for error in report["errors"]} == {"mount-point"}
        assert "build.mutable" in err
        status, _, err = run(configure(tmp_path, 'mutable = ["/var", "/usr/small"]'))
        assert status == 0, err
        assert not {b"/var/lib", b"/usr/small"} & set(listed(tmp_path / "out"))


def test_a_socket_is_listed_as_mkcomposefs_does(run: Any, tree: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.getcwd()
        os.chdir(tree / "var")  # the name of a socket is short
        try:
            bound.bind("s")
        finally:
            os.chdir(here)
    assert run()[0] == 0
    assert stat.S_ISSOCK(listed(tmp_path / "out")[b"/var/s"].mode)


def test_a_file_system_without_attributes(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(path: Any, **_: Any) -> list[str]:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported", path)

    monkeypatch.setattr(os, "listxattr", unsupported)
    assert run()[0] == 0
    assert not any(entry.xattrs for entry in listed(tmp_path / "out").values())


@pytest.mark.parametrize("place", ["", "/", "/usr/out", "/a/../usr/out"])
def test_out_inside_the_tree_is_refused(
    cli: Cli, signer: list[str], tree: Path, place: str
) -> None:
    words = [str(tree), "--os=x", "--version=1", f"--out={tree}{place}", *signer]
    status, _, err = cli("build", *words)
    assert status == 2
    assert "part of its own list" in err
    assert not (tree / "usr/out").exists()


def test_out_inside_the_tree_by_a_link(
    cli: Cli, signer: list[str], tree: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(tree / "usr")
    words = [str(tree), "--os=x", "--version=1", f"--out={tmp_path / 'link/new'}", *signer]
    assert cli("build", *words)[0] == 2


def test_out_beside_the_tree_with_a_longer_name(run: Any) -> None:
    assert run(out="tree-out")[0] == 0


@pytest.mark.parametrize(
    "words",
    [
        ["--version=0"],
        ["--version=x"],
        ["--version=-1"],
        ["--version=1.0"],
        ["--version=9223372036854775808"],
        ["--created=-5"],
        ["--os=a/b"],
        ["--os="],
        ["--block-size=5"],
    ],
)
def test_wrong_usage(run: Any, tmp_path: Path, words: list[str]) -> None:
    assert run(*words)[0] == 2
    assert not (tmp_path / "out").exists()


def test_a_tree_that_is_none(run: Any, tmp_path: Path) -> None:
    assert run(top=tmp_path / "nothing")[0] == 1
    assert run(top=tmp_path / "signer/key")[0] == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("limit", [(manifest, "MAX_TREE_LIST_SIZE"), (dump, "MAX_ENTRIES")])
def test_a_list_that_could_not_be_read_again(
    run: Any, tmp_path: Path, limit: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*limit, 20)
    status, _, err = run()
    assert status == 1
    assert "too large" in err
    assert not list((tmp_path / "out").glob("*.*"))


class TestOs:
    RELEASE = "ID=fedora\nVERSION_ID=43\n"

    def test_of_the_tree(self, run: Any, tree: Path) -> None:
        (tree / "etc/os-release").write_text(self.RELEASE)
        assert run()[0] == 0
        assert run("--os=fedora")[0] == 0
        status, _, err = run("--os=fedora:42")
        assert status == 1
        assert "expected fedora:42, found fedora or fedora:43" in err

    @pytest.mark.parametrize("target", ["../usr/lib/os-release", "/usr/lib/os-release"])
    def test_by_a_link_in_the_tree(self, run: Any, tree: Path, target: str) -> None:
        (tree / "usr/lib").mkdir()
        (tree / "usr/lib/os-release").write_text(self.RELEASE)
        (tree / "etc/os-release").symlink_to(target)
        assert run()[0] == 0
        assert run("--os=debian:13")[0] == 1

    def test_never_by_a_link_out_of_the_tree(self, run: Any, tree: Path, tmp_path: Path) -> None:
        other = tmp_path / "os-release"
        other.write_text("ID=debian\n")
        (tree / "etc/os-release").symlink_to(other)
        assert run()[0] == 0
        (tree / "etc/os-release").unlink()
        (tree / "etc/os-release").symlink_to("../../../../../.." + str(other))
        assert run()[0] == 0


class TestConfiguration:
    def write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def mutable(self, tmp_path: Path) -> tuple[str, ...]:
        return manifest.parse((tmp_path / "out/manifest.json").read_bytes(), "").mutable

    def test_that_of_the_tree(self, run: Any, tree: Path, tmp_path: Path) -> None:
        self.write(tree / policy.FILES[0], '[build]\nmutable = ["/var"]\nsign = []')
        assert run()[1]["signed"] == 0
        assert self.mutable(tmp_path) == ("/var",)
        self.write(tree / policy.FILES[1], '[build]\nmutable = ["/etc/*"]')
        assert run()[1]["signed"] == 0
        assert self.mutable(tmp_path) == ("/etc/*",)
        # What is given counts alone.
        run(configure(tmp_path, ""))
        assert self.mutable(tmp_path) == ()

    def test_never_that_of_this_machine(self, run: Any, tree: Path, tmp_path: Path) -> None:
        self.write(tmp_path / "etc/veriseal.toml", "[build]\nmutable = ['/usr']")
        (tree / "etc/veriseal").symlink_to(tmp_path / "etc")
        assert run()[0] == 0
        assert self.mutable(tmp_path) == ()

    def test_what_is_given_must_be_there_and_right(self, run: Any, tmp_path: Path) -> None:
        status, _, err = run(f"--config={tmp_path / 'missing'}")
        assert status == 1
        assert "missing: No such file" in err
        assert run(configure(tmp_path, "mutabel = []"))[0] == 1
        second = tmp_path / "second.toml"
        second.write_text("[build]\nsign = []\n")
        assert run(configure(tmp_path, 'mutable = ["/var"]'), f"--config={second}")[0] == 0
        assert self.mutable(tmp_path) == ("/var",)


def test_paths_in_a_tree(tmp_path: Path) -> None:
    top = tmp_path / "t"
    (top / "a/b").mkdir(parents=True)
    (top / "up").symlink_to("../../..")
    (top / "absolute").symlink_to("/a/b/../b")
    (top / "chain").symlink_to("absolute")
    (top / "loop").symlink_to("loop")
    assert files.inside(str(top), "up/a") == str(top / "a")
    assert files.inside(str(top), "../../etc") == str(top / "etc")
    assert files.inside(str(top), "chain/c") == str(top / "a/b/c")
    assert files.inside(str(top), "/no//such/./file") == str(top / "no/such/file")
    with pytest.raises(OSError, match="symbolic links"):
        files.inside(str(top), "loop/x")


def test_entries_that_vanish_are_errors(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/gone").write_bytes(b"")
    (tmp_path / "b").write_bytes(b"")
    seen = []
    errors: list[VerisealError] = []

    def visit(path: str, _: os.stat_result) -> bool:
        seen.append(path)
        if path.endswith("/a"):
            shutil.rmtree(path)
        return True

    walk.below(str(tmp_path), visit, errors)
    assert seen == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert [error.path for error in errors] == [str(tmp_path / "a")]


def test_more_files_than_a_worker_takes_at_once(run: Any, tree: Path, tmp_path: Path) -> None:
    place = tree / "many"
    place.mkdir()
    for number in range(300):
        (place / f"{number:03}").write_bytes(b"x" * number)
    _, report, _ = run(configure(tmp_path, "sign = []"))
    assert report["files"] == 310
    # Reading the list checks its order.
    sizes = [entry.size for name, entry in listed(tmp_path / "out").items() if b"many/" in name]
    assert sizes == list(range(300))


@pytest.fixture
def other_signer(tmp_path: Path, ec_key: Any, certify: Any, key_pem: Any) -> list[str]:
    """The options that name a second key and its certificate."""
    (tmp_path / "other.key").write_bytes(key_pem(ec_key))
    (tmp_path / "other.cert").write_bytes(certify(ec_key, subject="Acme second fedora:43"))
    return [f"--key={tmp_path / 'other.key'}", f"--cert={tmp_path / 'other.cert'}"]


def signers(directory: Path, *by: list[str], needed: int = 0) -> list[str]:
    """The subjects whose signatures of the manifest count; nothing else may lie there."""
    names = [path.name for path in directory.iterdir() if path.name.endswith(".sig")]
    counted, ignored = manifest.check_signatures(
        (directory / "manifest.json").read_bytes(),
        {name: (directory / name).read_bytes() for name in names},
        [loaded(one) for one in by],
        needed,
        "",
    )
    assert not ignored
    return sorted(one.signer.subject for one in counted)


def keep(place: Path, *by: list[str]) -> list[str]:
    """The options that have the signatures in ``place`` by these signers kept."""
    return [f"--keep={place}", *(f"--keep-cert={one[1].partition('=')[2]}" for one in by)]


FIRST, SECOND = "CN=Acme release fedora:43", "CN=Acme second fedora:43"


class TestSeveralSignatures:
    def test_the_command_again_with_another_key(
        self, run: Any, tmp_path: Path, signer: list[str], other_signer: list[str]
    ) -> None:
        out = tmp_path / "out"
        assert run()[0] == 0
        first = contents(out)
        _, report, _ = run(*other_signer, *keep(out, signer))
        assert signers(out, signer, other_signer) == [FIRST, SECOND]
        assert report["removed_signatures"] == []
        assert contents(out).items() > first.items()
        # Without the files' signatures of before it is another release.
        _, report, _ = run(*other_signer)
        assert len(report["removed_signatures"]) == 1
        assert signers(out, signer, other_signer) == [SECOND]

    def test_a_signature_by_itself(
        self, run: Any, cli: Cli, tmp_path: Path, signer: list[str], other_signer: list[str]
    ) -> None:
        out = tmp_path / "out"
        assert run()[0] == 0
        first = contents(out)
        added = f"{out}/manifest.json.second.sig"
        words = ("sign", *other_signer, f"{out}/manifest.json")
        # As a file it is signed for what it is not.
        assert cli(*words, f"--out={added}")[0] == 0
        with pytest.raises(VerisealError) as caught:
            signers(out, signer, other_signer, needed=2)
        assert "veriseal sign --manifest" in str(caught.value)
        assert cli(*words, "--manifest", f"--out={added}")[0] == 0
        assert signers(out, signer, other_signer) == [FIRST, SECOND]
        assert contents(out) == first | {"manifest.json.second.sig": Path(added).read_bytes()}
        certificates = (signer[1], other_signer[1])
        words = ("--os=fedora:43", "--without-verity", "--signatures-needed=2")
        tree = str(tmp_path / "tree")
        assert cli("verify", tree, f"--manifest={out}", *certificates, *words)[0] == 0
        assert cli("verify", tree, f"--manifest={out}", *certificates[1:], *words)[0] == 1

    @pytest.mark.parametrize("word", [f"--created={CREATED + 1}", "--version=8"])
    def test_another_manifest_has_only_its_own(
        self, run: Any, tmp_path: Path, signer: list[str], other_signer: list[str], word: str
    ) -> None:
        out = tmp_path / "out"
        assert run()[0] == 0
        (out / "manifest.json.garbage.sig").write_bytes(b"x")
        for name in ("manifest.json.txt", "manifest.jsonx.sig", "x.sig"):
            (out / name).write_bytes(b"not ours")
        _, report, _ = run(*other_signer, word)
        removed = [f"manifest.json.{loaded(signer).fingerprint[:16]}.sig"]
        removed = sorted([*removed, "manifest.json.garbage.sig"])
        assert report["removed_signatures"] == [str(out / name) for name in removed]
        for name in ("manifest.json.txt", "manifest.jsonx.sig", "x.sig"):
            (out / name).unlink()
        assert signers(out, signer, other_signer) == [SECOND]
        # A signature of before, never valid for what is there now.
        assert run(word, *keep(out, other_signer))[1]["removed_signatures"] == []
        assert signers(out, signer, other_signer) == [FIRST, SECOND]

    def test_a_removed_signature_is_said(
        self, cli: Cli, run: Any, tree: Path, tmp_path: Path, signer: list[str], other_signer: Any
    ) -> None:
        assert run()[0] == 0
        words = ["--os=fedora:43", "--version=7", f"--out={tmp_path / 'out'}", *other_signer]
        status, _, err = cli("build", str(tree), *words)
        assert status == 0
        assert f".{loaded(signer).fingerprint[:16]}.sig: it signed another manifest" in err


class TestKeep:
    """The signatures of an earlier release, by another key, in ``old``."""

    @pytest.fixture
    def old(self, run: Any, tree: Path, tmp_path: Path, other_signer: list[str]) -> Path:
        assert run(*other_signer, "--os=fedora:42", out="old")[0] == 0
        (tree / "usr/bin/zing").write_bytes(b"of the new release")
        return tmp_path / "old"

    def written(self, out: Path) -> tuple[Signed, ...]:
        data = (out / "signers.json").read_bytes()
        assert attached(out / "signers.json") == (
            manifest.parse((out / "manifest.json").read_bytes(), "").signers
        )
        return read_signers(data, "").entries

    def test_what_did_not_change_keeps_its_signature(
        self, run: Any, tmp_path: Path, old: Path, signer: list[str], other_signer: list[str]
    ) -> None:
        status, report, err = run(*keep(old, other_signer))
        assert status == 0
        assert (report["signed"], report["kept"]) == (1, 7)
        second = loaded(other_signer)
        assert report["kept_from"] == [
            {
                "directory": str(old),
                "signers": [
                    {
                        "fingerprint": second.fingerprint,
                        "subject": SECOND,
                        "os": "fedora:42",
                        "files": 7,
                    }
                ],
                "not_good": 0,
            }
        ]
        assert f"\nkept from {old}: 7 signed by {SECOND} (fedora:42)\n" in err
        out = tmp_path / "out"
        kept = {path.name: path.read_bytes() for path in (old / "signatures").iterdir()}
        made = {path.name: path.read_bytes() for path in (out / "signatures").iterdir()}
        (new,) = set(made) - set(kept)
        signature.verify(made[new], Digest.parse(f"sha256:{new[:-4]}"), loaded(signer))
        assert len(made) == len(kept) == 8
        assert len(made.items() & kept.items()) == 7
        # Most of them are by the second, so that the few are named.
        first = loaded(signer)
        assert self.written(out) == (
            Signed("fedora:42", second.fingerprint, SECOND),
            Signed("fedora:43", first.fingerprint, FIRST, (b"/usr/bin/zing",)),
        )
        # What signed the release is its own key, and no other.
        assert signers(out, signer) == [FIRST]
        before = contents(out)
        assert run(*keep(old, other_signer))[1]["kept"] == 8
        assert contents(out) == before

    def test_a_file_with_several_names_is_named_by_all(
        self, run: Any, tmp_path: Path, tree: Path, old: Path, other_signer: list[str]
    ) -> None:
        for name in ("small", "inline", "not-inline", "empty"):
            (tree / "usr" / name).write_bytes(b"another " + name.encode())
        assert run(*keep(old, other_signer))[0] == 0
        own, kept = self.written(tmp_path / "out")
        assert (own.os, own.paths) == ("fedora:43", ())
        names = [b"/a b\n=\\/ping", b"/etc/machine-id", b"/usr/bin-"]
        names += [b"/usr/bin/ping", b"/usr/bin/pong"]
        assert kept.paths == tuple(names)

    def test_all_are_kept_or_none(
        self, run: Any, tmp_path: Path, old: Path, signer: list[str], other_signer: list[str]
    ) -> None:
        assert run(configure(tmp_path, "sign = []"), *keep(old, other_signer))[0] == 0
        (nobody,) = self.written(tmp_path / "out")
        assert (nobody.subject, nobody.paths) == (FIRST, ())
        config = configure(tmp_path, 'sign = ["/usr/empty"]')
        _, report, _ = run(config, *keep(old, other_signer))
        assert (report["signed"], report["kept"]) == (0, 1)
        (only,) = self.written(tmp_path / "out")
        assert (only.subject, only.paths) == (SECOND, ())

    def test_from_release_to_release(
        self,
        run: Any,
        cli: Cli,
        tree: Path,
        tmp_path: Path,
        old: Path,
        signer: list[str],
        other_signer: list[str],
        certify: Any,
        key_pem: Any,
    ) -> None:
        assert run(*keep(old, other_signer), out="between")[0] == 0
        key = ec.generate_private_key(ec.SECP256R1())
        (tmp_path / "third.key").write_bytes(key_pem(key))
        (tmp_path / "third.cert").write_bytes(certify(key, subject="Acme third"))
        third = [f"--key={tmp_path / 'third.key'}", f"--cert={tmp_path / 'third.cert'}"]
        (tree / "usr/bin-").write_bytes(b"of the newest release")
        words = keep(tmp_path / "between", signer, other_signer)
        _, report, _ = run(*third, "--os=fedora:44", *words)
        assert (report["signed"], report["kept"]) == (1, 7)
        # Each keeps the name that its own release gave it.
        made = {one.subject: (one.os, len(one.paths)) for one in self.written(tmp_path / "out")}
        assert made == {
            SECOND: ("fedora:42", 0),
            FIRST: ("fedora:43", 1),
            "CN=Acme third": ("fedora:44", 1),
        }
        certificates = [one[1] for one in (signer, other_signer, third)]
        words = ["--os=fedora:44", "--without-verity", f"--manifest={tmp_path / 'out'}"]
        assert cli("verify", str(tree), *words, *certificates)[0] == 0

    def test_by_the_same_key(
        self, run: Any, tree: Path, tmp_path: Path, other_signer: list[str]
    ) -> None:
        # ECDSA: each signature that is made is another.
        assert run(*other_signer, out="old")[0] == 0
        _, report, _ = run(*other_signer, *keep(tmp_path / "old", other_signer), "--version=8")
        assert (report["signed"], report["kept"]) == (0, 8)
        assert contents(tmp_path / "out/signatures") == contents(tmp_path / "old/signatures")
        assert len(self.written(tmp_path / "out")) == 1

    def test_what_is_no_good_signature_there_is_made_anew(
        self, run: Any, tmp_path: Path, old: Path, signer: list[str], other_signer: list[str]
    ) -> None:
        one, two, three, *_ = sorted((old / "signatures").iterdir())
        zing = merkle.data_digest(b"of the new release", PLAIN).value.hex()
        # Of another file, not a signature, by the builder's key, which is not to be kept.
        one.write_bytes(two.read_bytes())
        two.write_bytes(b"garbage")
        third = Digest.parse(f"sha256:{three.stem}")
        key = keys.load(signer[0].partition("=")[2], lambda: None)
        three.write_bytes(signature.make(third, key, loaded(signer)))
        (old / "signatures" / f"{zing}.sig").write_bytes(b"")
        status, report, err = run(*keep(old, other_signer))
        names = {path.name for path in (one, two, three)}
        bad = len(names & {path.name for path in (tmp_path / "out/signatures").iterdir()}) + 1
        assert status == 0
        assert bad >= 3
        assert report["kept_from"][0]["not_good"] == report["signed"] == bad
        assert f"by any --keep-cert: {bad}\n" in err
        for path in (tmp_path / "out/signatures").iterdir():
            digest = Digest.parse(f"sha256:{path.stem}")
            by = signer if path.name in names or path.stem == zing else other_signer
            signature.verify(path.read_bytes(), digest, loaded(by))
        # Said again when they are there already.
        assert run(*keep(old, other_signer))[1]["kept_from"] == report["kept_from"]

    def test_another_release_may_have_it(
        self, run: Any, tmp_path: Path, old: Path, other_signer: list[str]
    ) -> None:
        shutil.copytree(old, tmp_path / "damaged")
        for path in (tmp_path / "damaged/signatures").iterdir():
            path.write_bytes(b"")
        _, report, _ = run(*keep(tmp_path / "damaged", other_signer), *keep(old, other_signer))
        damaged, good = report["kept_from"]
        assert (damaged["signers"], damaged["not_good"]) == ([], 0)
        assert good["signers"][0]["files"] == report["kept"] == 7

    def test_a_file_that_is_revoked_is_in_no_release(
        self, run: Any, tree: Path, tmp_path: Path, old: Path, other_signer: list[str]
    ) -> None:
        revoked = merkle.data_digest((tree / "usr/bin/ping").read_bytes(), PLAIN)
        config = configure(tmp_path, f'revoked = ["{revoked}"]')
        status, report, _ = run(config, *keep(old, other_signer))
        assert status == 1
        assert [error["reason"] for error in report["errors"]] == ["revoked"]
        assert not (tmp_path / "out/signatures" / f"{revoked.value.hex()}.sig").exists()

    def test_signatures_alone(
        self, run: Any, tmp_path: Path, old: Path, other_signer: list[str]
    ) -> None:
        _, report, err = run(*keep(old / "signatures", other_signer))
        assert report["kept_from"][0]["signers"][0]["os"] == ""
        assert f"7 signed by {SECOND}\n" in err
        assert self.written(tmp_path / "out")[0].os == ""

    @pytest.mark.parametrize("word", ["--keep=x", "--keep-cert=x"])
    def test_one_needs_the_other(self, run: Any, tmp_path: Path, word: str) -> None:
        status, _, err = run(word)
        assert status == 2
        assert "each needs the other" in err
        assert not (tmp_path / "out").exists()

    def refused(self, run: Any, tmp_path: Path, *words: str) -> str:
        status, report, err = run(*words)
        assert (status, report) == (1, None)
        assert not (tmp_path / "out").exists()
        return str(err)

    def test_no_signatures_there(
        self, run: Any, tmp_path: Path, old: Path, other_signer: list[str]
    ) -> None:
        words = keep(old, other_signer)
        shutil.rmtree(old / "signatures")
        # Those of the manifest are no signatures of files.
        assert "no signatures of files here" in self.refused(run, tmp_path, *words)
        (old / "signatures").mkdir()
        assert "no signatures of files here" in self.refused(run, tmp_path, *words)
        shutil.rmtree(old)
        assert "No such file" in self.refused(run, tmp_path, *words)

    def test_a_release_that_the_certificate_did_not_sign(
        self, run: Any, tmp_path: Path, old: Path, signer: list[str]
    ) -> None:
        err = self.refused(run, tmp_path, *keep(old, signer))
        assert "the manifest is not signed" in err
        assert "Give that release's certificate with --keep-cert" in err

    def test_who_signed_is_not_taken_from_an_edited_file(
        self, run: Any, tmp_path: Path, old: Path, other_signer: list[str]
    ) -> None:
        path = old / "signers.json"
        path.write_bytes(path.read_bytes().replace(b"fedora:42", b"fedora:41"))
        err = self.refused(run, tmp_path, *keep(old, other_signer))
        assert f"{path}: not the file that the manifest was signed with" in err

    def test_two_certificates_that_the_kernel_confuses(
        self,
        run: Any,
        tmp_path: Path,
        old: Path,
        other_signer: list[str],
        certify: Any,
        rsa_key: Any,
    ) -> None:
        path = tmp_path / "renewed.cert"
        path.write_bytes(certify(rsa_key))
        words = keep(old, other_signer)
        assert "same" in self.refused(run, tmp_path, *words, f"--keep-cert={path}")

    def test_a_certificate_that_may_not_sign(
        self, run: Any, tmp_path: Path, old: Path, certify: Any, ec_key: Any
    ) -> None:
        path = tmp_path / "bad.cert"
        path.write_bytes(certify(ec_key, usages=("crl_sign",)))
        self.refused(run, tmp_path, f"--keep={old}", f"--keep-cert={path}")


class TestImage:
    @pytest.fixture
    def image(self, tmp_path: Path) -> Path:
        """What the tool takes for one; tests/kernel has real ones."""
        path = tmp_path / "image"
        data = bytearray(os.urandom(70_000))
        data[:4], data[1024:1028] = b"\x9a\x62\x78\xd0", b"\xe2\xe1\xf5\xe0"
        path.write_bytes(data)
        return path

    @pytest.fixture
    def build(self, cli: Cli, signer: list[str], tmp_path: Path) -> Callable[..., Any]:
        def call(path: Path, *options: str) -> tuple[int, Any, str]:
            words = [
                f"--out={tmp_path / 'images'}",
                "--os=fedora:43",
                "--version=7",
                f"--created={CREATED}",
            ]
            words += [*signer, "--json", *options]
            status, stdout, err = cli("build", f"--image={path}", *words)
            return status, json.loads(stdout) if stdout else None, err

        return call

    @pytest.mark.parametrize("algorithm", [SHA256, SHA512], ids=repr)
    def test_its_digest_file(
        self, build: Any, image: Path, tmp_path: Path, signer: list[str], algorithm: Any
    ) -> None:
        status, report, err = build(image, f"--hash-alg={algorithm.name}")
        assert status == 0
        digest = merkle.data_digest(image.read_bytes(), Parameters(algorithm))
        directory = tmp_path / "images" / digest.value.hex()
        data = (directory / "manifest.json").read_bytes()
        assert manifest.parse(data, "") == manifest.Manifest("fedora:43", 7, CREATED, image=digest)
        assert signers(directory, signer) == [FIRST]
        (name,) = (path.name for path in directory.glob("*.sig"))
        assert contents(tmp_path / "images").keys() == {
            f"{digest.value.hex()}/{file}" for file in ("manifest.json", name)
        }
        assert err == f"an image of 70000 bytes: {digest}\n"
        assert report == {
            "schema": 1,
            "image": str(image),
            "bytes": 70_000,
            "errors": [],
            "manifest": str(directory / "manifest.json"),
            "manifest_digest": str(merkle.data_digest(data, domain.MANIFEST)),
            "signature": str(directory / name),
            "removed_signatures": [],
            "image_digest": str(digest),
        }

    def test_in_words(self, cli: Cli, image: Path, tmp_path: Path, signer: list[str]) -> None:
        words = ["--os=x", "--version=1", f"--out={tmp_path / 'i'}", *signer]
        status, out, _ = cli("build", *words, "--image", str(image))
        (path,) = (tmp_path / "i").glob("*/manifest.json")
        assert status == 0
        assert out.decode() == f"{manifest.digest(path.read_bytes())} {path}\n"

    def test_several_in_one_directory(self, build: Any, image: Path, tmp_path: Path) -> None:
        assert build(image)[0] == 0
        before = contents(tmp_path / "images")
        with open(image, "ab") as file:
            file.write(b"more")
        assert build(image)[0] == 0
        after = contents(tmp_path / "images")
        assert len(after) == 4
        assert before.items() <= after.items()

    def test_several_signatures(
        self, build: Any, image: Path, tmp_path: Path, signer: list[str], other_signer: list[str]
    ) -> None:
        _, report, _ = build(image)
        directory = Path(report["manifest"]).parent
        assert build(image, *other_signer)[0] == 0
        assert signers(directory, signer, other_signer) == [FIRST, SECOND]
        assert build(image, "--version=8")[1]["removed_signatures"]
        assert signers(directory, signer, other_signer) == [FIRST]

    @pytest.mark.parametrize("damage", ["no header", "no superblock", "short", "empty"])
    def test_what_is_no_image(self, build: Any, image: Path, tmp_path: Path, damage: str) -> None:
        data = bytearray(image.read_bytes())
        if damage == "no header":
            data[0] ^= 1
        elif damage == "no superblock":
            data[1024] ^= 1
        else:
            del data[1026 if damage == "short" else 0 :]
        image.write_bytes(data)
        status, _, err = build(image)
        assert status == 1
        assert f"{image}: not a composefs image" in err
        assert not (tmp_path / "images").exists()

    def test_what_is_no_file(self, build: Any, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        assert "not a regular file" in build(tmp_path / "fifo")[2]
        assert "not a regular file" in build(tmp_path)[2]
        assert "No such file" in build(tmp_path / "none")[2]
        assert not (tmp_path / "images").exists()

    @pytest.mark.parametrize(
        "word",
        ["--salt=00", "--block-size=1024", "--hash-alg=md5", "--config=x", "TREE", "--keep=x"],
    )
    def test_wrong_usage(self, build: Any, image: Path, tmp_path: Path, word: str) -> None:
        assert build(image, word)[0] == 2
        assert not (tmp_path / "images").exists()

    def test_neither_tree_nor_image(self, cli: Cli, signer: list[str], tmp_path: Path) -> None:
        words = ["--os=x", "--version=1", f"--out={tmp_path / 'o'}", *signer]
        assert cli("build", *words)[0] == 2
