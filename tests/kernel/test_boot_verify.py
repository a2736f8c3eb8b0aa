"""`veriseal boot seal` and `veriseal boot verify` as in an initrd, on a tree mounted at /sysroot.

Most of it without the keyring: a keyring can be sealed once in a boot. What is checked with the
sealed one comes last.
"""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple

import pytest
from systemd import journal as reading

from veriseal import domain, journal, manifest, policy, report, table, trusted
from veriseal.boot import floor
from veriseal.boot.floor import Floor
from veriseal.digest import Digest
from veriseal.errors import VerisealError
from veriseal.report import State

from . import helpers
from .conftest import AS_NOBODY, Prepared, Sealed
from .helpers import NOT_EXCLUSIVE, PING, POWEROFF, PROGRAMS, SHELL, Release, Result, Signer

pytestmark = pytest.mark.kernel

SYSROOT = "/sysroot"
INSTALLED = f"/{manifest.DIRECTORY}"
BUILT = 7
"""The version of the manifest."""
WITHOUT_KEYRING = '[boot]\nkeyring = "off"\n'
NOT_ENFORCED = "(reported, not enforced) "
OWN = f"{SYSROOT}{INSTALLED}"


@pytest.fixture(scope="module")
def release(rsa: Signer) -> Iterator[Release]:
    directory = "/verity/test-boot-release"
    yield helpers.build(directory, rsa)
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def tree(release: Release) -> Iterator[str]:
    """The release with verity and without signatures. Whoever changes it changes it back."""
    top = helpers.install_tree(release, "/verity/test-boot", "--unsigned")
    yield top
    shutil.rmtree(top)


class Booted(NamedTuple):
    """What the step `verify` did, when it began, and the report afterwards."""

    done: Result
    since: float

    @property
    def report(self) -> dict[str, Any]:
        return report.read()

    @property
    def tree(self) -> dict[str, Any]:
        return dict(self.report["tree"])

    def found(self) -> list[tuple[str, str]]:
        return [(one["kind"], one["path"]) for one in self.tree["findings"]]


def logged(message_id: str, since: float) -> list[dict[str, Any]]:
    """The journal's records of this kind since then."""
    helpers.must_run("journalctl", "--sync")
    with reading.Reader() as reader:
        reader.this_boot()
        reader.add_match(MESSAGE_ID=message_id)
        return [one for one in reader if one["__REALTIME_TIMESTAMP"].timestamp() >= since]


@contextmanager
def root_mounted(tree: str, version: int = BUILT) -> Iterator[None]:
    """As in an initrd that knows ``version``, with ``tree`` at /sysroot."""
    os.makedirs(SYSROOT, exist_ok=True)
    before = helpers.read(floor.PATH)
    helpers.write(floor.PATH, floor.serialize(Floor(version)).encode())
    with helpers.mounted(tree, SYSROOT, "--bind"):
        yield
    helpers.write(floor.PATH, before)
    with suppress(FileNotFoundError):
        os.unlink(table.PATH)


@pytest.fixture
def root(initrd: str, tree: str, release: Release, rsa: Signer) -> Iterator[str]:
    """An initrd that trusts the release, and the release at /sysroot."""
    helpers.write(f"{initrd}/release.pem", helpers.read(rsa.cert_path))
    with root_mounted(tree):
        yield SYSROOT
    for path in (policy.PATHS[-1], report.PATH):
        with suppress(FileNotFoundError):
            os.unlink(path)
    # Whatever became of it.
    helpers.remove(tree + INSTALLED)
    helpers.put_manifest(release, tree)


def verify() -> Booted:
    with suppress(FileNotFoundError):
        os.unlink(table.PATH)
    since = time.time()
    return Booted(helpers.command("boot", "verify"), since)


def boot(settings: str = WITHOUT_KEYRING) -> Booted:
    """Both steps."""
    helpers.write(policy.PATHS[-1], settings.encode())
    helpers.must_command("boot", "seal")
    return verify()


