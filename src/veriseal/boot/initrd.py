"""What goes into the next initrd: certificates, trust statement, floor. None that would not boot.

Everything is judged twice: as it is on this system, before anything is written, and as the initrd
has it. The same code judges it at boot.
"""

import os
import re
from typing import NamedTuple

from veriseal import manifest, report
from veriseal.boot import certificates, floor, gather
from veriseal.boot.floor import Floor
from veriseal.boot.gather import Asked, Gathered
from veriseal.errors import VerisealError
from veriseal.policy import Policy
from veriseal.tree import source
from veriseal.trust import beside, dates, statement
from veriseal.trust.model import STATEMENT

UNITS = "etc/systemd/system"
SEAL = "veriseal-seal.service"
WANTED_BY = "initrd-root-device.target"
DEVICE_TIMEOUT = 30
"""Seconds that a boot waits for the device of the trust statement."""

_PLAIN = re.compile(rb"[A-Za-z0-9:_.]")

_MOUNT = """\
[Unit]
Description=File System of the Trust Statement
Documentation=man:veriseal(1)
DefaultDependencies=no
AssertPathExists=/etc/initrd-release
Before={seal}
# A system that is resumed still has its file systems mounted.
After=systemd-hibernate-resume.service
Conflicts=umount.target
Before=umount.target

[Mount]
What={what}
Where={where}
Options=ro,nodev,nosuid,noexec
TimeoutSec={timeout}
"""
_DEVICE = """\
[Unit]
JobRunningTimeoutSec={timeout}
"""


class Installed(NamedTuple):
    """What the initrd was given. ``manifest`` is the version installed here; None for none."""

    gathered: Gathered
    floor: Floor
    manifest: int | None


def install(
    target: str, settings: Policy, os_release: dict[str, str], root: str = "/"
) -> Installed:
    """Put into the initrd below ``target`` what it has to know of the system below ``root``.

    That is every certificate file of VOA with its masks and links, also of releases outside the
    window, so that the boot can say whose signature it refuses; the trust statement or the mount
    unit for its device; the floor.

    Raises OSError, and VerisealError if the initrd would not boot this system.
    """
    known = floor.booted()
    # While an image is built its device is nowhere; the machine that runs could have it mounted.
    asked = Asked(unseen=not os.path.lexists(report.PATH))
    gathered = gather.installed(settings, os_release, known, root, asked)
    lowest = known.raised(Floor(statement=gathered.trust.statement))
    present = _installed_manifest(gathered, settings, os_release, known, root)
    if present is not None:
        lowest = lowest.raised(Floor(present.version, present.created))
    again = without_clock(settings, os_release, lowest, root, asked)
    if again is not None:
        _installed_manifest(again, settings, os_release, known, root)
    certificates.copy(root, target, settings.context)
    if settings.statement_device:
        if settings.statement:
            write_units(target, settings.statement_device)
    elif gathered.trust.origin == STATEMENT:
        _take_statement(root, target, settings.statement)
    _write(target, floor.PATH, floor.serialize(lowest))
    _require_same(gathered, gather.installed(settings, os_release, lowest, target, asked), target)
    return Installed(gathered, lowest, None if present is None else present.version)


def without_clock(
    settings: Policy, os_release: dict[str, str], lowest: Floor, root: str, asked: Asked
) -> Gathered | None:
    """What would count at a boot whose clock is not set: it goes by ``lowest`` alone.

    None where dates do not matter, or nothing is known of the time. Raises VerisealError
    ``clock-needed`` if nothing would count then.
    """
    if settings.dates != "enforce" or not lowest.created:
        return None
    try:
        return gather.installed(settings, os_release, lowest, root, asked._replace(at=0))
    except VerisealError as error:
        when = dates.day(lowest.created)
        raise VerisealError(
            "clock-needed",
            f"a boot whose clock is not set goes by {when}, when the manifest was made, and would "
            f"be refused: {error.sentence()}",
            path=error.path,
            remedy="Sign a manifest that is newer than the certificates: veriseal build, without "
            "--created; or set trust.dates to warn",
        ) from None


def _installed_manifest(
    gathered: Gathered, settings: Policy, os_release: dict[str, str], known: Floor, root: str
) -> manifest.Manifest | None:
    """The manifest below ``root``; None if there is none yet, as while an image is built.

    Raises VerisealError: one that does not pass would fail the next boot too.
    """
    if not os.path.lexists(os.path.join(root, manifest.DIRECTORY)):
        return None
    shown = os.path.join(root, manifest.DIRECTORY)
    trust = gather.manifest_trust(gathered, settings, os_release, known.version)
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        directory = source.open_directory(top, manifest.DIRECTORY, shown)
    finally:
        os.close(top)
    try:
        return source.load(directory, shown, trust).manifest
    finally:
        os.close(directory)


def _take_statement(root: str, target: str, path: str) -> None:
    data, signatures = beside.read(path, root, statement.MAX_SIZE)
    _write(target, path, data)
    for name, der in signatures.items():
        if not isinstance(der, OSError):
            _write(target, os.path.join(os.path.dirname(path), name), der)


def write_units(target: str, device: str) -> None:
    """A mount unit for the device of the statement, which the seal step waits for."""
    if not device.isprintable() or any(one.isspace() for one in device):
        raise VerisealError(
            "bad-configuration",
            "trust.statement_device: no name of a device",
            found=device,
            remedy="udev's links have no spaces: ls /dev/disk/by-label",
        )
    unit = f"{escaped(gather.MOUNT_POINT)}.mount"
    text = _MOUNT.format(
        seal=SEAL,
        what=device.replace("%", "%%"),
        where=gather.MOUNT_POINT,
        timeout=DEVICE_TIMEOUT,
    )
    _write(target, f"{UNITS}/{unit}", text)
    drop_in = f"{UNITS}/{escaped(device)}.device.d/50-veriseal.conf"
    _write(target, drop_in, _DEVICE.format(timeout=DEVICE_TIMEOUT))
    # Wanted, not required: without it the seal step says what is missing, or goes on without. And
    # not by that step, which the switch of the root requires too: it unmounts what nothing wants.
    wants = os.path.join(target, UNITS, f"{WANTED_BY}.wants")
    os.makedirs(wants, exist_ok=True)
    link = os.path.join(wants, unit)
    if os.path.lexists(link):
        os.unlink(link)
    os.symlink(f"../{unit}", link)


def escaped(path: str) -> str:
    """An absolute path as systemd-escape(1) ``--path`` has it."""
    joined = b"-".join(
        b"".join(
            byte if _PLAIN.match(byte) else b"\\x%02x" % byte[0]
            for byte in (part[at : at + 1] for at in range(len(part)))
        )
        for part in os.fsencode(path).split(b"/")
        if part
    )
    if joined.startswith(b"."):
        joined = b"\\x2e" + joined[1:]
    return os.fsdecode(joined) or "-"


def _require_same(here: Gathered, there: Gathered, target: str) -> None:
    """Raise VerisealError unless the initrd trusts what this system does."""
    wanted, found = (
        {
            "certificates": sorted(r.certificate.fingerprint for r in one.trust.releases),
            "anchors": sorted(a.certificate.fingerprint for a in one.trust.anchors),
        }
        for one in (here, there)
    )
    if wanted != found:
        raise VerisealError(
            "initrd-incomplete",
            "the initrd would not trust the same certificates as this system",
            path=target,
            expected=wanted,
            found=found,
            remedy="Make the initrd in an empty directory; veriseal trust lint may say more",
        )


def _write(target: str, path: str, data: str | bytes) -> None:
    place = os.path.join(target, path.lstrip("/"))
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(place, "wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
