"""What a boot that is refused is made of, and what its console must say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.boot import tampering
from tests.boot.appliance import Appliance
from tests.boot.overlay import Overlay

REFUSED = "root not switched"
DONE = "stranger: done"
"""What somebody else's unit in the initrd says on the console when it has done its work."""
_EARLY_UNIT = """\
[Unit]
DefaultDependencies=no
Before=veriseal-seal.service

[Service]
Type=oneshot
ExecStart=/bin/sh -euc '{command} && echo "{done}" >/dev/console'
"""


class Refusal(NamedTuple):
    """A line of the table: something that makes a boot be refused.

    Attributes:
        name: of the attack, without the ``boot:`` that the table puts before it.
        attacker: A1, A2 or A3.
        done: what is done, on one line.
        stopped_by: the part of veriseal, then the check.
        says: parts of the console's text.
        expected: what must come of it.
    """

    name: str
    attacker: str
    done: str
    stopped_by: str
    says: tuple[str, ...]
    expected: str = REFUSED

    @property
    def title(self) -> str:
        """The name in the table."""
        return f"boot: {self.name}"


class Base(NamedTuple):
    """A disk and an initrd, before anything is done to them."""

    image: Path
    initrd: Path


class Scenario(NamedTuple):
    """A boot that must be refused.

    Attributes:
        refusals: what the console must say, each for its own reason.
        base: what is booted.
        append: to the kernel command line.
        overlay: files laid over the initrd.
        changes: what is done to the disk.
        disk: makes one more disk, at /dev/disk/by-id/virtio-trust.
        lines: the most of the console, systemd's among them, for the refusal; 0 for any number.
    """

    refusals: tuple[Refusal, ...]
    base: Callable[[Appliance], Base]
    append: str = ""
    overlay: Callable[[Appliance], Overlay] = lambda _appliance: {}
    changes: tuple[tampering.Change, ...] = ()
    disk: Callable[[Appliance], Path] | None = None
    lines: int = 0

    @property
    def name(self) -> str:
        """Of the boot."""
        return self.refusals[0].name


def early(command: str) -> Overlay:
    """A unit that does this before the agent. The command has no quotes of the single kind."""
    name = "stranger.service"
    units = "etc/systemd/system"
    # Required by the agent, so that it certainly runs, and before it.
    return {
        f"{units}/{name}": _EARLY_UNIT.format(command=command, done=DONE).encode(),
        f"{units}/veriseal-seal.service.requires/{name}": Path(f"../{name}"),
    }
