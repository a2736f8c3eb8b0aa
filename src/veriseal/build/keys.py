"""Private keys: made, written, read, and matched with their certificates."""

from collections.abc import Callable

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from veriseal.build import files
from veriseal.certificate import Certificate, key_bytes
from veriseal.errors import VerisealError
from veriseal.signature import PrivateKey

MAX_FILE_SIZE = 64 * 1024
"""Bytes of a PEM file."""

_MAKERS: dict[str, Callable[[], PrivateKey]] = {
    "rsa:2048": lambda: rsa.generate_private_key(65537, 2048),
    "rsa:3072": lambda: rsa.generate_private_key(65537, 3072),
    "rsa:4096": lambda: rsa.generate_private_key(65537, 4096),
    "ecdsa:p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ecdsa:p384": lambda: ec.generate_private_key(ec.SECP384R1()),
}
KEY_TYPES = tuple(_MAKERS)


def generate(key_type: str) -> PrivateKey:
    """A new key. ``key_type`` is one of `KEY_TYPES`."""
    return _MAKERS[key_type]()


def to_pem(key: PrivateKey, passphrase: bytes | None) -> bytes:
    """``key`` as PKCS #8 PEM, encrypted if there is a ``passphrase``."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


def load(path: str, passphrase: Callable[[], bytes | None]) -> PrivateKey:
    """The private key in the PEM file ``path``.

    ``passphrase`` is asked only if the key is encrypted; None means that there is none.

    Raises OSError, and VerisealError: ``not-a-key``, ``key-encrypted``, ``wrong-passphrase``,
    ``unsupported-key``.
    """
    data = files.read(path, MAX_FILE_SIZE)
    encrypted = b"ENCRYPTED" in data
    secret = passphrase() if encrypted else None
    if encrypted and not secret:
        raise VerisealError(
            "key-encrypted",
            "the private key is encrypted and there is no passphrase",
            path=path,
            remedy="Give it in a file, or run this on a terminal",
        )
    try:
        if len(data) > MAX_FILE_SIZE:
            raise ValueError
        key = serialization.load_pem_private_key(data, secret)
    except UnsupportedAlgorithm:
        raise _unsupported(path, "another kind of key") from None
    except (ValueError, TypeError, InternalError):
        if encrypted:
            raise VerisealError(
                "wrong-passphrase", "the passphrase does not open this key", path=path
            ) from None
        raise VerisealError(
            "not-a-key",
            "not a private key",
            path=path,
            expected="PEM",
            remedy="To convert: openssl pkey -in FILE -out NAME.key",
        ) from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise _unsupported(path, type(key).__name__.strip("_"))
    return key


def check_match(key: PrivateKey, key_path: str, certificate: Certificate) -> None:
    """Raise VerisealError (``key-mismatch``) unless ``key`` is that of ``certificate``."""
    if key_bytes(key.public_key()) != key_bytes(certificate.public_key):
        raise VerisealError(
            "key-mismatch",
            f"not the private key of {certificate.path}",
            path=key_path,
            expected=f"the key of {certificate.subject}",
            remedy="Give the two files that were made together",
        )


def _unsupported(path: str, found: str) -> VerisealError:
    return VerisealError(
        "unsupported-key",
        "the kernel's built-in signatures cannot use this key",
        path=path,
        expected=", ".join(KEY_TYPES),
        found=found,
    )
