"""veriseal trust plan: what a change would do, and each wrong turn by its own reason."""

import datetime
import json
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from veriseal.boot import floor
from veriseal.cli.main import main
from veriseal.digest import Digest
from veriseal.errors import VerisealError
from veriseal.plan import initrd

from .systems import START, Signer, System

pytestmark = pytest.mark.unit

Cli = Callable[..., tuple[int, bytes, str]]
TOOL, LIBRARY = "/usr/bin/tool", "/usr/lib/library.so"
MANIFEST = "usr/lib/veriseal/manifest"
PAST = START - datetime.timedelta(days=3650)


class Vendor(NamedTuple):
    """An authority, and the releases that it vouches for."""

    root: Signer
    old: Signer
    new: Signer


@pytest.fixture(scope="module")
def vendor() -> Vendor:
    root = Signer("Root", ca=True)
    return Vendor(root, Signer("Thirteen", by=root), Signer("Fourteen", by=root))


def make_system(top: Path, vendor: Vendor, window: str = "") -> System:
    """Version 13 with two files, its certificate and its anchor."""
    system = System(top)
    system.anchor(vendor.root)
    system.certificate(vendor.old, "13.pem")
    system.put(TOOL, "tool")
    system.put(LIBRARY, "library")
    system.settings(f"[trust]\n{window}\n")
    return system


def upgrade(system: System) -> None:
    """The tree becomes one of version 14."""
    system.put("usr/lib/os-release", "ID=debian\nVERSION_ID=14\n")


def build(system: System, signer: Signer, scratch: Path, *options: str, os_name: str = "debian:13",
          version: int = 1) -> Path:  # fmt: skip
    """Sign the tree, and install its manifest. Returns the release."""
    shutil.rmtree(system.top / MANIFEST, ignore_errors=True)
    out = scratch / f"release-{os_name}-{version}"
    shutil.rmtree(out, ignore_errors=True)
    scratch.mkdir(exist_ok=True)
    arguments = ["build", str(system.top), f"--os={os_name}", f"--version={version}",
                 *signer.options(scratch), *options, f"--out={out}"]  # fmt: skip
    assert main(arguments) == 0
    (system.top / MANIFEST).mkdir(parents=True)
    for one in out.iterdir():
        if one.is_file():
            shutil.copy(one, system.top / MANIFEST)
    return out


class World:
    """A running system, others beside it, and questions about them."""

    def __init__(self, top: Path, vendor: Vendor, cli: Cli) -> None:
        self.top = top
        self.vendor = vendor
        self.cli = cli
        self.now = make_system(top / "now", vendor)
        self.release = build(self.now, vendor.old, top / "scratch")

    def copy(self, name: str, of: System | None = None) -> System:
        shutil.copytree((of or self.now).top, self.top / name, symlinks=True)
        copied = System.__new__(System)
        copied.top = self.top / name
        return copied

    def initrd(self, name: str = "initrd", of: System | None = None, version: int = 1,
               statement: int = 0) -> System:  # fmt: skip
        """Unpacked: the certificates, settings and os-release of a system, and a floor."""
        source = (of or self.now).top
        made = System.__new__(System)
        made.top = self.top / name
        for one in ("etc/voa", "usr/share/voa", "usr/local/share/voa", "etc/veriseal"):
            if (source / one).exists():
                shutil.copytree(source / one, made.top / one, symlinks=True)
        made.put("usr/lib/veriseal/os-release", (source / "usr/lib/os-release").read_bytes())
        made.put(floor.PATH, floor.serialize(floor.Floor(version, 0, statement)))
        return made

    def ask(self, *arguments: str) -> tuple[int, Any]:
        command = ("trust", "plan", "--root", str(self.now.top), "--json", *arguments)
        status, out, err = self.cli(*command)
        assert out, err
        document = json.loads(out)
        errors = [one for one in document["findings"] if one["level"] == "error"]
        assert status == (1 if errors else 0)
        assert document["refused"] == bool(errors)
        return status, document

    def refusal(self, *arguments: str) -> dict[str, dict[str, Any]]:
        """The errors by name; there is one at least."""
        status, document = self.ask(*arguments)
        assert status == 1
        return {one["name"]: one for one in document["findings"] if one["level"] == "error"}

    def digest(self, path: str) -> str:
        status, out, _err = self.cli("digest", f"{self.now.top}{path}")
        assert status == 0
        return str(Digest.parse(out.decode().split()[0]))


