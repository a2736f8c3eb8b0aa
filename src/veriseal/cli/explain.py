"""veriseal explain: would this file be started, and if not, exactly why and what to do."""

import argparse
import json
import sys

from veriseal.launch import explain

_EPILOG = """\
Nothing is started and nothing is changed. Each check that passed is a line; then each file of the
closure that did not, marked with "!"; then what the launcher would do, with its reason and the
remedy. Of a file that is no program the programs are named that need it.

exit status: 0 all of the files would be started, 1 one of them would not
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="PATH is not searched")
    parser.add_argument("--json", action="store_true", help="a JSON report on stdout")
    parser.epilog = _EPILOG
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Explain each file. The exit status is 1 if one of them would be refused."""
    explanations = [explain.explain(path) for path in options.files]
    if options.json:
        files = [one.as_json() for one in explanations]
        json.dump({"schema": 1, "files": files}, sys.stdout, indent=2)
        print()
    else:
        print("\n\n".join(map(str, explanations)))
    return 0 if all(one.error is None for one in explanations) else 1
