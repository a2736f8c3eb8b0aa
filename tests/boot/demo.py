"""make demo: build an appliance, boot it, attack it, print what was expected and what was seen."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator

from tests.boot import appliance, scenarios
from tests.guest.store import BUILD, REPO, GuestError, say

PLACE = REPO / "build" / "demo"


def main() -> int:
    """Run everything. Returns 1 if any line differs from what was expected."""
    try:
        results = list(_results())
    except GuestError as error:
        say(str(error))
        return 1
    PLACE.mkdir(parents=True, exist_ok=True)
    report = [{**result._asdict(), "good": result.good} for result in results]
    (PLACE / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    for log in (BUILD / "boots").glob("*.log"):
        shutil.copy2(log, PLACE)
    different = [result for result in results if not result.good]
    print(f"\n{len(results)} lines, {len(different)} not as expected")
    print(f"report and console logs: {PLACE.relative_to(REPO)}/")
    return 1 if different else 0


def _results() -> Iterator[scenarios.Result]:
    built = appliance.build()
    say("booting the appliance and attacking it from inside")
    print(f"  {'attack':<42} {'who':<3} {'expected':<28} seen")
    for result in scenarios.boot_attacked(built):
        yield _shown(result)
    for scenario in scenarios.REFUSED_BOOTS:
        say(f"booting: {scenario.name}")
        yield _shown(scenarios.boot_refused(built, scenario))


def _shown(result: scenarios.Result) -> scenarios.Result:
    mark = " " if result.good else "!"
    print(
        f"{mark} {result.attack:<42} {result.attacker:<3} {result.expected:<28} {result.seen}",
        flush=True,
    )
    return result


if __name__ == "__main__":
    sys.exit(main())
