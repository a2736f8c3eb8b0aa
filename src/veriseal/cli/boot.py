"""veriseal boot seal, verify, floor: the agent's two steps, and what the initrd is told."""

import argparse
import json
import sys

from veriseal.boot import agent
from veriseal.boot.plan import Plan
from veriseal.errors import printable


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    steps = parser.add_subparsers(dest="step", metavar="STEP", required=True)
    seal = steps.add_parser(
        "seal",
        help="fill and seal the .fs-verity keyring, require signatures",
        description="Enrol the initrd's release certificates in the kernel's .fs-verity keyring, "
        "seal it, set fs.verity.require_signatures and read everything back.",
    )
    seal.add_argument(
        "--dry-run", action="store_true", help="check the certificates and print what would be done"
    )
    seal.add_argument("--json", action="store_true", help="print the plan or the report as JSON")
    seal.set_defaults(run=_seal)
    verify = steps.add_parser(
        "verify",
        help="check the mounted root against its signed manifest",
        description="Check the manifest of the root mounted at /sysroot, then the whole tree "
        "against it, and write the launch table. To check a tree elsewhere: veriseal verify.",
    )
    verify.add_argument("--json", action="store_true", help="print what the report says as JSON")
    verify.set_defaults(run=_verify)
    newest = steps.add_parser(
        "floor",
        help="print the floor for a new initrd",
        description="Print, as JSON, the newest version of the manifest that this machine knows: "
        "of the one installed, which is checked, and of this boot. For the dracut module.",
    )
    newest.set_defaults(run=_floor)


def _seal(options: argparse.Namespace) -> None:
    if options.dry_run:
        _print_plan(agent.make_plan(), options.json)
        return
    result = agent.run(_say)
    if options.json:
        print(json.dumps(result, indent=2))


def _verify(options: argparse.Namespace) -> None:
    from veriseal.boot import verify

    result = verify.run(_say, _warn)
    if options.json:
        print(json.dumps(result, indent=2))


def _floor(_options: argparse.Namespace) -> None:
    from veriseal.boot import floor

    print(floor.serialize(floor.newest()))


def _warn(text: str) -> None:
    print(f"veriseal: {printable(text)}", file=sys.stderr)


def _say(text: str) -> None:
    # In the unit the journal has each step as a record; a screen is for whoever watches.
    if sys.stderr.isatty():
        _warn(text)


def _print_plan(plan: Plan, as_json: bool) -> None:
    if as_json:
        document = {
            "enrol": [
                {
                    "os": release.os,
                    "path": release.certificate.path,
                    "subject": release.certificate.subject,
                    "key": release.certificate.key,
                    "fingerprint": release.certificate.fingerprint,
                }
                for release in plan.releases
            ],
            "ignored": [ignored._asdict() for ignored in plan.ignored],
        }
        print(json.dumps(document, indent=2))
        return
    for os_name, cert in plan.releases:
        print(f"enrol {os_name}: {cert.subject}, {cert.key}, {cert.path}")
    for path, why in plan.ignored:
        print(f"ignore {path}: {why}")
    print("then seal .fs-verity and set fs.verity.require_signatures=1")
