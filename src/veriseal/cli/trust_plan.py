"""veriseal trust plan: what a change of trust would do, and the order of steps that is safe."""

import argparse
import json
from typing import Any

from veriseal.boot import cmdline
from veriseal.cli import revoking
from veriseal.digest import Digest
from veriseal.errors import UsageError, VerisealError, printable
from veriseal.plan import make
from veriseal.plan.question import Plan, Question
from veriseal.trust.model import Release

_EPILOG = """\
The next boot's own code judges what the next boot would have: the initrd's certificates, settings
and floor, and the manifest of the tree that it would enter. Files are compared with what the
manifest says of them by: veriseal verify. An initrd is unpacked with lsinitrd(1) of dracut; it must
be one that was made by somebody whom you trust.

Without --initrd the next initrd is taken to be made of the system in --to, or else of the running
one. With --drop and --revoke-... nothing is changed: they ask what if.

A tree in which nothing has been enabled yet is only warned of, and would be refused: before a
reboot say --final, once veriseal enable is done.

exit status: 0, or 1 if the boot, or a file that is needed, would be refused
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the step's arguments."""
    parser.add_argument("--root", metavar="DIR", default="/", help="the system now [/]")
    parser.add_argument(
        "--to",
        metavar="DIR",
        help="the system, or unpacked initrd, whose certificates and settings would count",
    )
    tree = parser.add_mutually_exclusive_group()
    tree.add_argument(
        "--tree", metavar="DIR", help="the tree that the next boot would enter [--to, --root]"
    )
    tree.add_argument(
        "--without-tree", action="store_true", help="look at no tree: none has been built yet"
    )
    parser.add_argument(
        "--final",
        action="store_true",
        help="the tree is entered as it is: what is not enabled yet is an error [for --tree /]",
    )
    parser.add_argument(
        "--initrd",
        metavar="FILE",
        action="append",
        default=[],
        help="that it would start from; repeated, in the order in which they are loaded",
    )
    parser.add_argument(
        "--image",
        metavar="HEX",
        help="the composefs image that the boot entry names; else any that could be booted will do",
    )
    parser.add_argument("--statement", metavar="FILE", help="a trust statement in place of its own")
    parser.add_argument(
        "--drop",
        metavar="OS",
        action="append",
        default=[],
        help="without this release in the window; can be repeated",
    )
    parser.add_argument(
        "--revoke-cert",
        metavar="CERT",
        action="append",
        default=[],
        help="with this certificate, PEM or SHA-256, revoked; can be repeated",
    )
    parser.add_argument(
        "--revoke-digest",
        metavar="DIGEST",
        action="append",
        default=[],
        help="with this digest, sha256:HEX or sha512:HEX, revoked; can be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.epilog = _EPILOG
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the plan. Returns 1 if something would be refused."""
    if options.final and options.without_tree:
        raise UsageError(
            "--final: with --without-tree there is no tree to enter", remedy="Give one of the two"
        )
    plan = make.make(
        Question(
            options.root,
            options.to,
            options.tree,
            tuple(options.initrd),
            options.statement,
            tuple(options.drop),
            {revoking.of(text): text for text in options.revoke_cert},
            tuple(revoking.digest(text) for text in options.revoke_digest),
            options.without_tree,
            options.final,
            _image(options.image),
        )
    )
    if options.json:
        print(_shown(json.dumps(_document(plan), indent=2), plan))
    else:
        for line in _lines(plan):
            print(printable(_shown(line, plan)))
    return 1 if plan.refused else 0


def _shown(text: str, plan: Plan) -> str:
    """``text`` with files of the initrd as they are there: where it was unpacked is gone."""
    return text if plan.unpacked is None else text.replace(plan.unpacked, "initrd:")


def _image(text: str | None) -> Digest | None:
    """As the kernel command line names it: composefs=HEX."""
    if text is None:
        return None
    try:
        return cmdline.image(f"composefs={text.removeprefix('composefs=')}")
    except VerisealError as error:
        raise UsageError(f"--image: {error}") from None


def _document(plan: Plan) -> dict[str, Any]:
    manifest = plan.manifest
    return {
        "schema": 1,
        "refused": plan.refused,
        "certificates": {
            "in": [_about(one) for one in plan.changes.incoming],
            "out": [
                {**_about(one.release), "reason": one.reason, "why": one.why}
                for one in plan.changes.outgoing
            ],
            "staying": [_about(one) for one in plan.changes.staying],
        },
        "manifest": None
        if manifest is None
        else {"os": manifest.os, "version": manifest.version, "created": manifest.created},
        "not_compared": plan.not_compared,
        "lost": [one.as_json() for one in plan.lost],
        "findings": [one.as_json() for one in plan.findings],
        "steps": [{"text": one.text, "commands": list(one.commands)} for one in plan.steps],
    }


def _about(one: Release) -> dict[str, str]:
    held = one.certificate
    return {
        "os": one.os,
        "part": one.part,
        "subject": held.subject,
        "fingerprint": held.fingerprint,
        "path": held.path,
    }


def _lines(plan: Plan) -> list[str]:
    lines = ["certificates"]
    lines += [f"  in       {_named(one)}" for one in plan.changes.incoming]
    lines += [
        f"  out      {_named(one.release)}: {_why(one.reason, one.why)}"
        for one in plan.changes.outgoing
    ]
    lines += [f"  staying  {_named(one)}" for one in plan.changes.staying]
    if plan.manifest is not None:
        lines += ["", f"manifest   {plan.manifest.os} version {plan.manifest.version}: accepted"]
    if plan.lost:
        lines += ["", "files that lose trust"]
        lines += [
            f"  {len(one.paths):7}  {one.signer or 'any signer'}: {_why(one.reason, one.why)}"
            for one in plan.lost
        ]
    lines += ["", f"findings   {'' if plan.findings else 'none'}".rstrip()]
    lines += [f"  {one}" for one in plan.findings]
    if plan.steps:
        lines += ["", "steps"]
    for number, step in enumerate(plan.steps, 1):
        lines.append(f"  {number}. {step.text}")
        lines += [f"       {command}" for command in step.commands]
    lines += ["", _verdict(plan)]
    return lines if plan.not_compared is None else [*lines, f"not compared: {plan.not_compared}"]


def _verdict(plan: Plan) -> str:
    if plan.refused:
        return "the next boot, or something needed, would be refused: see the errors above"
    if plan.to_enable:
        how = "in the order of these steps" if plan.steps else "with veriseal enable"
        return (
            f"nothing would be refused once the files are enabled, {how}; then run this again with "
            "--final"
        )
    return "nothing would be refused"


def _why(reason: str, why: str) -> str:
    """The two, without saying the same twice."""
    return why if reason in why.split() else f"{reason}: {why}"


def _named(one: Release) -> str:
    return f"{one.os} ({one.part}): {one.certificate.subject} ({one.certificate.path})"
