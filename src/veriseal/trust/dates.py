"""The dates of certificates. The kernel ignores them, and an initrd may have no clock."""

import time

from veriseal.certificate import Certificate


def expired(certificate: Certificate, at: int) -> bool:
    """Whether ``certificate`` is past its last second at the time ``at``."""
    return at > certificate.not_after.timestamp()


def judge(certificate: Certificate, at: int) -> str | None:
    """What is wrong with ``certificate`` at the time ``at``, a clause; None if nothing is.

    ``at``, in seconds since 1970, is the latest time that is known to have come: of the clock,
    and of what was signed. Both ends of the period count as within. Source: RFC 5280, 4.1.2.5.
    """
    if expired(certificate, at):
        return f"expired on {certificate.not_after:%Y-%m-%d}"
    if at < certificate.not_before.timestamp():
        return f"not valid before {certificate.not_before:%Y-%m-%d}"
    return None


def day(at: int) -> str:
    """The day of ``at``, seconds since 1970, or that number if no calendar goes so far."""
    try:
        return time.strftime("%Y-%m-%d", time.gmtime(at))
    except (OverflowError, OSError):
        return f"{at} seconds since 1970"
