"""The two sides that a question is about: what counts now, and what would count."""

import contextlib
import os
from collections.abc import Sequence

from veriseal import manifest as statement
from veriseal.boot import floor
from veriseal.boot import initrd as next_boot
from veriseal.boot.floor import Floor
from veriseal.boot.gather import Asked, Gathered
from veriseal.errors import VerisealError
from veriseal.plan import initrd, side
from veriseal.plan.question import Question
from veriseal.plan.side import Side
from veriseal.trust import finding, model
from veriseal.trust.finding import WARNING, Finding
from veriseal.trust.model import Release, TrustSet


def now(question: Question, found: list[Finding]) -> tuple[Side | None, TrustSet | None]:
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


def target(
    question: Question, today: Side | None, stack: contextlib.ExitStack, found: list[Finding]
) -> Side | None:
    """What the next boot would go by; None if it is not there. ``stack`` ends what is unpacked."""
    try:
        if question.initrd:
            there = _of_initrd(question.initrd, stack)._replace(here=_here(question))
            return side.without(there, question.drop)
        root = question.to or question.root
        if question.to is not None and side.is_initrd(root):
            there = side.of_initrd(root)._replace(here=_here(question))
            return side.without(there, question.drop)
        there = today if question.to is None and today is not None else side.read(root)
        there = there._replace(floor=_known(question.root), here=_here(question))
        return side.without(_raised(question, there, found), question.drop)
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


def then(question: Question, target: Side, found: list[Finding]) -> Gathered | None:
    """What would count for ``target``; None if nothing would, ``found`` then says why."""
    try:
        gathered = side.gathered(target, _asked(question))
        without_clock(question, target)
    except VerisealError as error:
        found.append(finding.of(error))
        return None
    if gathered.not_used is not None:
        text = (
            f"the trust statement does not count, the built-in certificates do: {gathered.not_used}"
        )
        found.append(Finding(WARNING, "statement-not-used", text))
    trust = gathered.trust
    for one in trust.releases:
        name = _name_of_date(one, gathered.at)
        found += [Finding(WARNING, name, text, one.certificate.path) for text in one.warnings]
    return gathered._replace(trust=trust._replace(revoked=(*trust.revoked, *question.digests)))


def _asked(question: Question) -> Asked:
    return Asked(given=question.statement, revoked=frozenset(question.revoked))


def without_clock(question: Question, target: Side) -> Gathered | None:
    """What would count at a boot whose clock is not set, if that matters. Raises VerisealError."""
    about = (target.settings, target.os_release, target.floor, target.root)
    return next_boot.without_clock(*about, _asked(question)._replace(here=target.here))


def _name_of_date(one: Release, at: int) -> str:
    past = at > one.certificate.not_after.timestamp()
    return model.EXPIRED if past else model.NOT_YET_VALID
