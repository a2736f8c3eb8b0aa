"""One virtual machine, from its start to its end, with files for what comes out of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from . import accel, packages
from .store import GuestError

POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Disk:
    """A raw disk image; the guest finds it at /dev/disk/by-id/virtio-SERIAL."""

    path: Path
    serial: str
    snapshot: bool = True
    """Writes go to a temporary file and are gone afterwards; False writes to the image."""


class End(Enum):
    """Why a machine ended. OFF says nothing about success: a panic ends in OFF as well."""

    OFF = "powered off or restarted"
    TIMEOUT = "ran out of time"
    QEMU = "was lost: QEMU failed"


@dataclass(frozen=True)
class Outcome:
    """How a machine ended. What it reported is in the files of its channels."""

    end: End
    console: Path
    seconds: float

    def last_lines(self, count: int = 60) -> str:
        """The end of the console log, as text."""
        if not self.console.exists():
            return ""
        text = self.console.read_bytes().decode(errors="replace").replace("\r", "")
        return "\n".join(text.splitlines()[-count:])


@dataclass
class Machine:
    """What QEMU is started with.

    `channels` maps the name of a virtio port, in the guest /dev/virtio-ports/NAME, to the file on
    the host that gets what the guest writes there. `follow` maps such a name to a function that is
    given each piece while the machine runs. The kernel unpacks several initrds one over the other.
    """

    kernel: Path
    initrd: Sequence[Path]
    disks: Sequence[Disk]
    console: Path
    append: str = ""
    channels: Mapping[str, Path] = field(default_factory=dict)
    follow: Mapping[str, Callable[[bytes], None]] = field(default_factory=dict)
    memory: int = 2048
    """In MiB."""
    cpus: int = 2
    timeout: float = 1200
    """In seconds."""
    clock: str = ""
    """Where the machine's clock starts, as -rtc takes it, in UTC; empty for the time it is."""
    terminal: bool = False
    """Connect this process's terminal with the guest's /dev/hvc0."""

    def run(self) -> Outcome:
        """Start the machine and wait for its end; an interrupt ends it too."""
        packages.install(["guest"])
        started = time.monotonic()
        for path in (self.console, *self.channels.values()):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
        with tempfile.TemporaryDirectory(prefix="veriseal-machine-") as scratch:
            argv = self._argv(Path(scratch))
            messages = Path(scratch) / "qemu"
            with messages.open("wb") as log, _terminal_restored(self.terminal):
                process = subprocess.Popen(
                    argv, stdin=None if self.terminal else subprocess.DEVNULL,
                    stdout=None if self.terminal else log, stderr=log,
                )  # fmt: skip
                try:
                    end = self._wait(process, started + self.timeout)
                finally:
                    process.kill()
                    process.wait()
            if end is End.QEMU:
                with self.console.open("ab") as console:
                    console.write(b"\nQEMU said:\n" + messages.read_bytes())
        return Outcome(end, self.console, time.monotonic() - started)

    def _wait(self, process: subprocess.Popen[bytes], deadline: float) -> End:
        tails = [(self.channels[name].open("rb"), give) for name, give in self.follow.items()]
        try:
            while True:
                status = process.poll()
                # In this order, so that what came just before the end is not missed.
                for source, give in tails:
                    while piece := source.read(1 << 16):
                        give(piece)
                if status is not None:
                    return End.OFF if status == 0 else End.QEMU
                if time.monotonic() > deadline:
                    return End.TIMEOUT
                time.sleep(POLL_SECONDS)
        finally:
            for source, _ in tails:
                source.close()

    def _argv(self, scratch: Path) -> list[str]:
        for path in (self.kernel, *self.initrd, *(disk.path for disk in self.disks)):
            if not path.is_file():
                raise GuestError(f"{path}: no such file, so the machine cannot start")
        argv = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
            *accel.OPTIONS[accel.choose(self.kernel)],
            "-m", str(self.memory), "-smp", str(self.cpus), "-no-reboot",
            "-kernel", str(self.kernel), "-append",
            # A panic restarts at once, and -no-reboot makes that the end.
            f"console=ttyS0 panic=-1 {self.append}".strip(),
            "-chardev", f"file,id=console,path={_value(self.console)}",
            "-serial", "chardev:console", "-device", "virtio-rng-pci",
            "-device", "virtio-serial-pci",
        ]  # fmt: skip
        if self.clock:
            argv += ["-rtc", f"base={self.clock}"]
        if self.initrd:
            argv += ["-initrd", str(joined(self.initrd, scratch))]
        if self.terminal:
            argv += ["-chardev", "stdio,id=terminal,signal=off"]
            argv += ["-device", "virtconsole,chardev=terminal"]
        for number, (name, path) in enumerate(self.channels.items()):
            argv += ["-chardev", f"file,id=channel{number},path={_value(path)}"]
            argv += ["-device", f"virtserialport,chardev=channel{number},name={name}"]
        for number, disk in enumerate(self.disks):
            snapshot = "on" if disk.snapshot else "off"
            # What a snapshot holds is thrown away, so the host need not flush it.
            cache = "unsafe" if disk.snapshot else "writeback"
            argv += ["-drive", f"if=none,id=disk{number},format=raw,snapshot={snapshot},"
                               f"cache={cache},file={_value(disk.path)}"]  # fmt: skip
            argv += ["-device", f"virtio-blk-pci,drive=disk{number},serial={disk.serial}"]
        return argv


@contextmanager
def _terminal_restored(used: bool) -> Iterator[None]:
    """QEMU sets the terminal to raw; when it is killed it cannot set it back."""
    if not used:
        yield
        return
    if not sys.stdin.isatty():
        raise GuestError("a shell needs a terminal; to run a script, name it")
    before = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        os.set_blocking(sys.stdin.fileno(), True)


def _value(path: Path) -> str:
    """A path as a value in a QEMU option, where a comma ends the value."""
    return str(path.absolute()).replace(",", ",,")


def joined(parts: Sequence[Path], scratch: Path) -> Path:
    """One file of several initrds; the kernel wants each to start at a multiple of four."""
    if len(parts) == 1:
        return parts[0]
    whole = scratch / "initrd"
    with whole.open("wb") as out:
        for part in parts:
            data = part.read_bytes()
            out.write(data + b"\0" * (-len(data) % 4))
    return whole
