"""`veriseal audit` of an installed release: what the kernel says, and what it does not say."""

import json
import os
import shutil
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from veriseal import manifest

from . import helpers
from .conftest import FILESYSTEMS
from .helpers import PING, POWEROFF, SHELL, Release, Signer

pytestmark = pytest.mark.kernel

Files = dict[str, dict[str, Any]]
MASKS = "etc/voa/debian:13/image/default/x509"


def make_root(top: str, *signers: Signer) -> str:
    """Give a tree an os-release and certificates; gives ``top``."""
    helpers.write(f"{top}/etc/os-release", b"ID=debian\nVERSION_ID=13\n")
    for signer in signers:
        name = os.path.basename(signer.cert_path)
        place = f"{top}/usr/share/voa/debian:13/image/default/x509/{name}"
        helpers.write(place, helpers.read(signer.cert_path))
    return top


@pytest.fixture(scope="module")
def release(rsa: Signer) -> Iterator[Release]:
    directory = "/verity/test-audit-release"

    def make(top: str) -> None:
        helpers.make_tree(top)
        make_root(top, rsa)

    yield helpers.build(directory, rsa, make=make)
    shutil.rmtree(directory)


@pytest.fixture(params=list(FILESYSTEMS))
def disk(request: pytest.FixtureRequest, release: Release, rsa: Signer) -> Iterator[str]:
    """The release as it is installed, and no certificate is enrolled."""
    top = f"{FILESYSTEMS[request.param]}/test-audit"
    with helpers.enrolled(rsa):
        helpers.install_tree(release, top)
    yield top
    shutil.rmtree(top)


@pytest.fixture
def tree(disk: str, rsa: Signer) -> Iterator[str]:
    """The same with the certificate enrolled."""
    with helpers.enrolled(rsa):
        yield disk


class Audit(NamedTuple):
    status: int
    report: dict[str, Any]

    @property
    def needed(self) -> Files:
        return {one["path"]: one for one in self.report["files"] if one["needed"]}

    def kinds(self) -> dict[str, str]:
        return {one["path"]: one["then"]["kind"] for one in self.report["findings"]}


def audit(tree: str, *options: str) -> Audit:
    """A whole process: the kernel checks signatures when it opens what it had forgotten."""
    helpers.evict()
    done = helpers.command("audit", "--json", tree, *options)
    assert done.err == ""
    result = Audit(done.status, json.loads(done.out))
    lost = any(one["lost"] for one in result.report["findings"])
    assert result.status == int(lost or bool(result.report["problems"]))
    return result


def again(path: str, signer: Signer | None) -> None:
    """Replace a file by a copy with verity that another has signed, or nobody."""
    data = helpers.read(path)
    os.unlink(path)
    helpers.install(path, data, signer)


def test_what_was_installed(tree: str, rsa: Signer) -> None:
    result = audit(tree)
    assert (result.status, result.report["findings"], result.report["problems"]) == (0, [], [])
    shown = helpers.shows_signature(tree + PING)
    assert {PING, POWEROFF, SHELL, "/etc/os-release"} <= set(result.needed)
    for one in result.needed.values():
        assert (one["verity"], one["signer"]) == (True, rsa.certificate.fingerprint)
        assert one["known_from"] == ("file" if shown else "manifest")
        assert (one["os"], one["today"]) == ("debian:13", "ok")
    assert bool(result.report["notes"]) != shown
    files = {one["path"]: one for one in result.report["files"]}
    motd = files[helpers.NOT_EXCLUSIVE]
    assert (motd["verity"], motd["listed"], motd["needed"]) == (False, True, False)
    measured = helpers.must_run("fsverity", "measure", tree + PING).split()[0]
    assert files[PING]["digest"] == measured


