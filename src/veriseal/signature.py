"""Built-in signatures: detached PKCS#7 over the kernel's formatted digest.

DER, one signer, no attributes, no certificates, no content; the hash is that of the digest.
For RSA the bytes are those of `fsverity sign` and `rpmsign --signverity`.

Used in the initrd. Source: Documentation/filesystems/fsverity.rst ("Built-in signature
verification"), crypto/asymmetric_keys/pkcs7_parser.c, RFC 2315, RFC 5652.
"""

from asn1crypto import cms, core, x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from veriseal.certificate import MAX_NAME_LENGTH, Certificate
from veriseal.digest import MAX_SIGNATURE_SIZE, Digest
from veriseal.errors import VerisealError, shortened

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
_OPTIONS = [
    pkcs7.PKCS7Options.Binary,
    pkcs7.PKCS7Options.DetachedSignature,
    pkcs7.PKCS7Options.NoAttributes,
    pkcs7.PKCS7Options.NoCerts,
]


class SignatureInfo:
    """What a built-in signature says of itself. Nothing of it is verified.

    Attributes:
        issuer_der, serial: the signer's certificate; None if it is named by ``skid``.
        issuer: RFC 4514-like text of ``issuer_der``, its start if it is long, or None.
        skid: the signer's subject key identifier; None if it is named by issuer and serial.
        digest_algorithm: ``sha256``, ``sha384`` or ``sha512``: what is hashed before signing.
        signature_algorithm: ``rsa`` or ``ecdsa``.
        raw: the signature itself: PKCS #1 v1.5, or the DER pair of ECDSA.
    """

    __slots__ = (
        "digest_algorithm",
        "issuer",
        "issuer_der",
        "raw",
        "serial",
        "signature_algorithm",
        "skid",
    )

    def __init__(
        self,
        signer: tuple[bytes, int, str] | bytes,
        digest_algorithm: str,
        signature_algorithm: str,
        raw: bytes,
    ) -> None:
        self.issuer_der: bytes | None = None
        self.serial: int | None = None
        self.issuer: str | None = None
        self.skid: bytes | None = None
        if isinstance(signer, bytes):
            self.skid = signer
        else:
            self.issuer_der, self.serial, self.issuer = signer
        self.digest_algorithm = digest_algorithm
        self.signature_algorithm = signature_algorithm
        self.raw = raw

    @property
    def signer(self) -> str:
        """The signer for a message: issuer and serial, or key identifier, in hex."""
        if self.serial is not None:
            return f"issuer {self.issuer}, serial {self.serial:x}"
        return f"key identifier {(self.skid or b'').hex()}"

    def with_raw(self, raw: bytes) -> "SignatureInfo":
        """The same with another signature itself."""
        named: tuple[bytes, int, str] | bytes = self.skid or b""
        if self.issuer_der is not None and self.serial is not None and self.issuer is not None:
            named = (self.issuer_der, self.serial, self.issuer)
        return SignatureInfo(named, self.digest_algorithm, self.signature_algorithm, raw)

    def names(self, certificate: Certificate) -> bool:
        """Whether the signature says that it is by ``certificate``."""
        if self.skid is not None:
            return self.skid == certificate.skid
        return (self.issuer_der, self.serial) == (certificate.issuer_der, certificate.serial)


def make(digest: Digest, key: PrivateKey, certificate: Certificate) -> bytes:
    """A built-in signature of ``digest``: DER. ``key`` must be that of ``certificate``."""
    algorithm = _HASHES[digest.algorithm.name]
    if not isinstance(algorithm, hashes.SHA256 | hashes.SHA512):
        raise VerisealError("bad-algorithm", "no signature hash for this digest", found=digest)
    return (
        pkcs7.PKCS7SignatureBuilder()
        .set_data(digest.formatted())
        .add_signer(certificate.x509, key, algorithm)
        .sign(Encoding.DER, _OPTIONS)
    )


def inspect(der: bytes, path: str | None = None) -> SignatureInfo:
    """Parse a built-in signature, strictly; ``path`` is for the error alone.

    Strictly: DER with nothing behind it, at most `MAX_SIGNATURE_SIZE` bytes, one signer, no
    content, no attributes, no certificates or revocation lists. The kernel would take some of
    these.

    Raises VerisealError (``malformed-signature``).
    """
    if not 0 < len(der) <= MAX_SIGNATURE_SIZE:
        raise _malformed(path, f"1 to {MAX_SIGNATURE_SIZE} bytes", f"{len(der)} bytes")
    try:
        outer = cms.ContentInfo.load(der, strict=True)
        # Parses everything and writes it again: only DER comes back the same.
        if outer.dump(force=True) != der:
            raise _malformed(path, "DER", "another encoding")
        if outer["content_type"].native != "signed_data":
            raise _malformed(path, "signed data", outer["content_type"].native)
        return _signer_of(outer["content"], path)
    except VerisealError:
        raise
    except RecursionError:
        raise _malformed(path, "PKCS#7 signed data in DER", "deep nesting") from None
    except Exception as error:
        # asn1crypto raises whatever comes up: ValueError, IndexError, AttributeError...
        raise _malformed(path, "PKCS#7 signed data in DER", str(error).split("\n")[0]) from None


