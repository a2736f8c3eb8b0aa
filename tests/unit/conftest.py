"""What the unit tests share: the command line in-process, keys, certificates of any shape."""

import datetime
import itertools
import os
import posix
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from veriseal.cli.main import main

USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@pytest.fixture
def cli(capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., tuple[int, bytes, str]]:
    """Run ``veriseal ARGS``: status, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, bytes, str]:
        capfdbinary.readouterr()
        try:
            status = main(list(arguments))
        except SystemExit as end:  # argparse
            status = int(end.code or 0)
        out, err = capfdbinary.readouterr()
        text = err.decode()
        assert "Traceback" not in text
        return status, out, text

    return run


@pytest.fixture(scope="session")
def fsverity() -> str:
    """The real tool. A machine without it fails these tests rather than skipping them."""
    path = shutil.which("fsverity")
    assert path is not None, "fsverity is not installed (package fsverity or fsverity-utils)"
    return path


@pytest.fixture(scope="session")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="session")
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="session")
def key_pem() -> Callable[[Any], bytes]:
    def pem(key: Any) -> bytes:
        result: bytes = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return result

    return pem


@pytest.fixture(scope="session")
def certify() -> Callable[..., bytes]:
    """Make a PEM certificate; without arguments beyond the key, one that passes every check."""
    serials = itertools.count(1000)

    def make(
        key: Any,
        *,
        subject: str | x509.Name = "Acme release fedora:43",
        issuer: str | x509.Name | None = None,
        signer: Any = None,
        serial: int | None = None,
        ca: bool | None = False,
        usages: tuple[str, ...] | None = ("digital_signature",),
        purposes: tuple[x509.ObjectIdentifier, ...] | None = (ExtendedKeyUsageOID.CODE_SIGNING,),
        skid: bytes | None | bool = True,
        algorithm: Any = hashes.SHA256(),  # noqa: B008
        extra: tuple[x509.UnrecognizedExtension, ...] = (),
        year: int = 2026,
    ) -> bytes:
        start = datetime.datetime(year, 1, 1, tzinfo=datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(_name(issuer or subject))
            .public_key(key.public_key())
            .serial_number(next(serials) if serial is None else serial)
            .not_valid_before(start)
            .not_valid_after(start + datetime.timedelta(days=3650))
        )
        if ca is not None:
            builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
        if usages is not None:
            chosen = {name: name in usages for name in USAGES}
            builder = builder.add_extension(x509.KeyUsage(**chosen), critical=True)
        if purposes is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        if skid is True:
            identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
            builder = builder.add_extension(identifier, critical=False)
        elif isinstance(skid, bytes):
            builder = builder.add_extension(x509.SubjectKeyIdentifier(skid), critical=False)
        for extension in extra:
            builder = builder.add_extension(extension, critical=True)
        made = builder.sign(signer or key, algorithm)
        return made.public_bytes(serialization.Encoding.PEM)

    return make


@pytest.fixture
def signer(
    tmp_path: Path, rsa_key: Any, certify: Callable[..., bytes], key_pem: Callable[[Any], bytes]
) -> list[str]:
    """The options that name a key and its certificate."""
    directory = tmp_path / "signer"
    directory.mkdir()
    (directory / "key").write_bytes(key_pem(rsa_key))
    (directory / "cert").write_bytes(certify(rsa_key))
    return [f"--key={directory / 'key'}", f"--cert={directory / 'cert'}"]


DYNAMIC_TAGS = {"needed": 1, "soname": 14, "rpath": 15, "runpath": 29}
DYNAMIC_TAGS |= {"auxiliary": 0x7FFFFFFD, "filter": 0x7FFFFFFF}
DYNAMIC_TAGS |= {"audit": 0x6FFFFEFC, "depaudit": 0x6FFFFEFB}


@pytest.fixture(scope="session")
def elf_file() -> Callable[..., bytes]:
    """Make an ELF file: headers, PT_INTERP, a dynamic segment and its strings, nothing else."""

    def make(
        *tags: tuple[str, bytes],
        interpreter: bytes | None = None,
        kind: int = 3,  # ET_DYN
        machine: int = 62,
        bits: int = 64,
        order: str = "<",
        flags_1: int = 0,
        dynamic: bool = True,
        tail: bytes = b"",
    ) -> bytes:
        head = struct.Struct(order + ("16sHHIQQQIHHHHHH" if bits == 64 else "16sHHIIIIIHHHHHH"))
        segment = struct.Struct(order + ("IIQQQQQQ" if bits == 64 else "IIIIIIII"))
        tag = struct.Struct(order + ("qQ" if bits == 64 else "iI"))
        strings, values = b"\0", []
        for which, text in tags:
            values.append((DYNAMIC_TAGS[which], len(strings)))
            strings += text + b"\0"
        count = 1 + dynamic + (interpreter is not None)
        table = head.size + count * segment.size
        at = table + (len(values) + 3) * tag.size
        values += [(5, at), (0x6FFFFFFB, flags_1), (0, 0)]
        data = b"".join(tag.pack(*one) for one in values) + strings
        name = b"" if interpreter is None else interpreter + b"\0"

        def header(which: int, offset: int, size: int) -> bytes:
            if bits == 64:
                return segment.pack(which, 5, offset, offset, offset, size, size, 8)
            return segment.pack(which, offset, offset, offset, size, size, 5, 8)

        segments = header(1, 0, table + len(data) + len(name))
        if dynamic:
            segments += header(2, table, len(values) * tag.size)
        if interpreter is not None:
            segments += header(3, table + len(data), len(name))
        ident = bytes([0x7F, *b"ELF", 2 if bits == 64 else 1, 1 if order == "<" else 2, 1])
        start = head.pack(
            *(ident, kind, machine, 1, 0, head.size, 0, 0, head.size, segment.size, count),
            *(0, 0, 0),
        )
        return start + segments + data + name + tail

    return make


@pytest.fixture(scope="module")
def own_files_are_roots() -> Iterator[None]:
    """The owner of what a test writes is taken for root, whoever runs it."""
    real = os.fstat
    mine = os.geteuid()

    def as_root(fd: int) -> os.stat_result:
        fields = list(real(fd))
        fields[4] = 0 if fields[4] == mine else fields[4]
        return os.stat_result(fields)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(posix, "fstat", as_root)
        yield


def _name(text: str | x509.Name) -> x509.Name:
    if isinstance(text, x509.Name):
        return text
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
