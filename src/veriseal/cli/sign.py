"""veriseal sign: built-in signatures of single files, and of manifests."""

import argparse
import os
from collections.abc import Iterable, Iterator

from veriseal.build import release
from veriseal.build.sign import SUFFIX, name_by_digest, sign
from veriseal.build.signer import FAILED, Signer
from veriseal.cli import parameters, signer
from veriseal.cli.progress import Progress
from veriseal.digest import Digest
from veriseal.errors import UsageError, VerisealError, printable


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument(
        "--manifest",
        action="store_true",
        help="each FILE is a manifest, made by veriseal build, that gets one more signature",
    )
    signer.add(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--out", metavar="SIG", help="of the one FILE; else FILE.sig, or FILE.FINGERPRINT.sig"
    )
    where.add_argument("--out-dir", metavar="DIR", help="signatures named by digest, DIR/HEX.sig")
    parameters.add(parser)
    parser.epilog = signer.EPILOG
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Sign each file; failures go to stderr and the exit status."""
    chosen = parameters.of_files(options)
    if options.out is not None and len(options.files) > 1:
        raise UsageError("--out is for one FILE", remedy="For several: --out-dir")
    if options.manifest and (options.out_dir is not None or parameters.given(options)):
        raise UsageError(
            "--manifest: how a manifest is digested, and how its signatures are named, is fixed",
            remedy="Leave out --out-dir, --hash-alg, --block-size and --salt",
        )
    by = signer.of(options)
    if options.out_dir is not None:
        os.makedirs(options.out_dir, exist_ok=True)

    def place(path: str, digest: Digest) -> str:
        if options.out_dir is not None:
            return os.path.join(options.out_dir, name_by_digest(digest))
        return path + SUFFIX if options.out is None else str(options.out)

    failures = 0
    with Progress(len(options.files)) as progress:
        outcomes: Iterable[tuple[str, Digest | VerisealError]]
        if options.manifest:
            outcomes = _manifests(options, by)
        else:
            outcomes = sign(options.files, chosen, by, place, progress.part)
        for path, outcome in outcomes:
            progress.step()
            if isinstance(outcome, VerisealError):
                failures += 1
                progress.say(f"veriseal: {outcome}")
            else:
                print(f"Signed file '{printable(path)}' ({outcome})")
    return 1 if failures else 0


def _manifests(
    options: argparse.Namespace, by: Signer
) -> Iterator[tuple[str, Digest | VerisealError]]:
    for path in options.files:
        try:
            yield path, release.sign(path, by, options.out)
        except VerisealError as error:
            if error.reason == FAILED:
                raise
            yield path, error
