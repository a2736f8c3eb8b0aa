"""Targets: what the boot steps leave behind for the launcher, after something went over it."""

import os
from typing import Any

from tests.fuzz import samples, workplace
from tests.fuzz.contract import attempt
from veriseal import report as boot_report
from veriseal import table as launch_table
from veriseal import trusted
from veriseal.boot import floor as lowest
from veriseal.boot import seal
from veriseal.digest import Digest
from veriseal.errors import VerisealError
from veriseal.kernel import verity

_BOOT_ID = b"{boot id}"
_SEALED = seal.Sealed(
    0x1DE7A24D,
    0x080B0000,
    [seal.Enrolled(7, "Acme: 00ff", "fedora:43", "CN=Acme", "RSA", "ab", "", "0x09010000")],
)
_PING, _POWEROFF = samples.DIGEST, samples.OTHER_DIGEST
_ROWS = {b"/usr/bin/ping": _PING, b"/usr/bin/poweroff": _POWEROFF, b"/x": samples.LONG_DIGEST}
_LOADER = verity.raw_digest(samples.LONG_DIGEST)
_CLOSURES = {
    b"/usr/bin/ping": [
        (b"/lib64/ld.so", _LOADER),
        (b"/etc/ld.so.preload", launch_table.ABSENT),
        (b"/usr/lib/libc.so.6", launch_table.REFUSED),
    ],
    b"/x": [],
}


def report_seeds() -> list[bytes]:
    path = os.path.join(workplace.directory(), "run", "boot.json")
    bodies: tuple[dict[str, Any], ...] = (
        {"kernel_keyring": _SEALED.as_json(), "floor": {"version": 3}, "tree": {"version": 7}},
        {"failure": {"problem": "why"}},
    )
    made = []
    for body, state in zip(
        bodies,
        (
            boot_report.State("sealed", "verified", "both"),
            boot_report.State("failed", "pending", "manifest"),
        ),
        strict=True,
    ):
        boot_report.write(state, body, path)
        with open(path, "rb") as file:
            # Not of one boot, so that a run can be repeated in another.
            made.append(file.read().replace(trusted.boot_id().encode(), _BOOT_ID))
    return made


def report(data: bytes) -> None:
    """A report lets programs run only if it says so in the form in which it was written."""
    data = data.replace(_BOOT_ID, trusted.boot_id().encode())
    path = workplace.put("boot.json", data)
    state = attempt(boot_report.state, path)
    if not isinstance(state, VerisealError):
        ready = attempt(state.require_ready, path)
        assert trusted.boot_id().encode() in data
        if ready is None:
            assert f'"keyring": "{state.keyring}"'.encode() in data
            assert state.keyring in ("sealed", "off")
            assert state.require == "signature" or state.manifest in ("verified", "reported")
    body = attempt(boot_report.read, path)
    if not isinstance(body, VerisealError):
        attempt(seal.Sealed.from_json, body.get("kernel_keyring"))


def table_seeds() -> list[bytes]:
    path = os.path.join(workplace.directory(), "run", "launch.table")
    made = []
    for rows in (list(_ROWS.items()), list(_ROWS.items())[:1], []):
        launch_table.write(rows, _CLOSURES, samples.BOOT_ID, path)
        with open(path, "rb") as file:
            made.append(file.read())
    return made


def table(data: bytes) -> None:
    """A look-up passes only with what the file holds, side by side, as it was written."""
    path = workplace.put("launch.table", data)
    for name in (*_ROWS, b"/usr/bin/other", b"/"):
        for digest in (_PING, _POWEROFF, samples.LONG_DIGEST):
            place = attempt(_require, path, name, digest)
            if isinstance(place, VerisealError):
                continue
            assert digest.value + name in data, (name, digest)
            needs = attempt(_closure, path, place)
            if isinstance(needs, list):
                assert all(at + b"\0" in data and measured in data for at, measured in needs)
    attempt(_programs, path)


def _require(path: str, name: bytes, digest: Digest) -> tuple[int, int]:
    with launch_table.Table(samples.BOOT_ID, path) as opened:
        return opened.require(name, digest)


def _closure(path: str, place: tuple[int, int]) -> list[tuple[bytes, bytes]] | None:
    with launch_table.Table(samples.BOOT_ID, path) as opened:
        return opened.closure(place)


def _programs(path: str) -> list[bytes]:
    with launch_table.Table(samples.BOOT_ID, path) as opened:
        return opened.programs_with(_LOADER)


def floor(data: bytes) -> None:
    path = workplace.put("floor.json", data)
    found = attempt(lowest.read, path)
    if not isinstance(found, VerisealError):
        assert min(found) >= 0
        again = workplace.put("floor.json", lowest.serialize(found).encode())
        assert lowest.read(again) == found
