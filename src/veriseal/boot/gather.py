"""Whose signatures count: the initrd's certificates, its anchors and the trust statement together.

The statement is read once in a boot: the seal step copies it to `KEPT`, judges the copy, and the
verify step judges that again. What lies on the device may change in between and is not asked.
"""

import os
import shutil
import stat
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from veriseal import trusted, voa
from veriseal.boot.floor import Floor
from veriseal.certificate import Certificate
from veriseal.errors import VerisealError
from veriseal.kernel import mounts
from veriseal.policy import Policy
from veriseal.tree import source
from veriseal.trust import beside, dates, load, signer, statement
from veriseal.trust.model import STATEMENT, TrustSet

MOUNT_POINT = "/run/veriseal-trust"
"""Where the initrd mounts trust.statement_device."""

KEPT = "/run/veriseal/statement"
"""The statement of this boot and its signatures, as the seal step has read them."""

_MOST_IGNORED = 200
"""That the report has room for; a disk can hold any number of files."""
_WITHOUT_DEVICE = ("btrfs", "bcachefs")
"""File systems whose ``st_dev`` is of no block device. Only root mounts them."""


class Gathered(NamedTuple):
    """What counts, and what the report needs besides.

    Attributes:
        trust: the certificates, and what is revoked.
        at: when their dates were judged, seconds since 1970.
        created: of the statement; 0 without one.
        not_used: why the statement does not count, though the settings name one.
        unseen: whether that is because its device is not mounted here: at boot it may be.
    """

    trust: TrustSet
    at: int
    created: int = 0
    not_used: str | None = None
    unseen: bool = False

    def as_json(self) -> dict[str, Any]:
        """For the boot report and ``--json``."""
        trust = self.trust
        return {
            "origin": trust.origin,
            "statement": trust.statement,
            "statement_created": self.created,
            "statement_not_used": self.not_used,
            "judged_at": self.at,
            "window": dict(trust.window),
            "floors": dict(trust.floors),
            "revoked": [str(one) for one in trust.revoked],
            "anchors": [
                {"os": one.os, "subject": one.certificate.subject, "path": one.certificate.path}
                for one in trust.anchors
            ],
            "ignored": [
                {
                    "path": one.path,
                    "reason": one.reason,
                    "why": one.why,
                    "os": one.os,
                    "subject": None if one.certificate is None else one.certificate.subject,
                }
                for one in trust.ignored[:_MOST_IGNORED]
            ],
            "warnings": self.warnings(),
        }

    def warnings(self) -> list[str]:
        """One line each, about certificates that count all the same."""
        return [
            f"{one.certificate.path}: {text}"
            for one in self.trust.releases
            for text in one.warnings
        ]


Files = tuple[bytes, dict[str, bytes | OSError]]
"""A statement and the signatures beside it, see `beside.read`."""


def sealing(settings: Policy, os_release: dict[str, str], lowest: Floor) -> Gathered:
    """For the seal step, which reads the statement and keeps it. Raises VerisealError, OSError."""
    shutil.rmtree(KEPT, ignore_errors=True)
    kept: list[Files] = []

    def read() -> Files:
        place = "/"
        if settings.statement_device:
            _require_mounted(settings)
            place = MOUNT_POINT
        found = _read(settings.statement, place)
        kept.append(found)
        return found

    gathered = _gather(settings, os_release, lowest, _now(lowest), read)
    if gathered.not_used is None:
        # Not before it is known to be good: whoever writes to the device could fill /run.
        for found in kept:
            _keep(os.path.basename(settings.statement), *found)
    return gathered


def sealed(settings: Policy, os_release: dict[str, str], lowest: Floor, body: Any) -> Gathered:
    """What counted for the seal step, whose ``trust`` in the report is ``body``, for the next.

    Raises VerisealError, and ``other-trust`` if it is not the same any more.
    """
    if not isinstance(body, dict) or type(body.get("judged_at")) is not int:
        raise VerisealError("report-damaged", "it does not say which certificates count")
    read = None
    if body.get("origin") == STATEMENT:
        name = os.path.basename(settings.statement)
        read = lambda: _read(name, KEPT)  # noqa: E731
    strict = settings._replace(without_statement="refuse")
    gathered = _gather(strict, os_release, lowest, body["judged_at"], read)
    then = (body.get("origin"), body.get("statement"))
    now = (gathered.trust.origin, gathered.trust.statement)
    if then != now:
        raise VerisealError(
            "other-trust",
            "the trust statement is not the one that this boot was sealed with",
            path=KEPT,
            expected=f"{then[0]} {then[1]}",
            found=f"{now[0]} {now[1]}",
            remedy="Boot again",
        )
    return gathered._replace(not_used=body.get("statement_not_used"))


class Asked(NamedTuple):
    """How `installed` looks at a system.

    Attributes:
        here: whether the devices of this machine are those of the system's next boot.
        unseen: whether to go on if a statement that must count cannot be looked at.
        given: a file: the statement in place of the one that the settings name.
        at: the time for dates, seconds since 1970; None for the clock.
        revoked: SHA-256 of certificates to be taken as revoked.
    """

    here: bool = True
    unseen: bool = False
    given: str | None = None
    at: int | None = None
    revoked: frozenset[str] = frozenset()


_AS_IT_IS = Asked()


