"""Services that start through the launcher, by the real systemd.

The program is data/service.c: it writes down what it is, and does what its arguments say.
"""

import os
import socket
import time
from collections.abc import Iterator

import pytest

from veriseal.report import State
from veriseal.unit import filters, wrap

from . import helpers, units
from .conftest import Sealed
from .helpers import Signer
from .test_launch_table import stated

pytestmark = pytest.mark.kernel

PROGRAM = "/verity/units/service"
NAMED = "/verity/named"
STAY = f"ExecStart={PROGRAM} stay"


@pytest.fixture(scope="module")
def program(sealed: Sealed, rsa: Signer) -> str:
    """The service, signed."""
    source = os.path.join(os.path.dirname(__file__), "data", "service.c")
    helpers.must_run("gcc", "-Wall", "-Wextra", "-Werror", "-static", "-o", "/run/service", source)
    helpers.install(PROGRAM, helpers.read("/run/service"), rsa)
    helpers.install("/verity/units/with blank", helpers.read("/run/service"), rsa)
    helpers.write("/verity/units/unsigned", helpers.read("/run/service"), 0o755)
    return PROGRAM


def only_the_program(unit: str) -> dict[str, list[str]]:
    """``unit`` runs `PROGRAM`, and nothing of the launcher is left. Gives what it said."""
    said = units.output(unit)
    assert said["exe"] == [PROGRAM], units.log(unit)
    pid = units.show(unit, "MainPID")
    assert said["pid"] == [pid]
    assert os.readlink(f"/proc/{pid}/exe") == PROGRAM
    assert helpers.read(f"/proc/{pid}/cmdline").split(b"\0")[0] == os.fsencode(said["argv"][0])
    group = units.show(unit, "ControlGroup")
    assert helpers.read(f"/sys/fs/cgroup{group}/cgroup.procs").split() == [pid.encode()]
    assert os.listdir(f"/proc/{pid}/task") == [pid]
    assert helpers.read(f"/proc/{pid}/task/{pid}/children") == b""
    for name in ("maps", "environ", "comm"):
        assert b"python" not in helpers.read(f"/proc/{pid}/{name}").lower()
    return said


# Settings of the sandbox

MDWE = "MemoryDenyWriteExecute=yes"
STRICT = (
    "DynamicUser=yes\nProtectSystem=strict\nProtectHome=yes\nPrivateTmp=yes\nPrivateDevices=yes\n"
    f"ProtectProc=invisible\nNoNewPrivileges=yes\n{MDWE}\nSystemCallFilter=@system-service\n"
    "SystemCallFilter=~@privileged @resources\nSystemCallArchitectures=native\nPrivateUsers=yes\n"
    "PrivateNetwork=yes\nRestrictNamespaces=yes\nRestrictAddressFamilies=none\n"
    "RestrictRealtime=yes\nRestrictSUIDSGID=yes\nLockPersonality=yes\nProtectClock=yes\n"
    "ProtectControlGroups=yes\nProtectHostname=yes\nProtectKernelLogs=yes\n"
    "ProtectKernelModules=yes\nProtectKernelTunables=yes\nCapabilityBoundingSet=\nUMask=0077"
)
SETTINGS = {
    "plain": "",
    "user": "User=nobody",
    "dynamic-user": "DynamicUser=yes",
    "no-new-privileges": "User=nobody\nNoNewPrivileges=yes",
    "protect-system": "ProtectSystem=strict",
    "protect-proc": "User=nobody\nProtectProc=invisible",
    "private-tmp": "PrivateTmp=yes",
    "private-users": "User=nobody\nPrivateUsers=yes",
    "private-users-root": "PrivateUsers=yes",
    "mdwe": MDWE,
    "filter": "SystemCallFilter=@system-service",
    "filter-killing": "User=nobody\nSystemCallFilter=@system-service\nSystemCallFilter=~@resources",
    # The last is the program's own.
    "filter-smallest": f"SystemCallFilter={' '.join(sorted(filters.NEEDED))} readlinkat",
    "no-address-families": "RestrictAddressFamilies=none",
    "ambient": "User=nobody\nAmbientCapabilities=CAP_NET_BIND_SERVICE",
    "hidden-run": "TemporaryFileSystem=/run\nBindReadOnlyPaths=/run/veriseal",
    "no-exec": "NoExecPaths=/\nExecPaths=/usr /verity/units",
    "strict": STRICT,
}


