"""veriseal enable: switch fs-verity on, each file with its signature; resumable."""

import argparse
import json
import os
import sys

from veriseal import certificate, manifest, pem
from veriseal.build import files, walk
from veriseal.build.enable import (
    ALREADY,
    ENABLED,
    WITHOUT_SIGNATURE,
    Signatures,
    enable,
    no_signature,
)
from veriseal.build.sign import SIGNATURES, SUFFIX
from veriseal.cli import parameters
from veriseal.cli.progress import Progress
from veriseal.errors import UsageError, VerisealError
from veriseal.merkle import Parameters
from veriseal.pattern import MUTABLE, Patterns

_EPILOG = """\
With --release, DIR is what veriseal build wrote for the tree PATH: what its manifest demands
verity of is enabled, with its parameters, and nothing else. Each such file must have its
signature in DIR/signatures. Otherwise a file is enabled if there is a signature of its contents,
wherever it is; of an empty file, too.

A file named on the command line must have a signature; in a directory, files without one are
left as they are and counted. Directories are walked without following symbolic links or leaving
the file system. What is already enabled, with the same digest and signature, counts as done: run
the command again after an interruption.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's arguments."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a file, or a directory")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--signature", metavar="SIG", help="of the one PATH, a file")
    where.add_argument("--signatures", metavar="DIR", help="signatures named by digest")
    where.add_argument("--release", metavar="DIR", help="what veriseal build wrote for PATH")
    where.add_argument("--unsigned", action="store_true", help="enable without signatures")
    parser.add_argument(
        "--cert",
        action="append",
        default=[],
        metavar="FILE",
        help="refuse, before it is touched, what this did not sign; can be repeated",
    )
    parameters.add(parser)
    parser.add_argument("--json", action="store_true", help="a JSON report on stdout")
    parser.epilog = _EPILOG
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Enable each file; failures go to stderr and the exit status."""
    chosen = parameters.of_files(options)
    signatures = _signatures(options)
    found = walk.find(options.paths)
    if options.release is not None:
        chosen = _only_demanded(found, options)
    if options.signature is not None and (len(options.paths) > 1 or found.inside):
        raise UsageError("--signature is for one file", remedy="For several: --signatures")

    if signatures.beside:
        # The signatures themselves are no candidates.
        candidates = {*found.named, *found.inside}
        found.inside = [
            path
            for path in found.inside
            if not (path.endswith(SUFFIX) and path.removesuffix(SUFFIX) in candidates)
        ]

    counts = {ENABLED: 0, ALREADY: 0, WITHOUT_SIGNATURE: 0, "failed": 0}
    report: list[dict[str, object]] = []
    must = {*found.named, *(found.inside + found.again if options.release else ())}
    with Progress(len(found.named) + len(found.inside) + len(found.again)) as progress:

        def failed(path: str | None, error: VerisealError) -> None:
            counts["failed"] += 1
            progress.say(f"veriseal: {error}")
            report.append({"path": path, "error": error.as_json()})

        for error in found.errors:
            failed(error.path, error)
        # Further names of a file come last: two workers must not enable the same one.
        for paths in (found.named + found.inside, found.again):
            for path, outcome in enable(paths, chosen, signatures, progress.part):
                progress.step()
                if isinstance(outcome, VerisealError):
                    failed(path, outcome)
                    continue
                state, digest = outcome
                if state == WITHOUT_SIGNATURE and path in must:
                    failed(path, no_signature(path, digest, signatures))
                    continue
                counts[state] += 1
                report.append({"path": path, "state": state, "digest": str(digest)})

    if not counts[ENABLED] + counts[ALREADY] + counts["failed"]:
        raise VerisealError(
            "nothing-enabled",
            "no file has a signature" if counts[WITHOUT_SIGNATURE] else "there is no file",
            path=options.paths[0],
            remedy="Look at --signatures, --hash-alg, --block-size and --salt: "
            "they must be those of signing",
        )
    _summary(counts)
    if options.json:
        names = {name.replace("-", "_"): count for name, count in counts.items()}
        json.dump({"schema": 1, **names, "files": report}, sys.stdout, indent=2)
        print()
    return 1 if counts["failed"] else 0


def _signatures(options: argparse.Namespace) -> Signatures:
    if options.cert and options.unsigned:
        raise UsageError("--cert and --unsigned exclude each other")
    signers = [certificate.load(files.read(path, pem.MAX_FILE_SIZE), path) for path in options.cert]
    directory = options.signatures
    if options.release is not None:
        directory = os.path.join(options.release, SIGNATURES)
    return Signatures(
        file=options.signature,
        directory=directory,
        beside=not (options.unsigned or options.signature or directory),
        certificates=signers,
    )


def _only_demanded(found: walk.Found, options: argparse.Namespace) -> Parameters:
    """Leave in ``found`` what the release's manifest demands verity of; its parameters."""
    if len(options.paths) != 1 or found.named:
        raise UsageError("--release is for one tree", remedy="Give its root directory")
    tree = options.paths[0].rstrip("/")
    path = os.path.join(options.release, manifest.NAME)
    statement = manifest.parse(files.read(path, manifest.MAX_SIZE), path)
    signed, rules = Patterns(statement.signed), manifest.rules(statement)
    seen: set[tuple[int, int]] = set()
    inside: list[str] = []
    again: list[str] = []
    # The first name may not be demanded, and a further one be.
    for one in found.inside + found.again:
        at = os.fsencode(one.removeprefix(tree))
        if signed.cover(at) and rules.kind(at) != MUTABLE:
            status = os.lstat(one)
            identity = (status.st_dev, status.st_ino)
            (again if identity in seen else inside).append(one)
            seen.add(identity)
    found.inside, found.again = inside, again
    return statement.parameters


def _summary(counts: dict[str, int]) -> None:
    text = f"{counts[ENABLED]} enabled, {counts[ALREADY]} already, {counts['failed']} failed"
    if counts[WITHOUT_SIGNATURE]:
        text += f", {counts[WITHOUT_SIGNATURE]} without a signature and left as they are"
    print(text, file=sys.stderr)
