"""X.509 certificates: one release certificate or one vendor root in one PEM file.

The checks are those that make a certificate usable as a key of the kernel's `.fs-verity`
keyring, and no broader than that: what the kernel would take for something else is refused.
Dates are read but not judged: the kernel ignores them, and an appliance may have no clock.

Used in the initrd: imports of `cryptography` only what parsing and checking needs.
Source: RFC 5280, RFC 7468, crypto/asymmetric_keys/x509_cert_parser.c.
"""

import datetime
import hashlib

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, SignatureAlgorithmOID

from veriseal import pem
from veriseal.errors import VerisealError, shortened

# The kernel refuses to load a certificate whose own signature uses anything else it does not
# know, even though it never checks that signature; MD5 and SHA-1 are left out on purpose.
SIGNATURE_HASHES: dict[x509.ObjectIdentifier, hashes.HashAlgorithm] = {
    SignatureAlgorithmOID.RSA_WITH_SHA256: hashes.SHA256(),
    SignatureAlgorithmOID.RSA_WITH_SHA384: hashes.SHA384(),
    SignatureAlgorithmOID.RSA_WITH_SHA512: hashes.SHA512(),
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: hashes.SHA256(),
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: hashes.SHA384(),
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: hashes.SHA512(),
}
"""What a certificate may be signed with, and the hash for it."""

_KNOWN_EXTENSIONS = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
}
# Name constraints are enforced by `chain`.
_KNOWN_OF_AUTHORITIES = {*_KNOWN_EXTENSIONS, ExtensionOID.NAME_CONSTRAINTS}
_CURVES = {"secp256r1": "ECDSA-P256", "secp384r1": "ECDSA-P384"}
# The kernel reads the identifier's length as one byte below 128.
_MAX_SKID_SIZE = 64

MAX_NAME_LENGTH = 200
"""Characters of a name that are shown."""

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class Certificate:
    """A certificate that passed the checks of `load` or `load_root`.

    Attributes:
        path: where it came from.
        der: the certificate.
        subject, issuer: RFC 4514 text, for people: the start of a long one.
        issuer_der: the issuer's Name as it stands in ``der``.
        serial: positive.
        skid: subject key identifier.
        key: ``RSA-2048``, ``ECDSA-P256`` and so on.
        fingerprint: SHA-256 of ``der``, hex.
        not_before, not_after: UTC.
        public_key: as `cryptography` has it.
        x509: the whole, as `cryptography` has it.
    """

    def __init__(self, parsed: x509.Certificate, key: PublicKey, skid: bytes, path: str) -> None:
        self.path = path
        self.x509 = parsed
        self.der = parsed.public_bytes(serialization.Encoding.DER)
        self.subject = _text(parsed.subject)
        self.issuer = _text(parsed.issuer)
        self.issuer_der = parsed.issuer.public_bytes()
        self.serial = parsed.serial_number
        self.skid = skid
        self.key = _key_name(key)
        self.public_key = key
        self.fingerprint = hashlib.sha256(self.der).hexdigest()
        self.not_before = _date(parsed, "not_valid_before")
        self.not_after = _date(parsed, "not_valid_after")

    def __repr__(self) -> str:
        return f"Certificate({self.subject!r}, serial {self.serial:x})"


