"""Which trust anchors have signed a trust statement."""

from collections.abc import Iterable, Mapping, Sequence

from cryptography import x509

from veriseal import domain, merkle, signature
from veriseal.certificate import Certificate
from veriseal.digest import Digest
from veriseal.errors import VerisealError, some
from veriseal.trust import beside
from veriseal.trust.model import Anchor

REMEDY = (
    "Install the vendor's statement with its signature. It is made with: veriseal trust statement"
)
_CHANGED = (
    "If the statement or a signature was changed, install both again from their source. They are "
    "made with: veriseal trust statement"
)


def digest(data: bytes) -> Digest:
    """What the signatures of the statement ``data`` sign: its digest as a statement."""
    return merkle.data_digest(data, domain.STATEMENT)


def signers(
    data: bytes, signatures: Mapping[str, bytes | OSError], anchors: Sequence[Anchor], path: str
) -> list[Anchor]:
    """The ``anchors`` that have signed ``data``, the contents of ``path``: at least one.

    ``signatures`` are DER by file name, or why it could not be read. An anchor counts if its
    keyUsage has cRLSign, which `veriseal pki root` sets: to vouch is one thing, to revoke another.

    Raises VerisealError ``statement-not-signed`` saying what is wrong with each file.
    """
    whole = digest(data)
    able = [anchor for anchor in anchors if _may_revoke(anchor.certificate)]
    counted: list[Anchor] = []
    mistakes = [
        f"{anchor.certificate.subject} may not sign statements: no keyUsage cRLSign"
        for anchor in anchors
        if anchor not in able
    ]
    damaged = False
    for name, der in signatures.items():
        if isinstance(der, OSError):
            mistakes.append(f"{name}: {der.strerror}")
            continue
        try:
            counted += _signers(der, whole, able, name)
        except VerisealError as error:
            mistakes.append(error.without_remedy())
            damaged = damaged or error.reason != "not-enrolled"
    if not counted:
        raise VerisealError(
            "statement-not-signed",
            "the trust statement is not signed by a trust anchor that counts",
            path=path,
            expected=" or ".join(some([anchor.certificate.subject for anchor in able]))
            or "an anchor in the initrd: VOA purpose trust-anchor-image",
            found="; ".join(some(mistakes))
            or f"no signature beside it: {path}.NAME{beside.SUFFIX}",
            remedy=_CHANGED if damaged else REMEDY,
        )
    return counted


def _signers(der: bytes, whole: Digest, anchors: Iterable[Anchor], name: str) -> list[Anchor]:
    info = signature.inspect(der, name)
    # A stranger can give a certificate of his the names of an anchor, and one certificate can be
    # the anchor of several systems: each is tried.
    named = [anchor for anchor in anchors if info.names(anchor.certificate)]
    if not named:
        raise VerisealError(
            "not-enrolled", "signed by none of the anchors that count", path=name, found=info.signer
        )
    good, last = [], None
    for anchor in named:
        try:
            signature.check(info, whole, anchor.certificate, name)
            good.append(anchor)
        except VerisealError as error:
            last = error
    if last is not None and not good:
        raise last
    return good


def _may_revoke(anchor: Certificate) -> bool:
    try:
        return anchor.x509.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except x509.ExtensionNotFound:
        return False