@pytest.fixture(scope="module")
def sandboxes(program: str) -> Iterator[dict[str, str]]:
    """A wrapped unit for each of `SETTINGS`, not started."""
    made = {name: units.write(f"box-{name}", STAY, SETTINGS[name]) for name in SETTINGS}
    units.wrap(*made.values())
    units.reload()
    yield made
    units.remove(*made.values())
    units.reload()


@pytest.mark.parametrize("name", SETTINGS)
def test_the_program_runs_under_the_setting(sandboxes: dict[str, str], name: str) -> None:
    unit = sandboxes[name]
    helpers.must_run("systemctl", "start", unit)
    said = only_the_program(unit)
    assert said["argv"] == [PROGRAM, "stay"]
    assert "fd" not in said
    status = units.status_of(said)
    user = int(status["Uid"].split()[0])
    if "DynamicUser" in SETTINGS[name]:
        assert user > 60000
    else:
        assert user == (65534 if "User=nobody" in SETTINGS[name] else 0)
    if "NoNewPrivileges" in SETTINGS[name]:
        assert status["NoNewPrivs"] == "1"
    if "SystemCallFilter" in SETTINGS[name]:
        assert status["Seccomp"] == "2"
    if name == "ambient":
        assert int(status["CapAmb"], 16) == 1 << 10
    helpers.must_run("systemctl", "stop", unit)


def test_status_shows_the_program(sandboxes: dict[str, str]) -> None:
    unit = sandboxes["plain"]
    helpers.must_run("systemctl", "start", unit)
    only_the_program(unit)
    shown = helpers.must_run("systemctl", "status", "--no-pager", "--full", unit)
    assert f" {PROGRAM} stay\n" in shown
    assert "python" not in shown.lower()
    helpers.must_run("systemctl", "stop", unit)


def test_systemd_finds_nothing_wrong_with_the_drop_ins(sandboxes: dict[str, str]) -> None:
    for name in ("plain", "strict"):
        done = helpers.run(["systemd-analyze", "verify", "--man=no", sandboxes[name]])
        assert (done.status, done.out, done.err) == (0, b"", "")


def test_in_another_root_the_launcher_refuses(program: str) -> None:
    """The command refuses such a unit. A drop-in written by hand leads to the launcher's own."""
    root = "/run/units-root"
    for name in ("usr", "proc", "run", "tmp", "etc", "verity"):
        os.makedirs(f"{root}/{name}", exist_ok=True)
    for name in ("bin", "lib", "lib64"):
        if not os.path.islink(f"{root}/{name}"):
            os.symlink(f"usr/{name}", f"{root}/{name}")
    unit = units.write(
        "rooted",
        f"ExecStart={PROGRAM} stay",
        f"RootDirectory={root}\nMountAPIVFS=yes\nBindReadOnlyPaths=/usr /verity",
    )
    done = helpers.command("wrap", "--runtime", unit)
    assert done.status == 1
    assert f"RootDirectory={root}: the program would have another root directory" in done.err
    forced = f"[Service]\nExecStart=\nExecStart=/usr/bin/veriseal exec {PROGRAM} stay\n"
    helpers.write(f"{units.DIRECTORY}/{unit}.d/forced.conf", forced.encode())
    units.reload()
    helpers.run(["systemctl", "start", unit])
    units.wait_for(unit, "ActiveState", "failed")
    assert units.show(unit, "ExecMainStatus") == "126"
    assert "[no-boot-report, " in units.log(unit)
    assert "RootDirectory=: bind /run/veriseal into it" in units.log(unit)
    units.remove(unit)


# How systemd and its services speak to each other


@pytest.fixture
def service(program: str) -> Iterator[list[str]]:
    """Units that are removed afterwards."""
    made: list[str] = []
    yield made
    units.remove(*made)
    units.reload()


def start(made: list[str], name: str, *lines: str, more: str = "") -> str:
    """A new unit, wrapped and started."""
    made.append(units.write(name, *lines, more=more))
    units.wrap(made[-1])
    units.reload()
    helpers.run(["systemctl", "start", made[-1]])
    return made[-1]


def test_notifications_arrive_from_the_main_process(service: list[str]) -> None:
    line = f"ExecStart={PROGRAM} notify"
    unit = start(service, "notifier", "Type=notify\nNotifyAccess=main", line)
    assert units.show(unit, "ActiveState") == "active", units.log(unit)
    assert units.show(unit, "StatusText") == "said so itself"
    only_the_program(unit)


