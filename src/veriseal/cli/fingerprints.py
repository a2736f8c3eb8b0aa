"""Certificates that a command line names by file or by fingerprint."""

import hashlib
import re

from veriseal import pem
from veriseal.build import files

_FINGERPRINT = re.compile("[0-9a-f]{64}")


def of(text: str) -> str:
    """SHA-256, in hex, of the certificate: ``text`` is that already, or a PEM file.

    Nothing else of the certificate is looked at: whatever is wrong with it may be why it is
    named. Raises VerisealError, OSError.
    """
    # OpenSSL prints it in capital letters, with colons.
    plain = text.replace(":", "").lower()
    if _FINGERPRINT.fullmatch(plain):
        return plain
    return hashlib.sha256(
        pem.one_certificate(files.read(text, pem.MAX_FILE_SIZE), text)
    ).hexdigest()
