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
    from veriseal.trust.model import Release, TrustSet

KEY_MASK = kernel.POSSESSOR_VIEW | kernel.POSSESSOR_SEARCH | kernel.USER_VIEW
KEYRING_MASK = kernel.POSSESSOR_SEARCH | kernel.USER_VIEW | kernel.USER_READ
"""With no more than these bits root can neither change, empty, fill, revoke nor invalidate.
With user *search* root could invalidate."""

OWN, OTHER = "veriseal", "another service"
"""Who sealed the keyring."""

NOTHING, VOUCHED = "no further key", "only certificates that an enrolled key has signed"
"""What a sealed keyring still takes. Whoever has the private key of an enrolled one could as well
sign programs with it."""

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
    permissions: str = f"{KEY_MASK:#010x}"


class Sealed(NamedTuple):
    """The state that was read back from the kernel.

    ``by`` is `OWN` or `OTHER`, ``takes`` is `NOTHING` or `VOUCHED`.
    """

    keyring: int
    mask: int
    keys: list[Enrolled]
    by: str = OWN
    takes: str = NOTHING

    def as_json(self) -> dict[str, Any]:
        """For the boot report; `from_json` is the way back."""
        return {
            "serial": self.keyring,
            "permissions": mask_text(self.mask),
            "sealed_by": self.by,
            "takes": self.takes,
            "keys": [key._asdict() for key in self.keys],
        }

    @classmethod
    def from_json(cls, data: Any) -> "Sealed":
        """From a report that was trusted already. Raises VerisealError ``report-damaged``."""
        try:
            keys = [Enrolled(**key) for key in data["keys"]]
            # An initrd of before there were others does not say it.
            by, takes = data.get("sealed_by", OWN), data.get("takes", NOTHING)
            if by not in (OWN, OTHER) or takes not in (NOTHING, VOUCHED):
                raise ValueError(f"{by}, {takes}")
            return cls(int(data["serial"]), int(data["permissions"], 16), keys, by, takes)
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
    step(journal.KEYRING_SEALED, f"sealed with permissions {mask_text(KEYRING_MASK)}")
    sysctl.require_signatures()
    step(journal.SIGNATURES_REQUIRED, "fs.verity.require_signatures is set")
    sealed = Sealed(ring, KEYRING_MASK, keys)
    read_back(sealed)
    require_refusal(ring, probe, (errno.EACCES, errno.EPERM))
    step(journal.READ_BACK, f"read back: {len(keys)} keys, sealed, signatures required")
    return sealed


def is_sealed() -> bool:
    """Whether the keyring already has the permissions of one that this agent sealed."""
    return kernel.describe(kernel.fs_verity_keyring()).permissions == KEYRING_MASK


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
    _compare("the permissions of the keyring", mask_text(sealed.mask), mask_text(mask))
    for enrolled in sealed.keys:
        key = kernel.describe(enrolled.serial)
        _compare(f"the description of key {key.serial}", enrolled.description, key.description)
        permissions = mask_text(key.permissions)
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
    return enrolled(key, release)


def enrolled(key: kernel.Key, release: "Release") -> Enrolled:
    """``key``, as the one that was made from the certificate of ``release``."""
    cert = release.certificate
    about = (release.os, cert.subject, cert.key, cert.fingerprint, cert.path)
    return Enrolled(key.serial, key.description, *about, mask_text(key.permissions))


def _restrict(ring: int, probe: bytes) -> None:
    _attempt("restrict-failed", "restrict", kernel.restrict, ring)
    # Permissions would allow it here: only the restriction can refuse.
    require_refusal(ring, probe, (errno.EPERM,))


def require_refusal(ring: int, probe: bytes, expected: tuple[int, ...]) -> int:
    """The number with which adding ``probe``, a certificate, fails: one of ``expected``.

    Raises VerisealError ``restrict-failed``.
    """
    try:
        serial = kernel.add_certificate(probe, ring)
    except OSError as error:
        if error.errno in expected:
            return error.errno
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


def mask_text(permissions: int) -> str:
    """A permission mask as `Enrolled` and the report have it."""
    return f"{permissions:#010x}"


def _hex(serials: list[int]) -> str:
    return ", ".join(f"{serial:#x}" for serial in serials) or "none"