def refused(booted: Booted, reason: str) -> str:
    """Nothing is accepted, and report, journal and console say why; the console's last line."""
    assert booted.done.status == 1
    assert booted.done.out == b""
    assert booted.report["manifest"] == "failed"
    assert booted.report["failure"]["reason"] == reason
    assert not os.path.exists(table.PATH)
    (record,) = logged(journal.VERIFY_FAILED, booted.since)
    message = booted.done.err.splitlines()[-1].removeprefix("veriseal: ")
    assert record["VERISEAL_REASON"] == reason
    assert record["MESSAGE"] == f"the tree is not accepted: {message}"
    return message


@contextmanager
def swapped() -> Iterator[None]:
    """Two programs of the root are in each other's place meanwhile."""

    def swap() -> None:
        os.rename(SYSROOT + PING, f"{SYSROOT}/aside")
        os.rename(SYSROOT + POWEROFF, SYSROOT + PING)
        os.rename(f"{SYSROOT}/aside", SYSROOT + POWEROFF)

    swap()
    yield
    swap()


SWAPPED = [("swapped", PING), ("swapped", POWEROFF)]


@contextmanager
def switched() -> Iterator[None]:
    """The programs are where the root would have them after it is switched."""
    os.makedirs("/opt/kiosk", exist_ok=True)
    with helpers.mounted(f"{SYSROOT}/opt/kiosk", "/opt/kiosk", "--bind"):
        yield


def statuses() -> list[int]:
    return [helpers.launch(path).status for path in PROGRAMS]


# Without the keyring


def test_a_good_boot_without_the_keyring(root: str, rsa: Signer) -> None:
    since = time.time()
    booted = boot()
    assert booted.done == Result(0, b"", "")
    head = {key: booted.report[key] for key in ("keyring", "manifest", "require")}
    assert head == {"keyring": "off", "manifest": "verified", "require": "manifest"}
    tree = booted.tree
    assert (tree["findings"], tree["version"], tree["floor"]) == ([], BUILT, BUILT)
    assert tree["signed_by"] == [rsa.certificate.fingerprint]
    assert (tree["mounts"], tree["not_covered"]) == ([], [])
    # The names of a hard link count each.
    assert tree["measured"] == tree["files"] == tree["launch_table_rows"]
    (record,) = logged(journal.KEYRING_OFF, since)
    assert "the kernel does not check signatures in this boot" in record["MESSAGE"]
    (record,) = logged(journal.VERIFY_DONE, since)
    assert record["MESSAGE"].startswith("debian:13 version 7, signed by ")
    assert not logged(journal.VERIFY_FAILED, since)
    assert not logged(journal.VERIFY_FINDING, since)


def test_status_names_it(root: str) -> None:
    boot()
    done = helpers.command("status")
    lines = dict(line.split(":", 1) for line in done.out.decode().splitlines())
    assert done.status == 0, done
    assert lines["sealed"].strip() == "no (boot.keyring is off)"
    assert lines["manifest"].strip().startswith("verified, debian:13 version 7 (floor 7), ")
    assert lines["a program must have"].strip() == "its place in the manifest"


def test_the_launcher_runs_what_was_accepted_and_nothing_else(root: str) -> None:
    boot()
    with switched():
        assert statuses() == list(PROGRAMS.values())
        path = f"{SYSROOT}{POWEROFF}"
        assert "signed, but this is /opt/kiosk/bin/poweroff" in helpers.launch_refused(
            path, "misplaced", measured(path)
        )
    stray = "/verity/test-boot-stray"
    digest = helpers.install(stray, helpers.tiny_elf(5))
    helpers.launch_refused(stray, "not-in-manifest", digest)
    helpers.launch_refused(stray, "not-in-manifest", digest, prefix=AS_NOBODY)
    os.unlink(stray)


