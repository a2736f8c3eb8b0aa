"""What is tried inside the booted appliance. Runs there, as root, with the standard library.

One table: the name of the attack, who can do it (A1 has the disk, A2 is a local user, A3 is root
at run time), what must be seen, and how to try. The host reads the same table, so a row that
reports nothing is a row that failed.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

BIN = "/opt/kiosk/bin"
STRAY = "/var/lib/veriseal/stray"
STRANGER = "/opt/stranger"
STRANGER_CERTIFICATE = "/var/lib/veriseal/stranger.pem"
RESULTS = "/dev/virtio-ports/veriseal.results"
TABLE = "/run/veriseal/launch.table"
SYSCTL = "/proc/sys/fs/verity/require_signatures"
MEASURE = "/var/lib/veriseal/measure.py"
RACES = 30

ROOT, USER = "root", "user"
AS_USER = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs")


class Row(NamedTuple):
    """One attack. ``attempt`` returns what was seen and, for people, a detail."""

    name: str
    attacker: str
    expected: str
    attempt: Callable[[], tuple[str, str]]


class Ended(NamedTuple):
    """A command that ended."""

    status: int
    out: str
    err: str


def call(*argv: str, data: bytes = b"", environment: dict[str, str] | None = None) -> Ended:
    """Run a command to its end."""
    done = subprocess.run(
        argv, input=data, capture_output=True, env=environment, check=False, timeout=120
    )
    return Ended(
        done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    )


def launch(path: str, *arguments: str, who: str = ROOT) -> tuple[str, str]:
    """What became of `veriseal exec PATH`: its status, and the output or the reason."""
    prefix = AS_USER if who == USER else ()
    ended = call(*prefix, "/usr/bin/veriseal", "exec", path, *arguments)
    reason = re.search(r"\[([a-z-]+), digest ", ended.err)
    return f"{ended.status} {reason[1] if reason else ended.out.strip()}", ended.err.strip()


def launching(path: str, who: str = ROOT) -> Callable[[], tuple[str, str]]:
    """An attempt to launch a program of the kiosk. The argument keeps it from staying."""
    return lambda: launch(path if path.startswith("/") else f"{BIN}/{path}", "once", who=who)


def straying(name: str) -> Callable[[], tuple[str, str]]:
    """An attempt to launch a program that lies where anybody may put files."""
    return lambda: launch(f"{STRAY}/{name}")


def keyring() -> dict[str, object]:
    """The keyring as the boot report has it."""
    with open("/run/veriseal/boot.json", encoding="utf-8") as file:
        return dict(json.load(file)["kernel_keyring"])


def ring() -> str:
    """The keyring's serial."""
    return str(keyring()["serial"])


def key() -> str:
    """The serial of the release's key."""
    keys = keyring()["keys"]
    return str(keys[0]["serial"]) if isinstance(keys, list) else ""


def keyctl(*words: str | Callable[[], str], data: bytes = b"") -> Callable[[], tuple[str, str]]:
    """An attempt with keyctl(1); afterwards a signed program must still run."""

    def attempt() -> tuple[str, str]:
        argv = [word if isinstance(word, str) else word() for word in words]
        ended = call("keyctl", *argv, data=data)
        seen = "accepted" if ended.status == 0 else "refused"
        after = launch(f"{BIN}/program")[0]
        if after != "0 program: up as uid 0":
            seen += f", then {after}"
        return seen, ended.err.strip()

    return attempt


def add_certificate() -> tuple[str, str]:
    """Add the stranger's certificate to the sealed keyring."""
    der = subprocess.run(
        ["openssl", "x509", "-in", STRANGER_CERTIFICATE, "-outform", "DER"],
        capture_output=True,
        check=True,
    )
    return keyctl("padd", "asymmetric", "", ring, data=der.stdout)()


def kiosk_runs() -> tuple[str, str]:
    """The unit is up, and its process is the program itself."""
    shown = call("systemctl", "show", "--property=MainPID,ActiveState", "veriseal-kiosk@kiosk")
    state = dict(line.split("=", 1) for line in shown.out.split())
    if state["ActiveState"] != "active":
        return state["ActiveState"], call("journalctl", "-b", "-t", "veriseal", "-n", "5").out
    program = os.readlink(f"/proc/{state['MainPID']}/exe")
    return f"{state['ActiveState']} {program}", shown.out.strip()