@pytest.fixture
def world(tmp_path: Path, vendor: Vendor, cli: Cli) -> World:
    return World(tmp_path, vendor, cli)


def names(document: Any) -> list[str]:
    return [one["name"] for one in document["findings"]]


# What is all right


def test_nothing_changes(world: World) -> None:
    status, document = world.ask()
    assert status == 0
    assert [one["subject"] for one in document["certificates"]["staying"]] == ["CN=Thirteen"]
    assert (document["certificates"]["in"], document["certificates"]["out"]) == ([], [])
    assert (document["manifest"]["os"], document["manifest"]["version"]) == ("debian:13", 1)
    assert document["lost"] == []
    assert names(document) == ["not-enabled"]  # no file here has verity: this is no ext4
    assert document["steps"] == []


def test_an_initrd_that_fits(world: World) -> None:
    status, document = world.ask("--to", str(world.initrd().top))
    assert (status, names(document)) == (0, ["not-enabled"])


def test_a_tree_that_is_entered_as_it_is_has_to_be_enabled(world: World) -> None:
    found = world.refusal("--final")
    assert list(found) == ["not-enabled"]
    assert TOOL in found["not-enabled"]["problem"]


def test_the_last_line_does_not_hide_that_nothing_is_enabled(world: World) -> None:
    arguments = ("trust", "plan", "--root", str(world.now.top))
    status, out, _err = world.cli(*arguments)
    verdict = out.decode().splitlines()[-2]
    assert (status, verdict) == (
        0,
        "nothing would be refused once the files are enabled, with veriseal enable; then run "
        "this again with --final",
    )
    # A key that is to be announced first cannot be used today.
    out = world.cli(*arguments, "--to", str(staged(world).top))[1]
    verdict = out.decode().splitlines()[-2]
    assert verdict.startswith("nothing would be refused once the files are enabled, in the order ")
    status, out, _err = world.cli(*arguments, "--without-tree")
    assert (status, out.decode().splitlines()[-1]) == (0, "nothing would be refused")


def test_no_tree_is_not_a_final_one(world: World) -> None:
    status, out, err = world.cli("trust", "plan", "--without-tree", "--final")
    assert (status, out) == (2, b"")
    assert "--final: with --without-tree there is no tree" in err


def test_text(world: World) -> None:
    arguments = ("trust", "plan", "--root", str(world.now.top), "--revoke-digest",
                 world.digest(TOOL))  # fmt: skip
    status, out, _err = world.cli(*arguments)
    text = out.decode()
    assert status == 1
    assert "  staying  debian:13 (current): CN=Thirteen" in text
    assert "manifest   debian:13 version 1: accepted" in text
    assert "files that lose trust" in text
    assert f"error: revoked-digest: {world.digest(TOOL)} is revoked: 1 needed file: {TOOL}" in text
    assert "  1. Build a release without the files whose digest is revoked, or with fixed" in text
    assert "another key" not in text
    assert text.endswith("would be refused: see the errors above\n"
                         "not compared: contents of files, and what no list has; "
                         "see veriseal verify\n")  # fmt: skip


def staged(world: World) -> System:
    """The tree of version 14, with what 13 had signed of it kept."""
    tree = world.copy("next")
    upgrade(tree)
    tree.certificate(world.vendor.new, "14.pem", os_name="debian:14")
    tree.settings('[trust]\nprevious = ["debian:13"]\n')
    old = world.vendor.old.options(world.top / "scratch")[1].removeprefix("--cert=")
    build(tree, world.vendor.new, world.top / "scratch", f"--keep={world.release}",
          f"--keep-cert={old}", os_name="debian:14", version=2)  # fmt: skip
    return tree