def measured(path: str) -> Digest:
    return Digest.parse(helpers.must_run("fsverity", "measure", path).split()[0])


def test_signed_files_and_a_kernel_that_checks_them_all_the_same(
    root: str, release: Release, rsa: Signer
) -> None:
    """With built-in signatures in the kernel and nobody enrolled it opens no signed file."""
    with helpers.enrolled(rsa):
        tree = helpers.install_tree(release, "/verity/test-boot-signed")
    helpers.evict()
    with helpers.mounted(tree, SYSROOT, "--bind"):
        booted = boot()
        refused(booted, "tree-refused")
    assert {kind for kind, _ in booted.found()} == {"not-enrolled"}
    shutil.rmtree(tree)


# Findings


@pytest.fixture
def changed(root: str) -> Iterator[list[tuple[str, str]]]:
    """Two programs swapped and four units added; what there is to be found."""
    units = [f"/etc/systemd/system/{number}.service" for number in range(4)]
    for unit in units:
        helpers.write(root + unit, b"[Service]\nExecStart=/evil\n")
    with swapped():
        yield [("added", unit) for unit in units] + SWAPPED
    for unit in units:
        os.unlink(root + unit)


def test_findings_fail_the_boot(changed: list[tuple[str, str]]) -> None:
    booted = boot()
    message = refused(booted, "tree-refused")
    assert "/sysroot: the tree is not as its manifest says: 2 swapped, 4 added. " in message
    assert sorted(booted.found()) == sorted(changed)
    shown = booted.done.err.splitlines()
    assert len(shown) == 5 + 1 + 1
    assert shown[5] == "veriseal: and 1 more"
    records = logged(journal.VERIFY_FINDING, booted.since)
    assert {one["VERISEAL_PATH"] for one in records} == {path for _, path in changed}
    texts = {str(one["MESSAGE"]) for one in records}
    assert all(line.removeprefix("veriseal: ") in texts for line in shown[:5])
    (record,) = logged(journal.VERIFY_DONE, booted.since)
    assert record["MESSAGE"].endswith(" entries, 2 swapped, 4 added")
    nothing_runs("not-verified")


def nothing_runs(reason: str) -> None:
    done = helpers.launch("/usr/bin/true")
    assert done.status == helpers.REFUSED
    assert f"[{reason}, " in done.err


def test_findings_that_are_only_reported(root: str, changed: list[tuple[str, str]]) -> None:
    booted = boot(WITHOUT_KEYRING + 'mode = "report"\n')
    assert (booted.done.status, booted.done.out) == (0, b"")
    lines = booted.done.err.splitlines()
    assert len(lines) == 6
    assert all(line.startswith(f"veriseal: {NOT_ENFORCED}") for line in lines)
    assert booted.report["manifest"] == "reported"
    assert sorted(booted.found()) == sorted(changed)
    kinds = (journal.VERIFY_FINDING, journal.VERIFY_DONE)
    records = [one for kind in kinds for one in logged(kind, booted.since)]
    assert len(records) == len(changed) + 1
    assert all(one["MESSAGE"].startswith(NOT_ENFORCED) for one in records)
    assert "nothing is enforced" in helpers.command("status").out.decode()
    with table.Table(trusted.boot_id()) as accepted:
        for path, now_at in ((PING, POWEROFF), (POWEROFF, PING)):
            with pytest.raises(VerisealError):
                accepted.require(path, measured(root + now_at))
    with switched():
        # Whatever the mode, only what is in its place can be run by the launcher.
        assert statuses() == [helpers.REFUSED, helpers.REFUSED, PROGRAMS[SHELL]]


