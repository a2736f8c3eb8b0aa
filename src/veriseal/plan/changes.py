"""The certificates of two trust sets: which come, which go and why, which stay. Pure."""

from typing import NamedTuple

from veriseal.certificate import Certificate, key_bytes
from veriseal.trust.model import Release, TrustSet

MISSING = "missing-certificate"
"""Of a certificate that does not count for it is nowhere."""


class Gone(NamedTuple):
    """A certificate that counts now and would not, and the reason: of `Ignored`, or `MISSING`."""

    release: Release
    reason: str
    why: str


class Changes(NamedTuple):
    """Each certificate once, in the order of its trust set."""

    incoming: list[Release]
    outgoing: list[Gone]
    staying: list[Release]


def compare(now: TrustSet | None, then: TrustSet) -> Changes:
    """What becomes of each certificate. None stands for a system where none counts."""
    before = [] if now is None else now.releases
    old = {one.certificate.fingerprint for one in before}
    new = {one.certificate.fingerprint for one in then.releases}
    return Changes(
        [one for one in then.releases if one.certificate.fingerprint not in old],
        [
            Gone(one, *fate(one.certificate.fingerprint, then, one.certificate))
            for one in before
            if one.certificate.fingerprint not in new
        ],
        [one for one in then.releases if one.certificate.fingerprint in old],
    )


def fate(
    fingerprint: str, trust: TrustSet, certificate: Certificate | None = None
) -> tuple[str, str]:
    """Why the certificate of this SHA-256 does not count in ``trust``: the reason, and a clause."""
    known = [one for one in trust.ignored if one.certificate is not None]
    for one in known:
        if one.certificate is not None and one.certificate.fingerprint == fingerprint:
            return one.reason, one.why
    if certificate is not None:
        key = key_bytes(certificate.public_key)
        for one in known:
            if one.certificate is not None and key_bytes(one.certificate.public_key) == key:
                return one.reason, f"its key is that of {one.path}, which does not count: {one.why}"
    return MISSING, "its certificate is not there"