def test_an_upgrade_says_the_safe_order(world: World) -> None:
    tree = staged(world)
    status, document = world.ask("--to", str(tree.top))
    assert status == 0
    changes = document["certificates"]
    assert [one["subject"] for one in changes["in"]] == ["CN=Fourteen"]
    assert [one["subject"] for one in changes["staying"]] == ["CN=Thirteen"]
    texts = [one["text"] for one in document["steps"]]
    assert [text.split()[0] for text in texts] == [
        "Announce", "Bring", "Make", "Check,", "Stage", "Make", "Check,",
    ]  # fmt: skip
    announce = document["steps"][0]
    assert "debian:14 in trust.next" in announce["text"]
    assert announce["commands"][0] == (
        "install -D -m 644 -t TREE/usr/share/voa/debian:14/image/default/x509 "
        f"{tree.top}/usr/share/voa/debian:14/image/default/x509/14.pem"
    )
    assert "--os debian:13 --version 2 " in announce["commands"][1]
    (dracut,) = document["steps"][5]["commands"]
    assert dracut.startswith(f"chroot {tree.top} dracut --force --kver ")
    root = f"--root {world.now.top} --to {tree.top} --tree {tree.top}"
    check = f"veriseal trust plan {root} --initrd {tree.top}/boot/initrd.img --final"
    assert document["steps"][6]["commands"] == [check, "systemctl reboot"]


def test_a_key_that_was_announced_needs_no_boot_before(world: World) -> None:
    tree = staged(world)
    world.now.certificate(world.vendor.new, "14.pem", os_name="debian:14")
    world.now.settings('[trust]\nnext = ["debian:14"]\n')
    build(world.now, world.vendor.old, world.top / "scratch", version=1)
    _status, document = world.ask("--to", str(tree.top))
    assert [one["text"].split()[0] for one in document["steps"]] == ["Stage", "Make", "Check,"]


def test_what_nobody_needs_any_more_can_be_dropped(world: World) -> None:
    tree = staged(world)
    build(tree, world.vendor.new, world.top / "scratch", os_name="debian:14", version=3)
    _status, document = world.ask("--to", str(tree.top))
    (command,) = document["steps"][-1]["commands"]
    assert command == f"veriseal trust plan --root {tree.top} --drop debian:13"
    assert world.cli(*shlex.split(command)[1:])[0] == 0
    assert world.ask("--to", str(tree.top), "--drop", "debian:13")[0] == 0


# Each wrong turn


def test_dropping_a_release_that_still_signs(world: World) -> None:
    tree = staged(world)
    found = world.refusal("--to", str(tree.top), "--drop", "debian:13")
    assert list(found) == ["outside-window"]
    problem = found["outside-window"]["problem"]
    assert problem.startswith("CN=Thirteen (debian:13) signed what would lose trust")
    assert TOOL in problem
    _status, document = world.ask("--to", str(tree.top), "--drop", "debian:13")
    (lost,) = document["lost"]
    assert TOOL in lost["paths"]
    assert lost["fingerprint"] == world.vendor.old.fingerprint
    (gone,) = document["certificates"]["out"]
    assert (gone["subject"], gone["reason"]) == ("CN=Thirteen", "outside-window")
    texts = [one["text"] for one in document["steps"]]
    assert any(text.startswith("Build a release in which another key signs") for text in texts)


def test_an_initrd_without_the_next_certificate(world: World) -> None:
    tree = staged(world)
    initrd = world.initrd(of=tree)
    initrd.remove("usr/share/voa/debian:14/image/default/x509/14.pem")
    found = world.refusal("--to", str(initrd.top), "--tree", str(tree.top))
    assert "manifest-not-signed" in found


def test_an_initrd_without_the_certificate_of_some_files(world: World) -> None:
    tree = staged(world)
    initrd = world.initrd(of=tree)
    initrd.remove("usr/share/voa/debian:13/image/default/x509/13.pem")
    found = world.refusal("--to", str(initrd.top), "--tree", str(tree.top))
    assert list(found) == ["missing-certificate"]
    assert "CN=Thirteen (debian:13)" in found["missing-certificate"]["problem"]


