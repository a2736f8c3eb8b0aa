"""make demo: build an appliance, boot it, attack it, print what was expected and what was seen."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from tests.boot import appliance, attacks, booting, building, releases, scenarios, sequence
from tests.boot.inside import groups
from tests.boot.result import Result
from tests.guest.store import BUILD, REPO, GuestError, say

PLACE = REPO / "build" / "demo"
_NAME = max(len(attack.name) for attack in attacks.table())
_EXPECTED = max(len(attack.expected) for attack in attacks.table())


def main() -> int:
    """Run everything. Returns 1 if any line differs from what was expected."""
    try:
        results = list(_results())
    except GuestError as error:
        say(str(error))
        return 1
    finally:
        sequence.clean()
    PLACE.mkdir(parents=True, exist_ok=True)
    table = {attack.name: attack._asdict() for attack in attacks.table()}
    report = [
        {**table[result.attack], **result._asdict(), "good": result.good} for result in results
    ]
    (PLACE / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    for log in (BUILD / "boots").glob("*.log"):
        shutil.copy2(log, PLACE)
    different = [result for result in results if not result.good]
    print(f"\n{len(results)} lines, {len(different)} not as expected")
    print(f"report and console logs: {PLACE.relative_to(REPO)}/")
    return 1 if different else 0


def _results() -> Iterator[Result]:
    built = appliance.build()
    releases.build(built)
    say("building small trees")
    print(f"  {'attack':<{_NAME}} {'by':<2} {'expected':<{_EXPECTED}} seen")
    for tree in building.TREES:
        yield _shown(building.attempt(built, tree))
    say("booting the appliance and attacking it from inside")
    for result in scenarios.boot_attacked(built):
        yield _shown(result)
    say("changing the disk, the command line or the clock, a boot for each")
    boots = [boot for group, boot in scenarios.BOOTS.items() if group != groups.ATTACKED]
    with ThreadPoolExecutor(booting.AT_A_TIME) as pool:
        # The longest is among these.
        rows = [pool.submit(boot, built) for boot in dict.fromkeys(boots)]
        others = [
            pool.submit(scenarios.boot_refused, built, one) for one in scenarios.REFUSED_BOOTS
        ]
        for boot in (*others, *rows):
            for result in boot.result():
                yield _shown(result)


def _shown(result: Result) -> Result:
    mark = " " if result.good else "!"
    print(
        f"{mark} {result.attack:<{_NAME}} {result.attacker:<2} {result.expected:<{_EXPECTED}} "
        f"{result.seen}",
        flush=True,
    )
    return result


if __name__ == "__main__":
    sys.exit(main())
