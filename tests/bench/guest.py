"""Run a module of `inside` in the test guest, and get its answer."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.guest import accel, root, run
from tests.guest.machine import Disk
from tests.guest.store import GuestError

HOW = {
    "kvm": "in a virtual machine with KVM",
    "tcg": "in a virtual machine in software emulation: every single time is much longer",
}
SCRIPT = Path(__file__).parent / "in-guest"


def ask(module: str, *arguments: str, disks: Sequence[Disk] = (), timeout: float = 600) -> Any:
    """Boot the guest, run ``module`` there, end the guest. Gives the JSON that it printed."""
    out = io.BytesIO()
    result = run.run(
        SCRIPT, [module, *arguments], disks=disks, timeout=timeout,
        stdout=out, stderr=sys.stderr.buffer,
    )  # fmt: skip
    if result.status != 0:
        raise GuestError(f"{module} in the guest: status {result.status}, see {result.console}")
    return json.loads(out.getvalue().splitlines()[-1])


def how() -> str:
    """What kind of machine the guest is: for the notes below the table."""
    return HOW[accel.choose(root.kernel().image)]