def sealed_before_root() -> tuple[str, str]:
    """The journal's record of the seal is older than the kernel's of the root's mount."""
    sealed = root_mounted = None
    for line in call("journalctl", "--boot", "--output=json").out.splitlines():
        record = json.loads(line)
        if record.get("MESSAGE_ID") == "e32fc9edb7d5409e96cac088d6ca240d":
            sealed = int(record["__MONOTONIC_TIMESTAMP"])
        if root_mounted is None and "EXT4-fs (vda): mounted" in str(record.get("MESSAGE")):
            root_mounted = int(record["_SOURCE_MONOTONIC_TIMESTAMP"])
    detail = f"sealed at {sealed} us, root mounted at {root_mounted} us"
    if sealed is None or root_mounted is None:
        return "no record", detail
    return ("sealed first" if sealed < root_mounted else "root first"), detail


def status_is_clean() -> tuple[str, str]:
    """`veriseal status` agrees with the boot report."""
    ended = call("veriseal", "status")
    return f"exit {ended.status}", ended.out.strip()


def sysctl_off() -> tuple[str, str]:
    """Write the sysctl back to 0, launch, restore."""
    try:
        with open(SYSCTL, "w", encoding="ascii") as file:
            file.write("0")
        return launch(f"{BIN}/program")
    finally:
        with open(SYSCTL, "w", encoding="ascii") as file:
            file.write("1")


def linked_elsewhere() -> tuple[str, str]:
    """Give a signed program a second name."""
    os.link(f"{BIN}/program", f"{BIN}/second-name")
    try:
        return launch(f"{BIN}/second-name")
    finally:
        os.unlink(f"{BIN}/second-name")


def moved_over() -> tuple[str, str]:
    """Put a signed program in the place of another."""
    os.rename(f"{BIN}/program", f"{BIN}/aside")
    os.link(f"{BIN}/poweroff", f"{BIN}/program")
    try:
        return launch(f"{BIN}/program")
    finally:
        os.rename(f"{BIN}/aside", f"{BIN}/program")


def through_a_link() -> tuple[str, str]:
    """A link elsewhere: what counts is where it leads."""
    os.symlink(f"{BIN}/program", "/run/link")
    return launch("/run/link")


def table_emptied() -> tuple[str, str]:
    """Root writes the launch table."""
    with kept(TABLE):
        with open(TABLE, "wb"):
            pass
        return launch(f"{BIN}/program")


def table_writable() -> tuple[str, str]:
    """Root makes the launch table anybody's."""
    os.chmod(TABLE, 0o666)  # noqa: S103
    try:
        return launch(f"{BIN}/program")
    finally:
        os.chmod(TABLE, 0o644)  # noqa: S103


@contextlib.contextmanager
def kept(path: str) -> Iterator[None]:
    """What is done to the file meanwhile is undone."""
    with open(path, "rb") as file:
        data = file.read()
    try:
        yield
    finally:
        with open(path, "wb") as file:
            file.write(data)


def tree_verified() -> tuple[str, str]:
    """What the boot report says of the tree."""
    with open("/run/veriseal/boot.json", encoding="utf-8") as file:
        report = json.load(file)
    tree = report["tree"]
    detail = f"{tree['measured']} measured, {tree['hashed']} hashed, {tree['seconds']} s"
    return f"{report['manifest']}, version {tree['version']}, {tree['summary']}", detail


def on_tmpfs() -> tuple[str, str]:
    """Launch a copy on tmpfs."""
    call("cp", f"{BIN}/program", "/run/program")
    return launch("/run/program")


def on_overlay() -> tuple[str, str]:
    """Launch through an overlay over the kiosk's directory."""
    base = "/run/overlay"
    for name in ("upper", "work", "merged"):
        os.makedirs(f"{base}/{name}", exist_ok=True)
    options = f"lowerdir={BIN},upperdir={base}/upper,workdir={base}/work"
    mounted = call("mount", "-t", "overlay", "overlay", "-o", options, f"{base}/merged")
    if mounted.status != 0:
        return "no overlay", mounted.err
    return launch(f"{base}/merged/program")


