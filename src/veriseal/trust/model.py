"""What was found out about the certificates: those that count, and the others with the reason."""

from collections.abc import Mapping
from typing import NamedTuple

from veriseal.certificate import Certificate
from veriseal.digest import Digest

PREVIOUS, CURRENT, NEXT = "previous", "current", "next"
"""The parts of the window: the releases whose certificates are enrolled."""

BUILT_IN, STATEMENT = "built-in", "statement"
"""Where release certificates came from: VOA directories, or a trust statement."""

OUTSIDE = "outside-window"
MASKED = "masked"
HIDDEN = "hidden"
REPEATED = "same-certificate"
REVOKED = "revoked"
NOT_VOUCHED = "not-vouched"
EXPIRED = "expired"
NOT_YET_VALID = "not-yet-valid"
NOT_IN_INITRD = "not-in-the-initrd"
INTERMEDIATE = "intermediate"
NOT_IN_STATEMENT = "not-in-the-statement"
NOT_ENROLLED = "not-enrolled"
NOT_READ = "not-read"
UNUSABLE = "unusable"
"""Reasons of `Ignored`. An intermediate authority counts for nothing itself, but may stand between
a release and its anchor. The last: its name, a link, what kind of file it is, as UAPI.11 has it;
what is in it, where that is no error."""


class Release(NamedTuple):
    """A release certificate that counts.

    Attributes:
        os: the VOA name of the release it signs for.
        certificate: itself.
        part: `PREVIOUS`, `CURRENT` or `NEXT`.
        anchor: that vouches for it; None if there is no anchor at all.
        warnings: what is odd about it and does not matter under this policy, such as its dates.
    """

    os: str
    certificate: Certificate
    part: str = CURRENT
    anchor: Certificate | None = None
    warnings: tuple[str, ...] = ()


class Ignored(NamedTuple):
    """A file, or a certificate of a statement, that does not count.

    Attributes:
        path: of the file; of the statement, for one of its certificates.
        reason: one of the reasons above.
        why: a clause for people, such as ``masked by /etc/voa/...``.
        os: the VOA name it was found under, where that is known.
        certificate: what it holds, where that could be read.
    """

    path: str
    reason: str
    why: str
    os: str | None = None
    certificate: Certificate | None = None


class Anchor(NamedTuple):
    """A trust anchor that counts: it vouches for releases named ``os`` or ``os:...``."""

    os: str
    certificate: Certificate


class TrustSet(NamedTuple):
    """Whose signatures count on a system, and what is revoked.

    Attributes:
        releases: in a stable order; no two of them can be taken for each other by the kernel.
        ignored: everything else that was found, each once, with the reason.
        anchors: those that count.
        window: part of the window by the VOA name of each release in it.
        origin: `BUILT_IN` or `STATEMENT`.
        statement: version of the trust statement; 0 without one.
        floors: lowest version of the manifest by VOA name, as the statement has it.
        revoked: digests that no file may have, as the statement has it.
    """

    releases: list[Release]
    ignored: list[Ignored]
    anchors: list[Anchor]
    window: Mapping[str, str]
    origin: str = BUILT_IN
    statement: int = 0
    floors: Mapping[str, int] = {}
    revoked: tuple[Digest, ...] = ()
