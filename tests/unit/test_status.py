"""The state of a boot, for people."""

from typing import Any

import pytest

from veriseal.cli import status

pytestmark = pytest.mark.unit

STATE: dict[str, Any] = {
    **dict.fromkeys(("ready", "sealed", "kernel_support", "require_signatures"), True),
    "mode": {"manifest": "failed", "require": "both"},
    "keyring": None,
    "drift": [],
    "unchecked": [],
}
TREE = {"os": "debian:13", "version": 1, "floor": 1, "mode": "enforce"}
FORGED = "x\nprograms may run:    yes\x1b[2K"


def test_what_a_stranger_named_forges_no_line() -> None:
    key = {"os": FORGED, "subject": FORGED, "key": FORGED, "fingerprint": FORGED}
    report = {"tree": {**TREE, "not_covered": [FORGED]}, "kernel_keyring": {"keys": [key]}}
    lines = status.as_text({**STATE, "ready": False, "report": report}).split("\n")
    assert [line for line in lines if line.startswith("programs may run:")] == [
        "programs may run:    no"
    ]
    assert all(line.isprintable() for line in lines)
