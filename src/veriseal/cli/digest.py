"""veriseal digest: fs-verity digests, printed as `fsverity digest` prints them."""

import argparse
import os
import sys

from veriseal.build.digests import digests
from veriseal.cli import parameters
from veriseal.cli.progress import Progress
from veriseal.digest import Digest

_EPILOG = """\
Lines are in the order of the arguments: sha256:HEX NAME. A name with control characters, such
as a newline, would break the line: its line starts with a backslash, and the name is written
with \\n, \\r, \\xHH and \\\\. All other names are written byte for byte.
"""
_ESCAPES = {ord("\\"): b"\\\\", ord("\n"): b"\\n", ord("\r"): b"\\r"}
_CONTROLS = bytes([*range(32), 127])


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE")
    parameters.add(parser)
    parser.add_argument("--compact", action="store_true", help="hexadecimal digests only")
    parser.add_argument(
        "--for-builtin-sig",
        action="store_true",
        help="what a built-in signature signs, in hexadecimal, in place of the digest",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object for all files")
    parser.epilog = _EPILOG
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the digest of each file; failures go to stderr and the exit status."""
    chosen = parameters.of(options)
    report: list[dict[str, object]] = []
    failures = 0
    with Progress(len(options.files)) as progress:
        for path, outcome in digests(options.files, chosen, progress.part):
            progress.step()
            if isinstance(outcome, Digest):
                if options.json:
                    report.append({"path": path, "digest": str(outcome)})
                else:
                    sys.stdout.buffer.write(_line(path, outcome, options))
                continue
            failures += 1
            progress.say(f"veriseal: {outcome}")
            report.append({"path": path, "error": outcome.as_json()})
    if options.json:
        import json

        json.dump({"schema": 1, "files": report}, sys.stdout, indent=2)
        print()
    sys.stdout.flush()
    return 1 if failures else 0


def _line_name(path: str) -> tuple[bytes, bytes]:
    """What a line starts with, and the name as it is written there: see the epilog."""
    name = os.fsencode(path)
    if path.isprintable() or name.translate(None, _CONTROLS) == name:
        return b"", name
    escaped = b"".join(
        _ESCAPES.get(c) or (b"\\x%02x" % c if c in _CONTROLS else bytes([c])) for c in name
    )
    return b"\\", escaped


def _line(path: str, digest: Digest, options: argparse.Namespace) -> bytes:
    value = (digest.formatted() if options.for_builtin_sig else digest.value).hex().encode()
    if options.compact:
        return value + b"\n"
    start, name = _line_name(path)
    if not options.for_builtin_sig:
        value = digest.algorithm.name.encode() + b":" + value
    return start + value + b" " + name + b"\n"