def with_statement(world: World, *options: str, fallback: str = "refuse") -> Path:
    """Settings that want a statement, and one that does nothing but what ``options`` say."""
    world.now.settings(
        f'[trust]\nstatement = "/usr/lib/veriseal/trust.json"\nwithout_statement = "{fallback}"\n'
    )
    scratch = world.top / "scratch"
    build(world.now, world.vendor.old, scratch)
    old = world.vendor.old.options(scratch)[1].removeprefix("--cert=")
    out = world.top / "trust.json"
    arguments = ("trust", "statement", "--os=debian", f"--release=debian:13={old}",
                 *world.vendor.root.options(scratch), f"--out={out}", *options)  # fmt: skip
    assert world.cli(*arguments)[0] == 0
    return out


def test_a_statement_that_fits(world: World) -> None:
    out = with_statement(world, "--version=5")
    initrd = world.initrd(statement=5)
    status, document = world.ask("--to", str(initrd.top), "--statement", str(out))
    assert status == 0, document


def test_a_key_that_a_statement_announces(world: World) -> None:
    """No file of the tree holds it: the step is to install the statement."""
    out = with_statement(world, "--version=5")
    scratch = world.top / "scratch"
    new = Signer("Next", by=world.vendor.root)
    cert = new.options(scratch)[1].removeprefix("--cert=")
    arguments = ("trust", "statement", "--os=debian", "--version=6", f"--release=debian:13={cert}",
                 *world.vendor.root.options(scratch), f"--out={out}")  # fmt: skip
    assert world.cli(*arguments)[0] == 0
    tree = world.copy("next")
    build(tree, new, scratch, version=2)
    initrd = world.initrd("initrd-next", tree)
    _status, document = world.ask(
        "--to", str(initrd.top), "--tree", str(tree.top), "--statement", str(out)
    )
    assert [one["subject"] for one in document["certificates"]["in"]] == ["CN=Next"]
    assert document["steps"][0]["text"].startswith("Announce the next key: install a trust state")
    assert f"install -m 644 {out} {out}.*.sig PLACE" in document["steps"][1]["commands"]
    assert "certificate 1 of" not in json.dumps(document["steps"])


def test_a_rolled_back_statement(world: World) -> None:
    out = with_statement(world, "--version=4")
    initrd = world.initrd(statement=5)
    found = world.refusal("--to", str(initrd.top), "--statement", str(out))
    assert list(found) == ["statement-rolled-back"]
    assert "version 4" in found["statement-rolled-back"]["problem"]


def test_a_rolled_back_statement_where_the_built_in_set_counts_then(world: World) -> None:
    out = with_statement(world, "--version=4", fallback="built-in")
    initrd = world.initrd(statement=5)
    status, document = world.ask("--to", str(initrd.top), "--statement", str(out))
    assert status == 0
    (one,) = [one for one in document["findings"] if one["name"] == "statement-not-used"]
    assert "older than one this machine has known" in one["problem"]


def test_a_statement_that_revokes(world: World) -> None:
    digest = world.digest(LIBRARY)
    out = with_statement(world, "--version=5", f"--revoke-digest={digest}")
    found = world.refusal("--to", str(world.initrd().top), "--statement", str(out))
    assert list(found) == ["revoked-digest"]
    assert LIBRARY in found["revoked-digest"]["problem"]


def test_a_rolled_back_manifest(world: World) -> None:
    found = world.refusal("--to", str(world.initrd(version=2).top))
    assert list(found) == ["rolled-back"]


def test_a_manifest_older_than_that_of_the_system_whose_initrd_would_start_it(world: World) -> None:
    tree = world.copy("old")
    build(world.now, world.vendor.old, world.top / "scratch", version=7)
    assert "rolled-back" in world.refusal("--tree", str(tree.top))


def test_a_masked_certificate(world: World) -> None:
    initrd = world.initrd()
    mask = initrd.mask("13.pem")
    found = world.refusal("--to", str(initrd.top))
    assert "no-certificates" in found
    assert f"masked by {mask}" in found["no-certificates"]["problem"]


def test_a_masked_certificate_beside_another(world: World) -> None:
    world.now.certificate(Signer("Other", by=world.vendor.root), "other.pem")
    build(world.now, world.vendor.old, world.top / "scratch")
    initrd = world.initrd()
    mask = initrd.mask("13.pem")
    found = world.refusal("--to", str(initrd.top))
    assert set(found) == {"manifest-not-signed", "masked"}
    assert f"masked by {mask}" in found["masked"]["problem"]
    assert "CN=Thirteen" in found["masked"]["problem"]


