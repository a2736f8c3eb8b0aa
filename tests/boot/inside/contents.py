"""Programs with other contents, other signatures, or in another place than the release has them."""

from __future__ import annotations

import os
from collections.abc import Callable

from .row import (
    A1,
    A2,
    A3,
    BIN,
    GOOD,
    NOTHING,
    RUNS,
    STRAY,
    USER,
    Row,
    call,
    launch,
    launching,
    own,
    replaced,
    straying,
)

READ = "launcher: opened for reading"
PLACE = "launcher: place in the launch table"
FILE_SYSTEM = "launcher: known file system"


def linked_elsewhere() -> tuple[str, str]:
    """Give a signed program a second name."""
    os.link(f"{BIN}/program", f"{BIN}/second-name")
    try:
        return launch(f"{BIN}/second-name")
    finally:
        os.unlink(f"{BIN}/second-name")


def placed(by: str) -> Callable[[], tuple[str, str]]:
    """An attempt to launch a program that has another one, signed as well, in its place."""

    def attempt() -> tuple[str, str]:
        with replaced(f"{BIN}/program", by):
            return launch(f"{BIN}/program")

    return attempt


def through_a_link() -> tuple[str, str]:
    """A link elsewhere: what counts is where it leads."""
    link = own("link")
    os.symlink(f"{BIN}/program", link)
    return launch(link)


def on_tmpfs() -> tuple[str, str]:
    """Launch a copy on tmpfs."""
    call("cp", f"{BIN}/program", "/run/program")
    return launch("/run/program", who=USER)


def on_overlay() -> tuple[str, str]:
    """Launch through an overlay over the kiosk's directory."""
    base = "/run/overlay"
    for name in ("upper", "work", "merged"):
        os.makedirs(f"{base}/{name}", exist_ok=True)
    options = f"lowerdir={BIN},upperdir={base}/upper,workdir={base}/work"
    mounted = call("mount", "-t", "overlay", "overlay", "-o", options, f"{base}/merged")
    if mounted.status != 0:
        return "no overlay", mounted.err
    try:
        return launch(f"{base}/merged/program", who=USER)
    finally:
        call("umount", f"{base}/merged")


def copied() -> tuple[str, str]:
    """Launch a copy on the disk."""
    copy = own("copy")
    call("cp", f"{BIN}/program", copy, who=USER)
    return launch(copy, who=USER)


def _stray(name: str, expected: str, stopped_by: str, done: str, program: str) -> Row:
    return Row(name, A1, done, expected, stopped_by, straying(program))


def _place(name: str, done: str, attempt: Callable[[], tuple[str, str]]) -> Row:
    return Row(name, A3, done, "126 misplaced", PLACE, attempt)


ROWS = (
    _stray(
        "no verity", "126 no-verity", "launcher: measured", "a program without verity", "no-verity"
    ),
    _stray(
        "verity without signature",
        "126 unsigned",
        READ,
        "a program with verity that nobody signed",
        "no-signature",
    ),
    _stray(
        "signed by a stranger",
        "126 not-enrolled",
        READ,
        "a program with verity and a stranger's signature",
        "stranger",
    ),
    _stray(
        "signature of another file",
        "126 signature-mismatch",
        READ,
        "the signature of another program of the release is written over its own",
        "other-signature",
    ),
    _stray(
        "signature changed on the disk",
        "126 signature-mismatch",
        READ,
        "one bit of the signature is changed on the disk",
        "damaged-signature",
    ),
    Row(
        "first page changed on the disk",
        A1,
        "one bit of a program's first page is changed on the disk",
        "126 corrupt",
        "launcher: first bytes",
        launching("changed"),
    ),
    _stray(
        "signed, but not in the manifest",
        "126 not-in-manifest",
        PLACE,
        "a program with the release's signature that the manifest does not list",
        "not-listed",
    ),
    _stray(
        "signed, earlier version",
        "126 not-in-manifest",
        PLACE,
        "an earlier version of a program, with the release's signature",
        "old-program",
    ),
    _stray(
        "signed, but revoked",
        "126 revoked",
        "launcher: not revoked",
        "a program with the release's signature, whose digest the manifest revokes",
        "revoked",
    ),
    _place("signed, hard-linked elsewhere", "a program gets a second name", linked_elsewhere),
    _place("signed, moved over another", "another one is put over it", placed(f"{BIN}/poweroff")),
    Row(
        "earlier version in its place",
        A3,
        "an earlier version, signed as well, is linked over a program",
        "126 other-contents",
        PLACE,
        placed(f"{STRAY}/old-program"),
    ),
    Row(
        "through a link to its place",
        GOOD,
        "a symbolic link elsewhere leads to a program",
        RUNS,
        NOTHING,
        through_a_link,
    ),
    Row("copy on tmpfs", A2, "a program is copied to tmpfs", "126 unknown-filesystem", FILE_SYSTEM,
        on_tmpfs),
    Row("copy on the disk", A2, "a program is copied", "126 no-verity", "launcher: measured",
        copied),
    Row("through overlayfs", A2, "a program is reached through overlayfs",
        "126 unknown-filesystem", FILE_SYSTEM, on_overlay),
    Row("no such program", A2, "a path where nothing is", "127 not-found",
        "launcher: opened once", launching("missing")),
)  # fmt: skip
