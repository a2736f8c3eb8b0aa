"""Paths that are hard to take, to print or to trust."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable

from .row import (
    A2,
    A3,
    BIN,
    NOBODY,
    OWN,
    RUNS_AS_USER,
    STRAY,
    USER,
    VERISEAL,
    Row,
    as_user,
    call,
    launch,
    own,
    own_bytes,
    proved,
    seen,
)

OPENED = "launcher: opened once"
DESCRIPTOR = "launcher: exec of the same descriptor"
EVIL = f"{STRAY}/no-verity"
EVIL_RUNS = f"no-verity: up as uid {NOBODY}"


def copied_to(name: bytes) -> Callable[[], tuple[str, str]]:
    """An attempt with a copy under a name that must not come out of the launcher as it is."""

    def attempt() -> tuple[str, str]:
        path = own_bytes(name)
        shutil.copyfile(os.fsencode(f"{BIN}/program"), path)
        shutil.copymode(f"{BIN}/program", os.fsdecode(path))
        result, said = launch(path, who=USER)
        return f"{result}, {len(said.splitlines())} line", said

    return attempt


def linked_as(name: bytes) -> Callable[[], tuple[str, str]]:
    """An attempt with a link of that name to a program."""

    def attempt() -> tuple[str, str]:
        path = own_bytes(name)
        os.symlink(f"{BIN}/program", path)
        try:
            return launch(path, who=USER)
        finally:
            os.unlink(path)

    return attempt


def of_bytes(count: int) -> tuple[str, str]:
    """A path of so many bytes that leads to a program."""
    return launch(BIN + "/" * (count - len(f"{BIN}program")) + "program", who=USER)


def below_long_directories() -> tuple[str, str]:
    """A signed program whose own path is longer than a path can be."""
    top = "/opt/kiosk/deep"
    before = os.open(".", os.O_RDONLY)
    os.mkdir(top)
    os.chdir(top)
    try:
        for _ in range(20):
            os.mkdir("d" * 250)
            os.chdir("d" * 250)
        os.link(f"{BIN}/program", "program")
        return seen(call(VERISEAL, "exec", "./program"))
    finally:
        os.fchdir(before)
        os.close(before)
        shutil.rmtree(top)


def by_descriptor(path: str, form: str) -> Callable[[], tuple[str, str]]:
    """An attempt with a descriptor of the caller's in place of a path."""

    def attempt() -> tuple[str, str]:
        fd = os.open(path, os.O_RDONLY)
        try:
            return seen(call(VERISEAL, "exec", form.format(fd), who=USER, pass_fds=[fd]))
        finally:
            os.close(fd)

    return attempt


def memory_file() -> tuple[str, str]:
    """A program that is only in memory."""
    fd = os.memfd_create("program", 0)
    try:
        with open(f"{BIN}/program", "rb") as file:
            os.write(fd, file.read())
        path = f"/proc/self/fd/{fd}"
        direct = call(path, who=USER, pass_fds=[fd])
        proved(direct.out.startswith("program: up"), direct)
        return seen(call(VERISEAL, "exec", path, who=USER, pass_fds=[fd]))
    finally:
        os.close(fd)


def removed() -> tuple[str, str]:
    """A stranger's program that was removed while it was open, so that it has no name."""
    path = own("removed")
    shutil.copy(EVIL, path)
    fd = os.open(path, os.O_RDONLY)
    os.unlink(path)
    try:
        form = f"/proc/self/fd/{fd}"
        return seen(call(VERISEAL, "exec", form, who=USER, pass_fds=[fd]))
    finally:
        os.close(fd)


def other_root() -> tuple[str, str]:
    """The stranger's program in the place of the kiosk's, through the root of a process."""
    script = f"mount --bind {EVIL} {BIN}/program && echo ready && exec sleep 60"
    with subprocess.Popen(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script],
        stdout=subprocess.PIPE,
        **as_user(USER),
    ) as process:
        try:
            if process.stdout is None or process.stdout.readline() != b"ready\n":
                return "no namespace", ""
            path = f"/proc/{process.pid}/root{BIN}/program"
            direct = call(path, who=USER)
            proved(EVIL_RUNS in direct.out, direct)
            return launch(path, who=USER)
        finally:
            process.kill()


def bare_name() -> tuple[str, str]:
    """A name that only PATH would find."""
    shutil.copy(EVIL, own("program"))
    environment = {"PATH": OWN}
    direct = call("/bin/sh", "-c", "program", environment=environment, who=USER)
    proved(EVIL_RUNS in direct.out, direct)
    return launch("program", environment=environment, who=USER)


ROWS = (
    Row(
        "a path with a newline and escapes",
        A2,
        "a copy is called so that it forges a second line and drives the terminal",
        "126 no-verity, 1 line",
        "launcher: measured",
        copied_to(b"a\nveriseal exec: started\x1b[2J"),
    ),
    Row(
        "a path that is not UTF-8",
        A2,
        "a copy is called by bytes that are no text",
        "126 no-verity, 1 line",
        "launcher: measured",
        copied_to(b"\xff\xfe\xc3"),
    ),
    Row(
        "a link that is not UTF-8",
        A2,
        "a link of such a name leads to a program",
        RUNS_AS_USER,
        DESCRIPTOR,
        linked_as(b"\xff\n\xfe"),
    ),
    Row(
        "a path of 4,095 bytes",
        A2,
        "the longest that the kernel takes, to a program",
        RUNS_AS_USER,
        DESCRIPTOR,
        lambda: of_bytes(4095),
    ),
    Row(
        "a path of 4,096 bytes",
        A2,
        "one more than the kernel takes",
        "126 system-call",
        OPENED,
        lambda: of_bytes(4096),
    ),
    Row(
        "a program below 5,000 bytes of directories",
        A3,
        "a program gets a second name that no path can say",
        "126 no-path",
        "launcher: place in the launch table",
        below_long_directories,
    ),
    Row(
        "/proc/self/fd/N of a program",
        A2,
        "a descriptor of a program instead of its path",
        RUNS_AS_USER,
        DESCRIPTOR,
        by_descriptor(f"{BIN}/program", "/proc/self/fd/{}"),
    ),
    Row(
        "/proc/self/fd/N of a stranger's program",
        A2,
        "a descriptor of a program without verity",
        "126 no-verity",
        "launcher: measured",
        by_descriptor(EVIL, "/proc/self/fd/{}"),
    ),
    Row(
        "/dev/fd/N of a directory's file",
        A2,
        "a path below a descriptor of the strangers' directory",
        "126 no-verity",
        "launcher: measured",
        by_descriptor(STRAY, "/dev/fd/{}/no-verity"),
    ),
    Row(
        "a program in memory",
        A2,
        "a copy in a memfd",
        "126 unknown-filesystem",
        "launcher: known file system",
        memory_file,
    ),
    Row(
        "a program without a name",
        A2,
        "a stranger's program is removed while it is open",
        "126 no-verity",
        "launcher: measured",
        removed,
    ),
    Row(
        "/proc/PID/root of a user namespace",
        A2,
        "the path goes through a process in whose root the program is another",
        "126 unknown-filesystem",
        "launcher: known file system",
        other_root,
    ),
    Row(
        "a bare name",
        A2,
        "PATH leads to a stranger's program of that name",
        "127 not-found",
        OPENED,
        bare_name,
    ),
)
