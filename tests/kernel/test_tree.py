"""`veriseal build`, `enable` and `verify` with real verity: every difference is found and named.

One tree has a directory for each change, all are made, and it is checked once: each test then
looks at what was found in its own directory.
"""

import json
import os
import shutil
import stat
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from veriseal.digest import SHA512
from veriseal.merkle import Parameters

from . import helpers
from .conftest import FILESYSTEMS
from .helpers import Release, Signer

pytestmark = pytest.mark.kernel

PARTS = "/usr/lib/parts"
SERVED = "/usr/lib/served"
SERVED_ELSEWHERE = "/srv/served"
"""Directories for FUSE, the first in an exclusive place; both with the same program."""
OTHER = "/srv/other"
GOOD, EVIL, OTHERS_CONTENTS = (helpers.tiny_elf(status, size=5000) for status in (0, 66, 7))
FILES = ("one", "two")
# cap_net_raw+ep, struct vfs_cap_data of version 2.
CAPABILITY = bytes.fromhex("010000020020" + "00" * 14)
# struct posix_acl_xattr_header and entries: tag, permissions, id. A user more may read.
_ANY = 0xFFFFFFFF
_ENTRIES = ((0x01, 6, _ANY), (0x02, 4, 1000), (0x04, 4, _ANY), (0x10, 4, _ANY), (0x20, 4, _ANY))
ACCESS_LIST = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *one) for one in _ENTRIES)

Found = list[tuple[str, str]]


class Signers(NamedTuple):
    release: Signer
    stranger: Signer


class Change(NamedTuple):
    """What is done to a directory, what is to be found there, how it is before the build."""

    act: Callable[[str, Signers], object]
    expected: Found
    before: Callable[[str], object] = lambda _top: None


def swap(top: str, by: Signers) -> None:
    os.rename(f"{top}/one", f"{top}/aside")
    os.rename(f"{top}/two", f"{top}/one")
    os.rename(f"{top}/aside", f"{top}/two")


def hard_link(top: str, by: Signers) -> None:
    os.unlink(f"{top}/one")
    os.link(f"{top}/two", f"{top}/one")


def copy(top: str, by: Signers) -> None:
    helpers.must_run("cp", "-a", "--reflink=never", f"{top}/one", f"{top}/aside")
    os.rename(f"{top}/aside", f"{top}/one")


def again(top: str, signer: Signer | None, parameters: Parameters = helpers.PLAIN) -> None:
    """The same contents anew, with verity."""
    helpers.install(f"{top}/one", helpers.read(f"{top}/one"), signer, parameters)
    os.chmod(f"{top}/one", 0o644)


def older(top: str, by: Signers) -> None:
    helpers.install(f"{top}/one", b"an older release of it\n", by.release)
    os.chmod(f"{top}/one", 0o644)


def strangers(top: str, by: Signers) -> None:
    with helpers.enrolled(by.stranger):
        again(top, by.stranger)


def no_link_any_more(top: str, by: Signers) -> None:
    again(top, by.release)
    assert os.stat(f"{top}/one").st_nlink == 1


def set_xattr(name: str, value: bytes, where: str = "/one") -> Callable[..., None]:
    return lambda top, *_: os.setxattr(top + where, name, value)


def node(name: str, kind: int, major: int, minor: int) -> Callable[..., None]:
    def make(top: str, *_: object) -> None:
        if os.path.lexists(f"{top}/{name}"):
            os.unlink(f"{top}/{name}")
        os.mknod(f"{top}/{name}", kind | 0o600, os.makedev(major, minor))

    return make


def relink(top: str, by: Signers) -> None:
    os.unlink(f"{top}/link")
    os.symlink("two", f"{top}/link")


def lead_out(top: str, by: Signers) -> None:
    outside = os.path.dirname(top).replace(PARTS, "-outside")
    os.rename(f"{top}/sub", outside)
    os.symlink(outside, f"{top}/sub")


def open_for_all(top: str, by: Signers) -> None:
    os.chmod(top, 0o777)  # noqa: S103 to be found


