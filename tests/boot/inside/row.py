"""A row of the table of attacks, and what most attempts are made of."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

BIN = "/opt/kiosk/bin"
LIB = "/opt/kiosk/lib"
ODD = "/opt/kiosk/odd"
"""Files of the release that are no programs."""
STRAY = "/var/lib/veriseal/stray"
STRANGER = "/opt/stranger"
REPORT = "/run/veriseal/boot.json"
TABLE = "/run/veriseal/launch.table"
VERISEAL = "/usr/bin/veriseal"
OWN, OWN_IN_MEMORY = "/var/tmp/user", "/run/own"
"""Directories of the user's: on the disk, and on tmpfs."""

ROOT, USER = "root", "user"
NOBODY = 65534
A1, A2, A3, GOOD = "A1", "A2", "A3", "-"
"""Who does it: has the disk; is a local user; is root at run time. `GOOD` is what must work."""
NOTHING = "nothing: it must work"
RUNS, RUNS_AS_USER = "0 program: up as uid 0", f"0 program: up as uid {NOBODY}"
RUNS_APP = "0 other greet app: up as uid 0"
"""With the two libraries of the release, in the order in which the loader starts them."""


class Row(NamedTuple):
    """One attack, or what must work.

    Attributes:
        name: of the attack, once in the whole table.
        attacker: `A1`, `A2`, `A3` or `GOOD`.
        done: what is done, on one line.
        expected: what must be seen.
        stopped_by: the part of veriseal, then the check, as its code calls it.
        attempt: does it, and returns what was seen and, for people, a detail.
    """

    name: str
    attacker: str
    done: str
    expected: str
    stopped_by: str
    attempt: Callable[[], tuple[str, str]]


class Ended(NamedTuple):
    """A command that ended. ``status`` is negative for a signal."""

    status: int
    out: str
    err: str


Limit = Callable[[], object]
"""Called in the new process, before the command."""


def call(
    *argv: str | bytes,
    data: bytes = b"",
    environment: Mapping[str, str] | None = None,
    who: str = ROOT,
    limit: Limit | None = None,
    cwd: str | None = None,
    pass_fds: Sequence[int] = (),
    timeout: float = 120,
) -> Ended:
    """Run a command to its end, as root or as the user."""
    done = subprocess.run(
        argv,
        input=data,
        capture_output=True,
        env=environment,
        check=False,
        timeout=timeout,
        preexec_fn=limit,
        cwd=cwd,
        pass_fds=pass_fds,
        **as_user(who),
    )
    return Ended(
        done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    )


def as_user(who: str) -> dict[str, Any]:
    """What `subprocess` takes for it."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if who == USER else {}


def seen(ended: Ended) -> tuple[str, str]:
    """Of a launcher that ended: the status, and the program's output or the refusal's reason."""
    reason = re.search(r"\[([a-z-]+), digest ", ended.err)
    what = reason[1] if reason else ended.out.strip()
    return f"{ended.status} {what}".strip(), ended.err.strip()


def launch(path: str | bytes, *arguments: str, **options: Any) -> tuple[str, str]:
    """What became of `veriseal exec PATH`, as `seen` says it."""
    return seen(call(VERISEAL, "exec", path, *arguments, **options))


def launching(path: str, who: str = ROOT) -> Callable[[], tuple[str, str]]:
    """An attempt to launch a program of the kiosk. The argument keeps it from staying."""
    return lambda: launch(path if path.startswith("/") else f"{BIN}/{path}", "once", who=who)


def straying(name: str) -> Callable[[], tuple[str, str]]:
    """An attempt to launch a program that lies where anybody may put files."""
    return launching(f"{STRAY}/{name}")


def proved(works: bool, ended: Ended) -> None:
    """Raise unless the attack worked where nothing was in its way."""
    if not works:
        raise RuntimeError(f"the attack itself does not work: {ended}")


@contextlib.contextmanager
def kept(path: str) -> Iterator[bytes]:
    """What is done to the file meanwhile is undone. Gives its contents."""
    aside = f"{path}.aside"
    with open(path, "rb") as file:
        data = file.read()
    status = os.stat(path)
    with open(aside, "wb") as file:
        file.write(data)
    os.chown(aside, status.st_uid, status.st_gid)
    os.chmod(aside, status.st_mode & 0o7777)
    try:
        yield data
    finally:
        if os.path.isdir(path) and not os.path.islink(path):
            os.rmdir(path)
        os.rename(aside, path)


@contextlib.contextmanager
def replaced(path: str, by: str | None) -> Iterator[None]:
    """Another file, by a hard link, or none in the place of one that has verity."""
    os.rename(path, f"{path}.aside")
    try:
        if by is not None:
            os.link(by, path)
        yield
    finally:
        if by is not None:
            os.unlink(path)
        os.rename(f"{path}.aside", path)


def own(name: str, place: str = OWN) -> str:
    """The path of a new file of the user's, which is not there yet."""
    path = os.fsdecode(own_bytes(os.fsencode(name), place))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    return path


def own_bytes(name: bytes, place: str = OWN) -> bytes:
    """As `own`, for any name; what is there stays."""
    os.makedirs(place, exist_ok=True)
    os.chown(place, NOBODY, NOBODY)
    return os.fsencode(place) + b"/" + name
