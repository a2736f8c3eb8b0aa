"""What a check of the tree came to, for the boot report and for a screen with ten lines."""

import json
from typing import Any

from veriseal import report
from veriseal.boot.agent import Say, Step
from veriseal.boot.gather import Gathered
from veriseal.report import State
from veriseal.signers import Signed
from veriseal.tree import findings
from veriseal.trust import signer

MOST_FINDINGS = 1000
"""That the journal and the report get; a disk can be changed in more places than is of use."""
_SHOWN = 5
_SHOWN_LOST = 2
_NOBODY_ENROLLED = (
    'this kernel checks signatures, and boot.keyring = "off" enrols no key',
    'Say boot.keyring = "require" and rebuild the initrd',
)


def lost(found: list[findings.Finding], gathered: Gathered, state: State) -> list[str]:
    """A line for each signer whose files are refused: what is with its certificate, the remedy."""
    counts: dict[Signed, int] = {}
    for one in found:
        if one.kind == "not-enrolled" and one.signer is not None:
            key = one.signer._replace(paths=())
            counts[key] = counts.get(key, 0) + 1
    lines = []
    for name, count in counts.items():
        if state.keyring == report.OFF:
            why, remedy = _NOBODY_ENROLLED
        else:
            why, remedy = signer.of_fingerprint(name.fingerprint, name.os, gathered.trust)
        lines.append(f"{count} not-enrolled: signed by {name.name}: {why}. {remedy}")
    return lines


def reported(found: list[findings.Finding]) -> list[dict[str, str]]:
    """As many findings as the report has room for."""
    shown: list[dict[str, str]] = []
    room = report.MAX_SIZE // 2
    for one in found[:MOST_FINDINGS]:
        values = one.as_json()
        room -= len(json.dumps(values, indent=2))
        if room < 0:
            break
        shown.append(values)
    return shown


def show(result: dict[str, Any], mode: str, warn: Say) -> None:
    """The first findings, for a screen on which there is no room for all."""
    lost = result.get("lost_trust", [])[:_SHOWN_LOST]
    found = result["findings"]
    # With what systemd adds the screen has no more than ten lines.
    shown = found[: _SHOWN - len(lost)]
    for one in shown:
        warn(text(mode, f"{one['kind']}: {one['path']}: {one['problem']}"))
    if (more := len(found) - len(shown)) > 0:
        warn(text(mode, f"and {more} more"))
    for line in lost:
        warn(text(mode, line))


def said(step: Step, mode: str) -> Step:
    """``step``, saying where it is so that nothing is enforced."""

    def say(message_id: str, line: str, *more: int, **fields: str) -> None:
        step(message_id, text(mode, line), *more, **fields)

    return say


def text(mode: str, line: str) -> str:
    """``line``, saying so where nothing is enforced."""
    return line if mode == "enforce" else f"(reported, not enforced) {line}"
