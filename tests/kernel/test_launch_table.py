"""The launch table: what runs is what the release has at that path, whatever led to it.

Each program ends with a status of its own, so that it shows whose contents ran.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import pytest

from veriseal import report, table, trusted
from veriseal.digest import Digest
from veriseal.report import State

from . import helpers
from .conftest import AS_NOBODY, Prepared, Sealed
from .helpers import Result, Signer, launch, launch_refused

pytestmark = pytest.mark.kernel

PLACE = "/verity/table"
BIN = f"{PLACE}/bin"
PING, POWEROFF, SCRIPT, DASH = (f"{BIN}/{name}" for name in ("ping", "poweroff", "script", "dash"))
PINGED, OFF = 11, 22
CONTENTS = {
    PING: helpers.tiny_elf(PINGED),
    POWEROFF: helpers.tiny_elf(OFF),
    DASH: helpers.read("/usr/bin/dash"),
    SCRIPT: f"#!{DASH}\nexit 33\n".encode(),
}
IN_OWN_MOUNTS = ("unshare", "--mount", "--propagation", "private")

Rows = dict[str, Digest]


@contextmanager
def stated(state: State) -> Iterator[None]:
    """The boot report says ``state`` meanwhile."""
    before = helpers.read(report.PATH) if os.path.exists(report.PATH) else None
    report.write(state, {"test": True})
    yield
    os.unlink(report.PATH)
    if before is not None:
        helpers.write(report.PATH, before)


def write_table(rows: Rows) -> None:
    """Each is a program that needs nothing else."""
    named = {os.fsencode(path): rows[path] for path in rows}
    table.write(named.items(), dict.fromkeys(named, ()), trusted.boot_id())


@contextmanager
def checked(state: State, rows: Rows) -> Iterator[None]:
    """A boot whose check accepted ``rows``, meanwhile."""
    with stated(state):
        write_table(rows)
        yield
        for name in ("", ".real"):
            with suppress(FileNotFoundError):
                os.unlink(table.PATH + name)


@pytest.fixture
def release(sealed: Sealed, rsa: Signer) -> Iterator[Rows]:
    """The release at `BIN`, all of it signed, in a boot that is sealed and checked."""
    rows = {path: helpers.install(path, data, rsa) for path, data in CONTENTS.items()}
    with checked(State("sealed", "verified", "both"), rows):
        yield rows
    shutil.rmtree(PLACE)


def statuses(*paths: str) -> list[int]:
    return [launch(path).status for path in paths]


# In its place


def test_every_program_of_the_release_in_its_place(release: Rows) -> None:
    assert statuses(PING, POWEROFF, SCRIPT) == [PINGED, OFF, 33]


@pytest.mark.parametrize("path", ["./ping", "../bin/ping", "ping/../ping", f"/{BIN}/./ping"])
def test_other_spellings_of_its_path(release: Rows, path: str) -> None:
    done = launch(path, cwd=BIN)
    assert done.status == (helpers.NOT_FOUND if path.startswith("ping/") else PINGED)


def test_by_a_link_to_it_or_to_its_directory(release: Rows) -> None:
    os.symlink(PING, f"{PLACE}/link")
    os.symlink("bin", f"{PLACE}/sbin")
    assert statuses(f"{PLACE}/link", f"{PLACE}/sbin/poweroff") == [PINGED, OFF]


def test_a_link_in_its_place_is_only_another_name(release: Rows) -> None:
    """The boot check is what refuses such a link in the tree; here only contents count."""
    os.unlink(PING)
    os.symlink("poweroff", PING)
    assert statuses(PING) == [OFF]


def by_descriptor(path: str) -> tuple[str, Result]:
    """The program by a descriptor of its caller's, which is named as well."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return f"/proc/self/fd/{fd}", launch(f"/proc/self/fd/{fd}", pass_fds=[fd])
    finally:
        os.close(fd)


def test_by_a_descriptor(release: Rows) -> None:
    assert by_descriptor(PING)[1].status == PINGED


def test_as_an_unprivileged_user(release: Rows) -> None:
    assert helpers.run([*AS_NOBODY, helpers.VERISEAL, "exec", PING]).status == PINGED


def test_a_check_that_only_reports_has_a_table_too(release: Rows) -> None:
    with stated(State("sealed", "reported", "both")):
        assert statuses(PING) == [PINGED]
        digest = release.pop(PING)
        write_table(release)
        launch_refused(PING, "not-in-manifest", digest)


# Not in its place


def renamed(signer: Signer) -> None:
    os.rename(POWEROFF, PING)