@pytest.mark.parametrize("path", [TOOL, LIBRARY])
def test_a_revoked_digest(world: World, path: str) -> None:
    found = world.refusal("--revoke-digest", world.digest(path))
    assert list(found) == ["revoked-digest"]
    assert path in found["revoked-digest"]["problem"]


def test_a_revoked_key(world: World) -> None:
    tree = staged(world)
    found = world.refusal("--to", str(tree.top), "--revoke-cert", world.vendor.old.fingerprint)
    assert list(found) == ["revoked"]
    assert TOOL in found["revoked"]["problem"]


def test_one_fact_is_said_once(world: World) -> None:
    revoked = world.vendor.old.fingerprint
    _status, document = world.ask("--revoke-cert", revoked)
    assert names(document) == ["no-certificates"]
    world.now.certificate(Signer("Other", by=world.vendor.root), "other.pem")
    build(world.now, world.vendor.old, world.top / "scratch")
    _status, document = world.ask("--revoke-cert", revoked)
    assert sorted(names(document)) == ["manifest-not-signed", "not-enabled", "revoked"]
    arguments = ("trust", "plan", "--root", str(world.now.top), "--revoke-cert", revoked)
    text = world.cli(*arguments)[1].decode()
    assert "13.pem): it would be revoked\n" in text
    assert "CN=Thirteen (debian:13): it would be revoked\n" in text
    world.now.settings("[trust]\nanchors = 1\n")
    _status, document = world.ask()
    assert [(one["level"], one["name"]) for one in document["findings"]] == [
        ("error", "bad-configuration")
    ]


def test_who_signed_the_manifest_alone_is_named_as_well(world: World) -> None:
    """Where no file needs a signature, nothing else says it."""
    world.now.certificate(Signer("Other", by=world.vendor.root), "other.pem")
    world.now.settings('[boot]\nkeyring = "off"\n')
    build(world.now, world.vendor.old, world.top / "scratch")
    found = world.refusal("--revoke-cert", world.vendor.old.fingerprint)
    assert set(found) == {"manifest-not-signed", "revoked"}
    assert "CN=Thirteen, which signed the manifest" in found["revoked"]["problem"]


@pytest.mark.parametrize("case", ["revoke-cert", "revoke-digest"])
def test_what_is_revoked_and_nowhere_is_named(world: World, case: str) -> None:
    given = {"revoke-cert": "0A:" * 31 + "0A", "revoke-digest": f"sha256:{'0' * 64}"}[case]
    status, document = world.ask(f"--{case}", given)
    assert status == 0
    (said,) = [one for one in document["findings"] if one["name"] == "revokes-nothing"]
    assert said["level"] == "warning"
    assert f"--{case} {given}: no " in said["problem"]


@pytest.mark.parametrize("what", ["release", "anchor", "next", "digest"])
def test_what_is_revoked_and_there_is_not_said_to_be_nowhere(world: World, what: str) -> None:
    """Also where it is in one of the two systems only, or counts for nothing."""
    tree = staged(world)
    options = {
        "release": ("--revoke-cert", world.vendor.old.fingerprint),
        "anchor": ("--revoke-cert", world.vendor.root.fingerprint),
        "next": ("--revoke-cert", world.vendor.new.fingerprint),
        "digest": ("--revoke-digest", world.digest(LIBRARY)),
    }[what]
    for more in ((), ("--to", str(tree.top))):
        if what == "next" and not more:
            continue
        assert "revokes-nothing" not in names(world.ask(*options, *more)[1])


@pytest.mark.parametrize("text", ["ab" * 31, "AB:" * 31 + "A", "ab" * 33])
def test_a_fingerprint_with_a_slip_is_wrong_usage(world: World, text: str) -> None:
    status, out, err = world.cli("trust", "plan", "--revoke-cert", text)
    assert (status, out) == (2, b"")
    assert f"--revoke-cert: neither a file nor a fingerprint: {text}" in err
    assert "64 hexadecimal digits" in err


def test_a_revoked_anchor_takes_its_releases_along(world: World) -> None:
    path = str(world.now.top / "usr/share/voa/debian/trust-anchor-image/default/x509/root.pem")
    assert list(world.refusal("--revoke-cert", path)) == ["no-anchor"]


