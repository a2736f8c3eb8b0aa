"""veriseal boot seal, verify, install: the agent's two steps, and what the initrd is given."""

import argparse
import json
import os
import sys

from veriseal.boot import agent
from veriseal.boot.gather import Gathered
from veriseal.errors import UsageError, printable


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
    install = steps.add_parser(
        "install",
        help="give an initrd the certificates, the trust statement and the floor",
        description="Put into the initrd at DIR every certificate file of this system, the trust "
        "statement or a mount unit for its device, and the floor: the newest version of the "
        "manifest that this machine knows. Fails if the initrd would not boot. For the dracut "
        "module.",
    )
    install.add_argument("directory", metavar="DIR", help="the initrd's root directory")
    install.set_defaults(run=_install)


def _seal(options: argparse.Namespace) -> None:
    if options.dry_run:
        _print_plan(agent.dry_run(), options.json)
        return
    result = agent.run(_say, _warn)
    if options.json:
        print(json.dumps(result, indent=2))


def _verify(options: argparse.Namespace) -> None:
    from veriseal.boot import verify

    result = verify.run(_say, _warn)
    if options.json:
        print(json.dumps(result, indent=2))


def _install(options: argparse.Namespace) -> None:
    from veriseal import osrelease, policy
    from veriseal.boot import initrd

    if not os.path.isdir(options.directory):
        raise UsageError(f"{options.directory}: not a directory")
    done = initrd.install(options.directory, policy.load(), osrelease.read())
    for text in done.gathered.warnings():
        _warn(text)
    if done.gathered.not_used is not None:
        _warn(done.gathered.not_used)
    if done.manifest is None:
        _warn(f"no manifest is installed yet: the floor is version {done.floor.version}")


def _warn(text: str) -> None:
    print(f"veriseal: {printable(text)}", file=sys.stderr)


def _say(text: str) -> None:
    # In the unit the journal has each step as a record; a screen is for whoever watches.
    if sys.stderr.isatty():
        _warn(text)


def _print_plan(gathered: Gathered, as_json: bool) -> None:
    trust = gathered.trust
    if as_json:
        document = {
            "enrol": [
                {
                    "os": release.os,
                    "part": release.part,
                    "path": release.certificate.path,
                    "subject": release.certificate.subject,
                    "key": release.certificate.key,
                    "fingerprint": release.certificate.fingerprint,
                    "anchor": None if release.anchor is None else release.anchor.subject,
                }
                for release in trust.releases
            ],
            **gathered.as_json(),
        }
        print(json.dumps(document, indent=2))
        return
    for one in trust.releases:
        cert = one.certificate
        text = f"enrol {one.os} ({one.part}): {cert.subject}, {cert.key}, {cert.path}"
        print(printable(text))
    for ignored in trust.ignored:
        print(printable(f"ignore {ignored.path}: {ignored.why}"))
    for text in gathered.warnings():
        print(printable(f"warning: {text}"))
    if gathered.not_used is not None:
        print(printable(f"warning: the trust statement does not count: {gathered.not_used}"))
    print("then seal .fs-verity and set fs.verity.require_signatures=1")
