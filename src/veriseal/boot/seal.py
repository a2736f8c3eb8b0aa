"""Fill and seal the kernel's ``.fs-verity`` keyring, then require signatures.

The order is the point (measured, see DESIGN): a key whose permissions are cut can no longer be
linked; a keyring whose permissions are cut can no longer be restricted; whether it is
restricted can be probed only while it could still be written.
"""

import errno
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from veriseal import journal
from veriseal.errors import VerisealError
from veriseal.kernel import keyring as kernel
from veriseal.kernel import sysctl

if TYPE_CHECKING:
    # `veriseal status` reads back too, and has no use for `cryptography`.
    from veriseal.certificate import Certificate
    from veriseal.trust.model import Release, TrustSet

KEY_MASK = kernel.POSSESSOR_VIEW | kernel.POSSESSOR_SEARCH | kernel.USER_VIEW
KEYRING_MASK = kernel.POSSESSOR_SEARCH | kernel.USER_VIEW | kernel.USER_READ
"""With no more than these bits root can neither change, empty, fill, revoke nor invalidate.
With user *search* root could invalidate."""

SEALED_BY_OTHERS = (0x08070000, 0x08010000)
"""Masks of a keyring that systemd-keyring-setup(8) has filled and sealed, newest first. With the
first, root can still empty the keyring, for *write* is left on: a denial of service, as every
signed file is refused then. With the second nobody can list the keys."""

OWN, OTHER = "veriseal", "another service"
"""Who sealed the keyring."""

Step = Callable[..., None]
"""Called after each step with its MESSAGE_ID, one line of text and perhaps a priority."""


class Enrolled(NamedTuple):
    """A key in the sealed keyring and the certificate it was made from.

    ``serial``, ``description`` and ``permissions`` are the kernel's, the last as 0x and eight
    hexadecimal digits; ``os`` is the release in VOA's naming; ``fingerprint`` is the SHA-256 of
    the certificate's DER, in hex.
    """

    serial: int
    description: str
    os: str
    subject: str
    key: str
    fingerprint: str
    path: str
    permissions: str


