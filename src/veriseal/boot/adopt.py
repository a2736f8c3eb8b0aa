"""A keyring that another service of the initrd has filled and sealed: checked and taken over.

systemd-keyring-setup(8) does that with the certificates that it finds. A keyring can be restricted
once in a boot and sealed keys cannot be touched, so there is nothing left but to look.
"""

import errno

from veriseal import journal
from veriseal.boot import seal, throwaway
from veriseal.boot.seal import Sealed, Step, mask_text
from veriseal.certificate import Certificate
from veriseal.errors import VerisealError
from veriseal.kernel import keyring as kernel
from veriseal.kernel import sysctl
from veriseal.trust.model import Release, TrustSet

SEALED_BY_OTHERS = (0x08070000, 0x08010000)
"""Masks of a keyring that systemd-keyring-setup(8) has filled and sealed, newest first. With the
first, root can still empty the keyring, for *write* is left on: a denial of service, as every
signed file is refused then. With the second nobody can list the keys."""


def is_sealed_by_another() -> bool:
    """Whether the keyring has the permissions of one that another service sealed."""
    return kernel.describe(kernel.fs_verity_keyring()).permissions in SEALED_BY_OTHERS


def adopt(trust: TrustSet, step: Step) -> Sealed:
    """Take over a keyring that another service has filled and sealed before.

    Every key must be described as the kernel would describe a certificate of ``trust``, and the
    keyring must take no further one; then signatures are required and everything is read back.
    Certificates of ``trust`` that the other service left out do not count in this boot.

    What cannot be proved: that a key is the one of the certificate with its description. The
    kernel shows subject and key identifier and never the key, and whoever fills the keyring
    chooses both. It is the initrd's own service that did: whoever could put another in its place
    could as well replace this agent.

    Raises VerisealError (``sealed-by-another``, ``unknown-keys``, ``restrict-failed``,
    ``read-back-failed``).
    """
    ring = kernel.fs_verity_keyring()
    sysctl.read_require_signatures()
    mask = kernel.describe(ring).permissions
    present = _listed(ring, mask)
    known = _by_description(trust)
    strangers = [key for key in present if key.type != "asymmetric" or key.description not in known]
    if strangers:
        raise VerisealError(
            "unknown-keys",
            "another service has filled and sealed the .fs-verity keyring with keys of no "
            "certificate that counts",
            expected="; ".join(sorted(known)),
            found="; ".join(_named(key, trust) for key in strangers),
            remedy="Give that service the certificates of this initrd's window and no others, or "
            "leave it out of the initrd",
        )
    # Where only the restriction can refuse, permissions do not: root may still write.
    try:
        seal.require_refusal(ring, throwaway.certificate(), (errno.EPERM, errno.EACCES))
    except VerisealError as error:
        raise VerisealError(
            error.reason,
            "another service has cut the permissions of the .fs-verity keyring and not restricted "
            "it: it still takes keys",
            expected=error.expected,
            found=error.found,
            remedy="Leave that service out of the initrd; this agent fills and seals the keyring",
        ) from None
    keys = [seal.enrolled(key, known[key.description]) for key in present]
    for key in keys:
        step(journal.KEYRING_ADOPTED, f"enrolled by another service: {key.description}")
    for release in trust.releases:
        if release.certificate.fingerprint not in {key.fingerprint for key in keys}:
            text = f"not enrolled by the other service, so it does not count: {release.os}: "
            step(journal.TRUST_WARNING, text + release.certificate.subject, journal.WARNING)
    sysctl.require_signatures()
    step(journal.SIGNATURES_REQUIRED, "fs.verity.require_signatures is set")
    sealed = Sealed(ring, mask, keys, seal.OTHER)
    seal.read_back(sealed)
    step(journal.READ_BACK, f"read back: {len(keys)} keys, sealed, signatures required")
    return sealed


def _listed(ring: int, mask: int) -> list[kernel.Key]:
    """The keys in a keyring that another service sealed: at least one."""
    try:
        keys = [kernel.describe(serial) for serial in kernel.contents(ring)]
    except OSError as error:
        found = f"permissions {mask_text(mask)}: {error.filename}: {error.strerror}"
    else:
        if keys:
            return keys
        found = "an empty keyring"
    raise VerisealError(
        "sealed-by-another",
        "another service has sealed the .fs-verity keyring, and its keys cannot be compared with "
        "the certificates that count",
        expected=f"keys that can be listed, permissions {mask_text(SEALED_BY_OTHERS[0])}",
        found=found,
        remedy="Leave that service out of the initrd; this agent fills and seals the keyring",
    )


def _by_description(trust: TrustSet) -> dict[str, Release]:
    """The releases by what the kernel calls a key that is made from their certificate."""
    return {_description(one.certificate): one for one in trust.releases}


def _description(cert: Certificate) -> str:
    try:
        serial = kernel.add_certificate(cert.der)
        try:
            return kernel.describe(serial).description
        finally:
            kernel.unlink(serial, kernel.PROCESS_KEYRING)
    except OSError as error:
        raise VerisealError(
            "enrol-failed",
            f"the kernel does not take this certificate: {error.filename}: {error.strerror}",
            path=cert.path,
            found=cert.key,
        ) from None


def _named(key: kernel.Key, trust: TrustSet) -> str:
    """A stranger's key, and what is known of a certificate with its identifier."""
    for one in trust.ignored:
        cert = one.certificate
        if cert is not None and key.description.endswith(f": {cert.skid.hex()}"):
            return f"{key.description} ({one.path}: {one.why})"
    return key.description
