"""The tree of a system with certificates and settings, made file by file; authorities, too."""

from __future__ import annotations

import datetime
import itertools
import os
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
END = datetime.datetime(2046, 1, 1, tzinfo=datetime.UTC)
_serials = itertools.count(5000)


class Signer:
    """A key with its certificate: of a release, or with ``ca`` of an authority."""

    def __init__(
        self,
        subject: str,
        *,
        by: Signer | None = None,
        ca: bool = False,
        key: Any = None,
        serial: int | None = None,
        skid: bytes | None = None,
        start: datetime.datetime = START,
        end: datetime.datetime = END,
        signs: bool = True,
        algorithm: Any = None,
    ) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1()) if key is None else key
        self.name = _name(subject)
        public = self.key.public_key()
        if skid is None:
            identifier = x509.SubjectKeyIdentifier.from_public_key(public)
        else:
            identifier = x509.SubjectKeyIdentifier(skid)
        flags = dict.fromkeys(
            "content_commitment key_encipherment data_encipherment key_agreement encipher_only "
            "decipher_only".split(),
            False,
        )
        usage = x509.KeyUsage(
            digital_signature=not ca and signs, key_cert_sign=ca, crl_sign=ca, **flags
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(self.name if by is None else by.name)
            .public_key(public)
            .serial_number(next(_serials) if serial is None else serial)
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(identifier, critical=False)
        )
        if not ca:
            purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
            builder = builder.add_extension(purposes, critical=False)
        self.x509 = builder.sign((by or self).key, algorithm or hashes.SHA256())
        self.pem = self.x509.public_bytes(serialization.Encoding.PEM)
        self.key_pem = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        self.fingerprint = self.x509.fingerprint(hashes.SHA256()).hex()

    def options(self, directory: Path) -> list[str]:
        """For the command line: the key and the certificate, written to ``directory``."""
        stem = directory / self.fingerprint[:16]
        key, certificate = stem.with_suffix(".key"), stem.with_suffix(".pem")
        key.write_bytes(self.key_pem)
        certificate.write_bytes(self.pem)
        return [f"--key={key}", f"--cert={certificate}"]


class System:
    """The tree of a system: os-release, settings, certificates."""

    def __init__(self, top: Path, os_release: str = "ID=debian\nVERSION_ID=13\n") -> None:
        self.top = top
        self.put("usr/lib/os-release", os_release)
        self.link("etc/os-release", "../usr/lib/os-release")

    def put(self, path: str, data: str | bytes = b"") -> str:
        place = self.top / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data.encode() if isinstance(data, str) else data)
        return str(place)

    def link(self, path: str, target: str) -> str:
        place = self.top / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
        return str(place)

    def settings(self, text: str) -> None:
        self.put("etc/veriseal/veriseal.toml", text)

    def certificate(
        self,
        data: bytes | Signer,
        name: str = "release.pem",
        os_name: str = "debian:13",
        load_path: str = "usr/share/voa",
        purpose: str = "image",
    ) -> str:
        """Put a certificate to its place. Returns its path."""
        path = voa(name, os_name, load_path, purpose)
        return self.put(path, data.pem if isinstance(data, Signer) else data)

    def anchor(self, data: bytes | Signer, name: str = "root.pem", os_name: str = "debian") -> str:
        return self.certificate(data, name, os_name, purpose="trust-anchor-image")

    def mask(self, name: str, os_name: str = "debian:13", load_path: str = "etc/voa") -> str:
        return self.link(voa(name, os_name, load_path, "image"), "/dev/null")

    def remove(self, path: str) -> None:
        os.unlink(self.top / path.lstrip("/"))


def voa(name: str, os_name: str, load_path: str, purpose: str) -> str:
    return f"{load_path}/{os_name}/{purpose}/default/x509/{name}"


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
