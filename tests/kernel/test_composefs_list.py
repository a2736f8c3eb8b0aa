"""`veriseal build` as root: its list beside mkcomposefs, mounts, and what `enable` makes of it."""

import contextlib
import os
import socket
import stat
from collections.abc import Callable, Iterator

import pytest

from veriseal import dump
from veriseal.kernel import verity

from . import helpers
from .helpers import Result, Signer

pytestmark = pytest.mark.kernel

Cli = Callable[..., Result]
Build = Callable[..., Result]

MTIME_NS = 1_763_764_621_123_456_789


@pytest.fixture
def build(cli: Cli, rsa: Signer, place: str) -> Build:
    """`veriseal build TREE` into a directory beside it, with whatever else is given."""

    def call(tree: str, *options: str, out: str = "out") -> Result:
        by = (f"--key={rsa.key_path}", f"--cert={rsa.cert_path}")
        about = ("--os=debian:13", "--version=1", "--created=1")
        return cli("build", tree, f"--out={place}/{out}", *about, *by, *options)

    return call


@pytest.fixture
def tree(place: str) -> str:
    """One of everything, but no hard links: `mkcomposefs` makes several files of those."""
    top = f"{place}/tree"
    for size in (0, 1, 64, 65, 4096, 4097, 300_000):
        helpers.write(f"{top}/usr/size-{size}", os.urandom(size))
    # As text the second sorts first.
    helpers.write(f"{top}/usr/a/x", b"x")
    helpers.write(f"{top}/usr/a-b", b"-")
    helpers.write(f"{top}/a b\n\t\r=\\-\x7f", b"\0\\=\n -\xff")
    weird = os.fsencode(top) + b"/\xff\xfe-\xc3\xa4"
    os.mkdir(weird)
    os.symlink(b"\xff\n -> x", weird + b"/link")
    os.symlink("-", f"{top}/dash")
    os.mkdir(f"{top}/empty")
    os.mkfifo(f"{top}/fifo", 0o640)
    os.mknod(f"{top}/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(f"{top}/disk", stat.S_IFBLK | 0o600, os.makedev(259, 70_000))
    # What overlayfs takes for a deleted file.
    os.mknod(f"{top}/usr/a/whiteout", stat.S_IFCHR, 0)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"{top}/socket")
    os.chown(f"{top}/usr/size-65", 1000, 4_000_000_000)
    os.chmod(f"{top}/usr/size-65", 0o6755)  # noqa: S103 to be seen in the list
    for name, value in (("user.a", b""), ("user.=b", b"1\0= \n-"), ("trusted.t", b"-")):
        os.setxattr(f"{top}/usr/size-4096", name, value)
    # cap_net_raw+ep, struct vfs_cap_data of version 2.
    os.setxattr(
        f"{top}/usr/size-4097", "security.capability", bytes.fromhex("010000020020" + "00" * 14)
    )
    os.setxattr(f"{top}/dash", "trusted.link", b"l", follow_symlinks=False)
    os.setxattr(f"{top}/usr", "trusted.overlay.opaque", b"y")
    stamp(top)
    return top


def stamp(top: str) -> None:
    for directory, names, files in os.walk(top, topdown=False):
        for number, name in enumerate([*names, *files]):
            when = MTIME_NS + number
            os.utime(f"{directory}/{name}", ns=(when, when), follow_symlinks=False)
    os.utime(top, ns=(0, 5))


def image_digest(*source: str) -> str:
    return helpers.must_run("mkcomposefs", "--print-digest-only", *source).strip()


def entries(path: str) -> dict[bytes, dump.Entry]:
    with open(path, "rb") as file:
        return {entry.path: entry for entry in dump.parse(file)}


def test_the_list_gives_the_image_that_the_tree_gives(build: Build, tree: str, place: str) -> None:
    done = build(tree)
    assert done.status == 0, done.err
    assert image_digest("--from-file", f"{place}/out/tree.dump") == image_digest(tree)


@pytest.mark.parametrize("tree", ["/etc", "/usr/lib/systemd"])
def test_real_trees(build: Build, tree: str, place: str) -> None:
    assert not [path for path in files_below(tree) if os.lstat(path).st_nlink > 1], "hard links"
    done = build(tree)
    assert done.status == 0, done.err
    assert image_digest("--from-file", f"{place}/out/tree.dump") == image_digest(tree)


def files_below(top: str) -> Iterator[str]:
    for directory, _, names in os.walk(top):
        yield from (f"{directory}/{name}" for name in names)


def test_the_dump_of_the_image_says_the_same(build: Build, tree: str, place: str) -> None:
    assert build(tree).status == 0
    # mkcomposefs hides whiteouts, and what is called as overlayfs's own, from overlayfs.
    os.unlink(f"{tree}/usr/a/whiteout")
    os.removexattr(f"{tree}/usr", "trusted.overlay.opaque")
    stamp(tree)
    assert build(tree).status == 0
    image = f"{place}/image"
    helpers.must_run("mkcomposefs", "--from-file", f"{place}/out/tree.dump", image)
    helpers.write(f"{place}/again", helpers.must_bytes("composefs-info", "dump", image))
    ours, theirs = entries(f"{place}/out/tree.dump"), entries(f"{place}/again")
    assert list(ours) == list(theirs)
    for path, entry in ours.items():
        if stat.S_ISDIR(entry.mode):
            entry = entry._replace(size=theirs[path].size)
        elif entry.size == 0:
            assert (entry.digest is not None) == stat.S_ISREG(entry.mode)
            entry = entry._replace(digest=None)
        assert entry == theirs[path]


