"""`veriseal verify` in its parts: prints how long each takes. Imports nothing of the tests.

Usage: phases STARTED TREE MANIFEST-DIRECTORY CERTIFICATE OS
STARTED is the monotonic time at which this process was started. Exit status 1 for findings.
"""

# ruff: noqa: E402 the imports are timed

import sys
import time

entered = time.monotonic()
sys.path.insert(0, "/usr/lib/veriseal")

import json
import os
import resource

from veriseal import sitepackages

sitepackages.make_importable()

from veriseal import certificate, dump
from veriseal.cli import main as _main  # noqa: F401 what the program imports
from veriseal.cli import verify as _verify  # noqa: F401
from veriseal.tree import check, source

imported = time.monotonic()


def main(started: str, tree: str, manifest: str, cert: str, os_name: str) -> int:
    """Do what `veriseal verify` does, and once more read the list alone."""
    with open(cert, "rb") as file:
        trust = source.Trust([certificate.load(file.read(), cert)], 1, [os_name], 0)
    root = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
    release = source.load(os.open(manifest, os.O_RDONLY | os.O_DIRECTORY), manifest, trust)
    loaded = time.monotonic()
    result = check.check(root, release, verity_for_all=True)
    checked = time.monotonic()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    entries = sum(1 for _ in dump.parse(release.tree_list.splitlines(keepends=True), None))
    parsed = time.monotonic()
    report = {
        "python": entered - float(started),
        "imports": imported - entered,
        "manifest": loaded - imported,
        "list": parsed - checked,
        "check": checked - loaded,
        "entries": entries,
        "findings": len(result.findings),
        "measured": result.measured,
        "peak": peak * 1024,
        "worker_peak": worker * 1024,
    }
    print(json.dumps(report))
    return 1 if result.findings else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
