"""Files that change under the launcher's hands, thousands of times."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from .row import (
    A2,
    A3,
    BIN,
    LIB,
    NOBODY,
    OWN_IN_MEMORY,
    ROOT,
    STRAY,
    USER,
    Row,
    as_user,
    call,
    launch,
    own,
)

DRIVER = f"{os.path.dirname(os.path.abspath(__file__))}/driver.py"
PYTHON = ("/usr/bin/python3", "-I", DRIVER)
TRIES = 2000
LIBRARY_TRIES = 700
"""Fewer: a refusal for a library looks through the whole launch table."""
WHOLE_RUNS = 10


@contextmanager
def swapping(first: str, second: str, who: str) -> Iterator[None]:
    """The two names are exchanged all the time."""
    before = os.lstat(first).st_ino
    with subprocess.Popen([*PYTHON, "swap", first, second], **as_user(who)) as process:
        try:
            while os.lstat(first).st_ino == before:
                if process.poll() is not None:
                    raise RuntimeError("nothing is swapped")
            yield
            if process.poll() is not None:
                raise RuntimeError("the swapping ended early")
        finally:
            process.kill()


def linked(names: str, good: str, bad: str) -> tuple[str, str]:
    """Two links of the user's, to programs."""
    links = own(f"{names}-1", OWN_IN_MEMORY), own(f"{names}-2", OWN_IN_MEMORY)
    for link, target in zip(links, (good, bad), strict=True):
        os.symlink(target, link)
    return links


def program_swapped() -> tuple[str, str]:
    """Between two signed programs and a stranger's: which run, and each as a whole?

    The check of the closure is the longest part of a start, and the path changes all the while.
    """
    good, bad = linked("race", f"{BIN}/app", f"{STRAY}/no-verity")
    with swapping(good, bad, USER):
        plain = {call(good, "once", who=USER).out for _ in range(50)}
        if len(plain) < 2:
            raise RuntimeError(f"the attack itself does not work: {plain}")
        return _driven("launch", good, f"{BIN}/app", who=USER)


def programs_swapped() -> tuple[str, str]:
    """Between two signed programs with different closures."""
    good, other = linked("programs", f"{BIN}/app", f"{BIN}/program")
    with swapping(good, other, USER):
        return _driven("launch", good, f"{BIN}/app", f"{BIN}/program", who=USER)


def library_swapped() -> tuple[str, str]:
    """Root swaps a library for an earlier one while the closure is checked."""
    greet, old = f"{LIB}/libgreet.so.1", f"{LIB}/libgreet.so.0"
    inode = os.stat(greet).st_ino
    os.link(f"{STRAY}/old-libgreet.so.1", old)
    try:
        with swapping(greet, old, ROOT):
            return _driven("check", f"{BIN}/app", f"{BIN}/app", who=ROOT, tries=LIBRARY_TRIES)
    finally:
        if os.stat(greet).st_ino != inode:
            os.rename(old, greet)
        else:
            os.unlink(old)


def _driven(what: str, path: str, *good: str, who: str, tries: int = TRIES) -> tuple[str, str]:
    ended = call(*PYTHON, what, str(tries), path, *good, who=who)
    if ended.status != 0:
        return f"{ended.status}", ended.err
    became = dict(json.loads(ended.out))
    return ", ".join(sorted(became)), f"{became}"


def swapped_link() -> tuple[str, str]:
    """As `program_swapped`, with the launcher as a whole."""
    good, bad = linked("whole", f"{BIN}/program", f"{STRAY}/no-verity")
    with swapping(good, bad, USER):
        seen = [launch(good, "once", who=USER)[0] for _ in range(WHOLE_RUNS)]
    allowed = (f"0 program: up as uid {NOBODY}", "126 no-verity")
    wrong = [text for text in seen if text not in allowed]
    return "; ".join(wrong) or "never ran", f"{seen}"


def report_cut() -> tuple[str, str]:
    """The report at every length: what the launcher goes by is there as a whole, or refused."""
    ended = call(*PYTHON, "report", "/run/cut-report")
    return ended.out.strip(), ended.err


APP, PROGRAM = f"other greet app: up as uid {NOBODY}", f"program: up as uid {NOBODY}"
DESCRIPTOR = "launcher: opened once"

ROWS = (
    Row(
        "link swapped while it starts",
        A2,
        f"a link is swapped between a program and a stranger's, {WHOLE_RUNS} launches",
        "never ran",
        DESCRIPTOR,
        swapped_link,
    ),
    Row(
        "program swapped while its closure is checked",
        A2,
        f"a link is swapped between a program and a stranger's; {TRIES} checks",
        f"accepted, no-verity, {APP}",
        DESCRIPTOR,
        program_swapped,
    ),
    Row(
        "two programs swapped while a closure is checked",
        A2,
        f"a link is swapped between two programs of the release; {TRIES} checks",
        f"accepted, {APP}, {PROGRAM}",
        DESCRIPTOR,
        programs_swapped,
    ),
    Row(
        "library swapped while the closure is checked",
        A3,
        f"a library and an earlier version are swapped; {LIBRARY_TRIES} checks",
        "accepted, other-contents libgreet.so.1",
        "launcher: closure",
        library_swapped,
    ),
    Row(
        "boot report cut at every byte",
        A3,
        "the launcher's reading of the report, at each length",
        "whole or refused",
        "launcher: boot report",
        report_cut,
    ),
)