def test_hard_links_are_taken(build: Build, tree: str, place: str) -> None:
    os.link(f"{tree}/usr/size-65", f"{tree}/usr/a/again")
    assert build(tree).status == 0
    entry = entries(f"{place}/out/tree.dump")[b"/usr/size-65"]
    assert (entry.hardlink, entry.payload, entry.nlink) == (True, b"/usr/a/again", 2)
    helpers.must_run("mkcomposefs", "--from-file", f"{place}/out/tree.dump", f"{place}/image")
    out = helpers.must_bytes("composefs-info", "dump", f"{place}/image")
    (line,) = [line for line in out.splitlines() if line.startswith(b"/usr/size-65 ")]
    assert line.split(b" ")[2].startswith(b"@")


def test_a_copy_on_another_file_system_gives_the_same_bytes(
    build: Build, tree: str, place: str, cli: Cli
) -> None:
    os.link(f"{tree}/usr/size-65", f"{tree}/usr/a/again")
    stamp(tree)
    other = "/btrfs/copy" if place.startswith("/verity") else "/verity/copy"
    helpers.must_run("cp", "-a", "--no-target-directory", tree, other)
    try:
        assert build(tree).status == 0
        done = build(other, out="other")
        assert done.status == 0, done.err
    finally:
        helpers.must_run("rm", "-rf", other)
    for name in ("tree.dump", "manifest.json"):
        assert helpers.read(f"{place}/other/{name}") == helpers.read(f"{place}/out/{name}")


def test_ready_for_enable(build: Build, tree: str, place: str, cli: Cli, rsa: Signer) -> None:
    assert build(tree).status == 0
    with helpers.enrolled(rsa):
        done = cli(
            "enable", tree, f"--signatures={place}/out/signatures", f"--cert={rsa.cert_path}"
        )
    assert done.status == 0, done.err
    assert "9 enabled, 0 already, 0 failed, 1 without" in done.err
    for name, entry in entries(f"{place}/out/tree.dump").items():
        if name.startswith(b"/usr/") and entry.digest is not None:
            fd = os.open(os.fsencode(tree) + name, os.O_RDONLY)
            assert verity.measure(fd).value == entry.digest
            os.close(fd)
    # Enabling changes the time of a file on ext4, and nothing else that the list says.
    before = entries(f"{place}/out/tree.dump")
    assert build(tree).status == 0
    after = entries(f"{place}/out/tree.dump")
    assert [entry._replace(mtime=before[path].mtime) for path, entry in after.items()] == [
        *before.values()
    ]


@contextlib.contextmanager
def mounted(*words: str) -> Iterator[None]:
    helpers.must_run("mount", *words)
    try:
        yield
    finally:
        helpers.must_run("umount", words[-1])


def test_mounts_are_never_passed_over(build: Build, tree: str, place: str) -> None:
    # A directory of the same file system, a file, and another file system with an odd name.
    os.mkdir(f"{tree}/odd name")
    helpers.write(f"{tree}/file", b"f")
    config = helpers.write(f"{place}/config", b'[build]\nmutable = ["/file", "/odd*", "/empty"]\n')
    with (
        mounted("--bind", f"{tree}/usr", f"{tree}/empty"),
        mounted("--bind", "/etc/hostname", f"{tree}/file"),
        mounted("-t", "tmpfs", "none", f"{tree}/odd name"),
    ):
        done = build(tree)
        assert done.status == 1
        for name in ("empty", "file", "odd name"):
            assert f"{tree}/{name}: something is mounted here" in done.err
        assert not os.path.exists(f"{place}/out/manifest.json")
        done = build(tree, f"--config={config}")
        assert done.status == 0, done.err
    found = entries(f"{place}/out/tree.dump")
    assert {b"/odd name", b"/empty"} <= set(found)
    assert not {b"/file", b"/empty/a"} & set(found)


def test_without_privilege(build: Build, tree: str, place: str, rsa: Signer) -> None:
    """An ordinary user gets the list that root gets, but for attributes that only root sees."""
    helpers.must_run("cp", "-a", "--no-target-directory", "/etc/systemd", f"{place}/mine")
    helpers.must_run("chown", "-R", "65534:65534", f"{place}/mine")
    assert build(f"{place}/mine").status == 0
    key = helpers.write(f"{place}/key", helpers.read(rsa.key_path))
    cert = helpers.write(f"{place}/cert", helpers.read(rsa.cert_path))
    os.mkdir(f"{place}/user")
    os.chown(f"{place}/user", helpers.NOBODY, helpers.NOBODY)
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", helpers.VERISEAL]
    command += ["build", f"{place}/mine", "--os=debian:13", "--version=1", "--created=1"]
    done = helpers.run([*command, f"--out={place}/user", f"--key={key}", f"--cert={cert}"])
    assert done.status == 0, done.err
    for name in ("tree.dump", "manifest.json"):
        assert helpers.read(f"{place}/user/{name}") == helpers.read(f"{place}/out/{name}")
