"""Time the audit of a tree of signed files against asking fsverity-utils about some of them.

Usage: audit FILES ROUNDS. Disks: "files"; "release" with manifest, certificate and trust root.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from ..timing import ENVIRONMENT, TimingError, in_turn, seconds
from . import common, trees

ASKED_FILES = 200
"""As many as the shell loop gets: it takes so long for each."""
_LOOP = """
while read -r file; do
    fsverity measure "$file" && fsverity dump_metadata signature "$file" || exit 1
done <"$1"
"""


def main(files: str, rounds: str) -> None:
    top, release = f"{trees.mount('files')}/all", trees.mount("release")
    trees.run("sh", "-c", f"keyctl padd asymmetric '' %:.fs-verity <{release}/release.der")
    argv = [
        common.VERISEAL, "audit", top,
        "--trust", f"{release}/root", "--manifest", f"{release}/manifest",
    ]  # fmt: skip
    report = _require_audited(argv, int(files))
    some = _some(report)

    def ours() -> float:
        trees.drop_caches()
        return seconds(argv)

    def looped() -> float:
        trees.drop_caches()
        return seconds(["sh", "-c", _LOOP, "sh", some])

    mine, theirs = in_turn([ours, looped], int(rounds), False)
    warm = [seconds(argv) for _ in range(int(rounds))]
    # The start, the imports, and what is done once.
    empty = f"{release}/root"
    start = [seconds([*argv[:2], empty, *argv[3:5]]) for _ in range(int(rounds))]
    print(json.dumps({"ours": mine, "looped": theirs, "warm": warm, "start": start}))


def _require_audited(argv: list[str], files: int) -> dict[str, object]:
    """What the audit says; raises TimingError unless it knows the signer of every file."""
    done = subprocess.run([*argv, "--json"], env=ENVIRONMENT, capture_output=True, check=False)
    if done.returncode != 0:
        said = (done.stderr + done.stdout[:2000]).decode(errors="replace")
        raise TimingError(f"veriseal audit: status {done.returncode}: {said}")
    report = dict(json.loads(done.stdout))
    total = report["total"]
    counts = [total[name] for name in ("files", "verity", "signed", "listed", "needed")]
    known = sum(one["known_from"] == "file" for one in report["files"])
    if {*counts, known} != {files} or report["findings"]:
        raise TimingError(f"veriseal audit: not every file is known: {total}, {known}")
    return report


def _some(report: dict[str, object]) -> str:
    """A list of files from all over the tree."""
    files = report["files"]
    if not isinstance(files, list):
        raise TimingError("veriseal audit: no list of files")
    place = "/run/some-files"
    step = len(files) // ASKED_FILES
    with open(place, "w", encoding="utf-8") as out:
        for one in files[::step][:ASKED_FILES]:
            out.write(f"{os.path.join('/mnt/files/all', one['path'].lstrip('/'))}\n")
    return place


if __name__ == "__main__":
    main(*sys.argv[1:])
