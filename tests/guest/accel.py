"""Which accelerator QEMU gets: KVM where it was seen to work, software emulation elsewhere."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from .store import BUILD, GuestError, say

# QEMU 7.2 emulates cmpxchg16b wrongly with several threads: one boot in eight panics. And AVX and
# the like, which "max" has, cost more than they save: five boots of the appliance took 46 s of
# processor time each without, 54 s with "max".
_EMULATED = "qemu64,-cx16,+rdrand,+rdseed,+ssse3,+sse4.1,+sse4.2,+popcnt,+pclmulqdq,+aes"
OPTIONS = {
    "tcg": ("-accel", "tcg,thread=multi", "-cpu", _EMULATED),
    "kvm": ("-accel", "kvm", "-cpu", "host"),
}
PROBE_SECONDS = 10


def choose(kernel: Path) -> str:
    """`kvm` or `tcg`; VERISEAL_ACCEL decides if it is set, else a probe, once per host boot."""
    forced = os.environ.get("VERISEAL_ACCEL", "")
    if forced:
        if forced not in OPTIONS:
            raise GuestError(f"VERISEAL_ACCEL is {forced!r}; it can be {' or '.join(OPTIONS)}")
        return forced
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    known = BUILD / f"accel-{boot}"
    if known.exists():
        return known.read_text()
    say(f"trying /dev/kvm (at most {PROBE_SECONDS} s)")
    found = "kvm" if _kvm_works(kernel) else "tcg"
    if found == "tcg":
        say("/dev/kvm opens but does not run a kernel: using software emulation")
    part = known.with_suffix(f".{os.getpid()}")
    part.write_text(found)
    part.rename(known)
    return found


def _kvm_works(kernel: Path) -> bool:
    """Start a kernel without a root: it must greet, miss its root, panic, and so end QEMU."""
    with tempfile.NamedTemporaryFile(prefix="veriseal-probe-") as console:
        argv = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
            *OPTIONS["kvm"], "-m", "512", "-no-reboot", "-serial", f"file:{console.name}",
            "-kernel", str(kernel), "-append", "console=ttyS0 panic=-1",
        ]  # fmt: skip
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_SECONDS
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0 and b"Linux version" in Path(console.name).read_bytes()