def test_a_revoked_authority_takes_its_releases_along(tmp_path: Path, cli: Cli) -> None:
    root = Signer("Root", ca=True)
    middle = Signer("Middle", by=root, ca=True)
    old = Signer("Thirteen", by=middle)
    world = World(tmp_path, Vendor(root, old, old), cli)
    path = world.now.certificate(middle, "middle.pem")
    build(world.now, old, world.top / "scratch")
    assert world.ask()[0] == 0
    found = world.refusal("--revoke-cert", path)
    assert list(found) == ["no-certificates"]
    assert "it would be revoked" in found["no-certificates"]["problem"]


ON_DEVICE = 'statement = "/trust.json"\nstatement_device = "/dev/disk/by-label/NOSUCH"\n'


def test_a_statement_on_a_device_that_nobody_can_look_at(world: World) -> None:
    out = with_statement(world, "--version=5")
    world.now.settings(f"[trust]\n{ON_DEVICE}")
    build(world.now, world.vendor.old, world.top / "scratch")
    found = world.refusal()
    assert list(found) == ["statement-not-seen"]
    assert found["statement-not-seen"]["path"] == "/dev/disk/by-label/NOSUCH"
    assert "--statement" in found["statement-not-seen"]["remedy"]
    assert world.ask("--statement", str(out))[0] == 0
    world.now.settings(f'[trust]\n{ON_DEVICE}without_statement = "built-in"\n')
    build(world.now, world.vendor.old, world.top / "scratch")
    status, document = world.ask()
    assert (status, "statement-not-used" in names(document)) == (0, True)