def test_a_watchdog_that_is_served_and_one_that_is_not(service: list[str]) -> None:
    settings = "Type=notify\nWatchdogSec=3"
    good = start(service, "watched", settings, f"ExecStart={PROGRAM} watchdog")
    bad = start(service, "unwatched", settings, f"ExecStart={PROGRAM} notify")
    units.wait_for(bad, "Result", "watchdog")
    assert units.show(good, "ActiveState") == "active"
    said = only_the_program(good)
    assert said["WATCHDOG_PID"] == said["pid"]


def test_socket_activation(service: list[str]) -> None:
    path = "/run/units.socket"
    helpers.write(
        f"{units.DIRECTORY}/listener.socket",
        f"[Socket]\nListenStream={path}\nFileDescriptorName=first\n".encode(),
    )
    unit = units.write("listener", f"ExecStart={PROGRAM} accept", "User=nobody")
    service.append(unit)
    units.wrap(unit)
    units.reload()
    helpers.must_run("systemctl", "start", "listener.socket")
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(path)
        answer = client.recv(100).decode()
    said = units.output(unit)
    assert said["pid"] == said["LISTEN_PID"] == [answer]
    assert said["LISTEN_FDS"] == ["1"]
    assert said["LISTEN_FDNAMES"] == ["first"]
    assert said["fd"] == ["3"]
    helpers.must_run("systemctl", "stop", "listener.socket")
    os.unlink(f"{units.DIRECTORY}/listener.socket")


def test_a_service_for_each_connection(service: list[str]) -> None:
    """With StandardInput=socket, as for inetd."""
    path = "/run/units-each.socket"
    helpers.write(
        f"{units.DIRECTORY}/each.socket",
        f"[Socket]\nListenStream={path}\nAccept=yes\n".encode(),
    )
    streams = "StandardInput=socket\nStandardOutput=socket"
    unit = units.write("each@", f"ExecStart={PROGRAM} %i", streams)
    units.wrap(unit)
    units.reload()
    helpers.must_run("systemctl", "start", "each.socket")
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(path)
        answer = b""
        while part := client.recv(1 << 16):
            answer += part
    assert f"\nargv:{PROGRAM}\nargv:0-".encode() in answer
    helpers.must_run("systemctl", "stop", "each.socket")
    for name in ("each.socket", unit):
        os.unlink(f"{units.DIRECTORY}/{name}")
    helpers.must_command("wrap", "--undo", "--runtime", unit)


def test_a_program_that_fails_is_started_again(service: list[str]) -> None:
    lines = ("Restart=on-failure\nRestartSec=0", f"ExecStart={PROGRAM} exit 3")
    unit = start(service, "failing", *lines, more="[Unit]\nStartLimitBurst=2")
    units.wait_for(unit, "Result", "exit-code")
    units.wait_for(unit, "ActiveState", "failed")
    assert units.show(unit, "NRestarts") == "2"
    assert units.show(unit, "ExecMainStatus") == "3"


def test_a_refused_program_is_not(service: list[str]) -> None:
    settings = "Restart=always\nRestartPreventExitStatus=126"
    unit = start(service, "refused", settings, "ExecStart=/verity/units/unsigned stay")
    units.wait_for(unit, "ActiveState", "failed")
    assert units.show(unit, "NRestarts") == "0"
    assert units.show(unit, "ExecMainStatus") == "126"
    assert "[no-verity, " in units.log(unit)


def test_variables_that_would_act_on_the_launcher_are_gone(service: list[str], tools: str) -> None:
    library = f"{tools}/evil/libgreet.so"
    unit = start(service, "preloaded", f"Environment=LD_PRELOAD={library}\n{STAY}")
    said = only_the_program(unit)
    assert "LD_PRELOAD" not in said
    assert not os.path.exists("/run/veriseal-mark")


# Command lines


def arguments(unit: str) -> list[str]:
    return units.output(unit)["argv"]


