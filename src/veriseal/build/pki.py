"""A vendor root, and the certificates of releases that it vouches for.

The root never signs a program and is never enrolled in the kernel: it is the trust anchor that
the agent checks release certificates against. Source: RFC 5280, UAPI.11.
"""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from veriseal import certificate, chain, voa
from veriseal.build import keys
from veriseal.certificate import Certificate
from veriseal.errors import VerisealError
from veriseal.signature import PrivateKey

MAX_NAME_SIZE = 64
"""Characters of a common name: RFC 5280, appendix A."""
MAX_DAYS = 36500


def make_root(name: str, key: PrivateKey, days: int) -> bytes:
    """A root of its own: PEM. ``days`` from now on.

    Raises VerisealError: ``bad-name``, ``bad-validity``.
    """
    subject = _subject(name)
    start, end = _validity(days)
    builder = (
        _certificate(subject, subject, key, start, end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
    )
    pem = _sign(builder, key)
    certificate.load_root(pem, name)
    return pem


def issue(
    root_key: PrivateKey,
    root: Certificate,
    os_name: str,
    name: str,
    key: PrivateKey,
    days: int | None = None,
) -> bytes:
    """A certificate for signing the programs of the release ``os_name``: PEM.

    ``os_name`` is as UAPI.11 has it, such as ``fedora:43``; it becomes part of the subject.
    Without ``days`` it lasts ten years, or as long as the root.

    Raises VerisealError: ``key-mismatch``, ``bad-name``, ``bad-os``, ``bad-validity``.
    """
    keys.check_match(root_key, f"key of {root.path}", root)
    check_os(os_name)
    start, end = _validity(3650 if days is None else days)
    if end > root.not_after:
        if days is not None:
            raise VerisealError(
                "bad-validity",
                "would outlive the root",
                expected=f"at most until {root.not_after:%Y-%m-%d}",
                found=f"{end:%Y-%m-%d}",
            )
        end = root.not_after
    issuer_id = x509.SubjectKeyIdentifier(root.skid)
    builder = (
        _certificate(_subject(f"{name} release {os_name}"), root.x509.subject, key, start, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id),
            critical=False,
        )
    )
    pem = _sign(builder, root_key)
    chain.check_issued_by(certificate.load(pem, name), root)
    return pem


def check_os(name: str) -> None:
    """Raise VerisealError (``bad-os``) unless ``name`` can be the VOA name of a release."""
    if not voa.is_os_name(name):
        raise VerisealError(
            "bad-os",
            "not the name of a release",
            expected="ID:VERSION_ID as in os-release, such as fedora:43",
            found=name,
        )


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: PrivateKey,
    start: datetime.datetime,
    end: datetime.datetime,
) -> x509.CertificateBuilder:
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _sign(builder: x509.CertificateBuilder, key: PrivateKey) -> bytes:
    wide = isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size > 256
    signed = builder.sign(key, hashes.SHA384() if wide else hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


def _subject(name: str) -> x509.Name:
    if not name or not name.isprintable() or name != name.strip() or len(name) > MAX_NAME_SIZE:
        raise VerisealError(
            "bad-name",
            "not usable as the name in a certificate",
            expected=f"1 to {MAX_NAME_SIZE} printable characters",
            found=name,
        )
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _validity(days: int) -> tuple[datetime.datetime, datetime.datetime]:
    if not 1 <= days <= MAX_DAYS:
        raise VerisealError(
            "bad-validity", "not a period", expected=f"1 to {MAX_DAYS} days", found=days
        )
    start = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    return start, start + datetime.timedelta(days=days)


def _key_usage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
