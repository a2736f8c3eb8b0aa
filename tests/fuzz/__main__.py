"""Fuzzing: ``make fuzz ARGS="--target X --seconds N"``; see `tests.fuzz`.

Crashes and the inputs that reached something new are kept in build/fuzz.
"""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.targets import BY_NAME, TARGETS, Target

TOP = Path(__file__).resolve().parents[2]
BUILD = TOP / "build" / "fuzz"
PLANTED = Target("planted", lambda _data: None, "", lambda: [b"x"], runs=500_000)
SECONDS = 600
LIMITS = ("-timeout=20", "-rss_limit_mb=1024")
"""Of one input: seconds, megabytes of the process."""


class Outcome(NamedTuple):
    """How a target went: its name, whether it broke its contract, what to say."""

    name: str
    broken: bool
    text: str


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    targets = [BY_NAME[name] for name in options.target] or list(TARGETS)
    if os.geteuid() != 0:
        return _say("as root only: some parsers believe no file that another user has written")
    if options.input is not None:
        if len(targets) != 1:
            return _say("--input needs one --target")
        targets[0].run(options.input.read_bytes())
        print(f"fuzz: {targets[0].name} keeps its contract for {options.input}")
        return 0
    for module in ("atheris", "coverage"):
        if importlib.util.find_spec(module) is None:
            return _say(
                f"{module} is not installed here, and nothing is fuzzed without it: make budget "
                "and make fuzz install it. There is a wheel of atheris for CPython 3.11 to 3.14"
            )
    if options.coverage:
        for target in targets:
            _module("covered", target.name, str(_corpus(target)), check=True)
        return 0
    if options.budget:
        found = _fuzz(PLANTED, None, None)
        if not found.broken:
            return _say("the planted defect was not found: the fuzzer does not work here")
    started = time.monotonic()
    share = options.seconds * options.jobs / len(targets)
    with ThreadPoolExecutor(options.jobs) as pool:
        runs = []
        for one in targets:
            corpus, seconds = (None, None) if options.budget else (_corpus(one), max(1, int(share)))
            runs.append(pool.submit(_fuzz, one, corpus, seconds))
        outcomes = []
        for run in runs:
            outcomes.append(run.result())
            print(f"fuzz: {outcomes[-1].name}: {outcomes[-1].text}", flush=True)
    broken = [one.name for one in outcomes if one.broken]
    print(f"fuzz: {len(outcomes)} targets in {time.monotonic() - started:.0f} seconds, ", end="")
    print(f"broken: {', '.join(broken) or 'none'}")
    return 1 if broken else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", action="append", choices=BY_NAME, default=[])
    parser.add_argument("--seconds", type=float, default=SECONDS, help="in all (%(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time")
    parser.add_argument("--input", type=Path, help="try this file only, such as a crash")
    parser.add_argument("--budget", action="store_true", help="a fixed number of runs, repeatable")
    parser.add_argument("--coverage", action="store_true", help="what the kept inputs reach")
    return parser.parse_args(arguments)


def _say(problem: str) -> int:
    print(f"fuzz: {problem}", file=sys.stderr)
    return 2


def _corpus(target: Target) -> Path:
    return BUILD / "corpus" / target.name


def _module(name: str, *arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
    # With one seed for hashes two runs take the same way.
    return subprocess.run(
        [sys.executable, "-m", f"tests.fuzz.{name}", *arguments],
        cwd=TOP,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        stdout=None if check else subprocess.PIPE,
        stderr=None if check else subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
        check=check,
    )


def _fuzz(target: Target, corpus: Path | None, seconds: int | None) -> Outcome:
    """Fuzz one target for ``seconds``, beginning with ``corpus``; or the fixed budget."""
    limits = [f"-runs={target.runs}", "-seed=1", "-max_len=8192"]
    if seconds is not None:
        limits = [f"-max_total_time={seconds}", "-max_len=65536"]
    crashes = BUILD / "crashes" / target.name
    for kept in filter(None, (crashes, corpus)):
        kept.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="veriseal-fuzz.") as temporary:
        seeds, words = Path(temporary, "seeds"), Path(temporary, "words")
        seeds.mkdir()
        for number, seed in enumerate(target.seeds()):
            (seeds / f"{number}").write_bytes(seed)
        # libFuzzer takes no empty one.
        words.write_text("".join(f'"{_escaped(token)}"\n' for token in (*target.tokens, b"\0")))
        # New inputs are kept in the first directory.
        directories = [str(one) for one in (corpus, seeds) if one is not None]
        own = (f"-artifact_prefix={crashes}/", f"-dict={words}")
        name = ":".join((target.name, *target.below.split()))
        done = _module("guided", name, *directories, *limits, *LIMITS, *own)
    took = time.monotonic() - started
    numbers = re.findall(r"^#(\d+)\s.*cov: (\d+) ft: (\d+)", done.stdout, re.MULTILINE)
    runs, blocks, features = numbers[-1] if numbers else ("0", "0", "0")
    text = f"{runs} runs in {took:.1f} seconds, {blocks} edges, {features} features"
    if done.returncode == 0:
        return Outcome(target.name, False, text)
    artifact = re.search(r"Test unit written to (\S+)", done.stdout)
    trace = done.stdout.partition("=== Uncaught Python exception: ===")[2] or done.stdout
    trace = "\n".join(one for one in trace.splitlines() if not one.startswith("INFO:"))[-4000:]
    again = ""
    if artifact is not None:
        file = os.path.relpath(artifact[1], TOP)
        again = f'\nagain: make fuzz ARGS="--target {target.name} --input {file}"'
    return Outcome(target.name, True, f"{text}\n{trace}{again}")


def _escaped(token: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in token[:64])


if __name__ == "__main__":
    sys.exit(main())
