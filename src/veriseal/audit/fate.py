"""What becomes of a file under a trust set. Pure.

Of several things that are wrong with a file the one comes first that changing trust cannot mend.
"""

from collections.abc import Iterable
from typing import NamedTuple

from veriseal.audit import look
from veriseal.audit.files import MANIFEST, MISSING, NOT_EXAMINED, FileState
from veriseal.digest import Digest
from veriseal.trust import signer
from veriseal.trust.model import TrustSet

OK = "ok"
NO_VERITY = "no-verity"
UNSIGNED = "unsigned"
NOT_TRUSTED = "not-trusted"
REVOKED = "revoked"
CHANGED = "changed"
DAMAGED = "damaged"
GONE = "missing"
UNKNOWN = "unknown"

KINDS = {
    NOT_TRUSTED: "signed by a certificate that does not count",
    REVOKED: "its digest is revoked",
    UNSIGNED: "has verity and no signature",
    NO_VERITY: "has no verity",
    CHANGED: "not the file that the manifest lists",
    DAMAGED: "its signature or its contents are damaged",
    GONE: "listed, and not there as a file",
    UNKNOWN: "could not be found out",
    OK: "keeps its trust",
}
"""Each fate with what it means, the gravest first."""

_DAMAGE = {
    "signature-mismatch": "its signature is not one of this file",
    "malformed-signature": "its signature is damaged",
    "corrupt": "it cannot be read as it was written",
}
_UNSEEN = {
    NOT_EXAMINED: "it is where nobody could look",
    look.UNREADABLE: "it could not be opened: run this as root",
    look.SPARSE: "it is hardly more than a hole, and was not read",
}
_COPY = "Replace it by a copy that is enabled with its signature: veriseal enable"
_SIGN = "Build the release again, or sign the file: veriseal sign"
_ENABLE = (
    "Enable it: veriseal enable; before a tree is enabled, name with --signatures what veriseal "
    "build wrote"
)
_INSTALL = "Install the file again from its release"


class Fate(NamedTuple):
    """What becomes of a file: one of `KINDS`, why (a clause), and a remedy."""

    kind: str
    why: str = ""
    remedy: str = ""


_FINE = Fate(OK)


class Judge:
    """Tells the fate of files under one trust set."""

    def __init__(
        self,
        trust: TrustSet,
        *,
        revoked: Iterable[Digest] = (),
        keyring: bool = True,
        to_be_enabled: bool = False,
        enrolled: Iterable[str] = (),
    ) -> None:
        """``revoked`` digests count beside those of ``trust``.

        ``enrolled`` are the SHA-256 of the certificates in the kernel's keyring now: where that
        refuses a file as signed by none of them, no promise of the manifest says otherwise.

        Without ``keyring`` the kernel looks at no signature: the manifest alone vouches for files.
        With ``to_be_enabled`` files without verity are taken as they will be with it.
        """
        self._trust = trust
        self._revoked = {*revoked, *trust.revoked}
        self._keyring = keyring
        self._to_be_enabled = to_be_enabled
        self._enrolled = frozenset(enrolled)
        self._counting = {one.certificate.fingerprint for one in trust.releases}
        self._signers: dict[str, Fate] = {}

    def of(self, state: FileState) -> Fate:
        """What becomes of the file ``state``."""
        if state.refused == MISSING:
            return Fate(GONE, "it is not there, or not a regular file", _INSTALL)
        if state.refused in _DAMAGE:
            return Fate(DAMAGED, _DAMAGE[state.refused], _INSTALL)
        if state.digest is not None and state.digest in self._revoked:
            return Fate(REVOKED, f"{state.digest} is revoked", "Install a release without it")
        if state.changed:
            return Fate(CHANGED, f"it is {state.digest}, which the list does not say", _INSTALL)
        if state.verity is False and not self._to_be_enabled:
            return Fate(NO_VERITY, "it has no fs-verity", _ENABLE)
        if state.signed is None and state.verity is None:
            return self._unseen(state)
        if not self._keyring:
            return _FINE
        if state.signed is False:
            if state.verity is False:
                return Fate(UNSIGNED, "there is no signature of its digest", _SIGN)
            return Fate(UNSIGNED, "it has fs-verity, and no signature", _COPY)
        promised = state.refused == "not-enrolled" and state.known_from == MANIFEST
        if promised and state.signer in self._enrolled:
            why = f"it is not signed by {state.named}, who is to have signed it, but by another"
            return Fate(NOT_TRUSTED, why, _INSTALL)
        if state.signer is not None:
            return self._signed_by(state.signer, state.os or "")
        if state.named is not None:
            why = f"it is signed by a certificate that nobody here knows: {state.named}"
            return Fate(NOT_TRUSTED, why, "Name the certificate with --cert to learn whose it is")
        return Fate(
            UNKNOWN,
            "the kernel shows no signature of it, and nothing else says whose it is",
            "Name what veriseal build wrote with --signatures, or use a kernel that shows it",
        )

    def _unseen(self, state: FileState) -> Fate:
        why = _UNSEEN.get(state.refused or "", f"it could not be looked at: {state.refused}")
        return Fate(UNKNOWN, why, "Run this where every file can be read")

    def _signed_by(self, fingerprint: str, os_name: str) -> Fate:
        fate = self._signers.get(fingerprint)
        if fate is None:
            fate = _FINE
            if fingerprint not in self._counting:
                why, remedy = signer.of_fingerprint(fingerprint, os_name, self._trust)
                fate = Fate(NOT_TRUSTED, why, remedy)
            self._signers[fingerprint] = fate
        return fate