def test_a_manifest_that_fails_is_only_reported_too(root: str) -> None:
    os.unlink(f"{OWN}/{manifest.TREE_LIST}")
    booted = boot(WITHOUT_KEYRING + 'mode = "report"\n')
    assert booted.done.status == 0
    (line,) = booted.done.err.splitlines()
    assert line.startswith(f"veriseal: {NOT_ENFORCED}the tree is not accepted: {OWN}/tree.dump: ")
    assert booted.report["manifest"] == "failed"
    assert not os.path.exists(table.PATH)
    nothing_runs("not-verified")
    (record,) = logged(journal.VERIFY_FAILED, booted.since)
    assert record["MESSAGE"] == line.removeprefix("veriseal: ")


def test_hostile_names_do_nothing_to_console_and_journal(root: str) -> None:
    name = "\x1b[2J\nveriseal: fine\udcff"
    helpers.write(f"{root}/opt/kiosk/{name}", b"")
    booted = boot()
    os.unlink(f"{root}/opt/kiosk/{name}")
    assert len(booted.done.err.splitlines()) == 2
    assert not re.search(r"[^\x20-\x7e\n]", booted.done.err)
    (record,) = logged(journal.VERIFY_FINDING, booted.since)
    assert "\n" not in record["MESSAGE"]
    assert booted.found() == [("added", f"/opt/kiosk/{name}")]


def test_files_without_verity_where_the_policy_wants_all(root: str) -> None:
    path = root + NOT_EXCLUSIVE
    helpers.must_run("cp", "-a", "--reflink=never", path, f"{path}.new")
    os.rename(f"{path}.new", path)
    booted = boot()
    assert (booted.done.status, booted.tree["hashed"]) == (0, 1)
    booted = boot(WITHOUT_KEYRING + 'verity = "all"\n')
    refused(booted, "tree-refused")
    assert booted.found() == [("no-verity", NOT_EXCLUSIVE)]
    helpers.enable(path)


# Manifests


def edit(name: str, old: bytes, new: bytes) -> None:
    data = helpers.read(f"{OWN}/{name}")
    assert old in data
    helpers.write(f"{OWN}/{name}", data.replace(old, new))


def signature_path() -> str:
    (name,) = (name for name in os.listdir(OWN) if name.endswith(".sig"))
    return f"{OWN}/{name}"


def sign_again(signer: Signer, name: str = "again") -> None:
    data = helpers.read(f"{OWN}/{manifest.NAME}")
    der = helpers.sign(data, signer, domain.MANIFEST)
    helpers.write(f"{OWN}/{manifest.NAME}.{name}.sig", der)


def rolled_back(rsa: Signer, stranger: Signer) -> None:
    helpers.write(floor.PATH, floor.serialize(Floor(BUILT + 1)).encode())


def other_os(rsa: Signer, stranger: Signer) -> None:
    edit(manifest.NAME, b"debian:13", b"debian:12")
    sign_again(rsa)


def edited(rsa: Signer, stranger: Signer) -> None:
    edit(manifest.NAME, b'"version": 7', b'"version": 8')


def strangers(rsa: Signer, stranger: Signer) -> None:
    os.unlink(signature_path())
    sign_again(stranger)


def without_signature(rsa: Signer, stranger: Signer) -> None:
    os.unlink(signature_path())


def large_signature(rsa: Signer, stranger: Signer) -> None:
    os.truncate(signature_path(), 100 << 20)


def signature_that_is_a_fifo(rsa: Signer, stranger: Signer) -> None:
    path = signature_path()
    os.unlink(path)
    os.mkfifo(path)


def manifest_that_is_a_fifo(rsa: Signer, stranger: Signer) -> None:
    os.unlink(f"{OWN}/{manifest.NAME}")
    os.mkfifo(f"{OWN}/{manifest.NAME}")


def behind_a_link(rsa: Signer, stranger: Signer) -> None:
    os.rename(OWN, f"{SYSROOT}/var/manifest")
    os.symlink("/var/manifest", OWN)


def list_behind_a_link(rsa: Signer, stranger: Signer) -> None:
    shutil.copy(f"{OWN}/{manifest.TREE_LIST}", f"{SYSROOT}/var")
    os.unlink(f"{OWN}/{manifest.TREE_LIST}")
    os.symlink(f"{SYSROOT}/var/{manifest.TREE_LIST}", f"{OWN}/{manifest.TREE_LIST}")


