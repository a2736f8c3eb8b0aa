"""veriseal trust lint: everything that is wrong with the certificates and trust settings."""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence

from veriseal.errors import VerisealError
from veriseal.plan import side
from veriseal.plan.side import Side
from veriseal.trust import finding, lint
from veriseal.trust.finding import WARNING, Finding

_EPILOG = """\
Every finding has a name, the file that it concerns and a remedy. Whatever the boot would refuse is
an error, and so is what keeps a certificate of the window from counting, though others count; what
was not meant to count, or is only odd, is a warning.

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
    if here.settings.statement:
        found += list(_with_statement(here, found))
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


def _with_statement(here: Side, found: Sequence[Finding]) -> Iterator[Finding]:
    """What the boot would say of the trust statement, and of the certificates in it."""
    try:
        not_used = side.gathered(here).not_used
    except VerisealError as error:
        if error.reason == "statement-not-seen":
            yield finding.of(error, WARNING)
        elif not any(one.name == error.reason and one.path == error.path for one in found):
            yield finding.of(error)
        return
    if not_used is not None:
        yield Finding(WARNING, "statement-not-used", not_used)
