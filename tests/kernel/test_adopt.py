"""A keyring as systemd-keyring-setup leaves it, with the kernel's own restriction.

The `.fs-verity` keyring can be sealed once in a boot, and other tests need it: this one is another
with the same permissions, and nothing of the kernel goes by it. The boot tier does the same with
the real one.
"""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from veriseal.boot import adopt, handed, seal, throwaway
from veriseal.build import keys
from veriseal.errors import VerisealError
from veriseal.kernel import keyring, sysctl
from veriseal.trust.model import Release, TrustSet

from . import helpers
from .helpers import Signer

pytestmark = pytest.mark.kernel

_lib = ctypes.CDLL("libkeyutils.so.1", use_errno=True)
_lib.add_key.restype = ctypes.c_int32

CHAIN = b"key_or_keyring:0:chain"


def checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """An empty keyring that is taken for `.fs-verity`; the sysctl is not set for it."""
    made = checked(
        _lib.add_key(b"keyring", b"veriseal-test", None, 0, ctypes.c_int32(keyring.PROCESS_KEYRING))
    )
    required: list[bool] = []
    monkeypatch.setattr(keyring, "fs_verity_keyring", lambda: made)
    monkeypatch.setattr(sysctl, "require_signatures", lambda: required.append(True))
    monkeypatch.setattr(sysctl, "read_require_signatures", lambda: bool(required))
    yield made
    monkeypatch.undo()
    keyring.unlink(made, keyring.PROCESS_KEYRING)


Fill = Callable[..., None]


@pytest.fixture
def fill(ring: int) -> Fill:
    def call(*signers: Signer, restriction: bytes | None = CHAIN, mask: int = 0x08070000) -> None:
        for one in signers:
            keyring.add_certificate(one.certificate.der, ring)
        if restriction is None:
            keyring.restrict(ring)
        elif restriction:
            checked(_lib.keyctl_restrict_keyring(ring, b"asymmetric", restriction))
        keyring.set_permissions(ring, mask)

    return call


def trusted(*signers: Signer) -> TrustSet:
    releases = [Release("debian:13", one.certificate) for one in signers]
    return TrustSet(releases, [], [], {"debian:13": "current"})


def take(*signers: Signer) -> seal.Sealed:
    return adopt.adopt(trusted(*signers), lambda *_: None)


def refused(*signers: Signer) -> VerisealError:
    with pytest.raises(VerisealError) as caught:
        take(*signers)
    assert not sysctl.read_require_signatures()
    return caught.value


def test_it_is_taken_over_as_what_it_is(ring: int, fill: Fill, rsa: Signer) -> None:
    fill(rsa)
    assert adopt.is_sealed_by_another()
    sealed = take(rsa)
    assert (sealed.by, sealed.takes) == (seal.OTHER, seal.VOUCHED)
    assert [one.fingerprint for one in sealed.keys] == [rsa.certificate.fingerprint]
    assert keyring.contents(ring) == [sealed.keys[0].serial]


def test_what_an_enrolled_key_has_signed_is_still_taken_and_is_noticed(
    ring: int, fill: Fill, rsa: Signer
) -> None:
    fill(rsa)
    sealed = take(rsa)
    # The kernel asks for no basicConstraints there: the release's own key will do.
    own = rsa.certificate.x509
    new = keys.generate("rsa:2048")
    builder = (
        x509.CertificateBuilder()
        .subject_name(own.issuer)
        .issuer_name(own.subject)
        .public_key(new.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(throwaway._NOT_BEFORE)
        .not_valid_after(throwaway._NOT_AFTER)
        .add_extension(
            x509.AuthorityKeyIdentifier(rsa.certificate.skid, None, None), critical=False
        )
    )
    below = builder.sign(rsa.key, own.signature_hash_algorithm)
    keyring.add_certificate(below.public_bytes(Encoding.DER), ring)
    with pytest.raises(VerisealError) as caught:
        seal.read_back(sealed)
    assert caught.value.reason == "read-back-failed"


def test_the_other_restriction(fill: Fill, rsa: Signer) -> None:
    fill(rsa, restriction=None)
    assert take(rsa).takes == seal.NOTHING


def test_permissions_without_a_restriction(ring: int, fill: Fill, rsa: Signer) -> None:
    fill(rsa, restriction=b"")
    assert refused(rsa).reason == "restrict-failed"
    assert len(keyring.contents(ring)) == 1


def test_no_key(fill: Fill, rsa: Signer) -> None:
    fill()
    error = refused(rsa)
    assert (error.reason, error.found) == ("sealed-by-another", "an empty keyring")


def test_a_strangers_key(fill: Fill, rsa: Signer, stranger: Signer) -> None:
    fill(rsa, stranger)
    assert refused(rsa).reason == "unknown-keys"


def test_keys_that_nobody_can_list(fill: Fill, rsa: Signer) -> None:
    fill(rsa, mask=0x08010000)
    error = refused(rsa)
    assert (error.reason, error.found) == ("sealed-by-another", "permissions 0x08010000")


def test_a_key_that_replaced_another_has_the_same_name(ring: int, fill: Fill, rsa: Signer) -> None:
    """Why nothing is adopted where somebody could hand in a certificate."""
    keyring.add_certificate(rsa.certificate.der, ring)
    (before,) = keyring.contents(ring)
    name = keyring.describe(before).description
    own = rsa.certificate.x509
    other = keys.generate("rsa:2048")
    twin = (
        x509.CertificateBuilder()
        .subject_name(own.subject)
        .issuer_name(own.issuer)
        .public_key(other.public_key())
        .serial_number(own.serial_number)
        .not_valid_before(throwaway._NOT_BEFORE)
        .not_valid_after(throwaway._NOT_AFTER)
        .add_extension(x509.SubjectKeyIdentifier(rsa.certificate.skid), critical=False)
        .sign(other, own.signature_hash_algorithm)
    )
    keyring.add_certificate(twin.public_bytes(Encoding.DER), ring)
    (after,) = keyring.contents(ring)
    assert after != before
    assert keyring.describe(after).description == name
    fill()
    path = f"{handed.CREDENTIALS}/@veriseal-test/{handed.PREFIX}fs-verity.acme"
    helpers.write(path, b"")
    try:
        assert path in str(refused(rsa).found)
    finally:
        os.unlink(path)
        with suppress(OSError):
            os.rmdir(os.path.dirname(path))
