"""Why a signature by a certain certificate does not count here, and what can be done. Pure."""

from collections.abc import Callable

from veriseal.certificate import Certificate
from veriseal.trust import model
from veriseal.trust.model import TrustSet

Names = Callable[[Certificate], bool]
"""Whether a certificate is the one in question."""

_REMEDIES = {
    model.OUTSIDE: "Name its release in trust.previous or trust.next and rebuild the initrd, or "
    "install files that a release of the window has signed",
    model.MASKED: "Install files that another key has signed; or take the mask away, if the key "
    "may be trusted after all, and rebuild the initrd",
    model.REVOKED: "Install files that another key has signed",
    model.NOT_VOUCHED: "Install the anchor that vouches for it (VOA purpose trust-anchor-image) "
    "and rebuild the initrd",
    model.EXPIRED: "Install a release that a newer certificate has signed",
    model.NOT_YET_VALID: "Set the machine's clock, or rebuild the initrd on this release",
    model.NOT_IN_STATEMENT: "Install a release that the trust statement names, or a newer "
    "statement",
    model.NOT_ENROLLED: "Let that service enrol it, or leave the service out of the initrd: this "
    "agent enrols the whole window",
    model.NOT_IN_INITRD: "Move it below /etc/voa or /usr/share/voa and rebuild the initrd",
}


def ignored(names: Names, trust: TrustSet) -> tuple[str, str] | None:
    """What is with the certificate that ``names`` accepts and does not count: clause and remedy.

    None if it counts, or was not found.
    """
    if any(names(one.certificate) for one in trust.releases):
        return None
    for one in trust.ignored:
        if one.certificate is not None and names(one.certificate):
            remedy = _REMEDIES.get(one.reason, "Put that in order and rebuild the initrd")
            named = f"its certificate {one.path} ({one.certificate.subject})"
            return f"{named} does not count: {one.why}", remedy
    return None


def of_manifest(names: Names, os_name: str, trust: TrustSet) -> tuple[str, str] | None:
    """As `ignored`, of a signer that may as well be nowhere; None if it counts.

    ``os_name`` is the release that the manifest says it is of, which nobody has verified.
    """
    if any(names(one.certificate) for one in trust.releases):
        return None
    return ignored(names, trust) or _nowhere(os_name)


def of_fingerprint(fingerprint: str, os_name: str, trust: TrustSet) -> tuple[str, str]:
    """What is with the certificate of this SHA-256, of a release that may be empty."""

    def names(certificate: Certificate) -> bool:
        return certificate.fingerprint == fingerprint

    found = ignored(names, trust)
    if found is not None:
        return found
    if any(names(one.certificate) for one in trust.releases):
        return (
            "its certificate counts, so what is here has another signature",
            "Somebody else may have put it there: install the file again",
        )
    return _nowhere(os_name)


def _nowhere(os_name: str) -> tuple[str, str]:
    where = f"/usr/share/voa/{os_name or 'OS'}/image/default/x509"
    return (
        "its certificate is not in the initrd",
        f"Put it into {where}, see that its release is in the window (trust.previous, trust.next) "
        "and rebuild the initrd; or install files that another key has signed",
    )
