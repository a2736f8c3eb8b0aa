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
from collections.abc import Sequence

from veriseal import signers
from veriseal.audit.expected import Expected
from veriseal.boot.gather import Gathered
from veriseal.errors import VerisealError
from veriseal.plan import changes, lost, ondisk, rogue, side, sides, situate, steps
from veriseal.plan.changes import Changes
from veriseal.plan.lost import Lost
from veriseal.plan.question import Plan, Question
from veriseal.plan.side import Side
from veriseal.policy import Policy
from veriseal.tree import listed, source
from veriseal.trust import finding, model
from veriseal.trust.finding import WARNING, Finding
from veriseal.trust.model import TrustSet


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
        _say_ignored(trust, differences, found)
        groups, manifest, disk = (
            ([], None, None)
            if question.without_tree
            else _tree(question, tree, target, then, found)
        )
        found += [one.finding() for one in groups]
        if question.initrd:
            _say_stale(question, trust, found)
        situation = situate.situation(
            question, target, now, trust, tree, manifest, groups, disk, found
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
    return list(dict.fromkeys(found))


_TOLD = (
    model.MASKED,
    model.REVOKED,
    model.NOT_VOUCHED,
    model.EXPIRED,
    model.NOT_YET_VALID,
)


def _say_ignored(trust: TrustSet, differences: Changes, found: list[Finding]) -> None:
    """Name what is within the window and does not count, and what would not count any more."""
    for one in trust.ignored:
        if one.reason in _TOLD and one.certificate is not None and one.os in trust.window:
            text = f"{one.certificate.subject} does not count: {one.why}"
            found.append(Finding(WARNING, one.reason, text, one.path))
    for gone in differences.outgoing:
        one_release = gone.release
        text = f"{one_release.certificate.subject} of {one_release.os} would not count: {gone.why}"
        found.append(Finding(WARNING, gone.reason, text, one_release.certificate.path))


def _tree(
    question: Question, tree: str, target: Side, then: Gathered, found: list[Finding]
) -> tuple[list[Lost], source.Release | None, ondisk.State | None]:
    """The manifest of ``tree``, if the next boot takes it, and its files.

    Also where it does not the files are told from it: more may be wrong than the manifest.
    """
    settings = target.settings
    if question.without_tree:
        return [], None, None
    if settings.root == "composefs":
        found += ondisk.images(tree, target, then, question.image)
        return [], None, None
    accepted = None
    try:
        release = side.release(tree, target, then)
        without_clock = sides.without_clock(question, target)
        if without_clock is not None:
            side.release(tree, target, without_clock)
        accepted = release
    except VerisealError as error:
        found.append(finding.of(error))
        found += ondisk.who_signed(tree, then.trust)
        try:
            release = side.unverified(tree)
        except VerisealError:
            return [], None, None
    try:
        contents = listed.read(release)
        path = os.path.join(os.path.dirname(release.path), signers.NAME)
        known = signers.parse(release.signers, path)
    except VerisealError as error:
        found.append(finding.of(error))
        return [], None, None
    expected = Expected(release.manifest, contents.digests, known, release.path)
    final = question.final or os.path.realpath(tree) == "/"
    disk = ondisk.examine(tree, expected, then.trust, settings, final)
    found += disk.findings
    found += rogue.find(tree, release.manifest, contents)
    groups = lost.by_digest(contents, (*release.manifest.revoked, *then.trust.revoked))
    if settings.keyring == "require":
        needed = sorted(expected.needed(settings.verity == "all"))
        groups += lost.by_signer(known, needed, then.trust, disk.signers)
    return groups, accepted, disk


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