CHANGES = {
    "nothing": Change(lambda top, by: None, []),
    "swapped": Change(swap, [("swapped", "/one"), ("swapped", "/two")]),
    "renamed": Change(
        lambda top, by: os.rename(f"{top}/one", f"{top}/three"),
        [("missing", "/one"), ("added", "/three")],
    ),
    "a hard link over another": Change(hard_link, [("swapped", "/one")]),
    "deleted": Change(lambda top, by: os.unlink(f"{top}/one"), [("missing", "/one")]),
    "an older signed version": Change(older, [("changed", "/one")]),
    "verity gone by copying": Change(copy, [("no-verity", "/one")]),
    "no signature": Change(lambda top, by: again(top, None), [("unsigned", "/one")]),
    "signed by a stranger": Change(strangers, [("not-enrolled", "/one")]),
    "signed with other parameters": Change(
        lambda top, by: again(top, by.release, Parameters(salt=b"salt")), [("changed", "/one")]
    ),
    "another algorithm": Change(
        lambda top, by: again(top, by.release, Parameters(SHA512)), [("changed", "/one")]
    ),
    "signed once more": Change(lambda top, by: again(top, by.release), []),
    "one name less": Change(
        no_link_any_more, [], lambda top: os.link(f"{top}/one", f"{top}/three")
    ),
    "setuid": Change(lambda top, by: os.chmod(f"{top}/one", 0o4644), [("mode", "/one")]),
    "a directory for all": Change(open_for_all, [("mode", "")]),
    "owner": Change(lambda top, by: os.chown(f"{top}/one", 1000, 0), [("owner", "/one")]),
    "group": Change(lambda top, by: os.chown(f"{top}/one", 0, 1000), [("owner", "/one")]),
    "owner of a link": Change(
        lambda top, by: os.lchown(f"{top}/link", 1000, 0), [("owner", "/link")]
    ),
    "a capability": Change(set_xattr("security.capability", CAPABILITY), [("xattr", "/one")]),
    "no capability any more": Change(
        lambda top, by: os.removexattr(f"{top}/one", "security.capability"),
        [("xattr", "/one")],
        set_xattr("security.capability", CAPABILITY),
    ),
    "the same capability": Change(
        lambda top, by: None, [], set_xattr("security.capability", CAPABILITY)
    ),
    "an access list": Change(
        set_xattr("system.posix_acl_access", ACCESS_LIST), [("xattr", "/one")]
    ),
    "a default access list": Change(
        set_xattr("system.posix_acl_default", ACCESS_LIST, ""), [("xattr", "")]
    ),
    "the same access list": Change(
        lambda top, by: None, [], set_xattr("system.posix_acl_access", ACCESS_LIST)
    ),
    "an attribute of a user": Change(set_xattr("user.note", b"mine"), []),
    "an attribute of root": Change(set_xattr("trusted.note", b"mine"), []),
    "a device": Change(node("sda", stat.S_IFBLK, 8, 0), [("added", "/sda")]),
    "another device number": Change(
        node("null", stat.S_IFCHR, 1, 1), [("device", "/null")], node("null", stat.S_IFCHR, 1, 3)
    ),
    "another major number": Change(
        node("null", stat.S_IFCHR, 5, 3), [("device", "/null")], node("null", stat.S_IFCHR, 1, 3)
    ),
    "a block device": Change(
        node("null", stat.S_IFBLK, 1, 3), [("type", "/null")], node("null", stat.S_IFCHR, 1, 3)
    ),
    "a device for a file": Change(node("one", stat.S_IFCHR, 1, 3), [("type", "/one")]),
    "a large device number": Change(
        lambda top, by: None, [], node("disk", stat.S_IFBLK, 259, 70_000)
    ),
    "a FIFO for a file": Change(node("one", stat.S_IFIFO, 0, 0), [("type", "/one")]),
    "another link target": Change(relink, [("target", "/link")]),
    "a link for a directory": Change(
        lead_out,
        [("type", "/sub")],
        lambda top: helpers.write(f"{top}/sub/one", b"in a directory\n" * 10),
    ),
    "times": Change(lambda top, by: os.utime(f"{top}/one", (1, 1)), []),
}


def make_tree(top: str) -> None:
    helpers.make_tree(top)
    for name, change in CHANGES.items():
        directory = f"{top}{PARTS}/{name}"
        for file in FILES:
            helpers.write(f"{directory}/{file}", f"{name}, {file}\n".encode() * 100)
        os.symlink("one", f"{directory}/link")
        change.before(directory)
    for place in (SERVED, SERVED_ELSEWHERE):
        helpers.write(f"{top}{place}/program", GOOD, 0o755)
    helpers.write(top + OTHER, OTHERS_CONTENTS, 0o755)


@pytest.fixture(scope="module")
def release(rsa: Signer) -> Iterator[Release]:
    directory = "/verity/test-tree-release"
    yield helpers.build(directory, rsa, make=make_tree)
    shutil.rmtree(directory)