LINES = {
    "plain": f"{PROGRAM} a  b",
    "quoted": f'{PROGRAM} \'a b\' "c  d" \'\' e\\sf \\x41 "it\'s" \\; "\\\\"',
    "variables": f"{PROGRAM} $WORDS ${{WORDS}} $$WORDS x${{WORDS}}y $NONE ${{NONE}} z",
    "no-variables": f":{PROGRAM} $WORDS ${{WORDS}} $$WORDS",
    "specifiers": f"{PROGRAM} %n %% %p %%n '%p b'",
    "specifier-in-the-path": f"{NAMED}/%n a",
    "continued": f"{PROGRAM} a \\\n  'b \\\n c' \\\n# a comment\n d",
    "other-name": f"@{PROGRAM} my-name a b",
    "other-quoted-name": f"@{PROGRAM} '-my name' a",
    "other-name-by-variable": f"@{PROGRAM} ${{WORDS}} a",
    "ignored": f"-{PROGRAM} a",
    "blank": '"/verity/units/with blank" a',
    "escaped": "/verity/units/with\\sblank a",
    "all": f"-:@{PROGRAM} $x $y",
}


@pytest.fixture(scope="module")
def lines(program: str) -> Iterator[dict[str, str]]:
    """For each of `LINES` a unit, and its wrapped twin, which has the suffix ``-w``."""
    made = {}
    os.makedirs(NAMED, exist_ok=True)
    for name, line in LINES.items():
        for suffix in ("", "-w"):
            variable = "Environment='WORDS=one two'"
            made[name + suffix] = units.write(f"line-{name}{suffix}", variable, f"ExecStart={line}")
    for unit in made.values():
        os.symlink(PROGRAM, f"{NAMED}/{unit}")
    units.wrap(*(unit for name, unit in made.items() if name.endswith("-w")))
    units.reload()
    helpers.must_run("systemctl", "start", *made.values())
    yield made
    units.remove(*made.values())
    units.reload()
    helpers.remove(NAMED)


@pytest.mark.parametrize("name", LINES)
def test_the_program_gets_the_same_words(lines: dict[str, str], name: str) -> None:
    plain, wrapped = lines[name], lines[f"{name}-w"]
    expected = [word.replace(f"line-{name}", f"line-{name}-w") for word in arguments(plain)]
    assert arguments(wrapped) == expected
    assert len(expected) > 1
    assert [one.path for one in shown(wrapped)] == [helpers.VERISEAL]


def shown(unit: str) -> list[units.Shown]:
    return units.commands(units.properties([unit], "ExecStartEx")[unit])


def test_several_commands(service: list[str]) -> None:
    """One after the other; a line that is to be ignored fails in between."""
    once = f"{PROGRAM} exit"
    unit = start(
        service,
        "several",
        "Type=oneshot\nRemainAfterExit=yes",
        "ExecStart=/nowhere",
        "ExecStart=",
        f"ExecStart={once} 0 first ; -{once} 3 second",
        "ExecStart=-/verity/units/unsigned third",
        f"ExecStart={once} 0 fourth",
    )
    assert units.show(unit, "ActiveState") == "active", units.log(unit)
    last = [one.argv.rsplit(None, 1)[1] for one in shown(unit)]
    assert last == ["first", "second", "third", "fourth"]
    assert arguments(unit) == [PROGRAM, "exit", "0", "fourth"]
    assert "unsigned [no-verity" in units.log(unit)
    lines = (f"ExecStart={once} 4", f"ExecStart={once} 0")
    failing = start(service, "stopping", "Type=oneshot", *lines)
    assert units.show(failing, "ExecMainStatus") == "4"
    assert arguments(failing)[-1] == "4"


@pytest.mark.parametrize(
    ("prefix", "user", "capabilities"),
    [("", "65534", False), ("+", "0", True), ("!", "0", True), ("!!", "65534", False)],
)
def test_prefixes_for_privileges(
    service: list[str], prefix: str, user: str, capabilities: bool
) -> None:
    name = "as" + prefix.replace("+", "-plus").replace("!", "-no")
    unit = start(service, name, "User=nobody", f"ExecStart={prefix}{PROGRAM} stay")
    status = units.status_of(only_the_program(unit))
    assert status["Uid"].split()[0] == user
    assert (int(status["CapEff"], 16) != 0) == capabilities


def test_a_name_that_systemd_looks_up(service: list[str]) -> None:
    os.symlink(PROGRAM, "/usr/local/sbin/looked-up")
    unit = start(service, "named", "ExecStart=looked-up stay")
    assert only_the_program(unit)["argv"] == ["/usr/local/sbin/looked-up", "stay"]
    os.unlink("/usr/local/sbin/looked-up")


# On a system that was checked


