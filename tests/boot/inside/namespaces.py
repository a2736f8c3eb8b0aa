"""Mounts that only the caller sees, made in a user namespace, and one that everybody sees."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable

from .row import (
    A2,
    A3,
    BIN,
    LIB,
    NOBODY,
    REPORT,
    STRANGER,
    STRAY,
    TABLE,
    USER,
    VERISEAL,
    Row,
    as_user,
    call,
    launch,
    own,
    proved,
    seen,
)

BOOT_REPORT = "launcher: boot report"
CLOSURE = "launcher: closure"
PLACE = "launcher: place in the launch table"
LIBRARY = f"{LIB}/libgreet.so.1"
IN_A_USER_NAMESPACE = ("unshare", "--map-root-user", "--mount")
IN_A_MOUNT_NAMESPACE = ("unshare", "--mount")


def bound(
    what: str, where: str, program: str, says: str, user: bool
) -> Callable[[], tuple[str, str]]:
    """An attempt with a bind mount in a namespace of the caller's own; it is first seen to act."""

    def attempt() -> tuple[str, str]:
        prefix = IN_A_USER_NAMESPACE if user else IN_A_MOUNT_NAMESPACE
        who = USER if user else "root"
        script = f"mount --bind {what} {where} && "
        direct = call(*prefix, "sh", "-c", f"{script} exec {program} once", who=who)
        proved(says in direct.out, direct)
        ended = call(*prefix, "sh", "-c", f"{script} exec {VERISEAL} exec {program} once", who=who)
        return seen(ended)

    return attempt


def forged() -> tuple[str, str]:
    """Report and table of one's own over the real ones, in a namespace where one is root."""
    script = ""
    for path in (REPORT, TABLE):
        copy = own(os.path.basename(path))
        call("cp", path, copy, who=USER)
        script += f"mount --bind {copy} {path} && "
    script += f"exec {VERISEAL} exec {STRAY}/no-verity"
    return seen(call(*IN_A_USER_NAMESPACE, "sh", "-c", script, who=USER))


def without_proc() -> tuple[str, str]:
    """Nothing where /proc is."""
    script = f"mount -t tmpfs none /proc && exec {VERISEAL} exec {BIN}/program"
    return seen(call(*IN_A_MOUNT_NAMESPACE, "sh", "-c", script))


def through_fuse() -> tuple[str, str]:
    """A file system of the user's own that answers for verity with a good digest."""
    call("modprobe", "fuse")
    point = "/var/tmp/fuse"
    os.makedirs(point, exist_ok=True)
    os.chown(point, NOBODY, NOBODY)
    argv = [f"{STRANGER}/hostile_fuse", f"{STRAY}/no-verity", f"{BIN}/program", "-f", point]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, **as_user(USER)) as server:
        try:
            deadline = time.monotonic() + 10
            while call("test", "-e", f"{point}/program", who=USER).status != 0:
                if server.poll() is not None or time.monotonic() > deadline:
                    return "no FUSE", str(server.stderr and server.stderr.read())
                time.sleep(0.05)
            direct = call(f"{point}/program", who=USER)
            proved("no-verity: up" in direct.out, direct)
            return launch(f"{point}/program", who=USER)
        finally:
            call("umount", "-l", point)
            server.kill()


PROGRAM = f"{BIN}/program"
EVIL, OTHER = f"{STRAY}/no-verity", f"{BIN}/poweroff"
OLD = f"{STRAY}/old-libgreet.so.1"
USER_BIND = "in a user namespace, and"

ROWS = (
    Row(
        "bind mount over the program, as a user",
        A2,
        f"{USER_BIND} a stranger's program is mounted over it",
        "126 report-not-trusted",
        BOOT_REPORT,
        bound(EVIL, PROGRAM, PROGRAM, "no-verity: up", user=True),
    ),
    Row(
        "bind mount over its library, as a user",
        A2,
        f"{USER_BIND} an earlier version of a library is mounted over it",
        "126 report-not-trusted",
        BOOT_REPORT,
        bound(OLD, LIBRARY, f"{BIN}/app", "other old app", user=True),
    ),
    Row(
        "boot report and launch table of one's own",
        A2,
        f"{USER_BIND} copies of them, which are the user's, are mounted over both",
        "126 no-verity",
        "launcher: measured",
        forged,
    ),
    Row(
        "no /proc",
        A3,
        "nothing is where `/proc` was, for one process",
        "126 no-proc-sys",
        BOOT_REPORT,
        without_proc,
    ),
    Row(
        "bind mount of a stranger's program",
        A3,
        "a program without verity is mounted over one, for one process",
        "126 no-verity",
        "launcher: measured",
        bound(EVIL, PROGRAM, PROGRAM, "no-verity: up", user=False),
    ),
    Row(
        "bind mount of another program",
        A3,
        "another signed program is mounted over one, for one process",
        "126 misplaced",
        PLACE,
        bound(OTHER, PROGRAM, PROGRAM, "poweroff: up", user=False),
    ),
    Row(
        "bind mount of an earlier library",
        A3,
        "an earlier version of a library is mounted over one, for one process",
        "126 other-contents",
        CLOSURE,
        bound(OLD, LIBRARY, f"{BIN}/app", "other old app", user=False),
    ),
    Row(
        "FUSE that answers for verity",
        A2,
        "a user's own file system gives the digest of a good program and runs another",
        "126 unknown-filesystem",
        "launcher: known file system",
        through_fuse,
    ),
)