def installed(
    settings: Policy,
    os_release: dict[str, str],
    lowest: Floor,
    root: str = "/",
    asked: Asked = _AS_IT_IS,
) -> Gathered:
    """What would count for an initrd that is made of the system below ``root``.

    A statement on a device is read where that is mounted. Where it is not, `Gathered.not_used`
    says so, or ``statement-not-seen`` is raised: the boot would refuse to go on without it.

    Raises VerisealError, OSError.
    """
    at = _now(lowest) if asked.at is None else max(asked.at, lowest.created)
    place, name, shown = root, settings.statement, asked.given
    if asked.given is not None:
        place, name = os.path.split(os.path.abspath(asked.given))
    elif settings.statement and settings.statement_device:
        point = mounted_at(settings.statement_device) if asked.here else None
        if point is None:
            return _unseen(settings, os_release, lowest, at, root, asked)
        place = point
    if shown is None:
        shown = os.path.join(place, name.lstrip("/"))
    read = lambda: _read(name, place)  # noqa: E731
    return _gather(settings, os_release, lowest, at, read, root, shown, asked.revoked)


def _unseen(
    settings: Policy, os_release: dict[str, str], lowest: Floor, at: int, root: str, asked: Asked
) -> Gathered:
    """What counts where nobody can look at the trust statement."""
    device = settings.statement_device
    missing = f"{device} is not mounted here, so nobody has looked at the trust statement"
    refused = VerisealError(
        "statement-not-seen",
        "the device of the trust statement is not mounted here, and no boot goes on without it",
        path=device,
        remedy="Mount it, or name a copy of the statement to trust plan with --statement",
    )
    must = settings.without_statement == "refuse"
    if must and not asked.unseen:
        raise refused
    try:
        found = _gather(settings, os_release, lowest, at, None, root, revoked=asked.revoked)
    except VerisealError as error:
        if not must or error.reason != "no-certificates":
            raise
        raise refused from None
    return found._replace(not_used=missing, unseen=True)


def manifest_trust(
    gathered: Gathered, settings: Policy, os_release: dict[str, str], lowest: int
) -> source.Trust:
    """Whose manifests count, and how old they may be."""
    trust = gathered.trust
    anchors = {one.certificate.fingerprint: one.anchor for one in trust.releases}

    def judge(certificate: Certificate, created: int) -> str | None:
        if settings.dates != "enforce":
            return None
        at = max(gathered.at, created)
        why = dates.judge(certificate, at)
        anchor = anchors.get(certificate.fingerprint)
        if why is not None or anchor is None:
            return why
        why = dates.judge(anchor, at)
        return None if why is None else f"its anchor {anchor.subject} ({anchor.path}) {why}"

    return source.Trust(
        [(one.os, one.certificate) for one in trust.releases],
        settings.signatures_needed,
        voa.os_identifiers(os_release),
        lowest,
        floors=trust.floors,
        revoked=trust.revoked,
        judge=judge,
        about=lambda names, os_name: signer.of_manifest(names, os_name, trust),
    )


def mounted_at(device: str) -> str | None:
    """Where the whole file system of the block device is mounted; None if nowhere."""
    wanted = _block_device(device)
    for mount in mounts.read():
        found = mount.device
        if mount.filesystem in _WITHOUT_DEVICE:
            # Of others the source says nothing: any user's FUSE file system can name any device.
            found = _block_device(mount.source) or found
        if mount.root == "/" and found == wanted:
            return mount.point
    return None


def _block_device(path: str) -> int | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_rdev if stat.S_ISBLK(status.st_mode) else None


def _now(lowest: Floor) -> int:
    # The clock of an initrd may be at 1970.
    return max(int(time.time()), lowest.created)


def _gather(
    settings: Policy,
    os_release: dict[str, str],
    lowest: Floor,
    at: int,
    read: Callable[[], Files] | None,
    root: str = "/",
    shown: str | None = None,
    revoked: frozenset[str] = frozenset(),
) -> Gathered:
    """``read`` gives the statement, if the settings name one; ``shown`` is its name for messages.

    ``revoked`` as `load.load` has it.
    """
    found = not_used = None
    if settings.statement and read is not None:
        anchors = load.find_anchors(settings, os_release, root=root, at=at, revoked=revoked)
        names = voa.os_identifiers(os_release)
        try:
            path = shown or _shown(settings)
            found = statement.check(*read(), anchors, names, lowest.statement, path)
        except VerisealError as error:
            if settings.without_statement == "refuse":
                raise
            not_used = str(error)
        else:
            at = max(at, found.created)
    trust = load.load(settings, os_release, root=root, at=at, statement=found, revoked=revoked)
    return Gathered(trust, at, 0 if found is None else found.created, not_used)


def _shown(settings: Policy) -> str:
    """The statement in messages: seen in the initrd."""
    place = MOUNT_POINT if settings.statement_device else "/"
    return os.path.join(place, settings.statement.lstrip("/"))


def _require_mounted(settings: Policy) -> None:
    try:
        mounts.at(mounts.read(), MOUNT_POINT)
    except VerisealError as error:
        raise VerisealError(
            "no-statement",
            "the device of the trust statement is not mounted",
            path=settings.statement_device,
            found=error.problem,
            remedy="Attach the device with its file system; the journal says why it could not be "
            "mounted",
        ) from None


def _read(path: str, root: str) -> Files:
    try:
        return beside.read(path, root, statement.MAX_SIZE)
    except OSError as error:
        raise VerisealError(
            "no-statement",
            f"the trust statement cannot be read: {error.strerror}",
            path=os.path.join(root, path.lstrip("/")),
            remedy="Put the vendor's statement and its signature there",
        ) from None


def _keep(name: str, data: bytes, signatures: dict[str, bytes | OSError]) -> None:
    """Write to `KEPT` what was read. What could not be read counts for nothing there either."""
    trusted.replace(os.path.join(KEPT, name), [data])
    ders = [der for der in signatures.values() if not isinstance(der, OSError)]
    for number, der in enumerate(ders):
        # Not by its own name: that may be as long as names can be.
        trusted.replace(os.path.join(KEPT, f"{name}.{number}{beside.SUFFIX}"), [der])
