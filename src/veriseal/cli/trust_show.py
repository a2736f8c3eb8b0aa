"""veriseal trust show: what counts for a system and why, and what is ignored and why."""

import argparse
import json
import sys
from typing import Any

from veriseal import voa
from veriseal.boot.gather import Gathered
from veriseal.certificate import Certificate
from veriseal.errors import VerisealError, printable
from veriseal.plan import side
from veriseal.plan.side import Side
from veriseal.trust import finding, misplaced, model, window
from veriseal.trust.model import Ignored, TrustSet
from veriseal.trust.survey import survey

_EPILOG = """\
What is shown is what an initrd that is made of the system now would enrol; what is enrolled in this
boot is said by: veriseal status. Whether anything is wrong is said by: veriseal trust lint.

exit status: 0, or 1 if nothing would count
"""

_NOTHING = Gathered(TrustSet([], [], [], {}), 0)


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the step's arguments."""
    parser.add_argument("--root", metavar="DIR", default="/", help="the tree of a system [/]")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.epilog = _EPILOG
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the trust of a system. Returns 1 if there is none."""
    error: VerisealError | None = None
    lost: list[Ignored] = []
    warnings: list[str] = []
    try:
        here = side.read(options.root)
        gathered, error = _gathered(here)
        lost = _misplaced(here, gathered)
        warnings = _warnings(here, gathered)
    except VerisealError as refused:
        gathered, error = _NOTHING, refused
    except OSError as unread:
        gathered, error = _NOTHING, _unreadable(unread)
    document = _document(options.root, gathered, lost, warnings, error)
    if options.json:
        json.dump(document, sys.stdout, indent=2)
        print()
    elif document["window"]:
        for line in _lines(document):
            print(printable(line))
    if error is not None:
        print(f"veriseal: {error}", file=sys.stderr)
    return 0 if error is None else 1


def _gathered(here: Side) -> tuple[Gathered, VerisealError | None]:
    """What would count, or what was found and why nothing does. Raises VerisealError."""
    try:
        return side.gathered(here), None
    except VerisealError as error:
        return Gathered(_found(here), 0), error
    except OSError as error:
        return _NOTHING, _unreadable(error)


def _unreadable(error: OSError) -> VerisealError:
    one = finding.unreadable(error)
    return VerisealError(one.name, one.problem, path=one.path)


def _found(here: Side) -> TrustSet:
    """Where nothing counts: what was found all the same."""
    names = dict.fromkeys(voa.os_identifiers(here.os_release), model.CURRENT)
    try:
        names = window.of(here.settings, here.os_release)
        found = survey(names, here.settings.context, here.root, voa.INITRD_LOAD_PATHS)
    except (VerisealError, OSError):
        return TrustSet([], [], [], names)
    why = "nothing counts until the error below is mended"
    files = [
        Ignored(one.path, "found", why, one.os, one.certificate())
        for one in (*found.releases, *found.anchors)
    ]
    return TrustSet([], [*files, *found.ignored], [], names)


def _misplaced(here: Side, gathered: Gathered) -> list[Ignored]:
    try:
        found = misplaced.find(gathered.trust.window, here.settings.context, here.root)
    except OSError:
        return []  # lint names the directory
    return [Ignored(one.path, model.NOT_READ, one.why, one.os) for one in found]


def _warnings(here: Side, gathered: Gathered) -> list[str]:
    if gathered.not_used is None:
        return []
    if not gathered.unseen:
        return [f"the trust statement does not count: {gathered.not_used}"]
    if here.settings.without_statement == "refuse":
        then = "at boot none of this counts unless the statement is there, and it may say otherwise"
    else:
        then = "this counts at boot only if the statement is not there or cannot be used"
    return [f"{gathered.not_used}: {then}"]


def _document(
    root: str,
    gathered: Gathered,
    lost: list[Ignored],
    warnings: list[str],
    error: VerisealError | None,
) -> dict[str, Any]:
    trust = gathered.trust
    document: dict[str, Any] = {
        "schema": 1,
        "root": root,
        "warnings": warnings,
        "window": dict(trust.window),
        "origin": trust.origin,
        "statement": trust.statement,
        "statement_not_used": gathered.not_used,
        "floors": dict(trust.floors),
        "revoked": [str(one) for one in trust.revoked],
        "releases": [
            {
                "os": one.os,
                "part": one.part,
                **_about(one.certificate),
                "anchor": None if one.anchor is None else _about(one.anchor),
                "warnings": list(one.warnings),
            }
            for one in trust.releases
        ],
        "anchors": [{"os": one.os, **_about(one.certificate)} for one in trust.anchors],
        "ignored": [
            {
                "path": one.path,
                "reason": one.reason,
                "why": one.why,
                "os": one.os,
                "certificate": None if one.certificate is None else _about(one.certificate),
            }
            for one in (*trust.ignored, *lost)
        ],
    }
    if error is not None:
        document["error"] = error.as_json()
    return document


def _about(one: Certificate) -> dict[str, str]:
    return {
        "subject": one.subject,
        "issuer": one.issuer,
        "key": one.key,
        "fingerprint": one.fingerprint,
        "not_before": f"{one.not_before:%Y-%m-%dT%H:%M:%SZ}",
        "not_after": f"{one.not_after:%Y-%m-%dT%H:%M:%SZ}",
        "path": one.path,
    }


def _lines(document: dict[str, Any]) -> list[str]:
    lines = [f"{'warning:':10} {text}" for text in document["warnings"]]
    for part in (model.PREVIOUS, model.CURRENT, model.NEXT):
        names = [name for name, other in document["window"].items() if other == part]
        lines.append(f"{part + ':':10} {', '.join(names) or '-'}")
    statement = f" version {document['statement']}" if document["statement"] else ""
    lines.append(f"{'origin:':10} {document['origin']}{statement}")
    lines += [f"{'revoked:':10} {text}" for text in document["revoked"]]
    lines += [f"{'floor:':10} {os}: version {n}" for os, n in document["floors"].items() if n]
    for one in document["releases"]:
        lines += ["", f"counts     {one['os']} ({one['part']}): {one['subject']}"]
        lines += _details(one)
        anchor = one["anchor"]
        vouched = "no anchor is there" if anchor is None else f"{anchor['subject']} vouches for it"
        lines.append(f"           {vouched}" + (f" ({anchor['path']})" if anchor else ""))
        lines += [f"           warning: {text}" for text in one["warnings"]]
    for one in document["anchors"]:
        lines += ["", f"anchor     {one['os']}: {one['subject']}", *_details(one)]
    for one in document["ignored"]:
        subject = "" if one["certificate"] is None else f": {one['certificate']['subject']}"
        lines += ["", f"ignored    {one['path']}{subject}", f"           {_why(one)}"]
    return lines


def _why(one: dict[str, Any]) -> str:
    return f"{one['reason']}: {one['why']}"


def _details(one: dict[str, Any]) -> list[str]:
    return [
        f"           {one['path']}",
        f"           {one['key']}, valid {one['not_before'][:10]} to {one['not_after'][:10]}",
        f"           sha256 {one['fingerprint']}",
    ]