class Sealed(NamedTuple):
    """The state that was read back from the kernel. ``by`` is `OWN` or `OTHER`."""

    keyring: int
    mask: int
    keys: list[Enrolled]
    by: str = OWN

    def as_json(self) -> dict[str, Any]:
        """For the boot report; `from_json` is the way back."""
        return {
            "serial": self.keyring,
            "permissions": _mask(self.mask),
            "sealed_by": self.by,
            "keys": [key._asdict() for key in self.keys],
        }

    @classmethod
    def from_json(cls, data: Any) -> "Sealed":
        """From a report that was trusted already. Raises VerisealError ``report-damaged``."""
        try:
            keys = [Enrolled(**key) for key in data["keys"]]
            if data["sealed_by"] not in (OWN, OTHER):
                raise ValueError(data["sealed_by"])
            mask = int(data["permissions"], 16)
            return cls(int(data["serial"]), mask, keys, data["sealed_by"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise VerisealError(
                "report-damaged", f"the keyring in the boot report: {error!r}"
            ) from None


def seal(trust: "TrustSet", step: Step) -> Sealed:
    """Enrol the certificates of ``trust``, seal, require signatures, read everything back.

    Raises VerisealError (``unknown-keys``, ``enrol-failed``, ``already-restricted``,
    ``restrict-failed``, ``seal-failed``, ``read-back-failed``). If it raises before the keyring
    is restricted, what it had enrolled is taken out again.
    """
    from veriseal.boot import throwaway

    ring = kernel.fs_verity_keyring()
    _require_empty(ring)
    sysctl.read_require_signatures()
    probe = throwaway.certificate()
    keys: list[Enrolled] = []
    try:
        for release in trust.releases:
            keys.append(_enrol(ring, release))
            step(journal.CERTIFICATE_ENROLLED, f"enrolled {keys[-1].description} for {release.os}")
        _restrict(ring, probe)
    except Exception:
        # It was empty, so all that is in it is ours, also a key that was linked and no more.
        with suppress(OSError):
            for serial in kernel.contents(ring):
                kernel.unlink(serial, ring)
        raise
    step(journal.KEYRING_RESTRICTED, "the keyring takes no further key")
    _attempt("seal-failed", "cut permissions of", kernel.set_permissions, ring, KEYRING_MASK)
    step(journal.KEYRING_SEALED, f"sealed with permissions {_mask(KEYRING_MASK)}")
    sysctl.require_signatures()
    step(journal.SIGNATURES_REQUIRED, "fs.verity.require_signatures is set")
    sealed = Sealed(ring, KEYRING_MASK, keys)
    read_back(sealed)
    _refuses(ring, probe, (errno.EACCES, errno.EPERM))
    step(journal.READ_BACK, f"read back: {len(keys)} keys, sealed, signatures required")
    return sealed


def is_sealed() -> bool:
    """Whether the keyring already has the permissions of one that this agent sealed."""
    return kernel.describe(kernel.fs_verity_keyring()).permissions == KEYRING_MASK


def is_sealed_by_another() -> bool:
    """Whether the keyring has the permissions of one that another service sealed."""
    return kernel.describe(kernel.fs_verity_keyring()).permissions in SEALED_BY_OTHERS


def adopt(trust: "TrustSet", step: Step) -> Sealed:
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
    from veriseal.boot import throwaway

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
    _refuses(ring, throwaway.certificate(), (errno.EPERM, errno.EACCES))
    keys = [_enrolled(key, known[key.description]) for key in present]
    for key in keys:
        step(journal.KEYRING_ADOPTED, f"enrolled by another service: {key.description}")
    for release in trust.releases:
        if release.certificate.fingerprint not in {key.fingerprint for key in keys}:
            text = f"not enrolled by the other service, so it does not count: {release.os}: "
            step(journal.TRUST_WARNING, text + release.certificate.subject, journal.WARNING)
    sysctl.require_signatures()
    step(journal.SIGNATURES_REQUIRED, "fs.verity.require_signatures is set")
    sealed = Sealed(ring, mask, keys, OTHER)
    read_back(sealed)
    step(journal.READ_BACK, f"read back: {len(keys)} keys, sealed, signatures required")
    return sealed


def check_again(trust: "TrustSet", earlier: Sealed, step: Step) -> Sealed:
    """For a second run in one boot: a sealed keyring is checked instead of filled.

    Raises VerisealError ``other-certificates``, ``read-back-failed``.
    """
    require_same(trust, earlier)
    read_back(earlier)
    step(journal.READ_BACK, f"already sealed in this boot: {len(earlier.keys)} keys, unchanged")
    return earlier


def require_same(trust: "TrustSet", earlier: Sealed) -> None:
    """Raise VerisealError ``other-certificates`` unless ``trust`` is what ``earlier`` enrolled.

    Another service may have left some out.
    """
    wanted = sorted(release.certificate.fingerprint for release in trust.releases)
    enrolled = sorted(key.fingerprint for key in earlier.keys)
    same = wanted == enrolled if earlier.by == OWN else set(enrolled) <= set(wanted)
    if not same:
        raise VerisealError(
            "other-certificates",
            "the keyring was sealed in this boot with other certificates",
            expected=", ".join(wanted),
            found=", ".join(enrolled),
            remedy="A sealed keyring cannot be changed: boot again",
        )


def read_back(sealed: Sealed) -> None:
    """Compare what the kernel holds now with ``sealed``.

    Raises VerisealError ``read-back-failed`` naming what differs.
    """
    present = sorted(kernel.contents(sealed.keyring))
    wanted = sorted(key.serial for key in sealed.keys)
    _compare("the keys in the keyring", _hex(wanted), _hex(present))
    mask = kernel.describe(sealed.keyring).permissions
    _compare("the permissions of the keyring", _mask(sealed.mask), _mask(mask))
    for enrolled in sealed.keys:
        key = kernel.describe(enrolled.serial)
        _compare(f"the description of key {key.serial}", enrolled.description, key.description)
        permissions = _mask(key.permissions)
        _compare(f"the permissions of key {key.serial}", enrolled.permissions, permissions)
    _compare(
        "the sysctl fs.verity.require_signatures", "1", str(int(sysctl.read_require_signatures()))
    )


def _require_empty(ring: int) -> None:
    keys = [kernel.describe(serial) for serial in kernel.contents(ring)]
    if keys:
        raise VerisealError(
            "unknown-keys",
            "the .fs-verity keyring already holds keys that this agent did not enrol",
            expected="an empty keyring",
            found="; ".join(f"{key.serial} {key.description}" for key in keys),
            remedy="Find what loads them before veriseal-seal.service, and remove it",
        )


def _enrol(ring: int, release: "Release") -> Enrolled:
    cert = release.certificate
    try:
        serial = kernel.add_certificate(cert.der)
        description = kernel.describe(serial).description
        kernel.link(serial, ring)
        kernel.set_permissions(serial, KEY_MASK)
        kernel.unlink(serial, kernel.PROCESS_KEYRING)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise VerisealError(
                "already-restricted",
                "the .fs-verity keyring takes no key: it was restricted before",
                path=cert.path,
                remedy="Find what restricts it before veriseal-seal.service, and remove it",
            ) from None
        raise VerisealError(
            "enrol-failed",
            f"the kernel does not take this certificate: {error.filename}: {error.strerror}",
            path=cert.path,
            found=cert.key,
        ) from None
    if not description.endswith(cert.skid.hex()):
        raise VerisealError(
            "enrol-failed",
            "the kernel reads another key identifier from this certificate than we do",
            path=cert.path,
            expected=cert.skid.hex(),
            found=description,
        )
    key = kernel.Key(serial, "asymmetric", 0, KEY_MASK, description)
    return _enrolled(key, release)


def _enrolled(key: kernel.Key, release: "Release") -> Enrolled:
    cert = release.certificate
    about = (release.os, cert.subject, cert.key, cert.fingerprint, cert.path)
    return Enrolled(key.serial, key.description, *about, _mask(key.permissions))


def _listed(ring: int, mask: int) -> list[kernel.Key]:
    """The keys in a keyring that another service sealed: at least one."""
    try:
        keys = [kernel.describe(serial) for serial in kernel.contents(ring)]
    except OSError as error:
        found = f"permissions {_mask(mask)}: {error.filename}: {error.strerror}"
    else:
        if keys:
            return keys
        found = "an empty keyring"
    raise VerisealError(
        "sealed-by-another",
        "another service has sealed the .fs-verity keyring, and its keys cannot be compared with "
        "the certificates that count",
        expected=f"keys that can be listed, permissions {_mask(SEALED_BY_OTHERS[0])}",
        found=found,
        remedy="Leave that service out of the initrd; this agent fills and seals the keyring",
    )


def _by_description(trust: "TrustSet") -> dict[str, "Release"]:
    """The releases by what the kernel calls a key that is made from their certificate."""
    return {_description(one.certificate): one for one in trust.releases}


def _description(cert: "Certificate") -> str:
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


def _named(key: kernel.Key, trust: "TrustSet") -> str:
    """A stranger's key, and what is known of a certificate with its identifier."""
    for one in trust.ignored:
        cert = one.certificate
        if cert is not None and key.description.endswith(f": {cert.skid.hex()}"):
            return f"{key.description} ({one.path}: {one.why})"
    return key.description


def _restrict(ring: int, probe: bytes) -> None:
    _attempt("restrict-failed", "restrict", kernel.restrict, ring)
    # Permissions would allow it here: only the restriction can refuse.
    _refuses(ring, probe, (errno.EPERM,))


def _refuses(ring: int, probe: bytes, expected: tuple[int, ...]) -> None:
    """Raise unless adding the throwaway certificate fails with one of ``expected``."""
    try:
        serial = kernel.add_certificate(probe, ring)
    except OSError as error:
        if error.errno in expected:
            return
        found = errno.errorcode.get(error.errno or 0, str(error.errno))
    else:
        kernel.unlink(serial, ring)
        found = "it was accepted"
    raise VerisealError(
        "restrict-failed",
        "the .fs-verity keyring did not refuse a throwaway certificate as it must",
        expected=" or ".join(errno.errorcode[number] for number in expected),
        found=found,
    )


def _attempt(reason: str, what: str, call: Callable[..., None], *arguments: int) -> None:
    try:
        call(*arguments)
    except OSError as error:
        raise VerisealError(
            reason, f"cannot {what} the .fs-verity keyring: {error.strerror}"
        ) from None


def _compare(what: str, expected: str, found: str) -> None:
    if expected != found:
        raise VerisealError(
            "read-back-failed", f"{what} is not as it was set", expected=expected, found=found
        )


def _mask(permissions: int) -> str:
    return f"{permissions:#010x}"


def _hex(serials: list[int]) -> str:
    return ", ".join(f"{serial:#x}" for serial in serials) or "none"