def swapped_link() -> tuple[str, str]:
    """Swap a symbolic link between the signed program and a stranger's while it is launched."""
    link, other = "/run/swap", "/run/swap.new"
    os.symlink(f"{BIN}/program", link)
    child = os.fork()
    if child == 0:
        while True:
            for target in (f"{STRAY}/no-verity", f"{BIN}/program"):
                with contextlib.suppress(FileExistsError):
                    os.symlink(target, other)
                os.rename(other, link)
    try:
        seen = [launch(link, "once")[0] for _ in range(RACES)]
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    wrong = [text for text in seen if text not in ("0 program: up as uid 0", "126 no-verity")]
    return (
        "; ".join(wrong) or "never ran"
    ), f"{len(seen)} launches, {seen.count('126 no-verity')} refused"


def injected(name: str) -> Callable[[], tuple[str, str]]:
    """An attempt to have the loader run a stranger's library in the program."""

    def attempt() -> tuple[str, str]:
        environment = {**os.environ, name: f"{STRANGER}/evil.so"}
        mark = f"evil code in {BIN}/program"
        direct = call(f"{BIN}/program", environment=environment)
        if mark not in direct.out:
            return "the attack itself does not work", direct.out + direct.err
        ended = call("/usr/bin/veriseal", "exec", f"{BIN}/program", environment=environment)
        return ("in the program" if mark in ended.out else "not in the program"), ended.out.strip()

    return attempt


def python_path() -> tuple[str, str]:
    """PYTHONPATH with a sitecustomize for a signed script with a signed interpreter."""
    environment = {**os.environ, "PYTHONPATH": STRANGER}
    script = f"{BIN}/python-script"
    direct = call(script, environment=environment)
    if "evil code" not in direct.out:
        return "the attack itself does not work", direct.out + direct.err
    ended = call("/usr/bin/veriseal", "exec", script, environment=environment)
    return f"{ended.status} {ended.out.strip()}", ended.err.strip()


def journal_has_refusal() -> tuple[str, str]:
    """The refusals are in the journal, with their fields."""
    found = call("journalctl", "--boot", "--output=json",
                 "MESSAGE_ID=7a82c948c0e34b5bbd4979678a6b75f7")  # fmt: skip
    records = [json.loads(line) for line in found.out.splitlines()]
    reasons = sorted({str(record.get("VERISEAL_REASON")) for record in records})
    return ("recorded" if "no-verity" in reasons else "missing"), ", ".join(reasons)


def timing() -> tuple[str, str]:
    """Run what was put on the disk to measure this boot; the detail is what it prints."""
    ended = call("/usr/bin/python3", MEASURE)
    return str(ended.status), ended.out.strip() or ended.err.strip()


