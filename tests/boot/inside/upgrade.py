"""From one release to the next on a sealed machine: stage, enable, ask `trust plan`, replace."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator

from .keys import keyring
from .row import A3, BIN, GOOD, NOTHING, Row, call, launch
from .system import kiosk_runs, tree_verified

FIRST, SECOND, LAST = NUMBERS = (42, 43, 44)
UPGRADES = "/var/lib/upgrades"
NEXT = f"{UPGRADES}/next"
"""The tree of the release that comes, as it will be."""
TOPS = ("usr", "etc", "opt")
MANIFEST = "usr/lib/veriseal/manifest"
WITHOUT_NEXT = f"{UPGRADES}/without-next"
"""An initrd of the first release, whose window ends there."""
ALREADY = "already"
LONG = 600
"""Seconds for what goes through the whole tree."""


def certificate(number: int) -> str:
    """Where that of a release lies."""
    return f"usr/share/voa/debian:{number}/image/default/x509/release.pem"


def window() -> tuple[str, str]:
    """Whose keys are in the keyring, as the boot report says."""
    keys = keyring()["keys"]
    names = sorted(str(key["os"]) for key in keys) if isinstance(keys, list) else []
    return " ".join(names), json.dumps(keys)


def beyond() -> tuple[str, str]:
    """Enable a file with a good signature by a release that is not in the window."""
    own = f"{UPGRADES}/beyond"
    shutil.copy2(f"{UPGRADES}/{LAST}/new/opt/kiosk/bin/app", own)
    ended = call("veriseal", "enable", "--signatures", f"{UPGRADES}/{LAST}/release/signatures", own)
    reason = "no key" if "no certificate in the .fs-verity keyring" in ended.err else "?"
    return f"exit {ended.status}, {reason}", ended.err.strip()


def staged(number: int) -> tuple[str, str]:
    """Make the next tree of this one and of what is new, and enable what is not."""
    place = f"{UPGRADES}/{number}"
    os.mkdir(NEXT)
    # Links to the files that stay; where all get another signature, copies of them.
    how = ["-a"] if number == LAST else ["-al"]
    _must("cp", *how, *(f"/{top}" for top in TOPS), NEXT)
    _must("cp", "-a", "/bin", "/lib", "/lib64", "/sbin", NEXT)
    if number == LAST:
        shutil.rmtree(f"{NEXT}/{certificate(FIRST)}".split("/image/")[0])
    shutil.rmtree(f"{NEXT}/{MANIFEST}")
    os.mkdir(f"{NEXT}/{MANIFEST}")
    for entry in os.scandir(f"{place}/release"):
        if entry.is_file():
            shutil.copy2(entry.path, f"{NEXT}/{MANIFEST}")
    # What is replaced is linked to what runs: never to be written to.
    _must("cp", "-a", "--remove-destination", f"{place}/new/.", NEXT)
    ended = call("veriseal", "enable", "--json", "--release", f"{place}/release", NEXT,
                 timeout=LONG)  # fmt: skip
    report = json.loads(ended.out or "{}")
    kept = "most kept" if report.get(ALREADY, 0) > report.get("enabled", 0) else "most new"
    return f"exit {ended.status} {kept}", ended.err.strip()


def plan(number: int, *options: str, initrd: str = "") -> tuple[str, str]:
    """`veriseal trust plan` for the next tree and its initrd."""
    ended = call("veriseal", "trust", "plan", "--to", NEXT, "--tree", NEXT,
                 "--initrd", initrd or f"{UPGRADES}/{number}/initrd", *options,
                 timeout=LONG)  # fmt: skip
    return f"exit {ended.status}", f"{ended.out.strip()} {ended.err.strip()}"


def refused_by_plan(says: str, *options: str, initrd: str = "") -> tuple[str, str]:
    """The same, where it must refuse and name this."""
    seen, detail = plan(SECOND, *options, initrd=initrd)
    return (seen if says in detail else f"{seen}, and it does not say: {says}"), detail


def put() -> tuple[str, str]:
    """Rename everything that is new into its place, and remove what is no more."""
    gone = [path for path in _files("/") if not os.path.lexists(f"{NEXT}{path}")]
    moved = 0
    for path in list(_files(NEXT)):
        new = f"{NEXT}{path}"
        if os.path.lexists(path) and os.path.samestat(os.lstat(path), os.lstat(new)):
            continue
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.rename(new, path)
        moved += 1
    for path in gone:
        os.unlink(path)
        while not os.listdir(path := os.path.dirname(path)):
            os.rmdir(path)
    shutil.rmtree(NEXT)
    os.sync()
    return "in place", f"{moved} moved, {len(gone)} removed"


def _files(top: str) -> Iterator[str]:
    """What is no directory below `TOPS`, by its path in the system."""
    for name in TOPS:
        for directory, directories, files in os.walk(os.path.join(top, name)):
            links = [one for one in directories if os.path.islink(os.path.join(directory, one))]
            for one in (*files, *links):
                yield "/" + os.path.relpath(os.path.join(directory, one), top)


def _must(*argv: str) -> None:
    if (ended := call(*argv, timeout=LONG)).status:
        raise RuntimeError(f"{argv[0]}: {ended.err}")


def signed_by(path: str, number: int) -> Callable[[], tuple[str, str]]:
    """A program runs, and its signature names the certificate of this release."""

    def attempt() -> tuple[str, str]:
        der = call("fsverity", "dump_metadata", "signature", path)
        listed = call("sh", "-c", f"fsverity dump_metadata signature {path} | "
                      "openssl asn1parse -inform DER")  # fmt: skip
        pem = f"{UPGRADES}/{number}.pem"
        serial = call("openssl", "x509", "-noout", "-serial", "-in", pem).out
        seen = launch(path, "once")[0]
        if f":{serial.strip().removeprefix('serial=')}" not in listed.out:
            seen += f", not signed by {number}"
        return seen, f"{serial} {listed.out} {der.err}"

    return attempt


def adopted() -> tuple[str, str]:
    """Who sealed the keyring, as the boot report and `veriseal status` say."""
    ended = call("veriseal", "status")
    named = "named" if "another service" in ended.out else "not named"
    return f"{keyring().get('sealed_by')}, exit {ended.status}, {named}", ended.out.strip()


def warned() -> tuple[str, str]:
    """That the agent warned of a certificate that has expired, and in which year that was."""
    journal = call("journalctl", "--boot", "-t", "veriseal", "-o", "json").out
    for line in journal.splitlines():
        record = json.loads(line)
        if "expired on 2020-12-31" in str(record["MESSAGE"]):
            year = time.gmtime(int(record["__REALTIME_TIMESTAMP"]) / 1e6).tm_year
            return f"warned in {year}", str(record["MESSAGE"])
    return "not warned", journal[-500:]


def _of(number: int, name: str, done: str, expected: str, attempt: object) -> Row:
    assert callable(attempt)
    return Row(f"{number}: {name}", GOOD, done, expected, NOTHING, attempt)


def _up(number: int) -> tuple[Row, ...]:
    """What every release must do."""
    names = " ".join(f"debian:{one}" for one in NUMBERS if abs(one - number) <= 1)
    return (
        _of(number, "comes up", "its initrd, its tree", f"active {BIN}/kiosk", kiosk_runs),
        _of(
            number,
            "tree as its manifest says",
            "the boot report is read",
            f"verified, version {number}, no findings",
            tree_verified,
        ),
        _of(number, "keys of its window", "the boot report is read", names, window),
        _of(
            number,
            "its program and library",
            "launched",
            f"0 greet{number} app{number}: up as uid 0",
            lambda: launch(f"{BIN}/app", "once"),
        ),
    )


def _to(number: int, kept: str) -> tuple[Row, ...]:
    """The way to a release, on the machine that runs the one before."""
    return (
        _of(
            number,
            "enabled while the one before runs",
            "its new files are put into a tree of links, and enabled on the sealed machine",
            f"exit 0 {kept}",
            lambda: staged(number),
        ),
        _of(
            number,
            "planned",
            "`veriseal trust plan` with that tree and its initrd",
            "exit 0",
            lambda: plan(number),
        ),
    )


_PLANNED = (
    Row(
        "plan: initrd without the next certificate",
        A3,
        "`trust plan` with an initrd whose window ends before the staged release",
        "exit 1",
        "plan: manifest of the staged tree",
        lambda: refused_by_plan("debian:43", initrd=WITHOUT_NEXT),
    ),
    Row(
        "plan: release dropped that still signs files",
        A3,
        "`trust plan --drop debian:42`, where the staged release has kept files of 42",
        "exit 1",
        "plan: files that lose trust",
        lambda: refused_by_plan("would lose trust", "--drop", "debian:42"),
    ),
)
_BEYOND = Row(
    "file of a release beyond the window enabled",
    A3,
    "`veriseal enable` with a good signature by 44, while 42 runs and 43 is next",
    "exit 1, no key",
    "seal: keys of the window alone",
    beyond,
)


def _put(number: int) -> Row:
    return _of(number, "put in its place", "renamed over the release before", "in place", put)


ROWS: dict[str, tuple[Row, ...]] = {
    f"release-{FIRST}": (
        *_up(FIRST),
        _BEYOND,
        *_to(SECOND, "most kept"),
        *_PLANNED,
        _put(SECOND),
    ),
    f"release-{SECOND}": (
        *_up(SECOND),
        _of(
            SECOND,
            "file that 42 signed",
            "launched; its signature names 42's certificate",
            "0 program: up as uid 0",
            signed_by(f"{BIN}/program", FIRST),
        ),
        *_to(LAST, "most new"),
        _put(LAST),
    ),
    f"release-{LAST}": (
        *_up(LAST),
        _of(
            LAST,
            "file that 42 had signed",
            "launched; its signature names 44's certificate",
            "0 program: up as uid 0",
            signed_by(f"{BIN}/program", LAST),
        ),
    ),
}
"""The boots of three releases on one disk, one after the other."""
ADOPTED = (
    Row(
        "keyring filled and sealed by another service",
        GOOD,
        "with the initrd's certificates, as systemd-keyring-setup does; the boot goes on",
        f"active {BIN}/kiosk",
        NOTHING,
        kiosk_runs,
    ),
    Row(
        "who sealed the keyring",
        GOOD,
        "in that boot the report is read, and `veriseal status`",
        "another service, exit 0, named",
        NOTHING,
        adopted,
    ),
    Row(
        "expired certificate, dates warn, booted in 2099",
        GOOD,
        "in that boot the clock is set to 2099 before the agent starts",
        "warned in 2099",
        NOTHING,
        warned,
    ),
)
