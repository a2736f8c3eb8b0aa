"""What decides about the order of steps, out of what the plan has found."""

import contextlib
import os

from veriseal import manifest as statement
from veriseal import signers
from veriseal.errors import VerisealError
from veriseal.plan import lost, ondisk, ring, side
from veriseal.plan.lost import Lost
from veriseal.plan.question import Question
from veriseal.plan.side import Side
from veriseal.plan.steps import Situation, Version, Wanted
from veriseal.tree import source
from veriseal.trust import finding, model
from veriseal.trust.finding import Finding
from veriseal.trust.model import TrustSet


def situation(
    question: Question,
    target: Side,
    now: TrustSet | None,
    trust: TrustSet,
    tree: str,
    release: source.Release | None,
    groups: list[Lost],
    disk: ondisk.State | None,
    found: list[Finding],
) -> Situation:
    """What the order of the steps goes by."""
    signing: set[str] = set()
    if release is not None:
        path = os.path.join(os.path.dirname(release.path), signers.NAME)
        with contextlib.suppress(VerisealError):
            known = signers.parse(release.signers, path)
            signing = {one.fingerprint for one in known.entries}
    enrolled = _enrolled(question.root, now)
    stated = trust.origin == model.STATEMENT
    wanted = [
        Wanted(one.os, None if stated else _kept(one.certificate.path, question, target, tree))
        for one in trust.releases
        if one.certificate.fingerprint in signing and one.certificate.fingerprint not in enrolled
    ]
    previous = [
        name
        for name in target.settings.previous
        if not any(
            one.os == name and one.certificate.fingerprint in signing for one in trust.releases
        )  # fmt: skip
    ]
    return Situation(
        question.root,
        tree,
        target.settings.context,
        question.initrd,
        wanted,
        any(one.reason != lost.REVOKED_DIGEST for one in groups),
        any(one.reason == lost.REVOKED_DIGEST for one in groups),
        None if disk is None else disk.to_enable,
        bool(question.initrd) and not finding.failed(found),
        question.drop,
        previous if release is not None else (),
        question.statement,
        _next(question.root),
        _next(tree),
    )


def _next(tree: str) -> Version | None:
    """What the version is called that replaces the one in ``tree``; None if there is none."""
    if not os.path.lexists(os.path.join(tree, statement.DIRECTORY)):
        return None
    try:
        there = side.unverified(tree).manifest
    except (VerisealError, OSError):
        return Version()
    return Version(there.os, str(there.version + 1))


def _kept(path: str, question: Question, target: Side, tree: str) -> str:
    """``path``, or for a file of an unpacked initrd the same in ``tree``."""
    if not question.initrd or not path.startswith(f"{target.root}/"):
        return path
    other = os.path.join(tree, os.path.relpath(path, target.root))
    return other if os.path.exists(other) else "CERTIFICATE"


def _enrolled(root: str, now: TrustSet | None) -> frozenset[str]:
    """SHA-256 of the certificates in this boot's keyring, or of those that count for ``root``."""
    if os.path.realpath(root) == "/":
        with contextlib.suppress(VerisealError):
            enrolled = ring.enrolled()
            if enrolled is not None:
                return enrolled
    return frozenset(() if now is None else (one.certificate.fingerprint for one in now.releases))
