"""Tries the rows of one boot, and reports each to the host."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator

from .groups import ATTACKED, GROUPS, MEASURED

RESULTS = "/dev/virtio-ports/veriseal.results"


def chosen() -> str:
    """The group that this boot is for."""
    with open("/proc/cmdline", encoding="utf-8") as file:
        named = re.search(r"veriseal\.attacks=([\w-]+)", file.read())
    return named[1] if named else ATTACKED


def results() -> Iterator[dict[str, str]]:
    """Try every row. A row that cannot be tried is seen as what went wrong."""
    for row in {**GROUPS, **MEASURED}[chosen()]:
        started = time.monotonic()
        try:
            seen, detail = row.attempt()
        except Exception as error:
            seen, detail = f"{type(error).__name__}: {error}", ""
        seconds = f"{time.monotonic() - started:.1f}"
        yield {"name": row.name, "seen": seen, "detail": detail, "seconds": seconds}


if __name__ == "__main__":
    with open(RESULTS, "w", encoding="utf-8", buffering=1) as port:
        for result in results():
            print(json.dumps(result), file=port)
        print(json.dumps({"name": "end", "seen": "end", "detail": "", "seconds": "0"}), file=port)
    sys.exit(0)
