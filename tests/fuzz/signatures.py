"""Targets: certificates, keys and signatures."""

import base64
import hashlib
import re
from typing import Any

from cryptography.hazmat.primitives import serialization

from tests.fuzz import oracles, samples, workplace
from tests.fuzz.contract import attempt, strict
from veriseal import certificate, chain, collisions, pem
from veriseal import signature as built_in
from veriseal.build import keys
from veriseal.certificate import Certificate
from veriseal.errors import VerisealError


def certificates(data: bytes) -> None:
    """One block, in DER; vouched for only as it was signed; no two are taken for one."""
    der = attempt(pem.one_certificate, data, "x.pem")
    if not isinstance(der, VerisealError):
        assert data.count(b"-----BEGIN ") == data.count(b"-----END ") == 1
        assert base64.b64decode(re.sub(rb"-----.*?-----|\s", b"", data)) == der
    for load in (certificate.load, certificate.load_root):
        found = attempt(load, data, "x.pem")
        if isinstance(found, VerisealError):
            continue
        assert found.der == der
        assert oracles.is_der(found.der)
        assert found.fingerprint == hashlib.sha256(found.der).hexdigest()
        assert found.serial > 0
        assert found.skid
        assert found.not_before.tzinfo is found.not_after.tzinfo is not None
        _vouched(found)
        _collisions(found)


def _vouched(found: Certificate) -> None:
    vouched = attempt(chain.check_issued_by, found, samples.root())
    if vouched is None:
        known = [samples.root(), samples.signer("rsa"), samples.signer("ec")]
        assert found.x509.tbs_certificate_bytes in [one.x509.tbs_certificate_bytes for one in known]


def _collisions(found: Certificate) -> None:
    other = samples.signer("rsa")
    separate = attempt(collisions.check, [other, found]) is None
    same_name = (found.issuer_der, found.serial) == (other.issuer_der, other.serial)
    same_key = certificate.key_bytes(found.public_key) == certificate.key_bytes(other.public_key)
    assert not (separate and (same_name or same_key or found.skid == other.skid))


def signature(data: bytes) -> None:
    """DER alone; and it verifies only with the bytes that the key's owner made."""
    info = attempt(built_in.inspect, data, "x.sig")
    accepted = not isinstance(info, VerisealError)
    if not isinstance(info, VerisealError):
        assert oracles.is_der(data)
        assert info.raw in data
        assert (info.skid is None) == (info.serial is not None) == (info.issuer_der is not None)
        assert info.signer
    if not accepted:
        for kind in ("rsa", "ec"):
            signer = samples.signer(kind)
            assert attempt(built_in.verify, data, samples.DIGEST, signer) is not None
        return
    for kind, original in (("rsa", samples.rsa_signature()), ("ec", samples.ec_signature())):
        signer = samples.signer(kind)
        verified = attempt(built_in.verify, data, samples.DIGEST, signer, "x.sig") is None
        if verified and not isinstance(info, VerisealError):
            assert info.raw == built_in.inspect(original).raw
            assert info.names(signer)
        for other in (samples.OTHER_DIGEST, samples.LONG_DIGEST):
            assert attempt(built_in.verify, data, other, signer, "x.sig") is not None


def private_key(data: bytes) -> None:
    """A key that is accepted can be written and is read as the same."""
    path = workplace.put("key", data)
    key = attempt(keys.load, path, lambda: b"passphrase")
    if isinstance(key, VerisealError):
        return
    with strict():
        again: Any = serialization.load_pem_private_key(keys.to_pem(key, None), None)
    assert certificate.key_bytes(again.public_key()) == certificate.key_bytes(key.public_key())
