"""veriseal trust lint: everything that is wrong with the certificates and trust settings."""

import argparse
import json
import sys
import time

from veriseal.plan import side
from veriseal.trust import finding, lint

_EPILOG = """\
Every finding has a name, the file that it concerns and a remedy. Whatever the boot would refuse is
an error; what it passes over, or what is only odd, is a warning.

exit status: 0, or 1 if there is an error
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the step's arguments."""
    parser.add_argument("--root", metavar="DIR", default="/", help="the tree of a system [/]")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.epilog = _EPILOG
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the findings. Returns 1 if one of them is an error."""
    here = side.read(options.root)
    found = lint.examine(here.settings, here.os_release, root=here.root, at=int(time.time()))
    errors = sum(one.level == finding.ERROR for one in found)
    if options.json:
        document = {"schema": 1, "findings": [one.as_json() for one in found]}
        json.dump(document, sys.stdout, indent=2)
        print()
    else:
        for one in found:
            print(one)
    print(f"{errors} errors, {len(found) - errors} warnings", file=sys.stderr)
    return 1 if errors else 0
