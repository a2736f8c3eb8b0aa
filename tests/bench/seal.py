"""The agent's seal step against a shell script that does the same to the kernel, unchecked."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from tests.guest.store import say

from . import guest, host, signing
from .figure import Goal, Row, duration, of_times

GOAL = Goal(2.0)
_PAIRS = 3


def step() -> list[Row]:
    """Each boot can be sealed once: the two ways in turn, a boot for each."""
    release = signing.Release(host.install(), host.PLACE / "keys")
    pem = release.cert.read_text()
    times: dict[str, list[float]] = {"agent": [], "by-hand": []}
    parts: list[dict[str, float]] = []
    for number in range(_PAIRS):
        for how, taken in times.items():
            say(f"seal, pair {number + 1} of {_PAIRS}: {how}")
            answer = guest.ask("seal", how, pem)
            taken.append(answer["seconds"])
            if how == "agent":
                parts.append(answer["parts"])
    medians = {name: statistics.median(one[name] for one in parts) for name in parts[0]}
    peer = times["by-hand"]
    row = of_times(
        "seal step, in the guest", times["agent"], peer, "sh with keyctl and sysctl", GOAL,
        notes=_notes(medians, statistics.median(peer)),
    )  # fmt: skip
    row.data["parts_seconds"] = medians
    return [row]


def _notes(parts: Mapping[str, float], peer: float) -> list[str]:
    """Where the agent's time goes."""
    start = parts["python"]
    cryptography = parts["python and cryptography"] - start
    rest = parts["python and all imports"] - parts["python and cryptography"]
    shown = {
        "start of python": start,
        "import of cryptography.x509": cryptography,
        "all other imports": rest,
        "the agent itself, of boot.json": parts["agent"],
    }
    inner = {
        "finding and checking the certificate": parts["plan"],
        "the throwaway certificate": parts["throwaway certificate"],
        "the keyctl calls for one key": parts["keyctl calls for one key"],
        "a journal record": parts["one journal record"],
    }
    return [
        guest.how(),
        *(f"{duration(value):>8}  {name} ({value / peer:.2f} × peer)"
          for name, value in shown.items()),
        *(f"{duration(value):>16}  {name}" for name, value in inner.items()),
    ]  # fmt: skip
