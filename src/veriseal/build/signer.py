"""Who makes signatures: a private key in a file, or a command that reaches a key elsewhere."""

import hashlib
import os

from asn1crypto import algos, cms, x509
from cryptography.hazmat.primitives.asymmetric import rsa

from veriseal import signature
from veriseal.certificate import Certificate
from veriseal.digest import Digest
from veriseal.errors import VerisealError
from veriseal.signature import PrivateKey

FAILED = "signer-failed"
"""The reason of every error of a `Command`: it is no fault of the file that was to be signed."""

TIMEOUT = 60.0
"""Seconds that a command may take for one signature."""

MAX_OUTPUT = 4096
"""Bytes: more than any raw signature."""


class Signer:
    """Signs with the private key of ``certificate``.

    Attributes:
        certificate: of the key.
    """

    def __init__(self, certificate: Certificate) -> None:
        self.certificate = certificate

    def sign(self, digest: Digest) -> bytes:
        """A built-in signature of ``digest``: DER. Raises VerisealError."""
        raise NotImplementedError


class Key(Signer):
    """Has the private key itself; it must be that of ``certificate``."""

    def __init__(self, key: PrivateKey, certificate: Certificate) -> None:
        super().__init__(certificate)
        self._key = key

    def sign(self, digest: Digest) -> bytes:
        """See `Signer.sign`."""
        return signature.make(digest, self._key, self.certificate)


class Command(Signer):
    """Has a command sign: its first word is the program, looked for in PATH; no shell is used.

    The command gets `to_be_signed` on standard input. It writes the raw signature to standard
    output and ends with status 0: PKCS #1 v1.5 for RSA, the DER pair for ECDSA, both as
    `openssl pkeyutl -sign` writes them. Several run at the same time.
    """

    def __init__(
        self, command: list[str], certificate: Certificate, timeout: float = TIMEOUT
    ) -> None:
        """``timeout`` is in seconds."""
        super().__init__(certificate)
        self._command = command
        self._timeout = timeout

    def sign(self, digest: Digest) -> bytes:
        """See `Signer.sign`. The signature is verified with the certificate before it is used.

        Raises VerisealError ``signer-failed``.
        """
        raw = self._run(to_be_signed(digest))
        der = assemble(raw, digest, self.certificate)
        try:
            signature.verify(der, digest, self.certificate)
        except VerisealError:
            raise self._failed(
                "what the signer wrote is not a signature of what it was given",
                expected=f"a raw signature by the key of {self.certificate.subject}",
                found=f"{len(raw)} bytes",
                remedy="Look at its key; see --signer in veriseal(1) for what it must write",
            ) from None
        return der

    def _run(self, data: bytes) -> bytes:
        import subprocess

        # What is written to files is there when the process ends: a child that it leaves behind
        # cannot keep a pipe open and this waiting.
        out, err = os.memfd_create("signature"), os.memfd_create("messages")
        # So few bytes fit into any pipe: a command that does not read them stops nobody.
        source, sink = os.pipe()
        try:
            os.write(sink, data)
            os.close(sink)
            process = subprocess.Popen(self._command, stdin=source, stdout=out, stderr=err)
            try:
                status = process.wait(self._timeout)
            except BaseException:
                process.kill()
                process.wait()
                raise
            raw = os.pread(out, MAX_OUTPUT + 1, 0)
            said = os.pread(err, MAX_OUTPUT, max(0, os.fstat(err).st_size - MAX_OUTPUT))
        except subprocess.TimeoutExpired:
            raise self._failed(f"the signer did not end within {self._timeout:.0f} s") from None
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise self._failed(f"the signer cannot be run: {why}") from None
        finally:
            for fd in (source, out, err):
                os.close(fd)
        lines = said.decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), None)
        if status != 0:
            how = f"with status {status}" if status > 0 else f"by signal {-status}"
            raise self._failed(f"the signer ended {how}", found=last)
        if not 0 < len(raw) <= MAX_OUTPUT:
            size = "nothing" if not raw else f"more than {MAX_OUTPUT} bytes"
            raise self._failed(f"the signer wrote {size}", found=last)
        return raw

    def _failed(
        self,
        problem: str,
        expected: str | None = None,
        found: str | None = None,
        remedy: str | None = None,
    ) -> VerisealError:
        return VerisealError(
            FAILED,
            problem,
            path=self._command[0],
            expected=expected,
            found=found,
            remedy=remedy,
        )


def to_be_signed(digest: Digest) -> bytes:
    """The hash of ``digest.formatted()`` with the digest's own algorithm: 32 or 64 raw bytes."""
    return hashlib.new(digest.algorithm.name, digest.formatted()).digest()


def assemble(raw: bytes, digest: Digest, certificate: Certificate) -> bytes:
    """The built-in signature of ``digest`` around the raw signature ``raw``: DER.

    For RSA the bytes are those of `signature.make`. ``raw`` is not verified.
    """
    name = digest.algorithm.name
    hashing = algos.DigestAlgorithm({"algorithm": name})
    is_rsa = isinstance(certificate.public_key, rsa.RSAPublicKey)
    signing = {"algorithm": "rsassa_pkcs1v15" if is_rsa else f"{name}_ecdsa"}
    identifier = cms.IssuerAndSerialNumber(
        {"issuer": x509.Name.load(certificate.issuer_der), "serial_number": certificate.serial}
    )
    signer = {
        "version": "v1",
        "sid": cms.SignerIdentifier({"issuer_and_serial_number": identifier}),
        "digest_algorithm": hashing,
        "signature_algorithm": signing,
        "signature": raw,
    }
    signed = {
        "version": "v1",
        "digest_algorithms": [hashing],
        "encap_content_info": {"content_type": "data"},
        "signer_infos": [signer],
    }
    made = cms.ContentInfo({"content_type": "signed_data", "content": cms.SignedData(signed)})
    return bytes(made.dump())
