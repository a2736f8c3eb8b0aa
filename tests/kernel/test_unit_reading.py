"""What wrap makes of units, against what systemd makes of them: each of this Debian, and hard ones.

All drop-ins are put below /run at once; systemd then says what it would run.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from veriseal.errors import VerisealError
from veriseal.unit import dropin, lookup, wrap

from . import helpers, units
from .units import DIRECTORY

pytestmark = pytest.mark.kernel

PROPERTIES = ("Id", "LoadState", "FragmentPath", "DropInPaths", "ExecStartEx")
LEAST = 60
"""So many units of this Debian can be wrapped, or there is something wrong with this test."""
REFUSALS = {"no-exec-start", "masked", "no-unit", "unit-cannot-be-wrapped", "overridden"}


class Seen(NamedTuple):
    """A unit, as systemd shows it."""

    name: str
    state: str
    fragment: str
    drop_ins: list[str]
    commands: list[units.Shown]


HARD = {
    "hard-a.service": "[Service]\nExecStart=/bin/true one\n",
    "hard-a.service.d/20.conf": "[Service]\nExecStart=\nExecStart=-@/bin/sh sh -c 'a  b' \\; c\n",
    "hard-.service.d/30.conf": "[Service]\nType=oneshot\nExecStart=/bin/true ; +/bin/false x\n",
    "hard-a.service.d/35.conf": "",
    "hard-.service.d/35.conf": "[Service]\nExecStart=/hidden\n",
    "hard-second.service.d/50-alias.conf": "[Service]\nExecStart=/bin/z\n",
    "service.d/10-all.conf": "[Unit]\nDocumentation=man:veriseal(1)\n",
    "hard-t@.service": "[Service]\nType=oneshot\nExecStart=!!/bin/echo %i %I $A ${B}\n",
    "hard-t@one.service.d/40.conf": "[Service]\nExecStart=:sh -c \\\n# comment\n  'x $y'\n",
    "hard-t@.service.d/41.conf": '[Service]\nExecStart="/bin/a b" \\x41\\sb "c \\\n d"\n',
    "hard-odd.service": (
        "\ufeff  [Service] \n ExecStart = /bin/a \\\\\nExecStart=/bin/b\\\n\nType=oneshot"
    ),
}
LINKS = {
    "hard-alias.service": "hard-a.service",
    "hard-second.service": "hard-alias.service",
    "hard-u@.service": "hard-t@.service",
    "hard-linked.service": "/run/units-linked.service",
    "hard-a.service.d/36.conf": "/dev/null",
    "hard-gone.service": "/dev/null",
}
IN_ETC = "/etc/systemd/system/hard-a.service.d"
MORE = ("hard-t@one.service", "hard-u@two.service")
"""Instances, which have no file of their own."""


@pytest.fixture(scope="module")
def hard() -> Iterator[None]:
    """Units that are hard to read."""
    for name, text in HARD.items():
        helpers.write(f"{DIRECTORY}/{name}", text.encode())
    helpers.write("/run/units-linked.service", b"[Service]\nExecStart=/bin/linked\n")
    for name, target in LINKS.items():
        os.symlink(target, f"{DIRECTORY}/{name}")
    helpers.write(
        f"{DIRECTORY}/hard-second.service.d/50-alias.conf", b"[Service]\nExecStart=/bin/z\n"
    )
    helpers.write(
        "/etc/systemd/system/hard-a.service.d/30-prefix.conf", b"[Service]\nType=oneshot\n"
    )
    units.reload()
    yield
    for name in os.listdir(DIRECTORY):
        if name.startswith(("hard-", "service.d")):
            helpers.remove(f"{DIRECTORY}/{name}")
    helpers.remove(IN_ETC)
    units.reload()


def every_unit() -> list[str]:
    """All services that there are files of; of a template an instance."""
    found = set(MORE)
    for directory in lookup.SEARCH_PATH:
        if os.path.isdir(directory) and not directory.endswith("transient"):
            found |= {name for name in os.listdir(directory) if name.endswith(".service")}
    return sorted(name.replace("@.", "@instance.") for name in found)


def look(names: list[str]) -> dict[str, Seen]:
    """What systemd says of each."""
    seen = {}
    for name, lines in units.properties(names, *PROPERTIES).items():
        values = dict(line.split("=", 1) for line in lines if not line.startswith("ExecStartEx="))
        seen[name] = Seen(
            values["Id"],
            values["LoadState"],
            values.get("FragmentPath", ""),
            values.get("DropInPaths", "").split(),
            units.commands(lines),
        )
    return seen


def planned(names: list[str]) -> tuple[dict[str, wrap.Plan], dict[str, VerisealError]]:
    """What wrap would do with each."""
    plans, refused = {}, {}
    for name in names:
        try:
            plans[name] = wrap.make("/", name, runtime=True)
        except VerisealError as error:
            refused[name] = error
    return plans, refused


def through_the_launcher(one: units.Shown, line: wrap.Line) -> units.Shown:
    """What systemd should make of ``one`` when it is wrapped."""
    if line.before.wrapped:
        return one
    first, _, rest = one.argv.partition(" ")
    program = one.path
    if "/" not in line.before.program:
        # systemd shows only the name; which program that is, was looked up.
        words = line.after.split()
        program = words[words.index("exec") + 1]
        assert os.access(program, os.X_OK)
    else:
        program = first if line.before.argv0 is None else line.before.program
        if line.before.argv0 is None and " " in line.before.program:
            program = line.before.program
            rest = one.argv[len(program) + 1 :]
    name = "" if line.before.argv0 is None else f"--argv0 {first} "
    argv = f"{helpers.VERISEAL} exec {name}{program} {rest}".rstrip()
    return units.Shown(helpers.VERISEAL, argv, one.flags)


def test_every_unit_of_this_system_and_hard_ones(hard: None) -> None:
    names = every_unit()
    before = look(names)
    plans, refused = planned(names)
    try:
        for plan in plans.values():
            dropin.write("/", plan.path, plan.text)
        units.reload()
        after = look(names)
        again, _ = planned(names)
    finally:
        for plan in plans.values():
            dropin.remove("/", plan.path)
        units.reload()
    assert look(names) == before

    wrong: dict[str, object] = {}
    for name, plan in plans.items():
        unit = lookup.find("/", name)
        found = (unit.name, unit.fragment.path, [part.path for part in unit.drop_ins])
        shown = before[name]
        not_empty = [path for path in shown.drop_ins if os.path.getsize(path)]
        if found != (shown.name, shown.fragment, not_empty):
            wrong[name] = ("found", found, shown)
        expected = [
            through_the_launcher(one, line)
            for one, line in zip(shown.commands, plan.lines, strict=True)
        ]
        if after[name].commands != expected:
            wrong[name] = ("runs", after[name].commands, expected)
        if again[name] != plan:
            wrong[name] = ("again", again[name], plan)
        if plan.path not in after[name].drop_ins:
            wrong[name] = ("not applied", plan.path, after[name].drop_ins)
    assert not wrong
    assert len(plans) >= LEAST
    assert {name for name in plans if name.startswith("hard-")} == {
        *("hard-a.service", "hard-alias.service", "hard-second.service", "hard-odd.service"),
        *("hard-t@instance.service", "hard-t@one.service", "hard-linked.service"),
        *("hard-u@instance.service", "hard-u@two.service"),
    }
    for name, error in refused.items():
        assert error.reason in REFUSALS, (name, error)
        assert error.remedy
        if error.reason == "no-exec-start":
            assert before[name].commands == []
        if error.reason in ("masked", "no-unit"):
            assert before[name].state in ("masked", "not-found"), (name, error, before[name])
