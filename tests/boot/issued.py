"""Certificates that the vendor's root has signed and `veriseal pki` would not make."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def expired(keys: Path, number: int) -> bytes:
    """A release's certificate, whose year was 2020: PEM."""
    own = _read(keys / f"{number}.pem")
    start = datetime.datetime(2020, 1, 1)
    end = datetime.datetime(2020, 12, 31)
    return _issue(keys, own, own, start, end)


def twin(keys: Path, number: int, of: int) -> bytes:
    """A release's certificate with the serial and the key identifier of another: PEM."""
    own, other = (_read(keys / f"{one}.pem") for one in (number, of))
    return _issue(keys, own, other, own.not_valid_before, own.not_valid_after)


def der(pem: bytes) -> bytes:
    """A certificate as the kernel takes it."""
    return x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)


def _read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def _issue(
    keys: Path,
    own: x509.Certificate,
    named_as: x509.Certificate,
    start: datetime.datetime,
    end: datetime.datetime,
) -> bytes:
    key = serialization.load_pem_private_key((keys / "vendor.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    builder = (
        x509.CertificateBuilder()
        .subject_name(own.subject)
        .issuer_name(own.issuer)
        .public_key(own.public_key())
        .serial_number(named_as.serial_number)
        .not_valid_before(start)
        .not_valid_after(end)
    )
    identifier = named_as.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    for extension in own.extensions:
        if isinstance(extension.value, x509.SubjectKeyIdentifier):
            builder = builder.add_extension(identifier.value, identifier.critical)
        else:
            builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
