"""KEYCTL_PKEY_VERIFY: the kernel checks a detached signature of which nothing is on a disk."""

import errno
import hashlib
import os
from collections.abc import Iterator

import pytest

from veriseal import signature
from veriseal.boot import composefs
from veriseal.digest import SHA256, SHA512, Algorithm, Digest
from veriseal.errors import VerisealError
from veriseal.kernel import keyring

from . import helpers
from .conftest import RELEASE_KEYS, USABLE_KEYS, Sealed
from .helpers import Signer

pytestmark = pytest.mark.kernel

ALGORITHMS = (SHA256, SHA512)


def some_digest(algorithm: Algorithm = SHA256) -> Digest:
    return Digest(algorithm, os.urandom(algorithm.size))


def sign(digest: Digest, signer: Signer) -> bytes:
    return signature.make(digest, signer.key, signer.certificate)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """The process keyring holds afterwards what it held before."""
    before = own_keys()
    yield
    assert own_keys() == before


def own_keys() -> list[int]:
    try:
        return keyring.contents(keyring.PROCESS_KEYRING)
    except OSError as error:
        if error.errno != errno.ENOKEY:
            raise
        return []


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=repr)
@pytest.mark.parametrize("name", RELEASE_KEYS)
def test_the_kernel_agrees(signers: dict[str, Signer], name: str, algorithm: Algorithm) -> None:
    signer, digest = signers[name], some_digest(algorithm)
    if name in USABLE_KEYS:
        composefs.kernel_agrees(signer.certificate, digest, sign(digest, signer))
        return
    with pytest.raises(VerisealError) as raised:
        composefs.kernel_agrees(signer.certificate, digest, sign(digest, signer))
    assert raised.value.reason == "kernel-cannot-verify"
    assert "CONFIG_CRYPTO_ECDSA" in str(raised.value.expected)


@pytest.mark.parametrize("name", USABLE_KEYS)
def test_the_kernel_disagrees_about_another_digest(signers: dict[str, Signer], name: str) -> None:
    signer = signers[name]
    with pytest.raises(VerisealError) as raised:
        composefs.kernel_agrees(signer.certificate, some_digest(), sign(some_digest(), signer))
    assert raised.value.reason == "kernel-disagrees"
    assert raised.value.found == "EKEYREJECTED"
    assert signer.certificate.subject in str(raised.value.expected)


@pytest.mark.parametrize("name", USABLE_KEYS)
def test_the_kernel_disagrees_about_another_key(
    signers: dict[str, Signer], stranger: Signer, name: str
) -> None:
    digest = some_digest()
    with pytest.raises(VerisealError) as raised:
        composefs.kernel_agrees(stranger.certificate, digest, sign(digest, signers[name]))
    assert raised.value.reason == "kernel-disagrees"


def raw(digest: Digest) -> bytes:
    return hashlib.sha256(digest.formatted()).digest()


@pytest.mark.parametrize("name", USABLE_KEYS)
@pytest.mark.parametrize("garbage", [b"", b"\0", b"\xff" * 512, b"\x30\x06\x02\x01\0\x02\x01\0"])
def test_garbage_is_no_signature(signers: dict[str, Signer], name: str, garbage: bytes) -> None:
    key = keyring.add_certificate(signers[name].certificate.der)
    how = "enc=pkcs1 hash=sha256" if name.startswith("rsa") else "enc=x962 hash=sha256"
    try:
        with pytest.raises(OSError, match="keyctl pkey_verify") as raised:
            keyring.pkey_verify(key, how, raw(some_digest()), garbage)
    finally:
        keyring.unlink(key, keyring.PROCESS_KEYRING)
    known = (errno.EKEYREJECTED, errno.EBADMSG, errno.EINVAL, errno.EOVERFLOW)
    assert raised.value.errno in known


@pytest.mark.parametrize(
    ("how", "number"),
    [
        ("enc=pkcs1 hash=sha512", (errno.EBADMSG, errno.EKEYREJECTED, errno.EINVAL)),
        ("enc=pkcs1 hash=none-such", (errno.ENOPKG, errno.EINVAL, errno.ENOENT)),
        ("enc=none-such hash=sha256", (errno.ENOPKG, errno.EINVAL)),
    ],
)
def test_a_good_signature_under_another_name(
    rsa: Signer, how: str, number: tuple[int, ...]
) -> None:
    digest = some_digest()
    info = signature.inspect(sign(digest, rsa))
    key = keyring.add_certificate(rsa.certificate.der)
    try:
        with pytest.raises(OSError, match="keyctl pkey_verify") as raised:
            keyring.pkey_verify(key, how, raw(digest), info.raw)
    finally:
        keyring.unlink(key, keyring.PROCESS_KEYRING)
    print(how, raised.value)
    assert raised.value.errno in number


def test_a_key_that_is_none() -> None:
    with pytest.raises(OSError, match="keyctl pkey_verify") as raised:
        keyring.pkey_verify(0x7FFFFFF0, "enc=pkcs1 hash=sha256", bytes(32), bytes(256))
    assert raised.value.errno == errno.ENOKEY


@pytest.mark.parametrize("name", USABLE_KEYS)
def test_after_the_seal_a_key_of_ones_own_serves(
    sealed: Sealed, signers: dict[str, Signer], name: str
) -> None:
    digest = some_digest()
    composefs.kernel_agrees(signers[name].certificate, digest, sign(digest, signers[name]))
    with pytest.raises(VerisealError) as raised:
        composefs.kernel_agrees(
            signers[name].certificate, digest, sign(some_digest(), signers[name])
        )
    assert raised.value.reason == "kernel-disagrees"


def test_after_the_seal_nobody_can_use_the_enrolled_keys(sealed: Sealed, rsa: Signer) -> None:
    digest = some_digest()
    info = signature.inspect(sign(digest, rsa))
    keys = {key["fingerprint"]: key["serial"] for key in sealed.report["kernel_keyring"]["keys"]}
    serial = keys[rsa.certificate.fingerprint]

    def act() -> None:
        keyring.pkey_verify(serial, "enc=pkcs1 hash=sha256", raw(digest), info.raw)

    assert helpers.outcome(act) == "EACCES"
