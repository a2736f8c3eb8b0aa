"""Units of systemd in the guest: written, wrapped, started, asked about."""

import os
import re
import shutil
import time
from collections.abc import Iterable
from typing import NamedTuple

from . import helpers

DIRECTORY = "/run/systemd/system"
OUTPUT = "/run/units"
"""Where `data/service.c` says what it is, one file for each unit."""

_EXEC = re.compile(
    r"^ExecStartEx=\{ path=(?P<path>.*?) ; argv\[\]=(?P<argv>.*) ; flags=(?P<flags>.*?) ; "
    r"start_time="
)


class Shown(NamedTuple):
    """A command as systemd has understood it: argv with blanks between, flags in order."""

    path: str
    argv: str
    flags: tuple[str, ...]


def write(name: str, *lines: str, more: str = "") -> str:
    """A service of these lines, whose output goes to a file of its own. Gives its full name."""
    unit = f"{name}.service"
    os.makedirs(OUTPUT, exist_ok=True)
    output = f"StandardOutput=truncate:{OUTPUT}/{name}"
    # When it is started, its output is open.
    text = "\n".join((more, "[Service]", "Type=exec", output, *lines, ""))
    helpers.write(f"{DIRECTORY}/{unit}", text.encode())
    return unit


def wrap(*names: str) -> None:
    """Wrap these units until the next boot."""
    for name in names:
        helpers.must_command("wrap", "--runtime", name)


def reload() -> None:
    helpers.must_run("systemctl", "daemon-reload")


def remove(*names: str) -> None:
    """Stop these units, and remove what `write` and `wrap` have left."""
    helpers.run(["systemctl", "stop", *names])
    helpers.run(["systemctl", "reset-failed", *names])
    for name in names:
        helpers.remove(f"{DIRECTORY}/{name}")
        shutil.rmtree(f"{DIRECTORY}/{name}.d", ignore_errors=True)


def show(unit: str, name: str) -> str:
    """A property of a unit."""
    return helpers.must_run("systemctl", "show", "--value", "--property", name, unit).strip()


def wait_for(unit: str, name: str, value: str) -> None:
    deadline = time.monotonic() + 60
    while (found := show(unit, name)) != value:
        assert time.monotonic() < deadline, f"{unit}: {name}={found}, not {value}: {log(unit)}"


def log(unit: str) -> str:
    """The journal's last lines about a unit, and the kernel's about refused system calls."""
    words = ("journalctl", "-b", "-o", "cat", "-n", "20")
    return helpers.must_run(*words, "-u", unit) + helpers.run([*words, "-k", "-g1326"]).out.decode()


def output(unit: str) -> dict[str, list[str]]:
    """What the service of `data/service.c` said, by name; waited for a little."""
    path = f"{OUTPUT}/{unit.removesuffix('.service')}"
    deadline = time.monotonic() + 60
    while not (text := helpers.read(path).decode()):
        assert time.monotonic() < deadline, log(unit)
        time.sleep(0.1)
    said: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        said.setdefault(name, []).append(value)
    return said


def status_of(said: dict[str, list[str]]) -> dict[str, str]:
    """The lines of /proc/PID/status in `output`."""
    pairs = (line.split(":", 1) for line in said["status"])
    return {name: value.strip() for name, value in pairs}


def properties(units: Iterable[str], *names: str) -> dict[str, list[str]]:
    """Lines of ``systemctl show`` for each unit, asked at once."""
    asked = list(units)
    words = [f"--property={name}" for name in names]
    blocks = helpers.must_run("systemctl", "show", *words, *asked).rstrip("\n").split("\n\n")
    assert len(blocks) == len(asked)
    return {unit: block.split("\n") for unit, block in zip(asked, blocks, strict=True)}


def commands(lines: Iterable[str]) -> list[Shown]:
    """The ExecStartEx= lines among those of `properties`."""
    found = [match for line in lines if (match := _EXEC.match(line))]
    return [Shown(one["path"], one["argv"], tuple(sorted(one["flags"].split()))) for one in found]