def load(data: bytes, path: str) -> Certificate:
    """The release certificate in ``data``, the contents of the file ``path``.

    Raises VerisealError: ``certificate-too-large``, ``not-a-certificate``,
    ``several-certificates``, ``private-key-exposed``, ``malformed-certificate``,
    ``unsupported-key``, ``weak-certificate-signature``, ``bad-serial``, ``no-key-identifier``,
    ``unknown-critical-extension``, ``certificate-authority``, ``wrong-key-usage``.
    """
    certificate, extensions = _load(data, path, _KNOWN_EXTENSIONS)
    constraints = extensions.get(ExtensionOID.BASIC_CONSTRAINTS)
    if isinstance(constraints, x509.BasicConstraints) and constraints.ca:
        raise VerisealError(
            "certificate-authority",
            "this is the certificate of a certificate authority",
            path=path,
            remedy="A release signs with a certificate that its root issued: veriseal pki issue",
        )
    usage = extensions.get(ExtensionOID.KEY_USAGE)
    if not isinstance(usage, x509.KeyUsage):
        raise _wrong_usage(path, "keyUsage digitalSignature", "no keyUsage extension")
    if not usage.digital_signature or usage.key_cert_sign:
        found = "keyCertSign" if usage.key_cert_sign else "no digitalSignature"
        raise _wrong_usage(path, "keyUsage digitalSignature", found)
    purposes = extensions.get(ExtensionOID.EXTENDED_KEY_USAGE)
    if isinstance(purposes, x509.ExtendedKeyUsage):
        names = [purpose.dotted_string for purpose in purposes]
        if ExtendedKeyUsageOID.CODE_SIGNING.dotted_string not in names:
            raise _wrong_usage(path, "extendedKeyUsage codeSigning", ", ".join(names))
    return certificate


def load_root(data: bytes, path: str) -> Certificate:
    """The vendor root in ``data``, the contents of the file ``path``.

    Raises VerisealError as `load` does, and ``not-an-authority``.
    """
    certificate, extensions = _load(data, path, _KNOWN_OF_AUTHORITIES)
    constraints = extensions.get(ExtensionOID.BASIC_CONSTRAINTS)
    usage = extensions.get(ExtensionOID.KEY_USAGE)
    if (
        not isinstance(constraints, x509.BasicConstraints)
        or not constraints.ca
        or not isinstance(usage, x509.KeyUsage)
        or not usage.key_cert_sign
    ):
        raise VerisealError(
            "not-an-authority",
            "this certificate may not vouch for others",
            path=path,
            expected="basicConstraints CA:TRUE and keyUsage keyCertSign",
            found=f"subject {certificate.subject}",
            remedy="A root is made by: veriseal pki root",
        )
    return certificate


def key_bytes(key: PublicKey) -> bytes:
    """The DER of a public key (SubjectPublicKeyInfo): equal for equal keys."""
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def key_in(data: bytes) -> bytes | None:
    """`key_bytes` of the one certificate in the PEM file ``data``, whether `load` takes it or not.

    None if nothing of that kind can be found there.
    """
    keys = list(keys_in(data).values())
    return keys[0] if len(keys) == 1 else None


def keys_in(data: bytes) -> dict[str, bytes]:
    """`key_bytes` of each certificate in the PEM file ``data``, by fingerprint.

    Whether `load` takes the file or not: what is revoked must be known even so. Empty if nothing
    of that kind can be found there.
    """
    found = {}
    for der in pem.certificates(data):
        try:
            key = x509.load_der_x509_certificate(der).public_key()
            found[hashlib.sha256(der).hexdigest()] = key.public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        except (UnsupportedAlgorithm, ValueError, TypeError, x509.InvalidVersion):
            continue
    return found


