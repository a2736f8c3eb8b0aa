"""veriseal verify: a tree against its signed manifest, on any machine."""

import argparse
import json
import os
import sys
from collections.abc import Sequence

from veriseal import certificate, collisions, manifest, osrelease, pem, policy, voa
from veriseal.boot import floor, gather
from veriseal.boot.gather import Gathered
from veriseal.build import files
from veriseal.certificate import Certificate
from veriseal.cli.progress import Progress
from veriseal.cli.warning import warn
from veriseal.errors import UsageError, VerisealError
from veriseal.policy import Policy
from veriseal.tree import check, findings, source

_EPILOG = """\
Without --cert the certificates of this system count, as they would in its initrd. Files without
fs-verity are read and hashed, unless the manifest demands verity of them: to check an unpacked
tree before it is enabled, say --without-verity. Exit status 1 if there is any finding.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's arguments."""
    parser.add_argument("tree", metavar="TREE", help="the root directory of the tree")
    parser.add_argument(
        "--manifest",
        metavar="DIR",
        help=f"what veriseal build wrote [TREE/{manifest.DIRECTORY}]",
    )
    parser.add_argument(
        "--cert",
        action="append",
        default=[],
        metavar="FILE",
        help="a certificate that counts; may be given several times",
    )
    parser.add_argument("--os", metavar="NAME", help="such as fedora:43 [of this system]")
    parser.add_argument(
        "--signatures-needed", type=int, metavar="K", help="by so many certificates [1]"
    )
    parser.add_argument(
        "--at-least", type=int, default=0, metavar="VERSION", help="refuse an older manifest"
    )
    strictness = parser.add_mutually_exclusive_group()
    strictness.add_argument(
        "--all-verity", action="store_true", help="every file must have fs-verity"
    )
    strictness.add_argument(
        "--without-verity", action="store_true", help="no file needs fs-verity: all may be read"
    )
    parser.add_argument("--json", action="store_true", help="a JSON report on stdout")
    parser.epilog = _EPILOG
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what differs. Returns 1 if anything does."""
    trust = _trust(options)
    root = os.open(options.tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if options.manifest is None:
        shown = os.path.join(options.tree, manifest.DIRECTORY)
        directory = source.open_directory(root, manifest.DIRECTORY, shown)
    else:
        shown = options.manifest
        directory = os.open(shown, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        release = source.load(directory, shown, trust)
    except VerisealError as error:
        if error.reason == "other-os":
            error.remedy = "Say with --os of which release the tree is to be"
        raise
    if options.without_verity:
        release = release._replace(manifest=release.manifest._replace(signed=()))
    with Progress(0, unit="entry") as progress:
        result = check.check(root, release, options.all_verity, progress.reach)
    about = f"{release.manifest.os} version {release.manifest.version}"
    summary = findings.summary(result.findings)
    if options.json:
        json.dump(_report(release, result), sys.stdout, indent=2)
        print()
    else:
        for finding in result.findings:
            print(finding)
    for why in release.ignored:
        warn(f"counts for nothing: {why}")
    print(
        f"{about}: {result.entries} entries, {result.measured} measured, {result.hashed} read and "
        f"hashed: {summary}",
        file=sys.stderr,
    )
    return 1 if result.findings else 0


def _trust(options: argparse.Namespace) -> source.Trust:
    settings = policy.load()
    os_release = osrelease.read()
    needed = options.signatures_needed
    needed = settings.signatures_needed if needed is None else needed
    if needed < 1:
        raise UsageError("--signatures-needed: at least 1")
    names = [options.os] if options.os is not None else voa.os_identifiers(os_release)
    if not options.cert:
        gathered = _gathered(settings, os_release)
        if gathered.not_used is not None:
            warn(gathered.not_used)
        trust = gather.manifest_trust(gathered, settings, os_release, options.at_least)
        return trust._replace(needed=needed, os_names=names)
    signers: Sequence[tuple[str | None, Certificate]] = [
        (None, certificate.load(files.read(path, pem.MAX_FILE_SIZE), path)) for path in options.cert
    ]
    collisions.check(one for _, one in signers)
    return source.Trust(signers, needed, names, options.at_least)


def _gathered(settings: Policy, os_release: dict[str, str]) -> Gathered:
    try:
        return gather.installed(settings, os_release, floor.Floor())
    except VerisealError as error:
        other = "For a tree of another system: --cert FILE --os NAME"
        error.remedy = other if error.remedy is None else f"{error.remedy}. {other}"
        raise


def _report(release: source.Release, result: check.Result) -> dict[str, object]:
    return {
        "schema": 1,
        "os": release.manifest.os,
        "version": release.manifest.version,
        "signed_by": [one.signer.fingerprint for one in release.signatures],
        **result.as_json(),
        "findings": [one.as_json() for one in result.findings],
    }
