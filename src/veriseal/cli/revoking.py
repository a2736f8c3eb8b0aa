"""What a command line revokes: certificates by file or by fingerprint, and digests."""

import hashlib
import re
from typing import NamedTuple

from veriseal import certificate, pem
from veriseal.build import files
from veriseal.digest import Digest
from veriseal.errors import UsageError, VerisealError

_FINGERPRINT = re.compile("[0-9a-f]{64}")
_NEARLY = re.compile("[0-9A-Fa-f:]+")


class Named(NamedTuple):
    """A certificate: SHA-256 of its DER, hex, and `certificate.key_bytes`, None if unknown."""

    fingerprint: str
    key: bytes | None


def of(text: str) -> str:
    """The fingerprint of `named`. Raises VerisealError, OSError."""
    return named(text).fingerprint


def named(text: str) -> Named:
    """The certificate of which ``text`` is the fingerprint, or a PEM file.

    Nothing else of the certificate is looked at: whatever is wrong with it may be why it is
    named. Raises VerisealError, UsageError for what is nearly a fingerprint; OSError.
    """
    # OpenSSL prints it in capital letters, with colons.
    plain = text.replace(":", "").lower()
    if _FINGERPRINT.fullmatch(plain):
        return Named(plain, None)
    try:
        data = files.read(text, pem.MAX_FILE_SIZE)
    except FileNotFoundError:
        if not _NEARLY.fullmatch(text):
            raise
        raise UsageError(
            f"--revoke-cert: neither a file nor a fingerprint: {text} (expected a PEM file, or the "
            f"SHA-256 of a certificate in 64 hexadecimal digits, found {len(plain)} digits)",
            remedy="Print it with: openssl x509 -noout -fingerprint -sha256 -in CERT",
        ) from None
    fingerprint = hashlib.sha256(pem.one_certificate(data, text)).hexdigest()
    return Named(fingerprint, certificate.key_in(data))


def digest(text: str) -> Digest:
    """The digest ``text``, a value of ``--revoke-digest``. Raises UsageError."""
    try:
        return Digest.parse(text)
    except VerisealError as error:
        raise UsageError(f"--revoke-digest: {error}") from None
