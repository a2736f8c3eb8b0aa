"""make demo: build an appliance, boot it, attack it, print what was expected and what was seen."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

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
    print(f"  {'attack':<46} {'who':<3} {'expected':<33} seen")
    for result in scenarios.boot_attacked(built):
        yield _shown(result)
    say("changing the disk and the command line, a boot for each")
    with ThreadPoolExecutor(scenarios.AT_A_TIME) as pool:
        boots = [pool.submit(scenarios.boot_refused, built, one) for one in scenarios.REFUSED_BOOTS]
        only_reported = pool.submit(scenarios.boot_reported, built)
        for boot in boots:
            yield _shown(boot.result())
        for result in only_reported.result():
            yield _shown(result)


def _shown(result: scenarios.Result) -> scenarios.Result:
    mark = " " if result.good else "!"
    print(
        f"{mark} {result.attack:<46} {result.attacker:<3} {result.expected:<33} {result.seen}",
        flush=True,
    )
    return result


if __name__ == "__main__":
    sys.exit(main())
