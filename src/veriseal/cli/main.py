"""Finds the verb, runs it, and turns every error into one line and an exit status.

0 done; 1 the check or the operation failed; 2 wrong usage; 130 interrupted.
`veriseal exec` never comes here: see `launch.main`.
"""

import argparse
import importlib
import os
import sys

from veriseal import __version__
from veriseal.errors import UsageError, VerisealError, path_of, printable

VERBS = {
    "digest": "print the fs-verity digest of files",
    "pki": "make a vendor root and release certificates",
    "build": "digests, tree list, manifest and signatures of a tree, in one pass",
    "sign": "make built-in signatures of files",
    "enable": "switch verity on, each file with its signature; resumable",
    "verify": "check a tree against its signed manifest",
    "trust": "what is trusted, and the statement that says so",
    "audit": "what has verity, who signed it, and what a change of trust would break",
    "boot": "the agent's steps, in the initrd",
    "exec": "the launcher: run a program only if it is signed",
    "explain": "would a file be started, and if not, why and what to do",
    "wrap": "have a systemd unit start its programs through the launcher",
    "status": "what is sealed, enrolled, required, booted",
}
"""Verb: one line of help. Each is the module `veriseal.cli.VERB`; `exec` is `veriseal.launch`."""


def main(arguments: list[str]) -> int:
    """Run ``arguments`` (without the program name). Returns the exit status."""
    try:
        return _run(arguments)
    except VerisealError as error:
        print(f"veriseal: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        print("veriseal: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader went away; keep the interpreter from complaining about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"veriseal: {_describe(error)}", file=sys.stderr)
        return 1
    except Exception as error:
        if "VERISEAL_TRACEBACK" in os.environ:
            raise
        print(
            f"veriseal: internal error: {type(error).__name__}: {printable(str(error))}. "
            "This is a defect; set VERISEAL_TRACEBACK=1 to see where",
            file=sys.stderr,
        )
        return 1


def _run(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="veriseal", description="Only programs signed for this release run."
    )
    parser.add_argument("--version", action="version", version=f"veriseal {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    chosen = next((word for word in arguments if word in VERBS), None)
    parsers = {}
    for verb, help_line in VERBS.items():
        parsers[verb] = verbs.add_parser(verb, help=help_line, description=help_line)
        if verb == chosen and verb != "exec":
            module = importlib.import_module(f"veriseal.cli.{verb}")
            module.configure(parsers[verb])
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        # By the verb's own parser: it is its usage that helps.
        parsers[options.verb].error(f"unrecognized arguments: {' '.join(unknown)}")
    run = getattr(options, "run", None)
    if run is None:
        raise UsageError(f"{options.verb}: nothing to do", remedy="See veriseal --help")
    status = run(options)
    return 0 if status is None else int(status)


def _describe(error: OSError) -> str:
    path = path_of(error)
    return printable(f"{'' if path is None else f'{path}: '}{error.strerror or error}")
