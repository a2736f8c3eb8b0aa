"""What the boot steps left below /run/veriseal, damaged or replaced by root; and the clock."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from .row import (
    A1,
    A3,
    BIN,
    NOBODY,
    REPORT,
    RUNS,
    TABLE,
    Row,
    call,
    kept,
    launch,
    launching,
    proved,
)
from .system import kiosk_runs, tree_verified

BOOT_ID = "/proc/sys/kernel/random/boot_id"

Spoil = Callable[[str, bytes], object]
"""Given a path and what it holds, changes what is there."""


def spoiled(path: str, spoil: Spoil) -> Callable[[], tuple[str, str]]:
    """An attempt to launch a program while root has changed a file."""

    def attempt() -> tuple[str, str]:
        with kept(path) as data:
            spoil(path, data)
            return launch(f"{BIN}/program")

    return attempt


def cut(path: str, data: bytes) -> None:
    _write(path, data[:-1])


def halved(path: str, data: bytes) -> None:
    _write(path, data[: len(data) // 2])


def emptied(path: str, _data: bytes) -> None:
    _write(path, b"")


def of_another_boot(path: str, data: bytes) -> None:
    with open(BOOT_ID, "rb") as file:
        now = file.read().strip()
    _write(path, data.replace(now, b"0" * len(now)))


def writable(path: str, _data: bytes) -> None:
    os.chmod(path, 0o666)  # noqa: S103


def of_a_user(path: str, _data: bytes) -> None:
    os.chown(path, NOBODY, NOBODY)


def a_link(path: str, _data: bytes) -> None:
    os.unlink(path)
    os.symlink(f"{path}.aside", path)


def a_fifo(path: str, _data: bytes) -> None:
    os.unlink(path)
    os.mkfifo(path)


def missing(path: str, _data: bytes) -> None:
    os.unlink(path)


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)


def clock_set_back() -> tuple[str, str]:
    """1970, and back to what it is."""
    now = time.time() - time.monotonic()
    try:
        # The kernel takes no time before its own start.
        time.clock_settime(time.CLOCK_REALTIME, time.monotonic() + 1)
        return launch(f"{BIN}/program")
    finally:
        time.clock_settime(time.CLOCK_REALTIME, now + time.monotonic())


REPORT_DAMAGED = "126 report-damaged"
REPORT_DISTRUSTED = "126 report-not-trusted"
TABLE_DISTRUSTED = "126 launch-table-not-trusted"
TABLE_DAMAGED = "126 launch-table-damaged"


def _of_report(name: str, expected: str, done: str, spoil: Spoil) -> Row:
    return Row(
        f"boot report {name}", A3, done, expected, "launcher: boot report", spoiled(REPORT, spoil)
    )


def _of_table(name: str, expected: str, done: str, spoil: Spoil) -> Row:
    return Row(
        f"launch table {name}", A3, done, expected, "launcher: launch table", spoiled(TABLE, spoil)
    )


ROWS = (
    _of_report("emptied", REPORT_DAMAGED, "nothing is left of it", emptied),
    _of_report("without its last byte", REPORT_DAMAGED, "cut", cut),
    _of_report("of another boot", "126 report-of-another-boot", "another boot id", of_another_boot),
    _of_report("writable by all", REPORT_DISTRUSTED, "mode 0666", writable),
    _of_report("of a user", REPORT_DISTRUSTED, "`chown` to a user", of_a_user),
    _of_report("behind a link", REPORT_DISTRUSTED, "a link to the right one", a_link),
    _of_report("as a FIFO", REPORT_DISTRUSTED, "a FIFO that nobody writes to", a_fifo),
    _of_report("missing", "126 no-boot-report", "removed", missing),
    _of_table("emptied", TABLE_DAMAGED, "nothing is left of it", emptied),
    _of_table("without its last byte", TABLE_DAMAGED, "cut", cut),
    _of_table("cut in half", TABLE_DAMAGED, "the first half is left", halved),
    _of_table(
        "of another boot", "126 launch-table-of-another-boot", "another boot id", of_another_boot
    ),
    _of_table("writable by all", TABLE_DISTRUSTED, "mode 0666", writable),
    _of_table("of a user", TABLE_DISTRUSTED, "`chown` to a user", of_a_user),
    _of_table("behind a link", TABLE_DISTRUSTED, "a link to the right one", a_link),
    _of_table("missing", "126 no-launch-table", "removed", missing),
    Row(
        "clock set to 1970 at run time",
        A3,
        "`clock_settime`, then a program is launched",
        RUNS,
        "launcher: nothing depends on the clock",
        clock_set_back,
    ),
)
NO_CLOCK = "verify: nothing depends on the clock"


def at_a_wrong_time(name: str) -> tuple[Row, ...]:
    """The rows of a boot whose clock is wrong from the start."""
    clock = f"the machine's clock is at {name}; systemd moves one that is before its own epoch"

    def kiosk() -> tuple[str, str]:
        said = call("dmesg")
        lines = "\n".join(line for line in said.out.splitlines() if "rtc" in line)
        proved(f"setting system clock to {name}-" in lines, said._replace(out=lines))
        state, detail = kiosk_runs()
        return state, f"{detail}, now {time.ctime()}"

    return (
        Row(f"kiosk, booted at {name}", A1, clock, f"active {BIN}/kiosk", NO_CLOCK, kiosk),
        Row(
            f"tree, booted at {name}",
            A1,
            clock,
            "verified, version 2, no findings",
            NO_CLOCK,
            tree_verified,
        ),
        Row(f"program, booted at {name}", A1, clock, RUNS, NO_CLOCK, launching("program")),
    )
