"""Target: unit files, as `veriseal wrap` reads them and writes its drop-in."""

import os
import shutil

from tests.fuzz import workplace
from tests.fuzz.contract import attempt
from veriseal.errors import VerisealError
from veriseal.unit import command, lookup, syntax, wrap
from veriseal.unit.syntax import Assignment

_NAME = "app.service"

SEEDS = (
    b"[Unit]\nDescription=K\n[Service]\nType=notify\nExecStart=/opt/app --full \\\n  'a b' ; -c\n",
    b'[Service]\nExecStart=\nExecStart=-@app "n\\x41me" ${A} $$ %%i \\; \xc3\xa9\n'
    b"ExecStart=!!/opt/x\nExecSearchPath=/opt:/usr/bin\nUser=app\nProtectProc=invisible\nRuntimeDirectory=x\n",
    b"# c\n[Service]\nExecStart=+:/opt/app /bin/a ; /opt/app b ;\n"
    b"SystemCallFilter=@system-service\nSystemCallFilter=~read\nInaccessiblePaths=-/run\n"
    b"BindReadOnlyPaths=/run:/run\nNoExecPaths=/\n",
    b"[Service]\nExecStart=/usr/bin/veriseal exec --argv0 a /opt/app b\nExecStop=/bin/kill\n",
)


def unit(data: bytes) -> None:
    """The drop-in starts what the unit starts, through the launcher; once more changes nothing."""
    root = os.path.join(workplace.directory(), "root")
    shutil.rmtree(root, ignore_errors=True)
    for name in ("opt/app", "usr/bin/app"):
        os.makedirs(os.path.join(root, os.path.dirname(name)), exist_ok=True)
        os.chmod(workplace.put(os.path.join("root", name), b""), 0o755)  # noqa: S103
    system = os.path.join("root", "usr/lib/systemd/system")
    os.makedirs(os.path.join(workplace.directory(), system))
    workplace.put(os.path.join(system, _NAME), data)

    assignments = attempt(syntax.parse, data, "unit")
    if not isinstance(assignments, VerisealError):
        for one in assignments:
            assert "\n" not in one.key + one.value
            _words(one)
    plan = _made(root)
    if isinstance(plan, VerisealError):
        return
    assert not isinstance(assignments, VerisealError)
    written = syntax.parse(plan.text.encode(), "drop-in")
    starts = command.effective([*assignments, *written], "ExecStart")
    commands = [one for at in starts for one in command.parse(at)]
    assert len(commands) == len(plan.lines)
    for line, after in zip(plan.lines, commands, strict=True):
        before = line.before
        assert after.wrapped
        assert after.at.value == line.after
        assert after.prefixes == before.prefixes
        assert after.rest.endswith(before.rest)
        assert command.wrap(after, _no_search) == line.after
        assert line.after.count(f"{command.LAUNCHER} {command.VERB}") >= 1
    os.makedirs(os.path.join(workplace.directory(), os.path.dirname(f"root{plan.path}")))
    workplace.put(f"root{plan.path}", plan.text.encode())
    again = _made(root)
    assert not isinstance(again, VerisealError)
    assert again.text == plan.text


def _made(root: str) -> wrap.Plan | VerisealError:
    try:
        return attempt(wrap.make, root, lookup.full_name(_NAME), False)
    except OSError as error:  # a name of a program that is too long for a path
        return VerisealError("system-call", str(error.strerror))


def _words(at: Assignment) -> None:
    """The words of a value lie one behind the other, with nothing but blanks between."""
    try:
        words = list(syntax.split(at.value))
    except ValueError:
        return
    end = 0
    for word in words:
        assert not at.value[end : word.start].strip(" \t")
        assert at.value[word.start : word.end] == word.text != ""
        end = word.end
        try:
            assert "\0" not in syntax.unquote(word.text)
        except ValueError:
            continue
    assert not at.value[end:].strip(" \t")
    attempt(_commands, at)


def _commands(at: Assignment) -> list[command.Command]:
    return list(command.parse(at))


def _no_search(name: str, _at: Assignment) -> str:
    raise AssertionError(f"the drop-in starts {name} by its name")
