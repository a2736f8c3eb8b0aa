"""veriseal wrap: have a unit start its programs through the launcher."""

import argparse
import contextlib
import json
import os
import sys

from veriseal import report
from veriseal.build import files
from veriseal.errors import UsageError, VerisealError, printable
from veriseal.launch import environment
from veriseal.unit import dropin, lookup, syntax, wrap
from veriseal.unit.syntax import Assignment

_EPILOG = f"""\
Writes {lookup.PERSISTENT}/UNIT.d/{wrap.FILE}, which puts the launcher in front of every ExecStart=
line of the unit. Run it again when the unit has changed; without a change it writes nothing.
The unit itself is not touched, and systemd is not told: run systemctl daemon-reload.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's arguments."""
    parser.add_argument("unit", metavar="UNIT", help="a service, a template or an instance of one")
    parser.add_argument("--undo", action="store_true", help="remove the drop-in")
    parser.add_argument("--dry-run", action="store_true", help="print the drop-in, write nothing")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--root", metavar="DIR", help="the tree of a system [/]")
    where.add_argument(
        "--runtime", action="store_true", help=f"below {lookup.RUNTIME}, until the next boot"
    )
    parser.add_argument("--json", action="store_true", help="a JSON report on stdout")
    parser.epilog = _EPILOG
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write, print or remove the drop-in."""
    if options.undo and options.dry_run:
        raise UsageError("--undo and --dry-run do not go together")
    root = "/" if options.root is None else os.path.abspath(options.root)
    if not os.path.isdir(root):
        raise UsageError(f"--root: {printable(root)} is not a directory")
    if root == "/" and not (options.runtime or options.dry_run):
        _require_unchecked()
    name = lookup.full_name(options.unit)
    if options.undo:
        return _undo(options, root, name)
    plan = wrap.make(root, name, options.runtime)
    written = not options.dry_run and dropin.write(root, plan.path, plan.text)
    if options.json:
        json.dump(_as_json(plan, written), sys.stdout, indent=2)
        print()
    elif options.dry_run:
        print(plan.text, end="")
    _tell(plan)
    if not options.dry_run:
        _done(plan.unit, plan.path, "written" if written else "up to date", root, written)
    return 0


def _undo(options: argparse.Namespace, root: str, name: str) -> int:
    try:
        name = lookup.find(root, name).name
    except VerisealError as error:
        # The unit may be gone, and the drop-in left behind.
        if error.reason not in ("no-unit", "masked", "user-unit"):
            raise
    path = wrap.path_of(name, options.runtime)
    if not dropin.remove(root, path):
        remedy = "Say --runtime, --root and the unit's name as when it was written"
        raise VerisealError("not-wrapped", "there is no such drop-in", path=path, remedy=remedy)
    if options.json:
        json.dump({"schema": 1, "unit": name, "path": path, "removed": True}, sys.stdout, indent=2)
        print()
    _done(name, path, "removed", root, True)
    return 0


def _require_unchecked() -> None:
    """Raise if the next boot's check would find a change below /etc: it would refuse the boot."""
    try:
        state = report.state()
    except VerisealError as error:
        if error.reason == "no-boot-report":
            return
        raise
    if state.manifest in (report.VERIFIED, report.REPORTED):
        raise VerisealError(
            "checked-at-boot",
            "this system was checked against its manifest, and the next boot would refuse what "
            "is changed below /etc",
            path=lookup.PERSISTENT,
            remedy="Use --root on the tree before veriseal build, or --runtime for this boot",
        )


def _tell(plan: wrap.Plan) -> None:
    """Say what the drop-in does not do, and what it takes away."""
    for at in plan.unwrapped:
        _say(f"{plan.unit}: runs without the launcher: {at.key}={at.value} ({at.path})")
    names = _lost_variables(plan.environment)
    if names:
        _say(f"{plan.unit}: its programs no longer get these variables: {' '.join(names)}")


def _lost_variables(values: list[Assignment]) -> list[str]:
    words = []
    for at in values:
        # systemd passes over what it cannot read.
        with contextlib.suppress(ValueError):
            words += [syntax.unquote(word.text) for word in syntax.split(at.value)]
    return environment.clean("\0".join(words).encode())[1]


def _done(unit: str, path: str, what: str, root: str, changed: bool) -> None:
    _say(f"{what}: {files.inside(root, path) if root != '/' else path}")
    if changed and root == "/":
        _say(f"now: systemctl daemon-reload && systemctl restart {unit}")


def _say(text: str) -> None:
    print(f"veriseal: {printable(text)}", file=sys.stderr)


def _as_json(plan: wrap.Plan, written: bool) -> dict[str, object]:
    return {
        "schema": 1,
        "unit": plan.unit,
        "path": plan.path,
        "written": written,
        "exec_start": [
            {"before": line.before.at.value, "after": line.after} for line in plan.lines
        ],
        "without_launcher": [
            {"key": at.key, "value": at.value, "path": at.path, "line": at.line}
            for at in plan.unwrapped
        ],
        "text": plan.text,
    }