def truncated_list(rsa: Signer, stranger: Signer) -> None:
    path = f"{OWN}/{manifest.TREE_LIST}"
    data = helpers.read(path)
    helpers.write(path, data[: data.index(b"\n", len(data) // 2) + 1])


def longer_list(rsa: Signer, stranger: Signer) -> None:
    data = helpers.read(f"{OWN}/{manifest.TREE_LIST}")
    helpers.write(f"{OWN}/{manifest.TREE_LIST}", data + b"\n")


def other_list(rsa: Signer, stranger: Signer) -> None:
    edit(manifest.TREE_LIST, b" 100755 ", b" 104755 ")


MANIFESTS: dict[Callable[[Signer, Signer], None], str] = {
    rolled_back: "rolled-back",
    other_os: "other-os",
    edited: "manifest-not-signed",
    strangers: "manifest-not-signed",
    without_signature: "manifest-not-signed",
    large_signature: "manifest-not-signed",
    signature_that_is_a_fifo: "not-a-regular-file",
    manifest_that_is_a_fifo: "not-a-regular-file",
    behind_a_link: "no-manifest",
    list_behind_a_link: "no-manifest",
    truncated_list: "attached-changed",
    longer_list: "attached-changed",
    other_list: "attached-changed",
}


@pytest.mark.parametrize("spoil", MANIFESTS)
def test_a_manifest_that_is_refused(
    root: str, rsa: Signer, stranger: Signer, spoil: Callable[[Signer, Signer], None]
) -> None:
    spoil(rsa, stranger)
    booted = boot()
    for name in os.listdir(f"{root}/var"):
        helpers.remove(f"{root}/var/{name}")
    refused(booted, MANIFESTS[spoil])
    assert "tree" not in booted.report


def test_two_signatures_are_needed(root: str, initrd: str, signers: dict[str, Signer]) -> None:
    rsa, second = signers["rsa2048"], signers["rsa3072"]
    helpers.write(f"{initrd}/second.pem", helpers.read(second.cert_path))
    settings = WITHOUT_KEYRING + "signatures_needed = 2\n"
    assert rsa.certificate.subject in refused(boot(settings), "manifest-not-signed")
    # Twice by the same is once.
    sign_again(rsa)
    refused(verify(), "manifest-not-signed")
    sign_again(second, "second")
    booted = verify()
    assert booted.done.status == 0
    assert sorted(booted.tree["signed_by"]) == sorted(
        one.certificate.fingerprint for one in (rsa, second)
    )
    assert booted.tree["signatures_needed"] == 2


# The step before


def test_without_the_seal_step_there_is_nothing(root: str) -> None:
    helpers.write(policy.PATHS[-1], WITHOUT_KEYRING.encode())
    booted = verify()
    assert booted.done.status == 1
    assert booted.done.err.startswith(f"veriseal: {report.PATH}: there is no boot report")
    assert not os.path.exists(report.PATH)
    assert not os.path.exists(table.PATH)


def test_after_a_seal_step_that_failed(root: str, initrd: str) -> None:
    os.rename(f"{initrd}/release.pem", f"{initrd}/aside")
    helpers.write(policy.PATHS[-1], WITHOUT_KEYRING.encode())
    assert helpers.command("boot", "seal").status == 1
    os.rename(f"{initrd}/aside", f"{initrd}/release.pem")
    booted = verify()
    assert booted.done.status == 1
    assert booted.report["keyring"] == "failed"
    # What came first is why.
    assert booted.report["failure"]["reason"] == "no-certificates"
    nothing_runs("not-sealed")


@pytest.mark.parametrize(
    ("data", "reason"), [(None, "no-floor"), (b'{"schema": 1, "version": 7}', "bad-floor")]
)
def test_an_initrd_without_a_good_floor(root: str, data: bytes | None, reason: str) -> None:
    os.unlink(floor.PATH)
    if data is not None:
        helpers.write(floor.PATH, data)
    helpers.write(policy.PATHS[-1], WITHOUT_KEYRING.encode())
    assert helpers.command("boot", "seal").status == 1
    booted = verify()
    assert booted.done.status == 1
    assert booted.report["failure"]["reason"] == reason
    assert not os.path.exists(table.PATH)


def test_settings_that_changed_in_between(root: str) -> None:
    helpers.write(policy.PATHS[-1], WITHOUT_KEYRING.encode())
    helpers.must_command("boot", "seal")
    os.unlink(policy.PATHS[-1])
    refused(verify(), "not-sealed")


def test_settings_that_cannot_be_read(root: str) -> None:
    boot()
    helpers.write(policy.PATHS[-1], b'[boot]\nmode = "report"\nkeyring = "of"\n')
    refused(verify(), "bad-configuration")


# Mounts


def test_a_separate_usr_is_checked_and_named(root: str, release: Release) -> None:
    usr = helpers.install_tree(release, "/btrfs/test-boot", "--unsigned") + "/usr"
    with helpers.mounted(usr, f"{root}/usr", "--bind"):
        booted = boot()
        assert booted.done.status == 0, booted.done
        assert (booted.tree["mounts"], booted.tree["not_covered"]) == (["/usr"], [])
        helpers.write(f"{usr}/lib/added", b"")
        booted = boot()
        refused(booted, "tree-refused")
    assert booted.found() == [("added", "/usr/lib/added")]
    shutil.rmtree("/btrfs/test-boot")


def test_what_is_mounted_where_nothing_is_checked_is_named(root: str) -> None:
    with ExitStack() as mounts:
        for name in ("boot", "var"):
            mounts.enter_context(helpers.mounted("tmpfs", f"{root}/{name}", "-t", "tmpfs",
                                                 "-o", "mode=0755"))  # fmt: skip
        booted = boot()
    assert booted.done.status == 0, booted.done
    assert (booted.tree["mounts"], sorted(booted.tree["not_covered"])) == ([], ["/boot", "/var"])
    said = {str(one["MESSAGE"]) for one in logged(journal.VERIFY_NOT_COVERED, booted.since)}
    assert len(said) == 2
    assert all(any(name in text for text in said) for name in ("/boot", "/var"))


def test_what_is_mounted_over_files_is_checked(root: str, tree: str) -> None:
    """A directory with nothing but files in it, and a file."""
    with (
        helpers.mounted(f"{tree}/opt/kiosk/bin", f"{root}/opt/kiosk/bin", "--bind"),
        helpers.mounted(tree + NOT_EXCLUSIVE, root + NOT_EXCLUSIVE, "--bind"),
    ):
        booted = boot()
    assert booted.done.status == 0, booted.done
    assert booted.tree["not_covered"] == []
    assert sorted(booted.tree["mounts"]) == ["/opt/kiosk/bin", NOT_EXCLUSIVE]


# The floor of the next initrd


def install(directory: str) -> Result:
    """`veriseal boot install`, into an empty directory."""
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    return helpers.command("boot", "install", directory)


def floor_now(directory: str = "/run/test-initrd") -> Floor:
    done = install(directory)
    assert done.status == 0, done
    return floor.read(directory + floor.PATH)


@pytest.fixture
def installed(release: Release) -> Iterator[str]:
    """The manifest as the running system has it."""
    yield helpers.put_manifest(release, "")
    helpers.remove(INSTALLED)


def test_the_floor_is_what_was_booted_or_installed(root: str, release: Release) -> None:
    assert floor_now() == Floor()
    boot()
    assert floor_now() == Floor(BUILT, 1)
    os.unlink(report.PATH)
    helpers.put_manifest(release, "")
    assert floor_now() == Floor(BUILT, 1)
    helpers.remove(INSTALLED)


def test_the_floor_never_sinks(root: str, installed: str) -> None:
    state = State("off", "verified", "manifest")
    report.write(state, {"tree": {"version": BUILT + 1, "created": 2}, "floor": BUILT})
    done = install("/run/test-initrd")
    assert (done.status, done.out) == (1, b"")
    assert "the manifest is older than one this machine has known" in done.err
    known = {"floor": Floor(BUILT, 9, 4)._asdict(), "trust": {"statement": 5}}
    report.write(state, {"tree": {"version": BUILT, "created": 2}, **known})
    assert floor_now() == Floor(BUILT, 9, 5)


def test_no_initrd_for_a_manifest_that_would_not_boot(root: str, installed: str) -> None:
    helpers.write(f"{installed}/{manifest.TREE_LIST}", b"")
    done = install("/run/test-initrd")
    assert (done.status, done.out) == (1, b"")
    assert "not the file that the manifest was signed with" in done.err
    assert not os.path.exists("/run/test-initrd" + floor.PATH)


# With the sealed keyring


@pytest.fixture
def sealed_root(
    sealed: Sealed, place: str, release: Release, prepared: dict[str, Prepared]
) -> Iterator[Prepared]:
    """The release, signed, at /sysroot of the sealed boot. Gives what is on its file system."""
    before = {path: helpers.read(path) for path in (report.PATH, policy.PATHS[-1])}
    tree = helpers.install_tree(release, f"{place}/tree")
    helpers.evict()
    with root_mounted(tree):
        yield prepared["ext4" if place.startswith("/verity") else "btrfs"]
    for path, data in before.items():
        helpers.write(path, data)


def test_a_good_boot_with_the_keyring(sealed_root: Prepared, place: str) -> None:
    booted = boot('[launch]\nrequire = "both"\n')
    assert booted.done == Result(0, b"", "")
    head = {key: booted.report[key] for key in ("keyring", "manifest", "require")}
    assert head == {"keyring": "sealed", "manifest": "verified", "require": "both"}
    assert booted.tree["measured"] == booted.tree["files"] - 1
    with switched():
        if helpers.shows_signature(place):
            assert statuses() == list(PROGRAMS.values())
            with swapped():
                helpers.launch_refused(PING, "misplaced", measured(PING))
    done = helpers.command("status")
    assert (done.status, done.err) == (0, "")


def test_what_the_sealed_kernel_does_not_open_is_found(sealed_root: Prepared, place: str) -> None:
    # Not by way of /sysroot: a link cannot lead from one mount to another.
    tree = f"{place}/tree"
    for path, other in ((PING, sealed_root.unsigned), (POWEROFF, sealed_root.stranger)):
        os.unlink(tree + path)
        os.link(other, tree + path)
        os.link(other, f"{tree}/opt/kiosk/{os.path.basename(other)}")
    booted = boot("")
    refused(booted, "tree-refused")
    assert sorted(booted.found()) == [
        ("added", "/opt/kiosk/stranger"),
        ("added", "/opt/kiosk/unsigned"),
        ("not-enrolled", POWEROFF),
        ("unsigned", PING),
    ]


def test_other_certificates_than_were_enrolled(sealed_root: Prepared, stranger: Signer) -> None:
    extra = helpers.write(f"{helpers.VOA}/stranger.pem", helpers.read(stranger.cert_path))
    booted = verify()
    os.unlink(extra)
    assert booted.done.status == 1
    assert booted.report["failure"]["reason"] == "other-certificates"
    assert booted.report["manifest"] == "failed"
    assert not os.path.exists(table.PATH)


def test_a_sysctl_that_was_reset_after_the_seal(sealed_root: Prepared) -> None:
    helpers.set_sysctl(False)
    booted = verify()
    helpers.set_sysctl(True)
    assert booted.done.status == 1
    assert booted.report["failure"]["reason"] == "read-back-failed"