def test_the_devices_of_this_machine_are_not_those_of_another_root(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = with_statement(world, "--version=5")
    world.now.settings(f"[trust]\n{ON_DEVICE}")
    build(world.now, world.vendor.old, world.top / "scratch")
    monkeypatch.setattr("veriseal.boot.gather.mounted_at", lambda device: str(out.parent))
    assert list(world.refusal()) == ["statement-not-seen"]


def test_a_clock_that_is_not_set(world: World) -> None:
    """Then the time of the manifest counts, and it is before the certificates are valid."""
    world.now.settings('[trust]\ndates = "enforce"\n')
    created = int((START - datetime.timedelta(days=1)).timestamp())
    build(world.now, world.vendor.old, world.top / "scratch", f"--created={created}")
    found = world.refusal()
    assert list(found) == ["clock-needed"]
    assert "goes by 2025-12-31" in found["clock-needed"]["problem"]
    assert "not valid before 2026-01-01" in found["clock-needed"]["problem"]
    build(world.now, world.vendor.old, world.top / "scratch")
    assert world.ask()[0] == 0


@pytest.mark.parametrize("load_path", ["etc/voa", "usr/local/share/voa", "usr/share/voa"])
def test_a_rogue_certificate_on_the_disk(world: World, load_path: str) -> None:
    rogue = world.now.certificate(Signer("Rogue"), "rogue.pem", load_path=load_path)
    _status, document = world.ask()
    said = {one["name"]: one for one in document["findings"] if one.get("path") == rogue}
    assert set(said) == {"rogue-certificate", "not-vouched"}
    assert said["rogue-certificate"]["level"] == "error"
    assert "Rogue" in said["not-vouched"]["problem"]


def test_a_rogue_certificate_below_run_is_said(world: World) -> None:
    rogue = world.now.certificate(Signer("Rogue"), "rogue.pem", load_path="run/voa")
    status, document = world.ask()
    assert status == 0
    assert ("rogue-certificate", rogue) in [
        (one["name"], one.get("path")) for one in document["findings"]
    ]


def test_a_certificate_of_the_release_that_was_replaced(world: World) -> None:
    initrd = world.initrd()
    path = world.now.certificate(Signer("Rogue", by=world.vendor.root), "13.pem")
    found = world.refusal("--to", str(initrd.top))
    assert found["changed-certificate"]["path"] == path


def test_a_large_file_of_the_release_among_the_certificates(world: World) -> None:
    large = world.now.top / "usr/share/voa/debian/package/default/openpgp/keyring.pgp"
    large.parent.mkdir(parents=True)
    large.write_bytes(b"x" * 100_000)
    build(world.now, world.vendor.old, world.top / "scratch")
    assert world.ask()[0] == 0
    for data in (b"x" * 99_999 + b"y", b"x" * 200_000):
        large.write_bytes(data)
        assert world.refusal()["changed-certificate"]["path"] == str(large)


def test_another_vendors_anchor(world: World) -> None:
    stranger = Signer("Stranger", ca=True)
    initrd = world.initrd()
    initrd.certificate(Signer("Theirs", by=stranger), "theirs.pem")
    initrd.anchor(stranger, "stranger.pem", os_name="fedora")
    status, document = world.ask("--to", str(initrd.top))
    assert (status, "not-vouched" in names(document)) == (0, True)
    initrd.remove("usr/share/voa/debian/trust-anchor-image/default/x509/root.pem")
    initrd.anchor(stranger, "root.pem")
    found = world.refusal("--to", str(initrd.top))
    assert {"manifest-not-signed", "not-vouched"} <= set(found)


def test_two_certificates_with_one_serial_number_and_key_identifier(world: World) -> None:
    initrd = world.initrd()
    for name in "ab":
        one = Signer("Twin", by=world.vendor.root, serial=99, skid=b"twin")
        initrd.certificate(one, f"{name}.pem")
    assert list(world.refusal("--to", str(initrd.top))) == ["certificate-collision"]


@pytest.mark.parametrize("dates", ["ignore", "warn", "enforce"])
def test_an_expired_certificate(tmp_path: Path, cli: Cli, vendor: Vendor, dates: str) -> None:
    end = START - datetime.timedelta(days=1)
    old = Signer("Old", by=vendor.root, start=PAST, end=end)
    world = World(tmp_path, vendor._replace(old=old), cli)
    world.now.settings(f'[trust]\ndates = "{dates}"\n')
    build(world.now, old, world.top / "scratch")
    if dates == "enforce":
        found = world.refusal()
        assert "expired on 2025-12-31" in found["no-certificates"]["problem"]
        other = Signer("Fresh", by=vendor.root)
        world.now.certificate(other, "fresh.pem")
        found = world.refusal()
        assert {"manifest-not-signed", "expired"} <= set(found)
        return
    status, document = world.ask()
    assert status == 0
    assert ("expired" in names(document)) == (dates == "warn")


# Questions that cannot be asked, and initrds that cannot be read


def test_the_own_release_cannot_be_dropped(world: World, cli: Cli) -> None:
    status, _out, err = cli("trust", "plan", "--root", str(world.now.top), "--drop", "debian:13")
    assert (status, "own release cannot be dropped" in err) == (1, True)


def test_what_is_not_in_the_window_cannot_be_dropped(world: World, cli: Cli) -> None:
    status, _out, err = cli("trust", "plan", "--root", str(world.now.top), "--drop", "debian:99")
    assert (status, "debian:99" in err) == (1, True)


def test_a_statement_that_nobody_wants(world: World) -> None:
    assert list(world.refusal("--statement", "/nonexistent")) == ["no-statement-wanted"]


@pytest.mark.parametrize(
    ("make", "reason"),
    [(None, "no-initrd"), ("directory", "no-initrd"), ("writable", "untrusted-initrd")],
)
def test_what_is_no_initrd(world: World, make: str | None, reason: str, as_root: None) -> None:
    path = world.top / "initrd.img"
    if make == "directory":
        path.mkdir()
    elif make == "writable":
        path.touch()
        path.chmod(0o666)
    assert list(world.refusal("--initrd", str(path))) == [reason]


def test_without_the_program_that_unpacks(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = world.top / "initrd.img"
    path.touch(mode=0o600)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    found = world.refusal("--initrd", str(path))
    assert list(found) == ["no-lsinitrd"]
    assert "Install dracut" in found["no-lsinitrd"]["remedy"]


def test_an_initrd_that_is_exchanged_after_it_was_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_root: None
) -> None:
    """What is unpacked is the file that was looked at."""
    if os.getuid() != 0:
        monkeypatch.setattr("os.geteuid", lambda: 1)
    path, good, evil = (tmp_path / name for name in ("initrd.img", "good", "evil"))
    for one in (good, evil):
        one.write_text(one.name)
        one.chmod(0o600)
    path.symlink_to(good)
    program = tmp_path / "bin/lsinitrd"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nln -sf {evil} {path}\necho "$1 is $(cat "$2"), $(cat {path})"\nexit 3\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    with pytest.raises(VerisealError) as caught, initrd.unpacked([str(path)], lambda _: None):
        pass
    assert (caught.value.reason, caught.value.path) == ("bad-initrd", str(path))
    assert caught.value.found == "--unpack is good, evil"


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """What only root is refused is refused to whoever runs the tests."""
    monkeypatch.setattr("os.geteuid", lambda: 0)


# composefs


def images(world: World, *signers: Signer) -> System:
    """An unpacked initrd of a composefs root, with a digest file for an image by each signer."""
    initrd = world.initrd()
    initrd.settings('[boot]\nroot = "composefs"\n')
    scratch = world.top / "scratch"
    for number, signer in enumerate(signers, 1):
        image = world.top / f"image-{number}"
        data = bytearray(4096) + str(number).encode()
        data[:4], data[1024:1028] = b"\x9a\x62\x78\xd0", b"\xe2\xe1\xf5\xe0"
        image.write_bytes(data)
        arguments = ("build", f"--image={image}", "--os=debian:13", f"--version={number}",
                     *signer.options(scratch),
                     f"--out={initrd.top}/usr/lib/veriseal/images")  # fmt: skip
        assert world.cli(*arguments)[0] == 0
    return initrd


def test_the_digest_file_of_an_image(world: World) -> None:
    status, document = world.ask("--to", str(images(world, world.vendor.old).top))
    assert (status, document["findings"]) == (0, [])


def deployments(system: System) -> list[Path]:
    """By version."""
    found = (system.top / "usr/lib/veriseal/images").iterdir()
    version = lambda one: json.loads((one / "manifest.json").read_text())["version"]  # noqa: E731
    return sorted(found, key=version)


def test_only_the_image_that_the_boot_entry_names_counts(world: World) -> None:
    initrd = images(world, world.vendor.old, Signer("Stranger"))
    good, other = deployments(initrd)
    status, document = world.ask("--to", str(initrd.top), "--image", good.name)
    assert (status, document["findings"]) == (0, [])
    refused = world.refusal("--to", str(initrd.top), "--image", f"composefs={other.name}")
    assert list(refused) == ["manifest-not-signed"]
    assert list(world.refusal("--to", str(initrd.top), "--image", "0" * 64)) == ["no-manifest"]
    good.rename(good.parent / ("1" * 64))
    assert list(world.refusal("--to", str(initrd.top), "--image", "1" * 64)) == ["other-image"]


def test_a_digest_file_that_is_in_the_tree_only(world: World) -> None:
    """The boot looks in the initrd, unless the settings say that it looks in the tree."""
    initrd = images(world, world.vendor.old)
    tree = world.copy("tree")
    shutil.move(initrd.top / "usr/lib/veriseal/images", tree.top / "usr/lib/veriseal/images")
    arguments = ("--to", str(initrd.top), "--tree", str(tree.top))
    assert list(world.refusal(*arguments)) == ["no-manifest"]
    initrd.settings('[boot]\nroot = "composefs"\nimages = "/sysroot/usr/lib/veriseal/images"\n')
    status, document = world.ask(*arguments)
    assert (status, document["findings"]) == (0, [])
    assert document["not_compared"] == "the image itself, and which one the boot entry names"


def test_no_digest_file_that_counts(world: World) -> None:
    assert list(world.refusal("--to", str(images(world).top))) == ["no-manifest"]


def test_only_digest_files_by_others(world: World) -> None:
    found = world.refusal("--to", str(images(world, Signer("Stranger")).top))
    assert list(found) == ["manifest-not-signed"]


def test_an_image_that_could_not_be_booted_beside_one_that_could(world: World) -> None:
    initrd = images(world, world.vendor.old, Signer("Stranger"))
    status, document = world.ask("--to", str(initrd.top))
    assert status == 0
    assert [(one["level"], one["name"]) for one in document["findings"]] == [
        ("warning", "manifest-not-signed")
    ]