@pytest.mark.parametrize("manifest", ["verified", "reported"])
def test_a_checked_system_takes_no_drop_in_in_etc(program: str, manifest: str) -> None:
    unit = units.write("checked", STAY)
    place = f"/etc/systemd/system/{unit}.d"
    with stated(State("sealed", manifest, "both")):
        for words in ([], ["--undo"]):
            done = helpers.command("wrap", unit, *words)
            assert done.status == 1
            assert "the next boot would refuse what is changed below /etc" in done.err
            assert "--root" in done.err
        assert not os.path.exists(place)
        assert helpers.command("wrap", "--dry-run", unit).status == 0
        assert helpers.command("wrap", "--runtime", unit).status == 0
        assert helpers.command("wrap", "--runtime", "--undo", unit).status == 0
    units.remove(unit)


def test_a_system_that_was_not_checked_does(program: str) -> None:
    unit = units.write("unchecked", STAY)
    done = helpers.command("wrap", unit)
    path = f"/etc/systemd/system/{unit}.d/{wrap.FILE}"
    assert (done.status, done.err) == (
        0,
        f"veriseal: written: {path}\n"
        f"veriseal: now: systemctl daemon-reload && systemctl restart {unit}\n",
    )
    units.reload()
    assert units.show(unit, "DropInPaths") == path
    assert helpers.command("wrap", "--undo", unit).status == 0
    assert not os.path.exists(os.path.dirname(path))
    units.remove(unit)
    units.reload()


# The unit for programs without one


@pytest.fixture
def kiosk(program: str, rsa: Signer) -> Iterator[str]:
    """Programs at /opt/kiosk/bin, from a file system with verity."""
    data = helpers.read(program)
    helpers.install("/verity/kiosk/good", data, rsa)
    helpers.install("/verity/kiosk/a $HOME%i", data, rsa)
    helpers.write("/verity/kiosk/evil", data, 0o755)
    os.makedirs("/opt/kiosk/bin")
    helpers.must_run("mount", "--bind", "/verity/kiosk", "/opt/kiosk/bin")
    yield "/opt/kiosk/bin"
    helpers.run(["systemctl", "stop", "veriseal-run@*.service"])
    helpers.must_run("umount", "/opt/kiosk/bin")


def instance(path: str) -> str:
    return helpers.must_run(
        "systemd-escape", "--path", "--template=veriseal-run@.service", path
    ).strip()


def test_the_plain_unit_runs_a_signed_program_and_no_other(kiosk: str) -> None:
    good, odd, evil, none = (
        instance(f"{kiosk}/{name}") for name in ("good", "a $HOME%i", "evil", "none")
    )
    assert good == "veriseal-run@opt-kiosk-bin-good.service"
    # What it prints is not for the journal.
    start = b"StandardOutput=null\nExecStart=\nExecStart=:/usr/bin/veriseal exec %f stay\n"
    helpers.write(f"{units.DIRECTORY}/veriseal-run@.service.d/stay.conf", b"[Service]\n" + start)
    units.reload()
    helpers.must_run("systemctl", "start", good, odd, evil, none)
    for unit, status in ((evil, "126"), (none, "127")):
        units.wait_for(unit, "ActiveState", "failed")
        assert units.show(unit, "ExecMainStatus") == status
        assert units.show(unit, "NRestarts") == "0"
    for unit, name in ((good, "good"), (odd, "a $HOME%i")):
        pid = units.show(unit, "MainPID")
        deadline = time.monotonic() + 30
        while os.readlink(f"/proc/{pid}/exe") != f"{kiosk}/{name}":
            assert time.monotonic() < deadline, units.log(unit)
            time.sleep(0.05)
        assert units.show(unit, "ActiveState") == "active"
        assert os.stat(f"/proc/{pid}").st_uid > 60000
    status = helpers.must_run("systemctl", "status", "--no-pager", "--full", good)
    assert " /opt/kiosk/bin/good stay\n" in status
    os.unlink(f"{units.DIRECTORY}/veriseal-run@.service.d/stay.conf")
    os.rmdir(f"{units.DIRECTORY}/veriseal-run@.service.d")


def test_systemd_finds_nothing_wrong_with_our_units(sealed: Sealed) -> None:
    directory = "/usr/lib/systemd/system"
    names = [name for name in os.listdir(directory) if "veriseal" in name]
    assert len(names) >= 3
    for name in names:
        done = helpers.run(["systemd-analyze", "verify", "--man=no", f"{directory}/{name}"])
        assert (done.status, done.out, done.err) == (0, b"", ""), name
