"""What the launcher refuses: each with its own reason, on one line, and in the journal."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from veriseal import journal, merkle, report, trusted
from veriseal.errors import VerisealError
from veriseal.kernel import verity
from veriseal.launch import ready

from . import helpers
from .conftest import AS_NOBODY, Prepared, Sealed
from .helpers import Signer, launch, launch_refused

pytestmark = pytest.mark.kernel

PROGRAM = helpers.tiny_elf(0)


def signed(path: str, signer: Signer, data: bytes = PROGRAM) -> str:
    helpers.install(path, data, signer)
    return path


@pytest.fixture
def files(prepared: dict[str, Prepared], place: str) -> Prepared:
    """What was prepared on the file system of ``place``."""
    return prepared["ext4" if place.startswith("/verity") else "btrfs"]


def test_no_verity(sealed: Sealed, place: str) -> None:
    path = helpers.write(f"{place}/program", PROGRAM, 0o755)
    assert "veriseal enable" in launch_refused(path, "no-verity")


def test_a_program_of_the_system_without_verity(sealed: Sealed) -> None:
    launch_refused("/usr/bin/true", "no-verity")


def test_verity_without_a_signature(sealed: Sealed, files: Prepared) -> None:
    launch_refused(files.unsigned, "unsigned")


def test_verity_without_a_signature_while_the_kernel_still_has_it_open(
    sealed: Sealed, files: Prepared
) -> None:
    # The kernel itself lets it through: it was opened before signatures were required.
    assert helpers.run([files.kept_open]).status == 0
    reason = "unsigned" if helpers.shows_signature(files.kept_open) else "signature-unreadable"
    launch_refused(files.kept_open, reason, files.kept_open_digest)


def test_signed_by_a_certificate_that_is_not_enrolled(sealed: Sealed, files: Prepared) -> None:
    assert "enrol" in launch_refused(files.stranger, "not-enrolled")


def test_a_copy_on_tmpfs(sealed: Sealed) -> None:
    path = helpers.write("/run/copy/program", PROGRAM, 0o755)
    assert "found tmpfs" in launch_refused(path, "unknown-filesystem")


def test_through_overlayfs(sealed: Sealed, rsa: Signer, place: str, tmp_path: str) -> None:
    signed(f"{place}/lower/program", rsa)
    for name in ("upper", "work", "merged"):
        os.mkdir(f"{tmp_path}/{name}")
    layers = f"lowerdir={place}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    helpers.must_run("mount", "-t", "overlay", "-o", layers, "overlay", f"{tmp_path}/merged")
    try:
        path = f"{tmp_path}/merged/program"
        assert helpers.run([path]).status == 0
        assert "found overlay)" in launch_refused(path, "unknown-filesystem")
    finally:
        helpers.must_run("umount", f"{tmp_path}/merged")


@pytest.fixture
def fuse(sealed: Sealed, rsa: Signer, tools: str, tmp_path: str) -> Iterator[str]:
    """A program on a FUSE file system that lies about it, and a good program it speaks for."""
    mount = f"{tmp_path}/fuse"
    os.mkdir(mount)
    evil = helpers.write(f"{tmp_path}/evil", helpers.tiny_elf(66), 0o755)
    good = signed("/verity/fuse/good", rsa)
    # Before Linux 6.10 FUSE gets to answer the head of the measurement only.
    old = {b"HEAD_ONLY": b"1"} if helpers.KERNEL_VERSION < (6, 10) else {}
    process = subprocess.Popen(
        [f"{tools}/hostile_fuse", evil, good, "-f", "-o", "allow_other", mount], env=old
    )
    deadline = time.monotonic() + 20
    while not os.path.exists(f"{mount}/program"):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield f"{mount}/program"
    helpers.must_run("umount", mount)
    process.wait(20)


def test_fuse_that_answers_with_a_good_digest(fuse: str) -> None:
    assert helpers.run([fuse]).status == 66
    fd = os.open(fuse, os.O_RDONLY)
    try:
        lie = verity.measure(fd)
        assert len(verity.read_signature(fd)) == 400
    finally:
        os.close(fd)
    if helpers.KERNEL_VERSION >= (6, 10):
        assert lie == merkle.data_digest(PROGRAM, helpers.PLAIN)
    assert "found fuse." in launch_refused(fuse, "unknown-filesystem")


def test_a_script_whose_interpreter_is_not_signed(sealed: Sealed, rsa: Signer, place: str) -> None:
    digest = helpers.install(f"{place}/script", b"#!/bin/dash\nexit 0\n", rsa)
    if helpers.shows_signature(place):
        message = launch_refused(f"{place}/script", "no-verity", digest)
        assert "its interpreter is refused: /bin/dash: " in message
    else:
        launch_refused(f"{place}/script", "signature-unreadable", digest)


SHEBANGS = {
    "env": ("#!/usr/bin/env dash\n", "interpreter-by-path"),
    "relative": ("#!bin/dash\n", "bad-interpreter"),
    "not there": ("#!/nonexistent/dash\n", "no-interpreter"),
    "a directory": ("#!/verity/\n", "not-a-regular-file"),
    "no #! line": ("exit 0\n", "unknown-format"),
}


@pytest.mark.parametrize("kind", SHEBANGS)
def test_a_signed_script_with_another_interpreter(sealed: Sealed, rsa: Signer, kind: str) -> None:
    line, reason = SHEBANGS[kind]
    path = "/verity/shebang/script"
    digest = helpers.install(path, line.encode(), rsa)
    launch_refused(path, reason, digest)


def test_a_script_whose_interpreter_is_a_script(sealed: Sealed, rsa: Signer) -> None:
    inner = signed("/verity/nested/inner", rsa, b"#!/verity/nested/dash\nexit 0\n")
    digest = helpers.install("/verity/nested/outer", f"#!{inner}\n".encode(), rsa)
    assert "itself a script" in launch_refused("/verity/nested/outer", "bad-interpreter", digest)


@pytest.fixture
def special(place: str) -> Iterator[dict[str, str]]:
    """One of each that is not a program."""
    os.mkfifo(f"{place}/fifo", 0o755)
    os.mkdir(f"{place}/directory")
    os.mknod(f"{place}/device", 0o020755, os.makedev(4, 0))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{place}/socket")
        names = ("fifo", "directory", "device", "socket")
        yield {name: f"{place}/{name}" for name in names}


@pytest.mark.parametrize("kind", ["fifo", "directory", "device", "socket"])
def test_what_is_no_program_is_refused_and_never_waited_for(
    sealed: Sealed, special: dict[str, str], kind: str
) -> None:
    launch_refused(special[kind], "not-a-regular-file")


def test_a_program_that_the_user_may_not_read(sealed: Sealed, rsa: Signer) -> None:
    path = signed("/verity/unreadable/program", rsa)
    os.chmod(path, 0o711)  # noqa: S103
    launch_refused(path, "permission", prefix=AS_NOBODY)


def test_what_is_not_there_is_not_found(sealed: Sealed, rsa: Signer) -> None:
    for path in ("/verity/nonexistent", "/usr/bin/true/nonexistent"):
        done = launch(path)
        assert done.status == helpers.NOT_FOUND
        assert done.err.startswith(f"veriseal exec: refused {path} [not-found, ")


def test_path_is_not_searched(sealed: Sealed, rsa: Signer) -> None:
    signed("/verity/path/program", rsa)
    done = launch("program", env={b"PATH": b"/verity/path:/usr/bin:/bin"}, cwd="/verity/path")
    assert done.status == helpers.NOT_FOUND
    assert "Give the whole path" in done.err


def test_a_name_can_neither_forge_a_line_nor_drive_a_terminal(sealed: Sealed) -> None:
    done = run_bytes(b"/verity/a\nveriseal exec: all is well\x1b[2J\xff")
    assert done.err.count("\n") == 1
    assert "\x1b" not in done.err


def run_bytes(path: bytes) -> helpers.Result:
    return helpers.run([helpers.VERISEAL, "exec", path])


def test_the_sysctl_written_back_to_0(sealed: Sealed, rsa: Signer) -> None:
    path = signed("/verity/sysctl/program", rsa)
    helpers.set_sysctl(False)
    try:
        assert "root" in launch_refused(path, "sysctl-off")
    finally:
        helpers.set_sysctl(True)
    assert launch(path).status == 0


def another_boot(data: bytes) -> bytes:
    return data.replace(trusted.boot_id().encode(), b"00000000-0000-0000-0000-000000000000")


REPORTS = {
    "missing": "no-boot-report",
    "of another boot": "report-of-another-boot",
    "of a boot that was not sealed": "not-sealed",
    "of a boot whose tree was not checked": "not-verified",
    "writable by all": "report-not-trusted",
    "writable by a group": "report-not-trusted",
    "of another owner": "report-not-trusted",
    "garbage": "report-damaged",
    "empty": "report-damaged",
    "a symbolic link": "report-not-trusted",
    "a fifo": "report-not-trusted",
    "a directory": "report-not-trusted",
}


@pytest.fixture
def bad_report(request: pytest.FixtureRequest, sealed: Sealed) -> Iterator[str]:
    """Exchange the boot report for a bad one meanwhile; gives the reason for refusing it."""
    good = helpers.read(report.PATH)
    kind = request.param
    match kind:
        case "of another boot":
            helpers.write(report.PATH, another_boot(good))
        case "of a boot that was not sealed":
            helpers.write(report.PATH, good.replace(b'"keyring": "sealed"', b'"keyring": "failed"'))
        case "of a boot whose tree was not checked":
            helpers.write(report.PATH, good.replace(b'"signature"', b'"both"'))
        case "writable by all":
            os.chmod(report.PATH, 0o666)  # noqa: S103
        case "writable by a group":
            os.chmod(report.PATH, 0o664)  # noqa: S103
        case "of another owner":
            os.chown(report.PATH, helpers.NOBODY, 0)
        case "garbage":
            helpers.write(report.PATH, good[1:])
        case "empty":
            helpers.write(report.PATH, b"")
        case _:
            os.unlink(report.PATH)
    if kind == "a symbolic link":
        helpers.write("/run/veriseal/copy.json", good)
        os.symlink("copy.json", report.PATH)
    elif kind == "a fifo":
        os.mkfifo(report.PATH)
    elif kind == "a directory":
        os.mkdir(report.PATH)
    yield REPORTS[kind]
    if kind == "a directory":
        os.rmdir(report.PATH)
    helpers.write(report.PATH, good)


@pytest.mark.parametrize("bad_report", REPORTS, indirect=True)
def test_without_a_good_boot_report_nothing_is_even_checked(bad_report: str) -> None:
    with pytest.raises(VerisealError) as caught:
        ready.require_ready_system()
    assert (caught.value.reason, caught.value.path) == (bad_report, report.PATH)


@pytest.mark.parametrize("bad_report", ["missing", "a fifo"], indirect=True)
def test_without_a_good_boot_report_nothing_runs(bad_report: str, rsa: Signer) -> None:
    path = signed("/verity/report/program", rsa)
    assert report.PATH in launch_refused(path, bad_report)


def test_python_that_obeys_its_caller_is_no_launcher(sealed: Sealed, rsa: Signer) -> None:
    path = signed("/verity/isolated/program", rsa)
    done = helpers.run(
        ["/usr/bin/python3", "-m", "veriseal", "exec", path],
        env={b"PYTHONPATH": b"/usr/lib/veriseal"},
    )
    assert done.status == helpers.REFUSED
    assert "[not-isolated, " in done.err


def test_a_refusal_without_standard_error_is_in_the_journal(sealed: Sealed, place: str) -> None:
    path = helpers.write(f"{place}/silent", PROGRAM, 0o755)
    done = helpers.run(["sh", "-c", f"exec veriseal exec {path} 0<&- 1>&- 2>&-"])
    assert (done.status, done.err) == (helpers.REFUSED, "")
    assert helpers.records(journal.EXEC_REFUSED, VERISEAL_PATH=path)
