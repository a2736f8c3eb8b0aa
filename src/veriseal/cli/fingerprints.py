"""Certificates that a command line names by file or by fingerprint."""

import hashlib
import re
from typing import NamedTuple

from veriseal import certificate, pem
from veriseal.build import files

_FINGERPRINT = re.compile("[0-9a-f]{64}")


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
    named. Raises VerisealError, OSError.
    """
    # OpenSSL prints it in capital letters, with colons.
    plain = text.replace(":", "").lower()
    if _FINGERPRINT.fullmatch(plain):
        return Named(plain, None)
    data = files.read(text, pem.MAX_FILE_SIZE)
    fingerprint = hashlib.sha256(pem.one_certificate(data, text)).hexdigest()
    return Named(fingerprint, certificate.key_in(data))