def test_where_the_kernel_opens_nothing(
    disk: str, rsa: Signer, stranger: Signer, tmp_path: str
) -> None:
    """A disk in another machine: the manifest says whose signatures its files have."""
    trust = f"--trust={make_root(f'{tmp_path}/other', rsa)}"
    with helpers.enrolled(stranger):
        # Its own os-release and certificates are signed, too.
        own = audit(disk)
        assert [one["reason"] for one in own.report["problems"]] == ["bad-os-release"]
        assert "with --trust" in own.report["problems"][0]["remedy"]
        result = audit(disk, trust)
        for one in (own, result):
            assert {each["refused"] for each in one.needed.values()} == {"not-enrolled"}
            assert {each["known_from"] for each in one.needed.values()} == {"manifest"}
            assert "manifest names" in one.report["notes"][0]
        assert result.status == 0
        shutil.rmtree(f"{disk}/{manifest.DIRECTORY}")
        result = audit(disk, trust)
        assert set(result.kinds().values()) == {"unknown"}
        assert PING in result.kinds()


def test_under_other_trust(tree: str, rsa: Signer, stranger: Signer, tmp_path: str) -> None:
    other = make_root(f"{tmp_path}/other", stranger)
    result = audit(tree, "--to", other)
    assert result.status == 1
    assert set(result.kinds()) == set(result.needed)
    assert set(result.kinds().values()) == {"not-trusted"}
    assert {one["today"]["kind"] for one in result.report["findings"]} == {"ok"}
    assert [one["reason"] for one in result.report["problems"]] == ["manifest-not-signed"]
    make_root(other, stranger, rsa)
    assert audit(tree, "--to", other).status == 0
    os.makedirs(f"{other}/{MASKS}")
    os.symlink("/dev/null", f"{other}/{MASKS}/{os.path.basename(rsa.cert_path)}")
    result = audit(tree, "--to", other)
    assert set(result.kinds().values()) == {"not-trusted"}
    assert "masked by" in result.report["findings"][0]["then"]["why"]


def test_files_that_were_replaced(tree: str, rsa: Signer, stranger: Signer) -> None:
    paths = {kind: f"/usr/lib/sizes/{size}" for kind, size in zip(
        ("unsigned", "not-trusted", "no-verity", "missing", "changed"),
        (5, 64, 65, 4096, 4097), strict=True,
    )}  # fmt: skip
    with helpers.enrolled(stranger):
        again(tree + paths["unsigned"], None)
        again(tree + paths["not-trusted"], stranger)
        helpers.write(tree + paths["no-verity"], helpers.read(tree + paths["no-verity"]))
        os.unlink(tree + paths["missing"])
        os.mkfifo(tree + paths["missing"])
        helpers.enable(helpers.write(tree + paths["changed"], b"evil"))
        result = audit(tree)
        wanted = {path: kind for kind, path in paths.items()}
        if not helpers.shows_signature(tree + PING):
            # Nobody can tell, which is what the report says.
            assert "nobody has verified them" in result.report["notes"][0]
            del wanted[paths["unsigned"]], wanted[paths["not-trusted"]]
        assert result.kinds() == wanted
        one = audit(tree, "--cert", stranger.cert_path).needed[paths["not-trusted"]]
        if paths["not-trusted"] in wanted:
            assert one["signer_name"] == stranger.certificate.subject


def test_other_file_systems_in_it_are_named(tree: str) -> None:
    os.mkdir(f"{tree}/mnt")
    os.mkdir(f"{tree}/disk")
    with (
        helpers.mounted("tmpfs", f"{tree}/mnt", "-t", "tmpfs"),
        helpers.mounted("/opt", f"{tree}/disk", "--bind"),
    ):
        helpers.write(f"{tree}/mnt/file", b"x")
        result = audit(tree)
    assert [one["path"] for one in result.report["skipped"]] == ["/mnt"]
    assert result.status == 0


def test_a_page_of_it(tree: str, tmp_path: str) -> None:
    done = helpers.command("audit", tree, f"--html={tmp_path}/page.html")
    assert done.status == 0
    assert b"needed files keep their trust" in helpers.read(f"{tmp_path}/page.html")
