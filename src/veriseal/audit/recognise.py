"""By whom a built-in signature is, of all the certificates that are known, counting or not.

The signatures of one signer differ only in their last bytes. Each kind is parsed once, strictly;
what has the same bytes before the signature itself has the same structure.
"""

from collections.abc import Iterable
from typing import NamedTuple

from veriseal import signature
from veriseal.certificate import Certificate
from veriseal.digest import Digest
from veriseal.errors import VerisealError
from veriseal.signature import SignatureInfo

_MOST_KINDS = 64
"""Kept, of one length. Who has the disk can make each signature another kind."""


class Signer(NamedTuple):
    """What a signature comes to.

    Attributes:
        fingerprint: of the certificate that made it; None if no known certificate did.
        named: how it names its signer, where no known certificate made it.
        mistake: ``malformed-signature``, or ``signature-mismatch`` if it names a known certificate
            that did not make it.
    """

    fingerprint: str | None = None
    named: str | None = None
    mistake: str | None = None


class _Kind(NamedTuple):
    start: bytes
    info: SignatureInfo
    certificates: list[Certificate]


class Recogniser:
    """Knows certificates, also those that do not count and those that share an identifier."""

    def __init__(self, certificates: Iterable[Certificate]) -> None:
        self._certificates = list({one.fingerprint: one for one in certificates}.values())
        self._kinds: dict[int, list[_Kind]] = {}

    def signer(self, der: bytes, digest: Digest) -> Signer:
        """By whom ``der`` is, and whether it is a signature of ``digest``."""
        try:
            kind = self._kind(der)
        except VerisealError as error:
            return Signer(mistake=error.reason)
        info = kind.info.with_raw(der[len(kind.start) :])
        for certificate in kind.certificates:
            try:
                signature.check(info, digest, certificate)
                return Signer(certificate.fingerprint)
            except VerisealError:
                continue
        return Signer(
            named=info.signer, mistake="signature-mismatch" if kind.certificates else None
        )

    def _kind(self, der: bytes) -> _Kind:
        known = self._kinds.setdefault(len(der), [])
        for kind in known:
            if der.startswith(kind.start):
                return kind
        info = signature.inspect(der)
        # DER ends with the signature itself, for `inspect` takes no attributes, which would follow.
        kind = _Kind(
            der[: len(der) - len(info.raw)],
            info,
            [one for one in self._certificates if info.names(one)],
        )
        if len(known) < _MOST_KINDS:
            known.append(kind)
        return kind
