"""What is no program at all, what the kernel would refuse, and ``#!`` lines."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable

from .row import (
    A1,
    A2,
    BIN,
    LIB,
    ODD,
    OWN,
    USER,
    VERISEAL,
    Row,
    call,
    launch,
    launching,
    own,
    proved,
    seen,
)

REGULAR = "launcher: regular file"
LINE = "launcher: #! line"
EVIL = "evil code"


def made(name: str, make: Callable[[str], object]) -> Callable[[], tuple[str, str]]:
    """An attempt to launch what ``make`` makes at a path of the user's."""

    def attempt() -> tuple[str, str]:
        path = own(name)
        make(path)
        return launch(path, who=USER)

    return attempt


def a_socket(path: str) -> None:
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(path)


def loop(path: str) -> None:
    os.symlink(path, path)


def code_as_a_path() -> tuple[str, str]:
    """A name that is code, for a script whose interpreter takes the path of it as code."""
    # What stands before the file's name is code as well: a division.
    name = f"1/print('{EVIL}')"
    link = own(name)
    os.makedirs(os.path.dirname(link), exist_ok=True)
    os.symlink(f"{BIN}/option-script", link)
    direct = call(name, who=USER, cwd=OWN)
    proved(EVIL in direct.out, direct)
    return seen(call(VERISEAL, "exec", name, who=USER, cwd=OWN))


def _regular(name: str, done: str, attempt: Callable[[], tuple[str, str]]) -> Row:
    return Row(name, A2, done, "126 not-a-regular-file", REGULAR, attempt)


def _line(name: str, reason: str, script: str, done: str) -> Row:
    return Row(name, A2, done, f"126 {reason}", LINE, launching(script, USER))


ROWS = (
    _regular("a directory", "launched", launching(BIN, USER)),
    _regular("a FIFO", "a FIFO that nobody writes to is launched", made("fifo", os.mkfifo)),
    _regular("a socket", "launched", made("socket", a_socket)),
    _regular("a character device", "`/dev/zero` is launched", launching("/dev/zero", USER)),
    _regular("a block device", "the disk is launched", launching("/dev/vda", USER)),
    Row(
        "a link to itself",
        A2,
        "launched",
        "126 system-call",
        "launcher: opened once",
        made("loop", loop),
    ),
    Row(
        "program for another architecture",
        A1,
        "a signed program of the release has another machine in its header",
        "126 other-architecture",
        "launcher: machine",
        launching("foreign"),
    ),
    Row(
        "truncated ELF file",
        A1,
        "the first bytes of a program, in the release, outside `build.programs`",
        "126 not-a-program",
        "launcher: closure",
        launching(f"{ODD}/truncated"),
    ),
    Row(
        "a library as a program",
        A2,
        "a library of the release is launched",
        "126 not-a-program",
        "launcher: closure",
        launching(f"{LIB}/libgreet.so.1", USER),
    ),
    Row(
        "a text as a program",
        A2,
        "a text of the release is launched, which a shell would run",
        "126 unknown-format",
        LINE,
        launching(f"{ODD}/text", USER),
    ),
    Row(
        "script of an unsigned interpreter",
        A1,
        "the `#!` line of a signed script names a program without verity",
        "126 no-verity",
        "launcher: measured",
        launching("script-of-unsigned"),
    ),
    _line("script by env", "interpreter-by-path", "script-by-env", "`#!/usr/bin/env sh`"),
    _line(
        "script by env -S", "interpreter-by-path", "script-by-env-s", "`#!/usr/bin/env -S sh -c`"
    ),
    _line(
        "#! line of 300 bytes",
        "bad-interpreter",
        "script-of-long-line",
        "the kernel would cut the line of a signed script",
    ),
    _line(
        "interpreter below the working directory",
        "bad-interpreter",
        "script-of-relative",
        "`#!sh` in a signed script; the caller chooses the directory",
    ),
    Row(
        "code as a path, #! with -c",
        A2,
        "a link whose name is code leads to a signed script that begins with `#!.../python3 -c`",
        "1",
        "launcher: exec of the same descriptor",
        code_as_a_path,
    ),
)
