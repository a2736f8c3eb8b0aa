"""A tree against its list: every difference is found and named, and nothing is followed."""

import errno
import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from veriseal import dump, merkle, signers
from veriseal.digest import SHA256, Digest
from veriseal.errors import VerisealError
from veriseal.kernel import files, verity
from veriseal.manifest import Attached, Manifest
from veriseal.signers import Signed
from veriseal.tree import check, findings, look
from veriseal.tree.source import Release

pytestmark = pytest.mark.unit

EXCLUSIVE = ("/usr", "/etc/systemd/system", "/etc/ld.so.*", "/var/lib/extensions")


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A small system."""
    top = tmp_path / "tree"
    for name in ("usr/bin", "usr/lib", "etc/systemd/system", "var/lib", "home"):
        (top / name).mkdir(parents=True)
    # Of one size: a file that is larger or smaller is not read to find out which it is.
    for name in ("ping", "poweroff", "sh"):
        (top / "usr/bin" / name).write_bytes(name.encode().ljust(8, b".") * 1000)
        (top / "usr/bin" / name).chmod(0o755)
    (top / "bin").symlink_to("usr/bin")
    (top / "usr/lib/empty").write_bytes(b"")
    (top / "usr/lib/small").write_bytes(b"small\n")
    os.link(top / "usr/bin/sh", top / "usr/bin/zsh")
    os.mkfifo(top / "usr/lib/fifo")
    (top / "etc/fstab").write_text("nothing\n")
    (top / "etc/machine-id").write_text("1234\n")
    return top


def listed(top: Path, inline: bool = False) -> bytes:
    """The tree list of ``top``, made independently of `veriseal build`."""
    lines: list[bytes] = []
    seen: dict[int, bytes] = {}

    def add(path: Path) -> None:
        status = path.lstat()
        name = b"/" + os.fsencode(path.relative_to(top)) if path != top else b"/"
        payload = content = digest = None
        hardlink = False
        if path.is_symlink():
            payload = os.fsencode(path.readlink())
        elif stat.S_ISREG(status.st_mode):
            data = path.read_bytes()
            if inline and 0 < len(data) <= 64:
                content = data
            elif data:
                digest = merkle.data_digest(data, merkle.Parameters()).value
            if status.st_ino in seen:
                payload, hardlink = seen[status.st_ino], True
            seen.setdefault(status.st_ino, name)
        lines.append(
            dump.line(
                dump.Entry(
                    name, status.st_size, status.st_mode, status.st_nlink, status.st_uid,
                    status.st_gid, 0, (0, 0), payload, content, digest, (), hardlink,
                )
            )
        )  # fmt: skip
        if stat.S_ISDIR(status.st_mode):
            for child in sorted(path.iterdir(), key=lambda one: os.fsencode(one.name)):
                add(child)

    add(top)
    return b"".join(lines)


def release(
    top: Path,
    signed: tuple[str, ...] = (),
    mutable: tuple[str, ...] = ("/etc/machine-id",),
    revoked: tuple[Digest, ...] = (),
    inline: bool = False,
) -> Release:
    text = listed(top, inline)
    if "/etc/machine-id" in mutable:
        text = b"".join(one for one in text.splitlines(True) if b"machine-id" not in one)
    manifest = Manifest(
        "debian:13", 1, 0, Attached(Digest(SHA256, bytes(32)), len(text)), exclusive=EXCLUSIVE,
        mutable=mutable, signed=signed, revoked=revoked,
    )  # fmt: skip
    return Release(manifest, text, b"", b"", Digest(SHA256, bytes(32)), [], [], "manifest.json")


def look_at(top: Path, one: Release, all_verity: bool = False) -> check.Result:
    root = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return check.check(root, one, all_verity)
    finally:
        os.close(root)


def found(top: Path, one: Release) -> list[tuple[str, str]]:
    return [(f.kind, os.fsdecode(f.path)) for f in look_at(top, one).findings]


@pytest.mark.parametrize("inline", [False, True])
def test_a_tree_as_its_manifest_says(top: Path, inline: bool) -> None:
    result = look_at(top, release(top, inline=inline))
    assert result.findings == []
    assert result.hashed == 7
    assert result.measured == 0
    assert [os.fsdecode(path) for path, _ in result.rows] == [
        "/etc/fstab",
        "/usr/bin/ping",
        "/usr/bin/poweroff",
        "/usr/bin/sh",
        "/usr/bin/zsh",
        "/usr/lib/empty",
        "/usr/lib/small",
    ]
    assert dict(result.rows)[b"/usr/bin/zsh"] == dict(result.rows)[b"/usr/bin/sh"]


def swap(top: Path) -> None:
    one, two = top / "usr/bin/ping", top / "usr/bin/poweroff"
    one.rename(top / "aside")
    two.rename(one)
    (top / "aside").rename(two)


def rename(top: Path) -> None:
    (top / "usr/bin/ping").rename(top / "usr/bin/pong")


def hard_link(top: Path) -> None:
    (top / "usr/bin/ping").unlink()
    os.link(top / "usr/bin/poweroff", top / "usr/bin/ping")


def change(top: Path) -> None:
    (top / "usr/bin/ping").write_bytes(b"pong...." * 1000)


def grow(top: Path) -> None:
    with (top / "usr/bin/ping").open("ab") as file:
        file.write(b"x")


def replace_by(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(top: Path) -> None:
        (top / "usr/bin/ping").unlink()
        make(top / "usr/bin/ping")

    return replace


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def outside(top: Path) -> None:
    shutil.move(top / "usr", top.parent / "evil")
    (top / "usr").symlink_to("../evil")


def xdg(top: Path) -> None:
    (top / "var/lib/extensions/evil/usr").mkdir(parents=True)


def relink(top: Path) -> None:
    (top / "bin").unlink()
    (top / "bin").symlink_to("home")


def around(top: Path) -> None:
    (top / "var/lib").rmdir()
    (top / "var/lib").symlink_to("/home")


CHANGES: dict[str, tuple[Callable[[Path], object], list[tuple[str, str]]]] = {
    "swapped": (swap, [("swapped", "/usr/bin/ping"), ("swapped", "/usr/bin/poweroff")]),
    "renamed": (rename, [("missing", "/usr/bin/ping"), ("added", "/usr/bin/pong")]),
    "hard-linked over": (hard_link, [("swapped", "/usr/bin/ping")]),
    "changed": (change, [("changed", "/usr/bin/ping")]),
    "grown": (grow, [("changed", "/usr/bin/ping")]),
    "missing": (replace_by(lambda path: None), [("missing", "/usr/bin/ping")]),
    "a link": (replace_by(lambda p: p.symlink_to("poweroff")), [("type", "/usr/bin/ping")]),
    "a directory": (replace_by(lambda path: path.mkdir()), [("type", "/usr/bin/ping")]),
    "a fifo": (replace_by(os.mkfifo), [("type", "/usr/bin/ping")]),
    "a socket": (replace_by(listen), [("type", "/usr/bin/ping")]),
    "setuid": (lambda top: (top / "usr/bin/sh").chmod(0o4755), [
        ("mode", "/usr/bin/sh"), ("mode", "/usr/bin/zsh")]),
    "mode of a directory": (lambda top: (top / "usr").chmod(0o777), [("mode", "/usr")]),
    "mode of the root": (lambda top: top.chmod(0o777), [("mode", "/")]),
    "link target": (relink, [
        ("target", "/bin")]),
    "unit": (lambda top: (top / "etc/systemd/system/foo.service").write_text(""), [
        ("added", "/etc/systemd/system/foo.service")]),
    "drop-in": (lambda top: (top / "etc/systemd/system/foo.service.d").mkdir(), [
        ("added", "/etc/systemd/system/foo.service.d")]),
    "preload": (lambda top: (top / "etc/ld.so.preload").write_text(""), [
        ("added", "/etc/ld.so.preload")]),
    "hidden": (lambda top: (top / "usr/.hidden").write_text(""), [("added", "/usr/.hidden")]),
    "dangling link": (lambda top: (top / "usr/x").symlink_to("nowhere"), [("added", "/usr/x")]),
    "not utf-8": (lambda top: Path(os.fsdecode(bytes(top / "usr") + b"/\xff")).mkdir(), [
        ("added", "/usr/\udcff")]),
    "elsewhere": (lambda top: (top / "home/mine").write_text(""), []),
    "machine-id": (lambda top: (top / "etc/machine-id").write_text("5678"), []),
    "machine-id gone": (lambda top: (top / "etc/machine-id").unlink(), []),
    "out of the tree": (outside, [("type", "/usr")]),
    "directory gone": (lambda top: shutil.rmtree(top / "usr"), [("missing", "/usr")]),
    "an unlisted way to an exclusive place": (xdg, [("added", "/var/lib/extensions")]),
    "a link around it": (around, [("type", "/var/lib")]),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_found_and_named(top: Path, name: str) -> None:
    change, expected = CHANGES[name]
    one = release(top)
    change(top)
    assert sorted(found(top, one)) == sorted(expected)


def test_a_link_on_an_unlisted_way_to_an_exclusive_place(top: Path) -> None:
    (top / "var/lib").rmdir()
    one = release(top)
    (top / "var/lib").symlink_to("/home")
    assert found(top, one) == [("added", "/var/lib")]


def test_it_says_which_file_it_is(top: Path) -> None:
    one = release(top)
    hard_link(top)
    (finding,) = look_at(top, one).findings
    assert finding.place == b"/usr/bin/poweroff"
    assert "it is /usr/bin/poweroff of this release" in str(finding)


def test_what_has_a_finding_is_not_accepted(top: Path) -> None:
    one = release(top)
    hard_link(top)
    accepted = dict(look_at(top, one).rows)
    assert b"/usr/bin/ping" not in accepted
    assert b"/usr/bin/poweroff" in accepted


def test_nothing_below_a_replaced_directory_is_accepted(top: Path) -> None:
    one = release(top)
    outside(top)
    result = look_at(top, one)
    assert [path for path, _ in result.rows] == [b"/etc/fstab"]
    assert result.not_looked_at == 7 + 2


def test_a_fifo_does_not_stop_the_check(top: Path) -> None:
    # Listed as a file, and only a FIFO between the stat and the open: as a race would have it.
    one = release(top)
    real = os.stat
    fifo = top / "usr/bin/ping"
    before = fifo.lstat()
    fifo.unlink()
    os.mkfifo(fifo)

    def lie(path: object, **how: object) -> os.stat_result:
        return before if path == b"ping" else real(path, **how)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "stat", lie)
        assert found(top, one) == [("type", "/usr/bin/ping")]


def test_without_verity_where_the_manifest_demands_it(top: Path) -> None:
    one = release(top, signed=("/usr/bin",))
    assert found(top, one) == [
        ("no-verity", f"/usr/bin/{name}") for name in ("ping", "poweroff", "sh", "zsh")
    ]


def test_without_verity_where_the_policy_demands_it(top: Path) -> None:
    result = look_at(top, release(top), all_verity=True)
    assert {finding.kind for finding in result.findings} == {"no-verity"}
    assert len(result.findings) == 7
    assert result.rows == []


def test_a_file_system_whose_word_does_not_count_is_read(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "filesystem_type", lambda _fd: files.FUSE)
    monkeypatch.setattr(verity, "measure_raw", lambda _fd: pytest.fail("it was asked"))
    assert look_at(top, release(top)).hashed == 7


def test_what_the_kernel_measures_counts(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = merkle.data_digest(b"ping...." * 1000, merkle.Parameters())
    monkeypatch.setattr(files, "filesystem_type", lambda _fd: files.EXT4)
    monkeypatch.setattr(verity, "measure_raw", lambda _fd: verity.raw_digest(digest))
    result = look_at(top, release(top, signed=("/",)))
    assert result.measured == 7
    assert {f.path: (f.kind, f.place) for f in result.findings}[b"/usr/bin/poweroff"] == (
        "swapped",
        b"/usr/bin/ping",
    )
    assert b"/usr/bin/ping" in dict(result.rows)


def test_a_revoked_digest(top: Path) -> None:
    revoked = merkle.data_digest(b"ping...." * 1000, merkle.Parameters())
    assert found(top, release(top, revoked=(revoked,))) == [("revoked", "/usr/bin/ping")]


def test_attributes_are_compared(top: Path) -> None:
    one = release(top)
    xattr = rb"security.capability=\x01\x00\x00\x02"
    text = one.tree_list.replace(b"/usr/bin/ping ", b"/usr/bin/ping ", 1)
    lines = [
        line + b" " + xattr if line.startswith(b"/usr/bin/ping ") else line
        for line in text.splitlines()
    ]
    one = one._replace(tree_list=b"\n".join(lines) + b"\n")
    assert found(top, one) == [("xattr", "/usr/bin/ping")]


def test_other_peoples_attributes_are_not(top: Path) -> None:
    one = release(top)
    try:
        os.setxattr(top / "usr/bin/ping", "user.note", b"mine")
    except OSError:
        pytest.skip("this file system has no user attributes")
    assert found(top, one) == []


def test_the_owner_is_compared(top: Path) -> None:
    one = release(top)
    uid, gid = os.getuid(), os.getgid()
    text = one.tree_list.replace(
        f" 8000 100755 1 {uid} {gid} ".encode(), f" 8000 100755 1 {uid + 1} {gid} ".encode(), 1
    )
    assert found(top, one._replace(tree_list=text)) == [("owner", "/usr/bin/ping")]


def test_a_directory_that_cannot_be_opened_is_a_finding(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = files.open_beneath

    def refuse(directory: int, path: bytes, flags: int) -> int:
        if path == b"usr/lib":
            raise PermissionError(13, "Permission denied")
        return real(directory, path, flags)

    monkeypatch.setattr(files, "open_beneath", refuse)
    result = look_at(top, release(top))
    assert [(f.kind, f.path) for f in result.findings] == [("unreadable", b"/usr/lib")]
    assert b"/usr/lib/small" not in dict(result.rows)


def test_a_list_without_digests_cannot_be_used(top: Path) -> None:
    one = release(top)
    digest = merkle.data_digest(b"ping...." * 1000, merkle.Parameters()).value.hex().encode()
    with pytest.raises(VerisealError) as caught:
        look_at(top, one._replace(tree_list=one.tree_list.replace(digest, b"-")))
    assert caught.value.reason == "bad-tree-list"


def test_every_kind_can_be_said() -> None:
    for kind in findings.KINDS:
        finding = findings.Finding(kind, b"/a\n\xff", "x\n", "y", b"", b"/b")
        assert "\n" not in str(finding)
        assert finding.as_json()["kind"] == kind
    assert findings.summary([]) == "no findings"


OWN = Signed("debian:13", "1" * 64, "CN=Acme release debian:13")
OLD = Signed("debian:12", "2" * 64, "CN=Acme release debian:12", (b"/usr/bin/ping", b"/usr/bin/sh"))


@pytest.fixture
def refused_by_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of /usr/bin can be opened, for none of the keys is enrolled."""
    real = os.open

    def refuse(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if path in (b"ping", b"poweroff", b"sh", b"zsh", b"fstab"):
            raise OSError(errno.ENOKEY, os.strerror(errno.ENOKEY))
        return real(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", refuse)


@pytest.mark.usefixtures("refused_by_the_kernel")
def test_who_signed_what_the_kernel_does_not_open(top: Path) -> None:
    one = release(top, signed=("/usr/bin",))
    one = one._replace(signers=signers.serialize([OWN, OLD]))
    result = look_at(top, one)
    assert {f.kind for f in result.findings} == {"not-enrolled"}
    assert {os.fsdecode(f.path): f.signer for f in result.findings} == {
        # It is not to be signed: whoever did, it is not the release.
        "/etc/fstab": None,
        "/usr/bin/ping": OLD,
        "/usr/bin/poweroff": OWN,
        "/usr/bin/sh": OLD,
        "/usr/bin/zsh": OWN,
    }
    ping = next(f for f in result.findings if f.path == b"/usr/bin/ping")
    assert str(ping) == (
        "not-enrolled: /usr/bin/ping: it is signed by a key that is not enrolled; "
        "in this release it is signed by CN=Acme release debian:12 (debian:12)"
    )
    assert ping.as_json() == {
        "kind": "not-enrolled",
        "path": "/usr/bin/ping",
        "problem": ping.sentence(),
        "signer": "2" * 64,
        "signer_subject": "CN=Acme release debian:12",
        "signer_os": "debian:12",
    }
    with pytest.raises(VerisealError) as caught:
        look_at(top, one._replace(signers=b"{}"))
    assert (caught.value.reason, caught.value.path) == ("bad-signers", "signers.json")


def test_who_signed_is_read_only_where_it_matters(top: Path) -> None:
    one = release(top, signed=("/usr/bin",))._replace(signers=b"never parsed")
    (top / "etc/fstab").write_text("changed\n")
    kinds = {f.kind for f in look_at(top, one).findings}
    assert kinds == {"changed", "no-verity"}


def test_a_signer_cannot_forge_a_line() -> None:
    forged = Signed("os\n", "1" * 64, "CN=\x1b[2J\n" + "x" * 100000)
    finding = findings.Finding("not-enrolled", b"/a", signer=forged)
    assert str(finding).isprintable()
    assert len(str(finding)) < 1000
    assert len(finding.as_json()["signer_subject"]) < 300


def test_a_file_of_another_size_is_not_read(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = release(top)
    os.truncate(top / "usr/bin/ping", 1 << 40)
    real = merkle.file_digest

    def digest(fd: int, size: int, *more: Any) -> Digest:
        assert size < 1 << 20
        return real(fd, size, *more)

    monkeypatch.setattr(merkle, "file_digest", digest)
    assert found(top, one) == [("changed", "/usr/bin/ping")]


def test_thousands_of_added_files_are_not_thousands_of_findings(top: Path) -> None:
    one = release(top)
    for number in range(500):
        (top / f"usr/lib/{number:03}").touch()
    result = look_at(top, one)
    assert len(result.findings) == look._MOST_ADDED + 1
    assert result.findings[-1].found == "more than 100 entries"


def test_a_name_that_no_listing_shows(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = release(top)
    (top / "etc/ld.so.preload").write_text("")
    real = os.listdir
    monkeypatch.setattr(os, "listdir", lambda fd: [n for n in real(fd) if "preload" not in n])
    # A pattern with a wildcard cannot be looked up, its own name can.
    assert found(top, one) == []
    literal = one.manifest._replace(exclusive=(*EXCLUSIVE, "/etc/ld.so.preload"))
    assert found(top, one._replace(manifest=literal)) == [("added", "/etc/ld.so.preload")]


def test_a_name_that_is_looked_up_may_be_a_link(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = release(top)
    literal = one.manifest._replace(exclusive=(*EXCLUSIVE, "/etc/x", "/bin/x", "/etc/fstab"))
    (top / "etc/x").symlink_to("nowhere")
    real = os.listdir
    monkeypatch.setattr(os, "listdir", lambda fd: [n for n in real(fd) if n != "x"])
    assert found(top, one._replace(manifest=literal)) == [("added", "/etc/x")]


def test_a_name_that_is_listed_twice(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = release(top)
    real = os.listdir
    monkeypatch.setattr(os, "listdir", lambda fd: [n for n in real(fd) for _ in range(2)])
    assert ("corrupt", "/usr/bin") in found(top, one)


def test_a_file_system_that_complains_meanwhile(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter([{"vda": 1, "vdb": 0}, {"vda": 1, "vdb": 2}])
    monkeypatch.setattr(files, "ext4_complaints", lambda: next(counts))
    (finding,) = look_at(top, release(top)).findings
    assert finding.kind == "corrupt"
    assert finding.found == "2 complaints about vdb, see the kernel log"


def test_complaints_are_read_from_sysfs(tmp_path: Path) -> None:
    for name, text in (("errors_count", "3\n"), ("warning_count", "4\n")):
        (tmp_path / "vda").mkdir(exist_ok=True)
        (tmp_path / "vda" / name).write_text(text)
    (tmp_path / "features").mkdir()
    assert files.ext4_complaints(str(tmp_path)) == {"vda": 7, "features": 0}
    assert files.ext4_complaints(str(tmp_path / "none")) == {}


def test_the_manifest_of_an_image(top: Path) -> None:
    one = release(top)
    image = one.manifest._replace(tree=None, image=Digest(SHA256, bytes(32)))
    with pytest.raises(VerisealError) as caught:
        look_at(top, one._replace(manifest=image))
    assert caught.value.reason == "other-kind"


def test_a_long_value_is_cut() -> None:
    finding = findings.Finding("xattr", b"/a", "x" * 100000, "y")
    assert len(str(finding)) < 1000
    assert len(finding.as_json()["expected"]) < 300


def test_progress_reaches_the_end(top: Path) -> None:
    seen: list[tuple[int, int]] = []
    root = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    result = check.check(root, release(top), False, lambda done, total: seen.append((done, total)))
    os.close(root)
    assert seen[-1] == (result.entries, result.entries)
