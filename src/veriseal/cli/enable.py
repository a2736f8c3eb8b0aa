"""veriseal enable: switch fs-verity on, each file with its signature; resumable."""

import argparse
import json
import sys

from veriseal import certificate, pem
from veriseal.build import files, walk
from veriseal.build.enable import (
    ALREADY,
    ENABLED,
    WITHOUT_SIGNATURE,
    Signatures,
    enable,
    no_signature,
)
from veriseal.build.sign import SUFFIX
from veriseal.cli import parameters
from veriseal.cli.progress import Progress
from veriseal.errors import UsageError, VerisealError

_EPILOG = """\
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
    where.add_argument("--unsigned", action="store_true", help="enable without signatures")
    parser.add_argument(
        "--cert", metavar="FILE", help="refuse, before it is touched, what this did not sign"
    )
    parameters.add(parser)
    parser.add_argument("--json", action="store_true", help="a JSON report on stdout")
    parser.epilog = _EPILOG
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Enable each file; failures go to stderr and the exit status."""
    chosen = parameters.of(options)
    signatures = _signatures(options)
    found = walk.find(options.paths)
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
    must = set(found.named)
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
    signer = None
    if options.cert is not None:
        if options.unsigned:
            raise UsageError("--cert and --unsigned exclude each other")
        signer = certificate.load(files.read(options.cert, pem.MAX_FILE_SIZE), options.cert)
    return Signatures(
        file=options.signature,
        directory=options.signatures,
        beside=not (options.unsigned or options.signature or options.signatures),
        certificate=signer,
    )


def _summary(counts: dict[str, int]) -> None:
    text = f"{counts[ENABLED]} enabled, {counts[ALREADY]} already, {counts['failed']} failed"
    if counts[WITHOUT_SIGNATURE]:
        text += f", {counts[WITHOUT_SIGNATURE]} without a signature and left as they are"
    print(text, file=sys.stderr)