@pytest.fixture(scope="module", params=list(FILESYSTEMS))
def home(request: pytest.FixtureRequest) -> Iterator[str]:
    """A directory on each file system with verity, for all tests of this module."""
    directory = f"{FILESYSTEMS[request.param]}/test-tree"
    os.mkdir(directory)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def tree(home: str, release: Release, rsa: Signer) -> str:
    """The release as it is installed. Whoever changes it changes it back."""
    with helpers.enrolled(rsa):
        signatures = f"--signatures={release.out}/signatures"
        return helpers.install_tree(release, f"{home}/tree", signatures, f"--cert={rsa.cert_path}")


class Verified(NamedTuple):
    status: int
    report: dict[str, Any]
    err: str

    def found(self) -> Found:
        return [(one["kind"], one["path"]) for one in self.report["findings"]]

    def below(self, top: str) -> Found:
        """The findings at ``top`` and below, by their paths from there."""
        found = self.found()
        return [(k, p[len(top) :]) for k, p in found if p == top or p.startswith(f"{top}/")]


def verify(tree: str, signer: Signer, *options: str) -> Verified:
    """`veriseal verify` with the release's certificate, which is enrolled meanwhile too."""
    words = ("--json", "--cert", signer.cert_path, "--os=debian:13")
    with helpers.enrolled(signer):
        done = helpers.command("verify", *words, *options, tree)
    result = Verified(done.status, json.loads(done.out), done.err)
    assert result.status == (1 if result.found() else 0)
    return result


def test_what_was_installed_is_the_release(tree: str, rsa: Signer) -> None:
    helpers.evict()
    result = verify(tree, rsa)
    assert result.found() == []
    assert result.report["signed_by"] == [rsa.certificate.fingerprint]
    # What is neither exclusive nor mutable has no verity.
    assert (result.report["hashed"], result.report["not_looked_at"]) == (2, 0)
    assert result.report["measured"] == result.report["files"] - 2
    assert result.report["measured"] > 2 * len(CHANGES)
    assert "2 read and hashed: no findings" in result.err


def test_where_all_files_must_have_verity(tree: str, rsa: Signer) -> None:
    result = verify(tree, rsa, "--all-verity")
    assert sorted(result.found()) == [("no-verity", helpers.NOT_EXCLUSIVE), ("no-verity", OTHER)]


def test_without_the_certificate_in_the_keyring_the_kernel_opens_nothing(
    tree: str, rsa: Signer
) -> None:
    helpers.evict()
    done = helpers.command("verify", "--json", "--cert", rsa.cert_path, "--os=debian:13", tree)
    kinds = {one["kind"] for one in json.loads(done.out)["findings"]}
    assert (done.status, kinds) == (1, {"not-enrolled"})
    assert json.loads(done.out)["measured"] == 0


# Mounts in the tree


def test_an_empty_file_system_over_a_directory(tree: str, rsa: Signer) -> None:
    point = f"{PARTS}/nothing"
    with helpers.mounted("tmpfs", tree + point, "-t", "tmpfs", "-o", "mode=0755"):
        found = verify(tree, rsa).found()
    assert found == [("missing", f"{point}/{name}") for name in ("link", "one", "two")]


def test_a_file_system_with_copies_over_a_directory(
    tree: str, release: Release, rsa: Signer
) -> None:
    top = tree + PARTS + "/nothing"
    contents = {name: helpers.read(f"{release.tree}{PARTS}/nothing/{name}") for name in FILES}
    with helpers.mounted("tmpfs", top, "-t", "tmpfs", "-o", "mode=0755"):
        for name in FILES:
            helpers.write(f"{top}/{name}", contents[name])
        os.symlink("one", f"{top}/link")
        helpers.write(f"{top}/added", b"")
        signed = verify(tree, rsa)
        read = verify(tree, rsa, "--without-verity")
    below = f"{PARTS}/nothing"
    added = ("added", f"{below}/added")
    assert signed.found() == [("no-verity", f"{below}/{name}") for name in FILES] + [added]
    assert read.found() == [added]


