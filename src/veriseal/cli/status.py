"""veriseal status: what is sealed, enrolled and required now, and what changed since the boot."""

import argparse
import json
from typing import Any

from veriseal import report
from veriseal.boot import seal
from veriseal.errors import VerisealError, printable
from veriseal.kernel import keyring, sysctl

_MUST_HAVE = {
    "both": "a built-in signature, and its place in the manifest",
    "manifest": "its place in the manifest",
    "signature": "a built-in signature",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.epilog = (
        "Exit status 1 if no program may run in this boot, or something has changed since. "
        "Only root can see the keys; for other users they count as not checked."
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the state. Returns 0 if the boot is sealed and nothing has changed since."""
    state = collect()
    print(json.dumps(state, indent=2) if options.json else as_text(state))
    return 0 if state["ready"] and not state["drift"] else 1


def collect() -> dict[str, Any]:
    """The state of this machine as plain data."""
    state: dict[str, Any] = {
        "ready": False,
        "sealed": False,
        "mode": None,
        "kernel_support": True,
        "require_signatures": None,
        "keyring": None,
        "report": None,
        "drift": [],
        "unchecked": [],
    }
    try:
        state["require_signatures"] = sysctl.read_require_signatures()
        state["keyring"] = _keyring()
    except VerisealError as error:
        state["kernel_support"] = False
        why = str(error)
    try:
        state["report"] = booted = report.read()
        head = report.state()
        state["mode"] = {key: getattr(head, key) for key in ("keyring", "manifest", "require")}
        state["sealed"] = head.keyring == report.SEALED
        if state["sealed"] and state["kernel_support"]:
            _compare(state, booted)
        elif head.keyring != report.OFF and not state["kernel_support"]:
            state["drift"].append(why)
        head.require_ready(report.PATH)
        state["ready"] = True
    except VerisealError as error:
        state["drift"].append(str(error))
    return state


def _keyring() -> dict[str, Any] | None:
    """What the kernel shows of the keyring to this user; None if nothing."""
    try:
        ring = keyring.describe(keyring.fs_verity_keyring())
        keys = [keyring.describe(serial) for serial in keyring.contents(ring.serial)]
    except (OSError, VerisealError):
        # /proc/keys leaves out what a user may not view.
        return None
    return {
        "serial": ring.serial,
        "permissions": f"{ring.permissions:#010x}",
        "keys": [{"serial": key.serial, "description": key.description} for key in keys],
    }


def _compare(state: dict[str, Any], booted: dict[str, object]) -> None:
    """Note what differs from the report, and what this user may not see."""
    try:
        seal.read_back(seal.Sealed.from_json(booted.get("kernel_keyring")))
    except VerisealError as error:
        state["drift"].append(str(error))
    except OSError as error:
        state["unchecked"].append(f"the keyring and its keys: {error.strerror}")
        if not state["require_signatures"]:
            state["drift"].append("the sysctl fs.verity.require_signatures is not 1")


def as_text(state: dict[str, Any]) -> str:
    """``state`` for people."""
    booted = state["report"] or {}
    mode = state["mode"] or {}
    tree = booted.get("tree") or {}
    ring = state["keyring"]
    lines = [
        f"programs may run:    {_yes(state['ready'])}",
        f"sealed:              {_yes(state['sealed'])}{_sealed_by(mode, booted)}",
        f"kernel support:      {_yes(state['kernel_support'])}",
        f"require_signatures:  {_yes(state['require_signatures'])}",
        f"keyring permissions: {ring['permissions'] if ring else 'not visible to this user'}",
        f"manifest:            {mode.get('manifest', 'unknown')}{_release(tree)}",
        f"a program must have: {_MUST_HAVE.get(str(mode.get('require')), 'unknown')}",
    ]
    lines += [f"not covered:         {point}" for point in tree.get("not_covered", [])]
    lines += _trust_lines(booted.get("trust") or {})
    for key in (booted.get("kernel_keyring") or {}).get("keys", []):
        lines.append(f"key:                 {key['os']}  {key['subject']}  {key['key']}")
        lines.append(f"                     sha256 {key['fingerprint']}")
    lines += [f"changed:             {text}" for text in state["drift"]]
    lines += [f"not checked:         {text}" for text in state["unchecked"]]
    return "\n".join(map(printable, lines))


def _sealed_by(mode: dict[str, str], booted: dict[str, Any]) -> str:
    if mode.get("keyring") == report.OFF:
        return " (boot.keyring is off)"
    ring = booted.get("kernel_keyring") or {}
    if ring.get("sealed_by") == seal.OTHER:
        takes = ring.get("takes", seal.NOTHING)
        return f" (filled and sealed by {seal.OTHER}, and checked; it takes {takes})"
    return ""


def _trust_lines(trust: dict[str, Any]) -> list[str]:
    if not trust:
        return []
    origin = "the certificates of the initrd"
    if trust["statement"]:
        origin = f"the trust statement, version {trust['statement']}"
    window = ", ".join(f"{name} ({part})" for name, part in trust["window"].items())
    anchors = ", ".join(one["subject"] for one in trust["anchors"]) or "none"
    return [
        f"trust from:          {printable(origin)}",
        f"window:              {printable(window)}",
        f"anchors:             {printable(anchors)}",
        *(
            ["not used:            " + printable(trust["statement_not_used"])]
            if trust["statement_not_used"] is not None
            else []
        ),
        *(f"warning:             {printable(text)}" for text in trust["warnings"]),
        *(
            f"ignored:             {printable(one['path'])}: {printable(one['why'])}"
            for one in trust["ignored"]
        ),
    ]


def _release(tree: dict[str, Any]) -> str:
    if not tree:
        return ""
    text = f", {tree['os']} version {tree['version']} (floor {tree['floor']})"
    if "summary" in tree:
        text += f", {tree['entries']} entries, {tree['summary']}"
    return text + (", nothing is enforced" if tree["mode"] == "report" else "")


def _yes(value: bool | None) -> str:
    return "unknown" if value is None else "yes" if value else "no"
