"""PEM files with exactly one certificate.

`cryptography` and OpenSSL take the first block they find and skip the rest in silence. What a
file vouches for must not depend on that: a second certificate, or a key, is an error here.

Used in the initrd. Source: RFC 7468.
"""

import base64
import binascii
import re
from collections.abc import Iterator

from veriseal.errors import VerisealError

MAX_FILE_SIZE = 64 * 1024
"""Bytes of a PEM file. A certificate has two or three thousand."""

_BEGIN = re.compile(rb"^-----BEGIN ([^\n]*?)-----[ \t\r]*$", re.MULTILINE)
_ANY_CERTIFICATE = re.compile(rb"-----BEGIN (?:X509 )?CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END ")
_ONE_CERTIFICATE = re.compile(
    rb"\s*-----BEGIN CERTIFICATE-----[ \t]*\r?\n([A-Za-z0-9+/=\r\n]+)"
    rb"-----END CERTIFICATE-----\s*"
)


def one_certificate(data: bytes, path: str) -> bytes:
    """The DER in ``data``, the contents of the file ``path``: one CERTIFICATE, nothing else.

    Blank lines around the block are allowed. Raises VerisealError: ``certificate-too-large``,
    ``private-key-exposed``, ``several-certificates``, ``not-a-certificate``.
    """
    if len(data) > MAX_FILE_SIZE:
        raise VerisealError(
            "certificate-too-large",
            "too large for a certificate",
            path=path,
            expected=f"at most {MAX_FILE_SIZE} bytes",
            found=f"{len(data)} bytes",
        )
    kinds = [match.group(1).decode("ascii", "backslashreplace") for match in _BEGIN.finditer(data)]
    if b"PRIVATE KEY-----" in data:
        raise VerisealError(
            "private-key-exposed",
            "a private key where only a certificate belongs",
            path=path,
            remedy="Take it out of this file. If the file was ever shipped, replace the key",
        )
    if len(kinds) > 1:
        raise VerisealError(
            "several-certificates",
            "more than one PEM block in the file",
            path=path,
            expected="one CERTIFICATE",
            found=", ".join(kinds[:8]),
            remedy="Put each certificate in a file of its own",
        )
    match = _ONE_CERTIFICATE.fullmatch(data)
    try:
        if match is None:
            raise ValueError
        return base64.b64decode(match.group(1).translate(None, b"\r\n"), validate=True)
    except (ValueError, binascii.Error):
        raise VerisealError(
            "not-a-certificate",
            "not a PEM file with one certificate and nothing else",
            path=path,
            expected="-----BEGIN CERTIFICATE-----",
            found=_what_is(data, kinds),
            remedy="To convert: openssl x509 -in FILE -out NAME.pem",
        ) from None


def certificates(data: bytes) -> Iterator[bytes]:
    """The DER of each block in ``data`` that may be a certificate, whatever else is there.

    Of no more than `MAX_FILE_SIZE` bytes.
    """
    for match in _ANY_CERTIFICATE.finditer(data[:MAX_FILE_SIZE]):
        try:
            yield base64.b64decode(match.group(1).translate(None, b"\r\n\t "), validate=True)
        except binascii.Error:
            continue


def _what_is(data: bytes, kinds: list[str]) -> str:
    if not data.strip():
        return "an empty file"
    if kinds and kinds[0] != "CERTIFICATE":
        return kinds[0]
    if kinds:
        return "other text in the file, or a damaged block"
    return "a DER file" if data.startswith(b"\x30\x82") else "something else"