def test_a_file_system_over_a_directory_that_needs_no_verity(tree: str, rsa: Signer) -> None:
    with helpers.mounted("tmpfs", tree + SERVED_ELSEWHERE, "-t", "tmpfs", "-o", "mode=0755"):
        path = helpers.write(f"{tree}{SERVED_ELSEWHERE}/program", GOOD, 0o755)
        assert verify(tree, rsa).found() == []
        helpers.write(path, EVIL, 0o755)
        assert verify(tree, rsa).found() == [("changed", f"{SERVED_ELSEWHERE}/program")]
        helpers.write(path, OTHERS_CONTENTS, 0o755)
        assert verify(tree, rsa).found() == [("swapped", f"{SERVED_ELSEWHERE}/program")]


def test_a_good_directory_mounted_in_its_place(tree: str, home: str, rsa: Signer) -> None:
    top = f"{tree}{PARTS}/nothing"
    os.rename(top, f"{home}/aside")
    os.mkdir(top)
    with helpers.mounted(f"{home}/aside", top, "--bind"):
        helpers.evict()
        good = verify(tree, rsa)
    os.rmdir(top)
    os.rename(f"{home}/aside", top)
    assert good.found() == []


def test_another_directory_or_file_mounted_over_one(tree: str, rsa: Signer) -> None:
    top = f"{tree}{PARTS}"
    with helpers.mounted(f"{top}/owner", f"{top}/nothing", "--bind"):
        found = verify(tree, rsa)
    assert found.below(f"{PARTS}/nothing") == [("swapped", "/one"), ("swapped", "/two")]
    assert {one["place"] for one in found.report["findings"]} == {
        f"{PARTS}/owner/{name}" for name in FILES
    }
    with helpers.mounted(f"{top}/owner/one", f"{top}/nothing/one", "--bind"):
        assert verify(tree, rsa).found() == [("swapped", f"{PARTS}/nothing/one")]


@pytest.fixture
def lying(home: str, rsa: Signer, tools: str, tree: str) -> Iterator[Callable[[str], None]]:
    """Mounts FUSE with an evil program that answers for verity with the good one's digest."""
    evil = helpers.write(f"{home}/evil", EVIL, 0o755)
    # Before Linux 6.10 FUSE gets to answer the head of the measurement only.
    old = {b"HEAD_ONLY": b"1"} if helpers.KERNEL_VERSION < (6, 10) else {}
    running: list[tuple[subprocess.Popen[bytes], str]] = []

    def mount(point: str) -> None:
        words = [f"{tools}/hostile_fuse", evil, good, "-f", "-o", "allow_other", point]
        process = subprocess.Popen(words, env=old)
        running.append((process, point))
        deadline = time.monotonic() + 20
        while not os.path.ismount(point):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)

    with helpers.enrolled(rsa):
        helpers.install(f"{home}/good", GOOD, rsa)
        good = f"{home}/good"
        yield mount
    for process, point in running:
        helpers.must_run("umount", point)
        process.wait(20)


def test_fuse_is_read_and_never_asked(tree: str, rsa: Signer, lying: Callable[[str], None]) -> None:
    lying(tree + SERVED)
    lying(tree + SERVED_ELSEWHERE)
    words = ("--json", "--cert", rsa.cert_path, "--os=debian:13", tree)
    plain = json.loads(helpers.command("verify", *words).out)["findings"]
    assert [(one["kind"], one["path"]) for one in plain] == [
        ("changed", f"{SERVED_ELSEWHERE}/program"),
        ("no-verity", f"{SERVED}/program"),
        # It cannot even be listed.
        ("unreadable", SERVED),
    ]
    read = json.loads(helpers.command("verify", "--without-verity", *words).out)["findings"]
    assert ("changed", f"{SERVED}/program") in [(one["kind"], one["path"]) for one in read]


def test_overlayfs_measures_nothing(tree: str, rsa: Signer, tmp_path: str) -> None:
    for name in ("upper", "work", "merged"):
        os.mkdir(f"{tmp_path}/{name}")
    layers = f"lowerdir={tree},upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    with helpers.mounted("overlay", f"{tmp_path}/merged", "-t", "overlay", "-o", layers) as merged:
        plain = verify(merged, rsa)
        read = verify(merged, rsa, "--without-verity")
        helpers.write(f"{merged}/{helpers.PING}", b"upper", 0o755)
        changed = verify(merged, rsa, "--without-verity")
    assert {kind for kind, _ in plain.found()} == {"no-verity"}
    assert plain.report["measured"] == read.report["measured"] == 0
    # And the program that is not in an exclusive place, but has the digest of one that is.
    assert len(plain.found()) + 1 == verify(tree, rsa).report["measured"]
    assert read.found() == []
    assert changed.found() == [("changed", helpers.PING)]