def verify(der: bytes, digest: Digest, certificate: Certificate, path: str | None = None) -> None:
    """Raise VerisealError unless ``der`` is a signature of ``digest`` by ``certificate``.

    Reasons: ``malformed-signature``; ``other-signer`` when it names another certificate;
    ``signature-mismatch`` when it is not a signature of this digest.
    """
    check(inspect(der, path), digest, certificate, path)


def check(
    info: SignatureInfo, digest: Digest, certificate: Certificate, path: str | None = None
) -> None:
    """As `verify`, for a signature that was parsed. Raises VerisealError as that does."""
    if not info.names(certificate):
        raise VerisealError(
            "other-signer",
            "signed by another certificate",
            path=path,
            expected=f"issuer {certificate.issuer}, serial {certificate.serial:x}",
            found=info.signer,
        )
    algorithm = _HASHES[info.digest_algorithm]
    key = certificate.public_key
    try:
        if isinstance(key, rsa.RSAPublicKey) and info.signature_algorithm == "rsa":
            key.verify(info.raw, digest.formatted(), padding.PKCS1v15(), algorithm)
        elif not isinstance(key, rsa.RSAPublicKey) and info.signature_algorithm == "ecdsa":
            key.verify(info.raw, digest.formatted(), ec.ECDSA(algorithm))
        else:
            raise InvalidSignature
    except (InvalidSignature, ValueError):
        raise VerisealError(
            "signature-mismatch",
            f"not a signature of {digest} by {certificate.subject} ({certificate.path})",
            path=path,
            remedy="Sign this very file again: veriseal sign",
        ) from None


def _signer_of(signed: cms.SignedData, path: str | None) -> SignatureInfo:
    content = signed["encap_content_info"]
    if content["content_type"].native != "data" or not _absent(content["content"]):
        raise _malformed(path, "detached data", "content, or content of another type")
    if not _absent(signed["certificates"]) or not _absent(signed["crls"]):
        raise _malformed(path, "neither certificates nor revocation lists", "some")
    if len(signed["signer_infos"]) != 1:
        raise _malformed(path, "one signer", f"{len(signed['signer_infos'])}")
    signer = signed["signer_infos"][0]
    if not _absent(signer["signed_attrs"]) or not _absent(signer["unsigned_attrs"]):
        raise _malformed(path, "no attributes", "attributes")

    digest_algorithm = str(signer["digest_algorithm"]["algorithm"].native)
    announced = [str(one["algorithm"].native) for one in signed["digest_algorithms"]]
    if digest_algorithm not in _HASHES or announced != [digest_algorithm]:
        raise _malformed(path, "SHA-256, SHA-384 or SHA-512", f"{announced}, {digest_algorithm}")
    method = str(signer["signature_algorithm"]["algorithm"].native)
    algorithms = {"rsassa_pkcs1v15": "rsa", f"{digest_algorithm}_ecdsa": "ecdsa"}
    if method not in algorithms:
        raise _malformed(path, f"{' or '.join(algorithms)} with {digest_algorithm}", method)

    versions = (signed["version"].native, signer["version"].native)
    identifier = signer["sid"].chosen
    named: tuple[bytes, int, str] | bytes
    if signer["sid"].name == "issuer_and_serial_number" and versions == ("v1", "v1"):
        issuer = identifier["issuer"]
        named = (issuer.dump(), int(identifier["serial_number"].native), _text(issuer))
    elif signer["sid"].name == "subject_key_identifier" and versions == ("v3", "v3"):
        named = bytes(identifier.native)
    else:
        raise _malformed(path, "the version that goes with the signer's name", versions)
    return SignatureInfo(named, digest_algorithm, algorithms[method], signer["signature"].native)


def _text(name: x509.Name) -> str:
    # A stranger writes it, up to the size of a signature, and many are shown at once.
    return shortened(str(name.human_friendly), MAX_NAME_LENGTH)


def _absent(field: object) -> bool:
    return isinstance(field, core.Void)


def _malformed(path: str | None, expected: str, found: object) -> VerisealError:
    return VerisealError(
        "malformed-signature",
        "not a built-in signature",
        path=path,
        expected=expected,
        found=found,
        remedy="Sign the file again: veriseal sign",
    )
