"""What must work in the booted appliance, and what it says of itself."""

from __future__ import annotations

import json
import os
import time

from .row import (
    BIN,
    GOOD,
    NOTHING,
    REPORT,
    RUNS,
    RUNS_APP,
    RUNS_AS_USER,
    USER,
    Row,
    call,
    launching,
)

UNIT = "veriseal-run@opt-kiosk-bin-kiosk"
MEASURE = "/var/lib/veriseal/measure.py"


def kiosk_runs() -> tuple[str, str]:
    """The unit is up, and its process is the program itself, once it is no longer the launcher."""
    deadline = time.monotonic() + 20
    while True:
        seen, detail = _kiosk()
        if "python" not in seen or time.monotonic() > deadline:
            return seen, detail
        time.sleep(0.1)


def _kiosk() -> tuple[str, str]:
    shown = call("systemctl", "show", "--property=MainPID,ActiveState", UNIT)
    state = dict(line.split("=", 1) for line in shown.out.split())
    if state["ActiveState"] != "active":
        return state["ActiveState"], call("journalctl", "-b", "-t", "veriseal", "-n", "5").out
    program = os.readlink(f"/proc/{state['MainPID']}/exe")
    return f"{state['ActiveState']} {program}", shown.out.strip()


def tree_verified() -> tuple[str, str]:
    """What the boot report says of the tree."""
    with open(REPORT, encoding="utf-8") as file:
        report = json.load(file)
    tree = report["tree"]
    detail = f"{tree['measured']} measured, {tree['hashed']} hashed, {tree['seconds']} s"
    return f"{report['manifest']}, version {tree['version']}, {tree['summary']}", detail


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


UNIT_STARTS = Row(
    "the kiosk's unit starts",
    GOOD,
    f"`{UNIT}.service`, wanted by the target",
    f"active {BIN}/kiosk",
    NOTHING,
    kiosk_runs,
)
TREE_CHECKED = Row(
    "the tree was checked",
    GOOD,
    "the boot report is read",
    "verified, version 2, no findings",
    NOTHING,
    tree_verified,
)
FIRST = (
    UNIT_STARTS,
    TREE_CHECKED,
    Row(
        "sealed before the root is mounted",
        GOOD,
        "the journal's record of the seal is compared with the kernel's of the mount",
        "sealed first",
        NOTHING,
        sealed_before_root,
    ),
    Row(
        "veriseal status after the boot",
        GOOD,
        "`veriseal status`",
        "exit 0",
        NOTHING,
        status_is_clean,
    ),
    Row("signed program as root", GOOD, "launched", RUNS, NOTHING, launching("program")),
    Row(
        "signed program as a user",
        GOOD,
        "launched by a user",
        RUNS_AS_USER,
        NOTHING,
        launching("program", USER),
    ),
    Row("signed script", GOOD, "launched", "0 script: up", NOTHING, launching("script", USER)),
    Row("program with libraries", GOOD, "launched", RUNS_APP, NOTHING, launching("app")),
)
LAST = (
    Row(
        "refusals in the journal",
        GOOD,
        "`journalctl` by the message's identifier, after everything else",
        "recorded",
        NOTHING,
        journal_has_refusal,
    ),
)
REPORTED = (
    Row(
        "comes up all the same",
        GOOD,
        "a unit was added to the disk, and the initrd's `boot.mode` is `report`",
        f"active {BIN}/kiosk",
        NOTHING,
        kiosk_runs,
    ),
    Row(
        "the report counts the finding",
        GOOD,
        "in that boot the report is read",
        "reported, version 2, 1 added",
        NOTHING,
        tree_verified,
    ),
    Row(
        "status only reporting",
        GOOD,
        "in that boot `veriseal status`",
        "exit 0",
        NOTHING,
        status_is_clean,
    ),
    Row(
        "program with a place",
        GOOD,
        "in that boot a program is launched",
        RUNS_AS_USER,
        NOTHING,
        launching("program", USER),
    ),
)
TIMING = Row("timing", GOOD, "the boot is measured", "0", NOTHING, timing)