OF_KEYS = "of the release's key"
ROWS = (
    Row("the kiosk's unit starts", "-", f"active {BIN}/kiosk", kiosk_runs),
    Row("the tree was checked", "-", "verified, version 2, no findings", tree_verified),
    Row("sealed before the root is mounted", "-", "sealed first", sealed_before_root),
    Row("veriseal status after the boot", "-", "exit 0", status_is_clean),
    Row("signed program as root", "-", "0 program: up as uid 0", launching("program")),
    Row("signed program as a user", "-", "0 program: up as uid 65534", launching("program", USER)),
    Row("signed script", "-", "0 script: up", launching("script", USER)),
    Row("certificate added to the keyring", "A3", "refused", add_certificate),
    Row("keyring cleared", "A3", "refused", keyctl("clear", ring)),
    Row("key unlinked", "A3", "refused", keyctl("unlink", key, ring)),
    Row("keyring revoked", "A3", "refused", keyctl("revoke", ring)),
    Row(f"revocation {OF_KEYS}", "A3", "refused", keyctl("revoke", key)),
    Row("keyring invalidated", "A3", "refused", keyctl("invalidate", ring)),
    Row(f"invalidation {OF_KEYS}", "A3", "refused", keyctl("invalidate", key)),
    Row("timeout on the keyring", "A3", "refused", keyctl("timeout", ring, "1")),
    Row(f"timeout {OF_KEYS}", "A3", "refused", keyctl("timeout", key, "1")),
    Row("permissions of the keyring", "A3", "refused", keyctl("setperm", ring, "0x3f3f3f3f")),
    Row(f"permissions {OF_KEYS}", "A3", "refused", keyctl("setperm", key, "0x3f3f3f3f")),
    Row("owner of the keyring", "A3", "refused", keyctl("chown", ring, "65534")),
    Row(f"owner {OF_KEYS}", "A3", "refused", keyctl("chown", key, "65534")),
    Row("keyring linked elsewhere", "A3", "refused", keyctl("link", ring, "@s")),
    Row("key linked elsewhere", "A3", "refused", keyctl("link", key, "@s")),
    Row("key moved elsewhere", "A3", "refused", keyctl("move", key, ring, "@s")),
    Row("sysctl written back to 0", "A3", "126 sysctl-off", sysctl_off),
    Row("no verity", "A1", "126 no-verity", straying("no-verity")),
    Row("verity without signature", "A1", "126 unsigned", straying("no-signature")),
    Row("signed by a stranger", "A1", "126 not-enrolled", straying("stranger")),
    Row("signature of another file", "A1", "126 signature-mismatch", straying("other-signature")),
    Row(
        "signature changed on the disk",
        "A1",
        "126 signature-mismatch",
        straying("damaged-signature"),
    ),  # fmt: skip
    Row("first page changed on the disk", "A1", "126 corrupt", launching("changed")),
    Row("signed, but not in the manifest", "A1", "126 not-in-manifest", straying("not-listed")),
    Row("signed, earlier version", "A1", "126 not-in-manifest", straying("old-program")),
    Row("signed, hard-linked elsewhere", "A3", "126 misplaced", linked_elsewhere),
    Row("signed, moved over another", "A3", "126 misplaced", moved_over),
    Row("through a link to its place", "-", "0 program: up as uid 0", through_a_link),
    Row("launch table emptied", "A3", "126 launch-table-damaged", table_emptied),
    Row("launch table writable by all", "A3", "126 launch-table-not-trusted", table_writable),
    Row(
        "script of an unsigned interpreter", "A1", "126 no-verity", launching("script-of-unsigned")
    ),  # fmt: skip
    Row("script by env", "A2", "126 interpreter-by-path", launching("script-by-env")),
    Row("copy on tmpfs", "A2", "126 unknown-filesystem", on_tmpfs),
    Row("through overlayfs", "A2", "126 unknown-filesystem", on_overlay),
    Row("a directory", "A2", "126 not-a-regular-file", launching(BIN)),
    Row("no such program", "A2", "127 not-found", launching("missing")),
    Row("link swapped while it starts", "A2", "never ran", swapped_link),
    Row("LD_PRELOAD", "A2", "not in the program", injected("LD_PRELOAD")),
    Row("LD_AUDIT", "A2", "not in the program", injected("LD_AUDIT")),
    Row("PYTHONPATH", "A2", "0 python-script: up", python_path),
    Row("refusals in the journal", "-", "recorded", journal_has_refusal),
)


ALL, REPORT = "all", "report"
GROUPS = {
    ALL: ROWS,
    REPORT: (
        Row("comes up all the same", "-", f"active {BIN}/kiosk", kiosk_runs),
        Row("the report counts the finding", "-", "reported, version 2, 1 added", tree_verified),
        Row("status only reporting", "-", "exit 0", status_is_clean),
        Row("program with a place", "-", "0 program: up as uid 65534", launching("program", USER)),
    ),
}
"""Which rows a boot is for: ``veriseal.attacks=`` on the kernel command line."""

TIMING = "timing"
MEASURED = {TIMING: (Row(TIMING, "-", "0", timing),)}
"""Boots that are measured and not attacked."""


def chosen() -> str:
    """The group that this boot is for."""
    with open("/proc/cmdline", encoding="utf-8") as file:
        named = re.search(r"veriseal\.attacks=(\w+)", file.read())
    return named[1] if named else ALL


def results() -> Iterator[dict[str, str]]:
    """Try every row. A row that cannot be tried is seen as what went wrong."""
    for row in {**GROUPS, **MEASURED}[chosen()]:
        started = time.monotonic()
        try:
            seen, detail = row.attempt()
        except Exception as error:
            seen, detail = f"{type(error).__name__}: {error}", ""
        seconds = f"{time.monotonic() - started:.1f}"
        yield {"name": row.name, "seen": seen, "detail": detail, "seconds": seconds}


if __name__ == "__main__":
    with open(RESULTS, "w", encoding="utf-8", buffering=1) as port:
        for result in results():
            print(json.dumps(result), file=port)
        print(json.dumps({"name": "end", "seen": "end", "detail": "", "seconds": "0"}), file=port)
    sys.exit(0)
