"""What `veriseal wrap` would write: a unit's drop-in, made from the unit as it is without it."""

import os
import stat
from typing import NamedTuple

from veriseal.build import files
from veriseal.errors import VerisealError, printable
from veriseal.unit import command, lookup, sandbox, syntax
from veriseal.unit.command import Command
from veriseal.unit.lookup import Unit
from veriseal.unit.syntax import Assignment

FILE = "zz-veriseal.conf"
"""The drop-in's name: it comes after others, such as the override.conf of `systemctl edit`."""

UNSET = "LD_PRELOAD LD_AUDIT LD_LIBRARY_PATH GLIBC_TUNABLES GCONV_PATH LOCPATH"
"""What would act on the launcher's own interpreter before its first line runs."""

_MARK = "# Written by: veriseal wrap "
# systemd's fixed path, with what it has besides where /usr is not merged: systemd.exec(5).
_PROGRAM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_OTHER_EXEC = (
    "ExecCondition ExecStartPre ExecStartPost ExecReload ExecReloadPost ExecStop ExecStopPre "
    "ExecStopPost"
).split()


class Line(NamedTuple):
    """A command of an ExecStart= line: as it is in the unit, and as it is in the drop-in."""

    before: Command
    after: str


class Plan(NamedTuple):
    """What to write.

    Attributes:
        unit: its name.
        path: of the drop-in, in the root directory asked about.
        text: the drop-in.
        lines: every command of its ExecStart= lines.
        unwrapped: other Exec settings, which run without the launcher.
        environment: Environment= settings.
    """

    unit: str
    path: str
    text: str
    lines: list[Line]
    unwrapped: list[Assignment]
    environment: list[Assignment]


def path_of(unit: str, runtime: bool) -> str:
    """Where the drop-in of ``unit`` is, in the root directory."""
    return f"{lookup.RUNTIME if runtime else lookup.PERSISTENT}/{unit}.d/{FILE}"


def is_ours(data: bytes) -> bool:
    """Whether a drop-in was written here."""
    return data.startswith(_MARK.encode())


def make(root: str, name: str, runtime: bool) -> Plan:
    """The drop-in of the unit ``name``, a full name, in the root directory ``root``.

    Raises VerisealError: see `lookup.find`, `syntax.parse`, `command.parse`, `sandbox.check`;
    ``no-exec-start``, ``overridden``, ``hidden-drop-in``, ``no-program``.
    """
    unit = lookup.find(root, name)
    path = path_of(unit.name, runtime)
    _require_effective(unit, path)
    parts = [unit.fragment, *(part for part in unit.drop_ins if not is_ours(part.data))]
    settings = [one for part in parts for one in syntax.parse(part.data, part.path)]
    starts = command.effective(settings, "ExecStart")
    if not starts:
        raise VerisealError(
            "no-exec-start",
            "the unit starts no program: it has no ExecStart=",
            path=unit.fragment.path,
            remedy="There is nothing to put the launcher in front of",
        )
    sandbox.check(settings)
    search = _search_path(settings)
    lines = [
        Line(one, command.wrap(one, lambda name, at: _find_program(root, search, name, at)))
        for at in starts
        for one in command.parse(at)
    ]
    unwrapped = [one for key in _OTHER_EXEC for one in command.effective(settings, key)]
    environment = command.effective(settings, "Environment")
    text = _text(unit, lines, runtime)
    return Plan(unit.name, path, text, lines, unwrapped, environment)


def _require_effective(unit: Unit, path: str) -> None:
    """Raise if a drop-in at ``path`` would be hidden, or its ExecStart= replaced."""
    order = {place: number for number, place in enumerate(unit.places)}
    for part in unit.drop_ins:
        directory, name = os.path.split(part.path)
        if name == FILE and order[directory] < order[os.path.dirname(path)]:
            problem = f"a drop-in of the same name hides what would be written to {path}"
            remedy = "Remove it first: veriseal wrap --undo, with the same options as it was made"
            raise VerisealError("hidden-drop-in", problem, path=part.path, remedy=remedy)
        if os.fsencode(name) > FILE.encode():
            for at in syntax.parse(part.data, part.path):
                reset = at.key == "UnsetEnvironment" and not at.value
                if at.section == "Service" and (at.key == "ExecStart" or reset):
                    _overridden(at)


def _overridden(at: Assignment) -> None:
    name = os.path.basename(at.path)
    raise VerisealError(
        "overridden",
        f"line {at.line}: {at.key}= is applied after {FILE} and would undo it",
        path=at.path,
        remedy=f"Drop-ins are applied in the order of their names: call it 50-{name}",
    )


def _search_path(settings: list[Assignment]) -> list[str]:
    values = command.effective(settings, "ExecSearchPath")
    return [one for at in values for one in at.value.split(":")] or list(_PROGRAM_PATH)


def _find_program(root: str, search: list[str], name: str, at: Assignment) -> str:
    for directory in search:
        path = f"{directory}/{name}"
        try:
            mode = os.stat(files.inside(root, path), follow_symlinks=False).st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISREG(mode) and mode & 0o111:
            return path
    raise VerisealError(
        "no-program",
        f"line {at.line}: {at.key}={name}: there is no such program",
        path=at.path,
        expected=f"an executable file in {' '.join(search)}",
        remedy="Install it, or write its whole path",
    )


def _text(unit: Unit, lines: list[Line], runtime: bool) -> str:
    words = f"--runtime {unit.name}" if runtime else unit.name
    parts: dict[str, None] = dict.fromkeys(line.before.at.path for line in lines)
    made_from = "".join(f"#   {printable(path)}\n" for path in parts)
    return (
        f"{_MARK}{words}\n"
        f"# Undo with:  veriseal wrap --undo {words}\n"
        "#\n"
        "# The launcher, in front of the ExecStart= lines of\n"
        f"{made_from}"
        "# If those change, run the first command again.\n"
        "\n"
        "[Service]\n"
        "ExecStart=\n"
        + "".join(f"ExecStart={line.after}\n" for line in lines)
        + "# These act on the launcher's own interpreter before its first line runs.\n"
        f"UnsetEnvironment={UNSET}\n"
    )
