"""Run a script as root in the test guest, with this project installed."""

from __future__ import annotations

import itertools
import os
import shlex
import shutil
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from . import accel, root
from .machine import Disk, End, Machine
from .store import BUILD, REPO, GuestError, command, remove, say

NO_REPORT = 125
"""The status of a guest that hung, died, or reported nothing."""
KEEP_LOGS = 20
_COUNT = itertools.count()

INSIDE = "usr/lib/veriseal-guest"
SOURCES = "usr/src/veriseal"


@dataclass(frozen=True)
class Result:
    """What a script in the guest came to."""

    status: int
    console: Path
    output: Path
    seconds: float


def run(
    script: Path | None,
    args: Sequence[str] = (),
    *,
    kernel: str = root.DEFAULT_KERNEL,
    disks: Sequence[Disk] = (),
    memory: int = 2048,
    cpus: int = 2,
    timeout: float = 1200,
    stdout: BinaryIO | None = None,
    stderr: BinaryIO | None = None,
) -> Result:
    """Run a script in a test guest, copying its output to `stdout` and `stderr` as it comes.

    Without a script it is a shell on this terminal. The guest has this project installed, its
    tests in /usr/src/veriseal, an empty ext4 with verity at /verity and an empty btrfs at /btrfs;
    more `disks` are at /dev/disk/by-id/virtio-SERIAL. Only disks without snapshot keep anything.
    """
    if script is not None and not script.is_file():
        raise GuestError(f"{script}: no such script")
    parts = root.guest(kernel)
    logs = _Logs.new()
    accelerator = accel.choose(parts.kernel.image)
    started = time.monotonic()

    def greet(release: bytes) -> None:
        seconds = time.monotonic() - started
        say(f"{kernel} {release.decode().strip()}, {accelerator}, up in {seconds:.0f} s")

    follow: dict[str, Callable[[bytes], None]] = {"veriseal.up": greet}
    if stdout is not None:
        follow["veriseal.stdout"] = _copier(stdout)
    if stderr is not None:
        follow["veriseal.stderr"] = _copier(stderr)
    with tempfile.TemporaryDirectory(prefix="veriseal-guest-") as directory:
        scratch = Path(directory)
        _pack(scratch / "payload", script, args)
        machine = Machine(
            kernel=parts.kernel.image,
            initrd=[parts.initrd],
            disks=[
                Disk(parts.image, "root"),
                Disk(scratch / "payload", "payload"),
                Disk(parts.verity, "verity"),
                Disk(parts.btrfs, "btrfs"),
                *disks,
            ],
            console=logs.console,
            # systemd colours its messages for any terminal that is not called dumb.
            # The kernel patches its own text while it starts, and with two processors QEMU's
            # emulation now and then trips over that; files/run brings up the others.
            append="TERM=dumb maxcpus=1",
            channels={
                "veriseal.up": scratch / "up",
                "veriseal.stdout": logs.stdout,
                "veriseal.stderr": logs.stderr,
                "veriseal.status": scratch / "status",
            },
            follow=follow,
            memory=memory,
            cpus=cpus,
            timeout=timeout,
            terminal=script is None,
        )
        outcome = machine.run()
        reported = (scratch / "status").read_text().strip()
    if outcome.end is End.OFF and reported.isdecimal():
        return Result(int(reported), logs.console, logs.stdout, outcome.seconds)
    why = "ended without a report" if outcome.end is End.OFF else outcome.end.value
    print(outcome.last_lines(60), file=sys.stderr)
    say(f"failed after {outcome.seconds:.0f} s: the guest {why}; its console: {logs.console}")
    return Result(NO_REPORT, logs.console, logs.stdout, outcome.seconds)


class _Logs(NamedTuple):
    console: Path
    stdout: Path
    stderr: Path

    @classmethod
    def new(cls) -> _Logs:
        """Names for the logs of a run; those of all but the last runs are deleted."""
        BUILD.mkdir(parents=True, exist_ok=True)
        for name in cls._fields:
            for old in sorted(BUILD.glob(f"{name}-*.log"))[:-KEEP_LOGS]:
                remove(old)
        run_name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{next(_COUNT)}"
        return cls(*(BUILD / f"{name}-{run_name}.log" for name in cls._fields))


def _copier(stream: BinaryIO) -> Callable[[bytes], None]:
    def copy(piece: bytes) -> None:
        stream.write(piece)
        stream.flush()

    return copy


def _pack(payload: Path, script: Path | None, args: Sequence[str]) -> None:
    """Write the tar that the guest unpacks over its root: the project, its tests, the script."""
    with tempfile.TemporaryDirectory(prefix="veriseal-stage-") as scratch:
        stage = Path(scratch)
        command(["make", "--no-print-directory", "-s", "install", f"DESTDIR={stage}"], cwd=REPO)
        _compile(stage)
        sources = stage / SOURCES
        sources.mkdir(parents=True)
        skip = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(REPO / "tests", sources / "tests", symlinks=True, ignore=skip)
        for name in ("pyproject.toml", "ROTATION.md"):
            if (REPO / name).exists():
                shutil.copy2(REPO / name, sources)
        inside = stage / INSIDE
        inside.mkdir(parents=True)
        shutil.copy2(root.FILES / "run", inside)
        if script is None:
            size = shutil.get_terminal_size()
            (inside / "terminal").write_text(
                f"TERM={os.environ.get('TERM', 'linux')} ROWS={size.lines} COLUMNS={size.columns}\n"
            )
        else:
            shutil.copy2(script, inside / "script")
            (inside / "script").chmod(0o755)
            with script.open("rb") as opened:
                start = opened.read(4)
            # What names no interpreter in its first line is for sh.
            runner = [] if start.startswith((b"#!", b"\x7fELF")) else ["/bin/sh"]
            words = [*runner, f"/{INSIDE}/script", *args]
            (inside / "start").write_text(f"exec {shlex.join(words)}\n")
        with tarfile.open(payload, "w", format=tarfile.GNU_FORMAT) as tar:
            for path in sorted(stage.rglob("*")):
                tar.add(path, str(path.relative_to(stage)), recursive=False, filter=_by_root)


def _compile(stage: Path) -> None:
    """Compile with the guest's Python, run here: in the guest it takes ten times as long."""
    tree = root.debian()
    command(
        [
            *(tree / "usr/lib64/ld-linux-x86-64.so.2", "--library-path"),
            *(tree / "usr/lib/x86_64-linux-gnu", tree / "usr/bin/python3"),
            *("-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"),
            *("-s", stage, "-p", "/", stage / "usr/lib/veriseal"),
        ],
        env={"PYTHONHOME": str(tree / "usr")},
    )


def _by_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    return info
