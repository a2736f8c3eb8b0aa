"""The plan as a whole: two sides, the tree between them, and what the next boot would say.

In order:
  1. what counts now, on the running system;
  2. what would count: of an initrd, of another root, or of this one after what-ifs;
  3. the manifest of the tree, as the next boot would take it or not;
  4. its files: whose signer would not count, which are revoked, which certificates are strangers;
  5. the order of steps from here to there.
A defect in one part does not hide those in the others.
"""

import contextlib
import os
from collections.abc import Container, Iterator, Sequence
from typing import NamedTuple

from veriseal import signers
from veriseal.audit.expected import Expected
from veriseal.boot.gather import Gathered
from veriseal.errors import VerisealError
from veriseal.plan import changes, lost, ondisk, rogue, side, sides, situate, steps, vain
from veriseal.plan.changes import Changes
from veriseal.plan.lost import Lost
from veriseal.plan.question import Plan, Question
from veriseal.plan.side import Side
from veriseal.policy import Policy
from veriseal.tree import listed, source
from veriseal.trust import finding, model
from veriseal.trust.finding import ERROR, WARNING, Finding
from veriseal.trust.model import Ignored, TrustSet


def make(question: Question) -> Plan:
    """The plan. Raises VerisealError for a question that cannot be asked, and OSError."""
    found: list[Finding] = []
    today, now = sides.now(question, found)
    with contextlib.ExitStack() as stack:
        target = sides.target(question, today, stack, found)
        tree = _entered(question)
        then = None if target is None else sides.then(question, target, found)
        if target is None or then is None:
            none = Changes([], [], [])
            return Plan(now, None, none, None, [], _unique(found), [], _place(question, target))
        trust = then.trust
        differences = changes.compare(now, trust)
        found += vain.certificates(question, now, trust)
        place = len(found)
        tree_is = _tree(question, tree, target, then, found)
        groups, manifest = tree_is.lost, tree_is.release
        found += [one.finding() for one in groups]
        told = {one.fingerprint for one in groups}
        for one in tree_is.signed:
            held = one.certificate
            if held is not None and held.fingerprint not in told:
                text = f"{held.subject}, which signed the manifest, does not count: {one.why}"
                found.append(Finding(ERROR, one.reason, text, one.path))
                told.add(held.fingerprint)
        found[place:place] = _not_counting(trust, differences, told)
        if question.initrd:
            _say_stale(question, trust, found)
        situation = situate.situation(
            question, target, now, trust, tree, manifest, groups, tree_is.disk, found
        )
        return Plan(
            now,
            trust,
            differences,
            None if manifest is None else manifest.manifest,
            groups,
            _unique(found),
            steps.order(situation),
            _place(question, target),
            _not_compared(question, target.settings),
        )


def _not_compared(question: Question, settings: Policy) -> str | None:
    if question.without_tree:
        return None
    if settings.root != "composefs":
        return "contents of files, and what no list has; see veriseal verify"
    return "the image itself" + ("" if question.image else ", and which one the boot entry names")


def _place(question: Question, target: Side | None) -> str | None:
    return target.root if question.initrd and target is not None else None


def _entered(question: Question) -> str:
    """The tree that the next boot would enter."""
    if question.tree is not None:
        return question.tree
    if question.to is not None and not side.is_initrd(question.to):
        return question.to
    return question.root


def _unique(found: Sequence[Finding]) -> list[Finding]:
    """Each once; what is an error is no warning besides."""
    errors = {(one.name, one.problem, one.path) for one in found if one.level == ERROR}
    return [
        one
        for one in dict.fromkeys(found)
        if one.level == ERROR or (one.name, one.problem, one.path) not in errors
    ]


_TOLD = (
    model.MASKED,
    model.REVOKED,
    model.NOT_VOUCHED,
    model.EXPIRED,
    model.NOT_YET_VALID,
)


def _not_counting(
    trust: TrustSet, differences: Changes, told: Container[str | None]
) -> Iterator[Finding]:
    """Name what would not count any more, and what is within the window and does not count.

    Of a certificate whose fingerprint is among ``told`` an error says so already.
    """
    gone = {one.release.certificate.fingerprint for one in differences.outgoing}
    for one in trust.ignored:
        held = one.certificate
        if held is None or held.fingerprint in gone or held.fingerprint in told:
            continue
        if one.reason in _TOLD and one.os in trust.window:
            text = f"{held.subject} does not count: {one.why}"
            yield Finding(WARNING, one.reason, text, one.path)
    for each in differences.outgoing:
        held = each.release.certificate
        if held.fingerprint not in told:
            text = f"{held.subject} of {each.release.os} would not count: {each.why}"
            yield Finding(WARNING, each.reason, text, held.path)


class _Tree(NamedTuple):
    """What a look at the tree came to.

    Attributes:
        lost: needed files that would lose trust.
        release: of the manifest, if the next boot takes it.
        disk: the files, where they were looked at.
        signed: who signed a manifest that is not taken, and does not count.
    """

    lost: list[Lost]
    release: source.Release | None = None
    disk: ondisk.State | None = None
    signed: Sequence[Ignored] = ()


def _tree(
    question: Question, tree: str, target: Side, then: Gathered, found: list[Finding]
) -> _Tree:
    """The manifest of ``tree``, if the next boot takes it, and its files.

    Also where it does not the files are told from it: more may be wrong than the manifest.
    """
    settings = target.settings
    if question.without_tree:
        return _Tree([])
    if settings.root == "composefs":
        found += ondisk.images(tree, target, then, question.image)
        return _Tree([])
    accepted = None
    signed: Sequence[Ignored] = ()
    try:
        release = side.release(tree, target, then)
        without_clock = sides.without_clock(question, target)
        if without_clock is not None:
            side.release(tree, target, without_clock)
        accepted = release
    except VerisealError as error:
        found.append(finding.of(error))
        signed = list(ondisk.who_signed(tree, then.trust))
        try:
            release = side.unverified(tree)
        except VerisealError:
            return _Tree([], signed=signed)
    try:
        contents = listed.read(release)
        path = os.path.join(os.path.dirname(release.path), signers.NAME)
        known = signers.parse(release.signers, path)
    except VerisealError as error:
        found.append(finding.of(error))
        return _Tree([], signed=signed)
    found += vain.digests(question, contents)
    expected = Expected(release.manifest, contents.digests, known, release.path)
    final = question.final or os.path.realpath(tree) == "/"
    disk = ondisk.examine(tree, expected, then.trust, settings, final)
    found += disk.findings
    found += rogue.find(tree, release.manifest, contents)
    groups = lost.by_digest(contents, (*release.manifest.revoked, *then.trust.revoked))
    if settings.keyring == "require":
        needed = sorted(expected.needed(settings.verity == "all"))
        groups += lost.by_signer(known, needed, then.trust, disk.signers)
    return _Tree(groups, accepted, disk, signed)


def _say_stale(question: Question, trust: TrustSet, found: list[Finding]) -> None:
    """Name the certificates of ``to``, or ``root``, that the initrd was made without."""
    root = question.to or question.root
    try:
        wanted = side.gathered(side.read(root)).trust
    except VerisealError:
        return  # it is said already where it matters
    for one in changes.compare(wanted, trust).outgoing:
        text = f"{one.release.certificate.subject} of {one.release.os} is not in the initrd"
        if one.reason != changes.MISSING:
            text = f"{one.release.certificate.subject} does not count in the initrd: {one.why}"
        remedy = "Make the initrd again: dracut --force"
        path = one.release.certificate.path
        found.append(Finding(WARNING, "stale-initrd", text, path, remedy))
