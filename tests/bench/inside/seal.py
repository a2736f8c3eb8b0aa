"""Seal this boot once, with the agent or by hand, and say how long that took.

Usage: seal agent|by-hand CERTIFICATE-PEM
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from veriseal import journal, pem, report
from veriseal.boot import agent, seal, throwaway
from veriseal.kernel import keyring, sysctl

from ..timing import TimingError, seconds
from . import common

BY_HAND = str(Path(__file__).with_name("seal-by-hand"))
_TIMES = 5
_IMPORT = "import sys; sys.path.insert(0, '/usr/lib/veriseal'); import {}"


def main(how: str, text: str) -> None:
    der_path = Path("/run/release.der")
    der = pem.one_certificate(text.encode(), "release.pem")
    der_path.write_bytes(der)
    common.play_initrd(text.encode())
    _warm_up()
    parts = _parts(der) if how == "agent" else {}
    argv = common.SEAL if how == "agent" else ("sh", BY_HAND, str(der_path))
    elapsed = seconds(argv)
    _require_sealed()
    if how == "agent":
        parts["agent"] = _number(report.read()["seconds"])
    print(json.dumps({"seconds": elapsed, "parts": parts}))


def _warm_up() -> None:
    """Bring what both need into the page cache: both ways in every boot, so they are alike."""
    for _ in range(2):
        seconds((*common.SEAL, "--dry-run"))
        seconds(("keyctl", "--version"))
        seconds(("sysctl", "--version"))
        seconds(("sh", "-c", ":"))


def _parts(der: bytes) -> dict[str, float]:
    """What the agent's time is made of, each part on its own, in seconds."""

    def keyctl() -> None:
        serial = keyring.add_certificate(der)
        keyring.describe(serial)
        keyring.set_permissions(serial, seal.KEY_MASK)
        keyring.unlink(serial, keyring.PROCESS_KEYRING)

    def program(*argv: str) -> Callable[[], object]:
        return lambda: seconds(argv)

    isolated = common.START_PYTHON[:-1]
    return {
        "python": _median(program(*common.START_PYTHON)),
        "python and cryptography": _median(program(*isolated, "import cryptography.x509")),
        "python and all imports": _median(
            program(*isolated, _IMPORT.format("veriseal.cli.main, veriseal.cli.boot"))
        ),
        "dry run": _median(program(*common.SEAL, "--dry-run")),
        "plan": _median(agent.dry_run),
        "throwaway certificate": _median(throwaway.certificate),
        "keyctl calls for one key": _median(keyctl),
        "one journal record": _median(
            lambda: journal.send(journal.CERTIFICATES_FOUND, journal.INFO, "bench")
        ),
    }


def _median(call: Callable[[], object]) -> float:
    times = []
    call()
    for _ in range(_TIMES):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _require_sealed() -> None:
    """Both ways must come to the same state, or they are no peers."""
    ring = keyring.fs_verity_keyring()
    masks = [keyring.describe(serial).permissions for serial in keyring.contents(ring)]
    required = sysctl.read_require_signatures()
    if not seal.is_sealed() or masks != [seal.KEY_MASK] or not required:
        raise TimingError(f"not sealed as it must be: {masks}, {required}")


def _number(value: object) -> float:
    if not isinstance(value, float):
        raise TimingError(f"the boot report's seconds: {value!r}")
    return value


if __name__ == "__main__":
    main(*sys.argv[1:])
