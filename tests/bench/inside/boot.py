"""What a boot of the appliance took. Runs there, at its end, with the standard library alone.

Prints JSON: microseconds since the kernel started, and seconds.
"""

import json
import os
import subprocess
import time

REPORT = "/run/veriseal/boot.json"
JOBS = {
    "7d4958e842da4a758f6c1cdc7b36dcc5": "starting",
    "39f53479d3a045ac8e11786248231fbf": "started",
}
"""systemd's records of its jobs: SD_MESSAGE_UNIT_STARTING and _STARTED of sd-messages.h."""

_OWN = "import sys, time; sys.path.insert(0, '/usr/lib/veriseal')\n"
PROGRAMS = {
    "python": "pass",
    "cryptography": "import cryptography.x509",
    "imports": f"{_OWN}import veriseal.cli.main, veriseal.cli.boot, veriseal.boot.verify",
    "list": f"""{_OWN}
from veriseal import dump
started = time.monotonic()
with open("/usr/lib/veriseal/manifest/tree.dump", "rb") as file:
    for _ in dump.parse(file, None):
        pass
print(time.monotonic() - started)
""",
}
"""What the steps consist of, for `python3 -I -c`. One that prints has measured itself."""


def main() -> None:
    answer: dict[str, object] = {"moments": moments(), "units": units()}
    if os.path.exists(REPORT):
        with open(REPORT, encoding="utf-8") as file:
            answer["report"] = json.load(file)
        answer["parts"] = {name: seconds(text) for name, text in PROGRAMS.items()}
    print(json.dumps(answer))


def moments() -> dict[str, int]:
    """When the initrd was entered, when the root, and when all was up but what runs this."""
    properties = {
        "initrd": ("InitRDTimestampMonotonic",),
        "root": ("UserspaceTimestampMonotonic",),
        "up": ("ExecMainStartTimestampMonotonic", "attacks.service"),
    }
    return {
        name: int(output("systemctl", "show", "--value", f"--property={words[0]}", *words[1:]))
        for name, words in properties.items()
    }


def units() -> dict[str, dict[str, int]]:
    """When the units that veriseal adds to the initrd were started and when they were done."""
    found: dict[str, dict[str, int]] = {}
    for line in output("journalctl", "--boot", "--output=json", "_PID=1").splitlines():
        record = json.loads(line)
        unit, job = record.get("UNIT", ""), JOBS.get(record.get("MESSAGE_ID", ""))
        if job is not None and unit in ("veriseal-seal.service", "veriseal-verify.service"):
            moment = record.get("_SOURCE_MONOTONIC_TIMESTAMP", record["__MONOTONIC_TIMESTAMP"])
            found.setdefault(unit, {})[job] = int(moment)
    return found


def seconds(text: str) -> float:
    """Of a program the shortest of three runs: all it reads is in memory then, as in an initrd."""
    taken = []
    for _ in range(3):
        started = time.monotonic()
        said = output("/usr/bin/python3", "-I", "-c", text)
        taken.append(float(said) if said else time.monotonic() - started)
    return min(taken)


def output(*argv: str) -> str:
    """What a program prints; it must succeed."""
    return subprocess.run(argv, capture_output=True, check=True, text=True).stdout


if __name__ == "__main__":
    main()
