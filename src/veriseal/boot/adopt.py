"""A keyring that another service of the initrd has filled and sealed: checked and taken over.

systemd-keyring-setup(8) does that with the certificates that it finds. A keyring can be restricted
once in a boot and sealed keys cannot be touched, so there is nothing left but to look.
"""

import errno

from veriseal import journal
from veriseal.boot import handed, seal, throwaway
from veriseal.boot.seal import Sealed, Step, mask_text
from veriseal.certificate import Certificate
from veriseal.errors import VerisealError
from veriseal.kernel import keyring as kernel
from veriseal.kernel import sysctl
from veriseal.trust.model import Release, TrustSet

SEALED = 0x08070000
"""The mask of a keyring that systemd-keyring-setup(8) has filled and sealed. Root can still empty
it, for *write* is left on: a denial of service, as every signed file is refused then."""
UNREADABLE = 0x08010000
"""The mask that an earlier revision left: nobody can list the keys."""

_REFUSALS = {errno.EPERM: seal.NOTHING, errno.ENOKEY: seal.VOUCHED}
"""What a restricted keyring answers to a stranger's certificate, and what it takes then.

EPERM: restricted without a type (restrict_link_reject, security/keys/keyring.c). ENOKEY:
``asymmetric key_or_keyring:0:chain``, as that service does, which takes what a key in the keyring
has signed (restrict_link_by_key_or_keyring_chain, crypto/asymmetric_keys/restrict.c)."""

_MOST_SHOWN = 8
_LEAVE_OUT = "Leave that service out of the initrd; this agent fills and seals the keyring"


def is_sealed_by_another() -> bool:
    """Whether the keyring has the permissions of one that another service sealed."""
    return kernel.describe(kernel.fs_verity_keyring()).permissions in (SEALED, UNREADABLE)


def adopt(trust: TrustSet, step: Step) -> Sealed:
    """Take over a keyring that another service has filled and sealed before.

    Every key must be described as the kernel would describe a certificate of ``trust``, and the
    keyring must take no further one; then signatures are required and everything is read back.
    Certificates of ``trust`` that the other service left out do not count in this boot.

    What cannot be proved:
      - That a key is the one of the certificate with its description. The kernel shows subject
        and key identifier and never the key, and a certificate with both replaces the other in
        the keyring. The service takes certificates from the initrd, where nobody else puts any,
        and from credentials and /run/voa, which are anybody's who can write to the ESP, the
        kernel's command line or the firmware: with one of those nothing is adopted.
      - Which certificates it still takes, where the kernel looks for their signer in a keyring:
        ENOKEY is also the answer of one that trusts yet another keyring.

    Raises VerisealError (``sealed-by-another``, ``unknown-keys``, ``restrict-failed``,
    ``read-back-failed``), OSError.
    """
    ring = kernel.fs_verity_keyring()
    _require_nothing_handed(handed.found())
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
    takes = _restriction(ring)
    keys = [seal.enrolled(key, known[key.description]) for key in present]
    for key in keys:
        step(journal.KEYRING_ADOPTED, f"enrolled by another service: {key.description}")
    for release in trust.releases:
        if release.certificate.fingerprint not in {key.fingerprint for key in keys}:
            text = f"not enrolled by the other service, so it does not count: {release.os}: "
            step(journal.TRUST_WARNING, text + release.certificate.subject, journal.WARNING)
    sysctl.require_signatures()
    step(journal.SIGNATURES_REQUIRED, "fs.verity.require_signatures is set")
    sealed = Sealed(ring, mask, keys, seal.OTHER, takes)
    seal.read_back(sealed)
    text = f"read back: {len(keys)} keys, sealed by {seal.OTHER}, takes {takes}"
    step(journal.READ_BACK, f"{text}, signatures required")
    return sealed


def _require_nothing_handed(paths: list[str]) -> None:
    if not paths:
        return
    more = f"; and {len(paths) - _MOST_SHOWN} more" if len(paths) > _MOST_SHOWN else ""
    raise VerisealError(
        "sealed-by-another",
        "another service has filled the .fs-verity keyring, and it may have taken certificates "
        "that are not of the initrd: their keys can bear the names of those that count",
        expected=f"no credential {handed.PREFIX}* and no file below {handed.EPHEMERAL}",
        found="; ".join(paths[:_MOST_SHOWN]) + more,
        remedy=f"Take them away from the ESP, the kernel's command line and the firmware. Or: "
        f"{_LEAVE_OUT}",
    )


def _restriction(ring: int) -> str:
    """What the keyring still takes. Raises VerisealError ``restrict-failed``."""
    try:
        # Permissions do not refuse it, for root may write: only the restriction can.
        refused = seal.require_refusal(ring, throwaway.certificate(), tuple(_REFUSALS))
    except VerisealError as error:
        raise VerisealError(
            error.reason,
            "another service has cut the permissions of the .fs-verity keyring, and the keyring "
            "is not restricted as it must be",
            expected=error.expected,
            found=error.found,
            remedy=_LEAVE_OUT,
        ) from None
    return _REFUSALS[refused]


def _listed(ring: int, mask: int) -> list[kernel.Key]:
    """The keys in a keyring that another service sealed: at least one."""
    if mask == UNREADABLE:
        raise _sealed_by_another(
            "so that nobody can list its keys: they cannot be compared with the certificates that "
            "count",
            f"permissions {mask_text(SEALED)}, as a newer systemd leaves them",
            f"permissions {mask_text(mask)}",
        )
    keys = [kernel.describe(serial) for serial in kernel.contents(ring)]
    if not keys:
        raise _sealed_by_another(
            "without a key in it: nothing that is signed would run in this boot",
            "a key for each certificate that counts",
            "an empty keyring",
        )
    return keys


def _sealed_by_another(problem: str, expected: str, found: str) -> VerisealError:
    return VerisealError(
        "sealed-by-another",
        f"another service has sealed the .fs-verity keyring {problem}",
        expected=expected,
        found=found,
        remedy=_LEAVE_OUT,
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