def _load(
    data: bytes, path: str, known: set[x509.ObjectIdentifier]
) -> tuple[Certificate, dict[x509.ObjectIdentifier, object]]:
    der = pem.one_certificate(data, path)
    try:
        parsed = x509.load_der_x509_certificate(der)
        key = parsed.public_key()
        extensions = {e.oid: (e.critical, e.value) for e in parsed.extensions}
        body = parsed.tbs_certificate_bytes
        # One encoding only: the kernel compares bytes, and takes plain RSA keys, named curves
        # and uncompressed points, which is what this encoder writes.
        canonical = (
            parsed.issuer.public_bytes() in body
            and parsed.subject.public_bytes() in body
            and parsed.public_bytes(serialization.Encoding.DER) == der
        )
        algorithm = parsed.signature_algorithm_oid
        plain_key = isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) and (
            key.public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            in body
        )
    except UnsupportedAlgorithm:
        raise _unsupported_key(path, "another kind of key") from None
    except (
        ValueError,
        LookupError,  # a string in a name has a type that is none of a string, or no codec
        TypeError,
        OverflowError,
        x509.InvalidVersion,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ) as error:
        raise _malformed(path, error) from None
    if parsed.version != x509.Version.v3 or not canonical:
        found = "another encoding" if parsed.version == x509.Version.v3 else parsed.version.name
        raise VerisealError(
            "malformed-certificate",
            "not a certificate as the kernel reads it",
            path=path,
            expected="X.509 v3 in DER",
            found=found,
        )
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise _unsupported_key(path, type(key).__name__.strip("_").removesuffix("PublicKey"))
    name = _key_name(key)
    if isinstance(key, rsa.RSAPublicKey):
        usable = 2048 <= key.key_size <= 4096
    else:
        usable = key.curve.name in _CURVES
    if not usable or not plain_key:
        raise _unsupported_key(path, name if not usable else f"{name} in an unusual encoding")
    if algorithm not in SIGNATURE_HASHES:
        raise VerisealError(
            "weak-certificate-signature",
            "the certificate itself is signed with an algorithm that is not accepted",
            path=path,
            expected="RSA (PKCS #1 v1.5) or ECDSA with SHA-256, SHA-384 or SHA-512",
            found=algorithm._name if algorithm._name != "Unknown OID" else algorithm.dotted_string,
        )
    if not 0 < parsed.serial_number < 1 << 159:
        raise VerisealError(
            "bad-serial",
            "the serial number is out of range",
            path=path,
            expected="positive, at most 20 bytes",
            found=f"{parsed.serial_number.bit_length()} bits",
        )
    for oid, (critical, _) in extensions.items():
        if critical and oid not in known:
            raise VerisealError(
                "unknown-critical-extension",
                "has a critical extension that nothing here enforces",
                path=path,
                found=oid.dotted_string,
            )
    values: dict[x509.ObjectIdentifier, object] = {o: value for o, (_, value) in extensions.items()}
    skid = values.get(ExtensionOID.SUBJECT_KEY_IDENTIFIER)
    if not isinstance(skid, x509.SubjectKeyIdentifier) or not (
        0 < len(skid.digest) <= _MAX_SKID_SIZE
    ):
        raise VerisealError(
            "no-key-identifier",
            "has no usable subject key identifier",
            path=path,
            expected=f"an extension of 1 to {_MAX_SKID_SIZE} bytes",
        )
    try:
        return Certificate(parsed, key, skid.digest, path), values
    except ValueError as error:  # a date in the year 0, for example
        raise _malformed(path, error) from None


def _text(name: x509.Name) -> str:
    return shortened(name.rfc4514_string(), MAX_NAME_LENGTH)


def _key_name(key: PublicKey) -> str:
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA-{key.key_size}"
    return _CURVES.get(key.curve.name, f"ECDSA-{key.curve.name}")


def _date(parsed: x509.Certificate, name: str) -> datetime.datetime:
    # The names without _utc are deprecated in newer versions, those with it missing in older.
    aware = getattr(parsed, f"{name}_utc", None)
    if isinstance(aware, datetime.datetime):
        return aware
    naive: datetime.datetime = getattr(parsed, name)
    return naive.replace(tzinfo=datetime.UTC)


def _malformed(path: str, error: Exception) -> VerisealError:
    return VerisealError(
        "malformed-certificate", "not a valid X.509 certificate", path=path, found=error
    )


def _unsupported_key(path: str, found: str) -> VerisealError:
    return VerisealError(
        "unsupported-key",
        "the kernel's built-in signatures cannot use this key",
        path=path,
        expected="RSA-2048 to RSA-4096, ECDSA-P256 or ECDSA-P384",
        found=found,
    )


def _wrong_usage(path: str, expected: str, found: str) -> VerisealError:
    return VerisealError(
        "wrong-key-usage",
        "the certificate is not one for signing programs",
        path=path,
        expected=expected,
        found=found,
        remedy="Certificates for signing are made by: veriseal pki issue",
    )
