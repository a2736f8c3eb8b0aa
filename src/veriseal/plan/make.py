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
from typing import NamedTuple

from veriseal import manifest as statement
from veriseal import signers
from veriseal.audit.expected import Expected
from veriseal.boot import floor
from veriseal.boot import initrd as next_boot
from veriseal.boot.floor import Floor
from veriseal.boot.gather import Asked, Gathered
from veriseal.digest import Digest
from veriseal.errors import VerisealError
from veriseal.plan import changes, initrd, lost, ondisk, ring, rogue, side, steps
from veriseal.plan.changes import Changes
from veriseal.plan.lost import Lost
from veriseal.plan.side import Side
from veriseal.plan.steps import Situation, Step, Wanted
from veriseal.policy import Policy
from veriseal.tree import listed, source
from veriseal.trust import finding, model
from veriseal.trust.finding import WARNING, Finding
from veriseal.trust.model import Release, TrustSet


class Question(NamedTuple):
    """What is asked.

    Attributes:
        root: the system now.
        to: a root whose settings and certificates would count, in place of ``root``; or the
            directory of an unpacked initrd.
        tree: that the next boot would enter; None for ``to``, or else ``root``.
        initrd: files, in the boot loader's order: what is in them counts, in place of ``to``.
        without_tree: whether no tree has been built yet.
        final: whether the tree is entered as it is: what is not enabled yet is an error. So it is
            without this for the running root.
        image: the composefs image that the boot entry names, if it is known.
        statement: a file: the trust statement in place of the one that the settings name.
        drop: releases that would leave the window.
        revoked: SHA-256 of certificates that would be revoked.
        digests: that would be revoked.
    """

    root: str = "/"
    to: str | None = None
    tree: str | None = None
    initrd: tuple[str, ...] = ()
    statement: str | None = None
    drop: tuple[str, ...] = ()
    revoked: frozenset[str] = frozenset()
    digests: tuple[Digest, ...] = ()
    without_tree: bool = False
    final: bool = False
    image: Digest | None = None


class Plan(NamedTuple):
    """The answer.

    Attributes:
        now, then: what counts, and would count; None if nothing would, a finding says why.
        changes: between the two.
        manifest: of the tree, if the next boot would take it.
        lost: needed files that would lose trust.
        findings: everything; with an error among them the boot, or something needed, is refused.
        steps: in the order that is safe.
        unpacked: where the initrd was for the while, as paths of files in it begin.
        not_compared: what nobody has looked at; None without a tree.
    """

    now: TrustSet | None
    then: TrustSet | None
    changes: Changes
    manifest: statement.Manifest | None
    lost: list[Lost]
    findings: list[Finding]
    steps: list[Step]
    unpacked: str | None = None
    not_compared: str | None = None

    @property
    def refused(self) -> bool:
        """Whether the next boot, or a file that is needed, would be refused."""
        return finding.failed(self.findings)


def make(question: Question) -> Plan:
    """The plan. Raises VerisealError for a question that cannot be asked, and OSError."""
    found: list[Finding] = []
    today, now = _now(question, found)
    with contextlib.ExitStack() as stack:
        target = _target(question, today, stack, found)
        tree = _entered(question)
        then = None if target is None else _then(question, target, found)
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
        situation = _situation(question, target, now, trust, tree, manifest, groups, disk, found)
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


def _now(question: Question, found: list[Finding]) -> tuple[Side | None, TrustSet | None]:
    """The running system. What is wrong with it is a warning: it is about to change."""
    try:
        today = side.read(question.root)
        today = today._replace(floor=_known(question.root))
        return today, side.gathered(today).trust
    except VerisealError as error:
        found.append(finding.of(error, WARNING))
        return None, None


def _known(root: str) -> Floor:
    """What this machine has known, if ``root`` is what it runs."""
    return floor.booted() if os.path.realpath(root) == "/" else Floor()


def _target(
    question: Question, today: Side | None, stack: contextlib.ExitStack, found: list[Finding]
) -> Side | None:
    try:
        if question.initrd:
            target = _of_initrd(question.initrd, stack)._replace(here=_here(question))
            return side.without(target, question.drop)
        root = question.to or question.root
        if question.to is not None and side.is_initrd(root):
            target = side.of_initrd(root)._replace(here=_here(question))
            return side.without(target, question.drop)
        target = today if question.to is None and today is not None else side.read(root)
        target = target._replace(floor=_known(question.root), here=_here(question))
        return side.without(_raised(question, target, found), question.drop)
    except VerisealError as error:
        if error.reason in ("not-in-window", "own-release"):
            raise
        found.append(finding.of(error))
        return None


def _of_initrd(paths: Sequence[str], stack: contextlib.ExitStack) -> Side:
    return side.of_initrd(stack.enter_context(initrd.unpacked(paths, _statement_of)))


def _statement_of(directory: str) -> str | None:
    """The trust statement that is in the initrd itself, by the settings there."""
    settings = side.read(directory).settings
    return settings.statement if settings.statement and not settings.statement_device else None


def _here(question: Question) -> bool:
    """Whether the next boot is one of this machine, whatever tree and initrd it has."""
    return os.path.realpath(question.root) == "/"


def _raised(question: Question, target: Side, found: list[Finding]) -> Side:
    """``target`` with the floor that an initrd made of it records: of the manifest there."""
    if not os.path.lexists(os.path.join(target.root, statement.DIRECTORY)):
        return target
    try:
        asked = Asked(unseen=True, given=question.statement)
        there = side.release(target.root, target, side.gathered(target, asked)).manifest
    except VerisealError as error:
        # Then no initrd can be made there at all.
        found.append(finding.of(error))
        return target
    return target._replace(floor=target.floor.raised(Floor(there.version, there.created)))


def _then(question: Question, target: Side, found: list[Finding]) -> Gathered | None:
    try:
        then = side.gathered(target, _asked(question))
        _without_clock(question, target)
    except VerisealError as error:
        found.append(finding.of(error))
        return None
    if then.not_used is not None:
        text = f"the trust statement does not count, the built-in certificates do: {then.not_used}"
        found.append(Finding(WARNING, "statement-not-used", text))
    trust = then.trust
    for one in trust.releases:
        name = _name_of_date(one, then.at)
        found += [Finding(WARNING, name, text, one.certificate.path) for text in one.warnings]
    return then._replace(trust=trust._replace(revoked=(*trust.revoked, *question.digests)))


def _asked(question: Question) -> Asked:
    return Asked(given=question.statement, revoked=question.revoked)


def _without_clock(question: Question, target: Side) -> Gathered | None:
    """What would count at a boot whose clock is not set, if that matters. Raises VerisealError."""
    about = (target.settings, target.os_release, target.floor, target.root)
    return next_boot.without_clock(*about, _asked(question)._replace(here=target.here))


def _name_of_date(one: Release, at: int) -> str:
    past = at > one.certificate.not_after.timestamp()
    return model.EXPIRED if past else model.NOT_YET_VALID


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
        without_clock = _without_clock(question, target)
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


def _situation(
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
        bool(groups),
        None if disk is None else disk.to_enable,
        bool(question.initrd) and not finding.failed(found),
        question.drop,
        previous if release is not None else (),
        question.statement,
        os.path.lexists(os.path.join(question.root, statement.DIRECTORY)),
    )


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
