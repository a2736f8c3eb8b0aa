"""A program is started by the launcher as it would be without: every test compares the two."""

import os
import resource
import signal
import subprocess
from collections.abc import Callable

import pytest

from . import helpers
from .conftest import Sealed
from .helpers import Result, Signer

pytestmark = pytest.mark.kernel

DIRECTORY = "/verity/untouched"
SH, CAT, LS = f"{DIRECTORY}/dash", f"{DIRECTORY}/cat", f"{DIRECTORY}/ls"


@pytest.fixture(scope="module", autouse=True)
def programs(sealed: Sealed, rsa: Signer) -> None:
    """Signed copies of small tools."""
    for path in (SH, CAT, LS):
        helpers.install(path, helpers.read(f"/usr/bin/{os.path.basename(path)}"), rsa)


def both(*argv: str | bytes, **options: object) -> Result:
    """Run it directly and through the launcher; both must give the same, and that is given."""
    directly = helpers.run(list(argv), **options)  # type: ignore[arg-type]
    launched = helpers.run([helpers.VERISEAL, "exec", *argv], **options)  # type: ignore[arg-type]
    assert launched == directly
    return launched


@pytest.mark.parametrize("status", [0, 3, 126, 255])
def test_exit_status(status: int) -> None:
    assert both(SH, "-c", f"exit {status}").status == status


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "PIPE", "KILL", "SEGV", "USR1", "XFSZ"])
def test_death_by_a_signal(name: str) -> None:
    done = both(SH, "-c", f"kill -{name} $$")
    assert done.status == -signal.Signals[f"SIG{name}"]


def test_arguments() -> None:
    strange = [b"", b"two words", b"new\nline", b"\xff\xfe", b"--", b"-h", b"'\"$`", "ü".encode()]
    assert both(CAT, "/proc/self/cmdline").out == f"{CAT}\0/proc/self/cmdline\0".encode()
    done = both(SH, "-c", 'printf "%s\\0" "$@"', *strange)
    assert done.out == b"".join(word + b"\0" for word in strange[1:])


def test_a_long_argument_list() -> None:
    many = [b"x" * 1000] * 1000
    assert both(SH, "-c", "echo $#", *many).out == b"999\n"


def test_standard_streams() -> None:
    done = both(SH, "-c", f"{CAT}; echo error >&2", stdin=b"in\0put\xff")
    assert (done.out, done.err) == (b"in\0put\xff", "error\n")


def test_without_any_standard_stream() -> None:
    def close_all() -> None:
        for fd in range(3):
            os.close(fd)

    # The file descriptors of the launcher's own files then are 0, 1 and 2.
    assert both(SH, "-c", "exit 7", prepare=close_all).status == 7


def test_further_descriptors_and_the_process_id() -> None:
    """As systemd hands over sockets: numbered from 3, with this process's id in a variable."""
    script = 'read line <&3; echo "$line $LISTEN_FDS"; [ "$LISTEN_PID" = $$ ]'
    for prefix in ("", f"{helpers.VERISEAL} exec "):
        reader, writer = os.pipe()
        os.write(writer, b"passed on\n")
        os.close(writer)
        outer = f'LISTEN_FDS=1 LISTEN_PID=$$ exec {prefix}{SH} -c "$0" 3<&{reader} {reader}<&-'
        done = helpers.run(["bash", "-c", outer, script], pass_fds=[reader])
        os.close(reader)
        assert (done.status, done.out, done.err) == (0, b"passed on 1\n", "")


def test_no_descriptor_of_the_launcher_is_left_open() -> None:
    # 3 is the directory that ls reads.
    assert both(LS, "/proc/self/fd").out == b"0\n1\n2\n3\n"


def test_a_script_gets_its_own_file_as_a_descriptor_and_no_other(rsa: Signer) -> None:
    path = f"{DIRECTORY}/script"
    helpers.install(path, f"#!{SH}\n{LS} /proc/self/fd\necho $0\n".encode(), rsa)
    *descriptors, name = helpers.launch(path).out.split()
    assert name.startswith(b"/dev/fd/")
    # The fifth is the directory that ls reads.
    assert len(descriptors) == 5
    assert {b"0", b"1", b"2", name.rpartition(b"/")[2]} < set(descriptors)


STATUS = ("Umask", "Uid", "Gid", "Groups", "SigBlk", "SigIgn", "SigCgt", "CapInh", "CapPrm",
          "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Cpus_allowed")  # fmt: skip


def ignore_some() -> None:
    for one in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(one, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})


def change_much() -> None:
    os.umask(0o027)
    os.nice(5)
    resource.setrlimit(resource.RLIMIT_NOFILE, (77, 99))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.setgroups([5, 6])
    os.sched_setaffinity(0, {0})


@pytest.mark.parametrize("prepare", [None, ignore_some, change_much])
def test_signals_masks_limits_and_identity(prepare: Callable[[], None] | None) -> None:
    def fields(*prefix: str) -> list[str]:
        done = helpers.run([*prefix, CAT, "/proc/self/status"], prepare=prepare)
        return [line for line in done.out.decode().splitlines() if line.split(":")[0] in STATUS]

    shown = fields()
    assert len(shown) == len(STATUS)
    assert fields(helpers.VERISEAL, "exec") == shown
    both(CAT, "/proc/self/limits", prepare=prepare)
    # Priority and niceness.
    both(SH, "-c", "read -r line </proc/self/stat; set -- $line; echo ${18} ${19}", prepare=prepare)


def test_ctrl_c_ends_the_program_as_it_would_directly() -> None:
    for prefix in ((), (helpers.VERISEAL, "exec")):
        process = subprocess.Popen([*prefix, CAT], stdin=subprocess.PIPE)
        while os.path.basename(os.readlink(f"/proc/{process.pid}/exe")) != "cat":
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == -signal.SIGINT
        assert process.stdin is not None
        process.stdin.close()


def test_the_working_directory_and_a_relative_path() -> None:
    assert both("./dash", "-c", "pwd", cwd=DIRECTORY).out == f"{DIRECTORY}\n".encode()


def test_an_ignored_sigpipe_is_the_one_thing_that_changes() -> None:
    """Python ignores it from its start, so nobody can tell whether the caller did."""

    def ignore() -> None:
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    done = helpers.run([helpers.VERISEAL, "exec", SH, "-c", "kill -PIPE $$"], prepare=ignore)
    assert done.status == -signal.SIGPIPE
