"""What a boot of the appliance took. Runs there, at its end, with the standard library alone.

Prints JSON: microseconds since the kernel started, and seconds.
"""

import json
import os
import subprocess
import time

REPORT = "/run/veriseal/boot.json"
UNITS = ("veriseal-seal.service", "veriseal-verify.service")
JOBS = {"Starting": "starting", "Finished": "started"}
"""systemd's messages of a job, and what they are called here."""

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
    found: dict[str, dict[str, int]] = {name: {} for name in UNITS}
    # What systemd says before there is a journal comes to it from the kernel, as mere text.
    said = output("journalctl", "--boot", "--output=json", "--identifier=systemd")
    for line in said.splitlines():
        record = json.loads(line)
        word, _, rest = str(record["MESSAGE"]).partition(" ")
        unit = rest.partition(" ")[0]
        if word in JOBS and unit in found:
            moment = record.get("_SOURCE_MONOTONIC_TIMESTAMP", record["__MONOTONIC_TIMESTAMP"])
            found[unit][JOBS[word]] = int(moment)
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
