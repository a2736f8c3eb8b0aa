"""A2: somebody swaps the program between the check and its start, as fast as the kernel lets them.

The good program ends with 10, the evil one, which is not signed, with 66. Whatever the launcher
meets it either refuses or runs the good one; and both must have happened, or there was no race.
"""

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from . import helpers, race
from .conftest import Sealed
from .helpers import REFUSED, Signer

pytestmark = pytest.mark.kernel

GOOD, EVIL = 10, 66
DIRECTORY = "/verity/race"
DRIVER = os.path.abspath(race.__file__)
TRIES = {"links": 1200, "files": 500, "interpreters": 300}
WHOLE_RUNS = 10


@contextmanager
def swapping(first: str, second: str) -> Iterator[None]:
    """The two names are exchanged all the time."""
    before = os.lstat(first).st_ino
    process = subprocess.Popen(["/usr/bin/python3", "-I", DRIVER, "swap", first, second])
    try:
        while os.lstat(first).st_ino == before:
            assert process.poll() is None
        yield
        assert process.poll() is None, "the swapping ended early"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def programs(sealed: Sealed, rsa: Signer) -> None:
    helpers.install(f"{DIRECTORY}/good", helpers.tiny_elf(GOOD), rsa)
    helpers.write(f"{DIRECTORY}/evil", helpers.tiny_elf(EVIL), 0o755)


def make_links(kind: str) -> tuple[str, str]:
    """A symbolic link to the good and one to the evil program."""
    first, second = f"/run/race-{kind}-1", f"/run/race-{kind}-2"
    os.symlink(f"{DIRECTORY}/good", first)
    os.symlink(f"{DIRECTORY}/evil", second)
    return first, second


def set_up(kind: str, signer: Signer) -> tuple[str, str, str]:
    """The program to launch, and the two names that are swapped."""
    if kind == "files":
        names = f"{DIRECTORY}/1", f"{DIRECTORY}/2"
        os.link(f"{DIRECTORY}/good", names[0])
        os.link(f"{DIRECTORY}/evil", names[1])
        return names[0], *names
    names = make_links(kind)
    if kind == "links":
        return names[0], *names
    script = f"{DIRECTORY}/script"
    helpers.install(script, f"#!{names[0]}\n".encode(), signer)
    return script, *names


@pytest.mark.parametrize("kind", TRIES)
def test_a_swapped_program_never_runs(programs: None, rsa: Signer, kind: str) -> None:
    path, first, second = set_up(kind, rsa)
    ended: Counter[int] = Counter()
    with swapping(first, second):
        command = ["/usr/bin/python3", "-I", DRIVER, "launch", str(TRIES[kind]), path]
        done = helpers.run(command, env={}, timeout=200)
        assert done.status == 0, done.err
        ended.update({int(status): count for status, count in json.loads(done.out).items()})
        for _ in range(WHOLE_RUNS):
            ended[helpers.launch(path).status] += 1
    print(kind, dict(ended))
    assert set(ended) == {GOOD, REFUSED}
    assert ended.total() == TRIES[kind] + WHOLE_RUNS


def test_without_the_launcher_the_race_is_won(programs: None, rsa: Signer) -> None:
    first, second = make_links("plain")
    with swapping(first, second):
        statuses = {helpers.run([first]).status for _ in range(100)}
    assert statuses == {GOOD, EVIL}
