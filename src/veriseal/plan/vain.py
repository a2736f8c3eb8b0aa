"""What a question asks to revoke and nothing has: a slip in a copied name, most likely. Pure."""

from collections.abc import Iterator

from veriseal.plan.question import Question
from veriseal.tree.listed import Listed
from veriseal.trust.finding import WARNING, Finding
from veriseal.trust.model import TrustSet

REVOKES_NOTHING = "revokes-nothing"


def certificates(question: Question, now: TrustSet | None, then: TrustSet) -> Iterator[Finding]:
    """The certificates to revoke that neither system has, wherever and whether it counts or not."""
    known: set[str] = set()
    for trust in (then,) if now is None else (now, then):
        known |= {one.certificate.fingerprint for one in trust.releases}
        known |= {one.certificate.fingerprint for one in trust.anchors}
        known |= {one.certificate.fingerprint for one in trust.ignored if one.certificate}
    for fingerprint, given in question.revoked.items():
        if fingerprint not in known:
            yield _vain(
                f"--revoke-cert {given}: no certificate that is here has the SHA-256 {fingerprint}",
                "Compare it with: veriseal trust show",
            )


def digests(question: Question, listed: Listed) -> Iterator[Finding]:
    """The digests to revoke that no file of the manifest has."""
    known = set(listed.digests.values())
    for one in question.digests:
        if one not in known:
            text = f"--revoke-digest {one}: no file that the manifest lists has it"
            yield _vain(text, "Compare it with: veriseal digest FILE")


def _vain(text: str, remedy: str) -> Finding:
    problem = f"{text}, so revoking it changes nothing here"
    return Finding(WARNING, REVOKES_NOTHING, problem, None, remedy)
