"""veriseal sign: built-in signatures of single files."""

import argparse
import os

from veriseal.build.sign import SUFFIX, name_by_digest, sign
from veriseal.cli import parameters, signer
from veriseal.cli.progress import Progress
from veriseal.digest import Digest
from veriseal.errors import UsageError, VerisealError, printable


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE")
    signer.add(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--out", metavar="SIG", help="of the one FILE; else FILE.sig")
    where.add_argument("--out-dir", metavar="DIR", help="signatures named by digest, DIR/HEX.sig")
    parameters.add(parser)
    parser.epilog = signer.EPILOG
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Sign each file; failures go to stderr and the exit status."""
    chosen = parameters.of(options)
    if options.out is not None and len(options.files) > 1:
        raise UsageError("--out is for one FILE", remedy="For several: --out-dir")
    by = signer.of(options)
    if options.out_dir is not None:
        os.makedirs(options.out_dir, exist_ok=True)

    def place(path: str, digest: Digest) -> str:
        if options.out_dir is not None:
            return os.path.join(options.out_dir, name_by_digest(digest))
        return path + SUFFIX if options.out is None else str(options.out)

    failures = 0
    with Progress(len(options.files)) as progress:
        for path, outcome in sign(options.files, chosen, by, place, progress.part):
            progress.step()
            if isinstance(outcome, VerisealError):
                failures += 1
                progress.say(f"veriseal: {outcome}")
            else:
                print(f"Signed file '{printable(path)}' ({outcome})")
    return 1 if failures else 0
