"""What can be wrong with a certificate, of a release or of an authority: revoked, masked, dates."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from veriseal import chain
from veriseal.certificate import Certificate, key_bytes
from veriseal.trust import dates, model
from veriseal.trust.model import Ignored
from veriseal.trust.survey import Survey

if TYPE_CHECKING:
    from veriseal.trust.statement import Statement


class Held(NamedTuple):
    """A certificate, the file it was found in, and the VOA name it was found under."""

    os: str
    path: str
    certificate: Certificate


class Rules:
    """The rules of one system at one time.

    ``handling`` is the setting trust.dates, ``at`` in seconds since 1970. ``what_if`` are SHA-256
    of certificates that are taken as revoked, whatever the ``statement`` says.
    """

    def __init__(
        self,
        handling: str,
        at: int,
        found: Survey,
        statement: "Statement | None",
        what_if: Iterable[str] = (),
    ) -> None:
        self._handling = handling
        self._at = at
        self._masked = found.masked
        self._what_if = frozenset(what_if)
        self._revoked = set(self._what_if)
        if statement is not None:
            self._revoked |= set(statement.revoked_certificates)
        # A key that is revoked does not come back in another certificate.
        known = dict(found.keys)
        for release in () if statement is None else statement.releases:
            known |= {one.fingerprint: key_bytes(one.public_key) for one in release.certificates}
        self._keys = {known[one] for one in self._revoked if one in known}

    def keep(self, held: Iterable[Held], ignored: list[Ignored]) -> list[Held]:
        """Those that nothing is wrong with; the others are added to ``ignored``."""
        kept = []
        for one in held:
            wrong = self._wrong(one.certificate)
            if wrong is None:
                kept.append(one)
            else:
                ignored.append(Ignored(one.path, *wrong, one.os, one.certificate))
        return kept

    def path(
        self,
        one: Certificate,
        intermediates: Iterable[Certificate],
        anchors: Iterable[Certificate],
    ) -> tuple[Certificate, ...]:
        """As `chain.path`; of several paths, one whose dates are right, if there is any."""
        below, above = (
            sorted(authorities, key=lambda each: dates.judge(each, self._at) is not None)
            for authorities in (intermediates, anchors)
        )
        return chain.path(one, below, above)

    def warnings(self, path: Sequence[Certificate]) -> tuple[str, ...]:
        """What is odd about the dates of a certificate and of those above it."""
        said = []
        for one in path if self._handling == "warn" else ():
            clause = dates.judge(one, self._at)
            if clause is not None:
                said.append(clause if one is path[0] else f"{one.subject} ({one.path}) {clause}")
        return tuple(said)

    def _wrong(self, one: Certificate) -> tuple[str, str] | None:
        key = key_bytes(one.public_key)
        if one.fingerprint in self._revoked:
            if one.fingerprint in self._what_if:
                return model.REVOKED, "it would be revoked"
            return model.REVOKED, "revoked by the trust statement"
        if key in self._keys:
            by = "would be revoked" if self._what_if else "the statement revokes"
            return model.REVOKED, f"its key is that of a certificate which {by}"
        if key in self._masked:
            return model.MASKED, f"its key is that of {self._masked[key]}, which is masked"
        clause = dates.judge(one, self._at)
        if clause is None or self._handling != "enforce":
            return None
        return model.EXPIRED if dates.expired(one, self._at) else model.NOT_YET_VALID, clause
