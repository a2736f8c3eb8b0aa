"""What is said of the certificate whose signature does not count."""

from collections.abc import Callable
from typing import Any

import pytest

from veriseal import certificate
from veriseal.certificate import Certificate
from veriseal.trust import model, signer
from veriseal.trust.model import Ignored, Release, TrustSet

pytestmark = pytest.mark.unit

REASONS = (
    *(model.OUTSIDE, model.MASKED, model.REVOKED, model.NOT_VOUCHED, model.EXPIRED),
    *(model.NOT_YET_VALID, model.NOT_IN_INITRD, model.NOT_IN_STATEMENT, model.NOT_ENROLLED),
)


@pytest.fixture(scope="module")
def own(certify: Callable[..., bytes], rsa_key: Any) -> Certificate:
    return certificate.load(certify(rsa_key), "/own.pem")


@pytest.fixture(scope="module")
def other(certify: Callable[..., bytes], ec_key: Any) -> Certificate:
    return certificate.load(certify(ec_key, subject="Acme release debian:12"), "/other.pem")


def trusting(own: Certificate, *ignored: Ignored) -> TrustSet:
    return TrustSet([Release("debian:13", own)], list(ignored), [], {"debian:13": "current"})


def ask(cert: Certificate, trust: TrustSet) -> list[tuple[str, str] | None]:
    """Both ways to ask: for a file and for a manifest."""
    return [
        signer.of_fingerprint(cert.fingerprint, "debian:12", trust),
        signer.of_manifest(lambda one: one.der == cert.der, "debian:12", trust),
    ]


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_has_a_remedy_of_its_own(
    own: Certificate, other: Certificate, reason: str
) -> None:
    trust = trusting(own, Ignored("/other.pem", reason, "the reason", "debian:12", other))
    for said in ask(other, trust):
        assert said is not None
        clause, remedy = said
        assert clause == (
            "its certificate /other.pem (CN=Acme release debian:12) does not count: the reason"
        )
        assert remedy != "Put that in order and rebuild the initrd"


def test_a_certificate_that_is_nowhere(own: Certificate, other: Certificate) -> None:
    for said in ask(other, trusting(own, Ignored("/readme", model.UNUSABLE, "no name"))):
        assert said is not None
        assert said[0] == "its certificate is not in the initrd"
        assert "/usr/share/voa/debian:12/image/default/x509" in said[1]


def test_a_certificate_that_counts_though_a_copy_of_it_does_not(own: Certificate) -> None:
    copy = Ignored("/copy.pem", model.REPEATED, "the same certificate", "debian", own)
    file, manifest = ask(own, trusting(own, copy))
    assert file is not None
    assert "another signature" in file[0]
    assert manifest is None