def hard_linked(signer: Signer) -> None:
    os.unlink(PING)
    os.link(POWEROFF, PING)


def swapped(signer: Signer) -> None:
    os.rename(PING, f"{PING}.away")
    os.rename(POWEROFF, PING)
    os.rename(f"{PING}.away", POWEROFF)


def copied_over(signer: Signer) -> None:
    helpers.install(PING, CONTENTS[POWEROFF], signer)


def in_a_renamed_directory(signer: Signer) -> None:
    os.rename(BIN, f"{PLACE}/away")
    os.mkdir(BIN)
    os.rename(f"{PLACE}/away/poweroff", PING)


ATTACKS = (renamed, hard_linked, swapped, copied_over, in_a_renamed_directory)


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_signed_program_in_the_place_of_another(
    release: Rows, rsa: Signer, attack: Callable[[Signer], None]
) -> None:
    attack(rsa)
    assert helpers.run([PING]).status == OFF
    message = launch_refused(PING, "misplaced", release[POWEROFF])
    assert f"signed, but this is {POWEROFF} (expected {release[PING]}" in message


def test_a_copy_elsewhere(release: Rows, rsa: Signer) -> None:
    path = f"{PLACE}/ping"
    helpers.install(path, CONTENTS[PING], rsa)
    assert f"but this is {PING}" in launch_refused(path, "misplaced", release[PING])


def test_by_a_relative_path(release: Rows) -> None:
    renamed_to = f"{BIN}/pong"
    os.rename(PING, renamed_to)
    done = launch("./pong", cwd=BIN)
    assert done.status == helpers.REFUSED
    assert done.err.startswith(f"veriseal exec: refused ./pong [misplaced, digest {release[PING]}]")
    assert f"]: {renamed_to}: signed, but this is {PING} (" in done.err


def test_a_signed_file_that_the_release_has_not(release: Rows, rsa: Signer) -> None:
    path = f"{BIN}/added"
    digest = helpers.install(path, helpers.tiny_elf(44), rsa)
    launch_refused(path, "not-in-manifest", digest)


def test_a_file_that_the_boot_check_did_not_accept(release: Rows) -> None:
    """Such as a revoked one: it is not in the table."""
    digest = release.pop(PING)
    write_table(release)
    launch_refused(PING, "not-in-manifest", digest)
    assert statuses(POWEROFF) == [OFF]


def test_an_older_signed_version_in_its_place(release: Rows, rsa: Signer) -> None:
    digest = helpers.install(PING, helpers.tiny_elf(99), rsa)
    message = launch_refused(PING, "other-contents", digest)
    assert f"expected {release[PING]}, found {digest}" in message


def test_a_deleted_file(release: Rows) -> None:
    fd = os.open(PING, os.O_RDONLY)
    os.unlink(PING)
    done = launch(f"/proc/self/fd/{fd}", pass_fds=[fd])
    os.close(fd)
    assert done.status == helpers.REFUSED
    assert f"{PING} (deleted): signed, but this is {PING}" in done.err