def test_a_subvolume_in_the_tree(home: str, tree: str, release: Release, rsa: Signer) -> None:
    if not home.startswith("/btrfs/"):
        pytest.skip("only btrfs has subvolumes")
    top = f"{tree}{PARTS}/nothing"
    os.rename(top, f"{home}/aside")
    helpers.must_run("btrfs", "subvolume", "create", top)
    helpers.must_run("cp", "-a", "--reflink=never", f"{home}/aside/.", top)
    without = verify(tree, rsa)
    with helpers.enrolled(rsa):
        helpers.must_command("enable", "--signatures", f"{release.out}/signatures", top)
    helpers.evict()
    enabled = verify(tree, rsa)
    helpers.must_run("btrfs", "subvolume", "delete", top)
    os.rename(f"{home}/aside", top)
    assert without.below(f"{PARTS}/nothing") == [("no-verity", "/one"), ("no-verity", "/two")]
    assert enabled.found() == []


# Changes


@pytest.fixture(scope="module")
def changed(tree: str, home: str, rsa: Signer, stranger: Signer) -> Verified:
    """All `CHANGES` at once, to a tree that no other test needs any more."""
    with helpers.enrolled(rsa):
        for name, change in CHANGES.items():
            change.act(f"{tree}{PARTS}/{name}", Signers(rsa, stranger))
    helpers.evict()
    helpers.set_sysctl(True)
    try:
        return verify(tree, rsa)
    finally:
        helpers.set_sysctl(False)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_found_and_named(changed: Verified, name: str) -> None:
    assert sorted(changed.below(f"{PARTS}/{name}")) == sorted(CHANGES[name].expected)


def test_nothing_else_is_found(changed: Verified) -> None:
    expected = [
        (kind, f"{PARTS}/{name}{path}")
        for name, change in CHANGES.items()
        for kind, path in change.expected
    ]
    assert sorted(changed.found()) == sorted(expected)
    # What is behind the link is not looked at.
    assert changed.report["not_looked_at"] == 1


def test_it_says_which_file_it_is(changed: Verified) -> None:
    places = {one["path"]: one["place"] for one in changed.report["findings"] if "place" in one}
    assert places == {
        f"{PARTS}/swapped/one": f"{PARTS}/swapped/two",
        f"{PARTS}/swapped/two": f"{PARTS}/swapped/one",
        f"{PARTS}/renamed/three": f"{PARTS}/renamed/one",
        f"{PARTS}/a hard link over another/one": f"{PARTS}/a hard link over another/two",
    }


# Other parameters


OTHERS = [Parameters(SHA512)]
if 1024 in helpers.BLOCK_SIZES:
    OTHERS.append(Parameters(block_size=1024, salt=b"salt"))


@pytest.mark.parametrize("parameters", OTHERS, ids=["sha512", "1k"][: len(OTHERS)])
def test_other_parameters(place: str, rsa: Signer, parameters: Parameters) -> None:
    words = (
        f"--hash-alg={parameters.algorithm.name}",
        f"--block-size={parameters.block_size}",
        f"--salt={parameters.salt.hex()}",
    )
    made = helpers.build(f"{place}/release", rsa, *words)
    signatures = f"--signatures={made.out}/signatures"
    with helpers.enrolled(rsa):
        tree = helpers.install_tree(made, f"{place}/tree", signatures, *words)
    helpers.evict()
    good = verify(tree, rsa)
    assert (good.found(), good.report["hashed"]) == ([], 1)
    swap_programs(tree)
    assert verify(tree, rsa).found() == [("swapped", helpers.PING), ("swapped", helpers.POWEROFF)]
    assert verify(tree, rsa, "--without-verity").found() == verify(tree, rsa).found()


def swap_programs(tree: str) -> None:
    ping, poweroff = tree + helpers.PING, tree + helpers.POWEROFF
    os.rename(ping, f"{tree}/aside")
    os.rename(poweroff, ping)
    os.rename(f"{tree}/aside", poweroff)


def test_verity_of_other_parameters_is_no_reason_to_read(place: str, rsa: Signer) -> None:
    """The digest counts that the kernel checks at every read, not one that fits better."""
    made = helpers.build(f"{place}/release", rsa)
    tree = helpers.install_tree(made, f"{place}/tree", "--unsigned", "--salt=00")
    result = verify(tree, rsa, "--without-verity")
    assert {kind for kind, _ in result.found()} == {"changed"}
    assert result.report["hashed"] == 0
