"""veriseal trust lint: everything that is wrong with the certificates and trust settings."""

import argparse
import json
import sys
import time
from collections.abc import Collection, Iterator, Sequence

from veriseal import policy, voa
from veriseal.boot.gather import Asked
from veriseal.errors import VerisealError
from veriseal.plan import side
from veriseal.plan.side import Side
from veriseal.trust import atboot, finding, lint, model
from veriseal.trust.finding import WARNING, Finding
from veriseal.trust.named import Settings

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
    found = _findings(options.root)
    if options.json:
        document = {"schema": 1, "findings": [one.as_json() for one in found]}
        json.dump(document, sys.stdout, indent=2)
        print()
    else:
        for one in found:
            print(one)
    print(finding.count(found), file=sys.stderr)
    return 1 if finding.failed(found) else 0


def _findings(root: str) -> list[Finding]:
    try:
        here = side.read(root)
        own = voa.os_identifiers(here.os_release)
        sources = policy.sources(tuple(side.inside(root, name) for name in policy.FILES))
        settings = Settings(here.settings, own, root, sources)
        at = int(time.time())
        found, counted = lint.examine(here.settings, own, settings, root=root, at=at)
    except VerisealError as error:
        return [finding.of(error)]
    except OSError as error:
        return [finding.unreadable(error)]
    # Where the window is wrong, that is all that the boot would say.
    if not any(one.name == "bad-configuration" for one in found):
        found += list(_as_at_boot(here, settings, found, counted))
    return list(dict.fromkeys(found))


def _as_at_boot(
    here: Side, settings: Settings, found: Sequence[Finding], counted: Collection[str]
) -> Iterator[Finding]:
    """What the code of the boot says: it has the last word."""
    try:
        gathered = side.gathered(here, Asked())
    except VerisealError as error:
        yield from atboot.refused(error, found)
        return
    except OSError as error:
        one = finding.unreadable(error)
        if not any((two.name, two.path) == (one.name, one.path) for two in found):
            yield one
        return
    trust = gathered.trust
    if gathered.unseen:
        text = "the device is not mounted here, so nobody has looked at the trust statement"
        yield Finding(WARNING, "statement-not-seen", text, settings.statement(), "Mount it")
    elif gathered.not_used is not None:
        yield Finding(WARNING, "statement-not-used", gathered.not_used, settings.statement())
    yield from atboot.left_out(trust, counted)
    if trust.origin == model.STATEMENT:
        yield from atboot.of_statement(trust, settings, gathered.at)
    elif here.settings.statement and not gathered.unseen:
        yield from settings.missing({one.os for one in trust.releases})