def test_a_path_that_is_too_long_to_be_told(release: Rows) -> None:
    flags = os.O_RDONLY | os.O_DIRECTORY
    fd = os.open(PLACE, flags)
    for _ in range(17):
        os.mkdir("d" * 250, dir_fd=fd)
        inner = os.open("d" * 250, flags, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.link(PING, "ping", dst_dir_fd=fd)
    done = launch(f"/proc/self/fd/{fd}/ping", pass_fds=[fd])
    os.close(fd)
    assert done.status == helpers.REFUSED
    assert f"[no-path, digest {release[PING]}]" in done.err


# Scripts


def test_an_interpreter_that_is_not_in_the_table(release: Rows) -> None:
    dash = release.pop(DASH)
    write_table(release)
    message = launch_refused(SCRIPT, "not-in-manifest", release[SCRIPT])
    assert (
        f"its interpreter is refused: {DASH}: not a file of the release (found {dash})" in message
    )


def test_an_interpreter_that_is_another_program(release: Rows) -> None:
    os.rename(POWEROFF, DASH)
    message = launch_refused(SCRIPT, "misplaced", release[SCRIPT])
    assert f"its interpreter is refused: {DASH}: signed, but this is {POWEROFF}" in message


def test_a_misplaced_script(release: Rows) -> None:
    os.rename(SCRIPT, PING)
    launch_refused(PING, "misplaced", release[SCRIPT])


# Callers with mounts or a root of their own


def after(script: str, *prefix: str) -> list[str]:
    """Words before a command that run ``script`` first, in a mount namespace of its own."""
    return [*prefix, *IN_OWN_MOUNTS, "sh", "-ec", f'{script}\nexec "$@"', "sh"]


@pytest.mark.parametrize("user_namespace", [False, True])
def test_another_program_mounted_over_it(release: Rows, user_namespace: bool) -> None:
    mount = f"mount --bind {POWEROFF} {PING}"
    prefix = after(mount, *(("unshare", "--user", "--map-root-user") if user_namespace else ()))
    assert helpers.run([*prefix, PING]).status == OFF
    launch_refused(PING, "misplaced", release[POWEROFF], prefix)


def test_an_unprivileged_user_namespace_makes_no_roots(release: Rows) -> None:
    """Root's files are not root's there, so neither report nor table are believed."""
    launch_refused(PING, "report-not-trusted", prefix=[*AS_NOBODY, "unshare", "-Umr"])


def test_the_name_in_a_mount_that_was_detached(release: Rows, rsa: Signer) -> None:
    """The kernel then names a file as if the mount were the root: what is nowhere is refused."""
    inner = f"{PLACE}/inner"
    helpers.install(inner + PING, CONTENTS[PING], rsa)
    script = f"mount --bind {inner} /mnt; exec 8<$0; umount -l /mnt; exec veriseal exec /dev/fd/8"
    done = helpers.run([*IN_OWN_MOUNTS, "sh", "-ec", script, f"/mnt{PING}"])
    assert done.status == helpers.REFUSED
    assert "[unknown-filesystem, " in done.err
    assert "a mount that cannot be seen from here" in done.err


ROOT = "/run/other-root"


def in_chroot(path: str, mounts: Sequence[str]) -> Result:
    """Launch where `ROOT` is the root and has these of the system's directories, and ``/``."""
    script = f"mkdir -p {ROOT}; mount --bind {PLACE}/root {ROOT}\n"
    script += "".join(f"mkdir -p {ROOT}{one}; mount --rbind {one} {ROOT}{one}\n" for one in mounts)
    return helpers.run([*after(script), "chroot", ROOT, helpers.VERISEAL, "exec", path])


@pytest.fixture
def root(release: Rows, rsa: Signer) -> str:
    """Below it another root, with a listed program at /ping. Gives that program's path outside."""
    path = f"{PLACE}/root/ping"
    release[path] = helpers.install(path, helpers.tiny_elf(77), rsa)
    write_table(release)
    for name in ("bin", "lib", "lib64"):
        os.symlink(f"usr/{name}", f"{PLACE}/root/{name}")
    return path


def test_a_chroot_with_the_same_paths(root: str) -> None:
    done = in_chroot(PING, ["/usr", "/proc", "/run/veriseal", PLACE])
    assert (done.status, done.err) == (PINGED, "")


def test_a_chroot_with_other_paths(root: str) -> None:
    done = in_chroot("/ping", ["/usr", "/proc", "/run/veriseal"])
    assert done.status == helpers.REFUSED
    assert f"signed, but this is {root} (" in done.err
    assert "RootDirectory= it needs the path that it has outside" in done.err


def test_a_chroot_without_what_the_boot_left(root: str) -> None:
    done = in_chroot("/ping", ["/usr", "/proc"])
    assert done.status == helpers.REFUSED
    assert "[no-boot-report, " in done.err
    assert "RootDirectory=: bind /run/veriseal into it" in done.err


def test_a_chroot_without_proc(root: str) -> None:
    done = in_chroot("/ping", ["/usr", "/run/veriseal"])
    assert done.status == helpers.REFUSED
    assert "[no-proc-sys, " in done.err


def test_a_made_up_proc(release: Rows) -> None:
    """The boot and the sysctl are right; the descriptor leads to another file of the release."""
    made = f"{PLACE}/proc"
    for name in ("sys/kernel/random/boot_id", "sys/fs/verity/require_signatures"):
        helpers.write(f"{made}/{name}", helpers.read(f"/proc/{name}"))
    helpers.write(f"{made}/self/environ", b"")
    os.mkdir(f"{made}/self/fd")
    for fd in range(3, 10):
        os.symlink(POWEROFF, f"{made}/self/fd/{fd}")
        helpers.write(f"{made}/self/fdinfo/{fd}", b"pos:\t0\nmnt_id:\t1\n")
    helpers.write(f"{made}/self/mountinfo", b"1 1 8:1 / / rw - ext4 /dev/vda rw\n")
    done = helpers.run([*after(f"mount --bind {made} /proc"), helpers.VERISEAL, "exec", PING])
    # What the link says is what was opened: it is in its place.
    assert (done.status, done.err) == (OFF, "")
    os.rename(DASH, POWEROFF)
    done = helpers.run([*after(f"mount --bind {made} /proc"), helpers.VERISEAL, "exec", PING])
    assert f": {POWEROFF}: signed, but this is {DASH}" in done.err


# Bad tables


def truncated() -> None:
    os.truncate(table.PATH, os.path.getsize(table.PATH) - 1)


def of_another_boot() -> None:
    table.write([], {}, "00000000-0000-0000-0000-000000000000")


def writable_by_others() -> None:
    os.chmod(table.PATH, 0o666)  # noqa: S103


def a_fifo() -> None:
    os.unlink(table.PATH)
    os.mkfifo(table.PATH)


def a_link() -> None:
    real = table.PATH + ".real"
    os.rename(table.PATH, real)
    os.symlink(real, table.PATH)


def missing() -> None:
    os.unlink(table.PATH)


BAD_TABLES = {
    truncated: "launch-table-damaged",
    of_another_boot: "launch-table-of-another-boot",
    writable_by_others: "launch-table-not-trusted",
    a_fifo: "launch-table-not-trusted",
    a_link: "launch-table-not-trusted",
    missing: "no-launch-table",
}


@pytest.mark.parametrize("spoil", BAD_TABLES)
def test_without_a_good_table_nothing_runs(release: Rows, spoil: Callable[[], None]) -> None:
    spoil()
    message = launch_refused(PING, BAD_TABLES[spoil])
    assert f": {table.PATH}: " in message
    with stated(State("sealed", "verified", "signature")):
        assert statuses(PING) == [PINGED]


# What counts


def test_what_is_required_of_a_file_without_a_signature(
    sealed: Sealed, prepared: dict[str, Prepared], place: str
) -> None:
    """The kernel still has it open from before the seal, and lets it through."""
    file = prepared["ext4" if place.startswith("/verity") else "btrfs"]
    rows = {file.kept_open: file.kept_open_digest}
    with checked(State("sealed", "verified", "manifest"), rows):
        assert statuses(file.kept_open) == [0]
    for require in ("both", "signature"):
        with checked(State("sealed", "verified", require), rows):
            reason = "unsigned" if helpers.shows_signature(place) else "signature-unreadable"
            launch_refused(file.kept_open, reason, file.kept_open_digest)


def test_the_sysctl_counts_in_a_sealed_boot_even_if_signatures_do_not(release: Rows) -> None:
    with stated(State("sealed", "verified", "manifest")):
        assert statuses(PING) == [PINGED]
        helpers.set_sysctl(False)
        try:
            launch_refused(PING, "sysctl-off")
        finally:
            helpers.set_sysctl(True)


# Without the keyring. These come before the seal: the sysctl is 0, and no certificate is enrolled.
# A kernel without the sysctl is not at hand; that it is 0 here, and 0 is refused where it counts,
# shows that it is not looked at.


@pytest.mark.parametrize("require", ["manifest", "both"])
def test_userspace_mode_needs_no_signature_and_no_sysctl(place: str, require: str) -> None:
    path, other, bare = (f"{place}/{name}" for name in ("program", "other", "bare"))
    digest = helpers.install(path, helpers.tiny_elf(5))
    unlisted = helpers.install(other, helpers.tiny_elf(6))
    helpers.write(bare, helpers.tiny_elf(5), 0o755)
    with checked(State("off", "verified", require), {path: digest, bare: digest}):
        assert statuses(path) == [5]
        launch_refused(other, "not-in-manifest", unlisted)
        launch_refused(bare, "no-verity")
        os.rename(other, path)
        launch_refused(path, "other-contents", unlisted)
    with checked(State("sealed", "verified", "manifest"), {path: unlisted}):
        launch_refused(path, "sysctl-off")


def test_a_boot_in_which_nothing_counts() -> None:
    """The policy refuses these settings; so does the launcher."""
    path = f"{PLACE}/program"
    digest = helpers.install(path, helpers.tiny_elf(5))
    with checked(State("off", "verified", "signature"), {path: digest}):
        assert 'launch.require = "manifest"' in launch_refused(path, "nothing-required")


def test_userspace_mode_needs_the_table() -> None:
    path = f"{PLACE}/program"
    helpers.install(path, helpers.tiny_elf(5))
    with stated(State("off", "verified", "both")):
        launch_refused(path, "no-launch-table")
    with stated(State("off", "pending", "both")):
        launch_refused(path, "not-verified")
