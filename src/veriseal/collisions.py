"""Certificates that the kernel could take for each other.

Used in the initrd. Source: crypto/asymmetric_keys/asymmetric_type.c.
"""

from collections.abc import Iterable

from veriseal.certificate import Certificate, key_bytes
from veriseal.errors import VerisealError


def check(certificates: Iterable[Certificate]) -> None:
    """Raise VerisealError when the kernel could take one of ``certificates`` for another.

    A keyring holds one key of a description (name and key identifier): a second one replaces
    the first. A signature names its signer by issuer and serial number, and the kernel compares
    that with both identifiers of a key: the first match wins. Each must therefore be unique.

    Reasons: ``duplicate-certificate`` (the same certificate in two files) and
    ``certificate-collision``.
    """
    seen: dict[bytes, tuple[Certificate, str]] = {}
    for certificate in certificates:
        size = certificate.serial.bit_length() // 8 + 1
        # The kernel's asymmetric_key_id: serial and issuer, one after the other.
        number = certificate.serial.to_bytes(size, "big") + certificate.issuer_der
        for identifier, name in (
            (number, "issuer and serial number"),
            (certificate.skid, "subject key identifier"),
            # Not for the kernel: where several signers are needed, one key must not be two.
            (key_bytes(certificate.public_key), "key"),
        ):
            other, other_name = seen.setdefault(identifier, (certificate, name))
            if other is not certificate:
                raise _collision(certificate, other, name, other_name)


def _collision(
    certificate: Certificate, other: Certificate, name: str, other_name: str
) -> VerisealError:
    if certificate.der == other.der:
        return VerisealError(
            "duplicate-certificate",
            f"the same certificate is also in {other.path}",
            path=certificate.path,
            remedy="Remove one of the two files",
        )
    shared = name if name == other_name else f"identifier ({name} of one, {other_name} of other)"
    return VerisealError(
        "certificate-collision",
        f"has the same {shared} as {other.path}: the kernel would replace one by the other, "
        "or take one for the other",
        path=certificate.path,
        expected="different serial numbers and keys",
        found=f"{certificate.subject} and {other.subject}",
        remedy="Issue one of them again, with a new key: veriseal pki issue",
    )
