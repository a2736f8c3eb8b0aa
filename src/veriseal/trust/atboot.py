"""What keeps certificates that were meant to count from it, as the boot has it: for lint."""

from collections.abc import Collection, Iterator, Sequence

from veriseal.errors import VerisealError
from veriseal.trust import dates, finding, model
from veriseal.trust.finding import ERROR, WARNING, Finding
from veriseal.trust.model import Ignored, TrustSet
from veriseal.trust.named import Settings

_ON_PURPOSE = (model.MASKED, model.REVOKED)
_LOST = (*_ON_PURPOSE, model.EXPIRED, model.NOT_YET_VALID, model.NOT_VOUCHED)


def refused(error: VerisealError, found: Sequence[Finding]) -> Iterator[Finding]:
    """The ``error`` that the boot ends with, unless it is ``found`` already."""
    if error.reason == "statement-not-seen":
        yield finding.of(error, WARNING)
    elif not any(
        (one.level, one.name, one.path) == (ERROR, error.reason, error.path) for one in found
    ):
        yield finding.of(error)


def left_out(trust: TrustSet, counted: Collection[str]) -> Iterator[Finding]:
    """What does not count of the files ``counted``, though their names and contents are right."""
    for one in trust.ignored:
        if one.reason in _ON_PURPOSE and one.path in counted:
            yield Finding(WARNING, one.reason, f"it does not count: {one.why}", one.path)


def of_statement(trust: TrustSet, settings: Settings, at: int) -> Iterator[Finding]:
    """What does not count of a trust statement that does, and what it leaves without certificate.

    ``at`` is the time that dates are judged against.
    """
    own = [name for name, part in trust.window.items() if part == model.CURRENT]
    present = {one.os for one in trust.releases}
    if present.intersection(own):
        present.update(own)
    counting = {one.certificate.fingerprint for one in trust.releases}
    for release in trust.releases:
        if release.warnings and (text := dates.judge(release.certificate, at)) is not None:
            past = dates.expired(release.certificate, at)
            name = model.EXPIRED if past else model.NOT_YET_VALID
            yield Finding(WARNING, name, text, release.certificate.path)
    said: set[str] = set()
    for one in trust.ignored:
        if one.certificate is None or one.os is None or one.os not in trust.window:
            continue
        if one.reason == model.NOT_IN_STATEMENT and one.certificate.fingerprint not in counting:
            yield _not_named(one, one.os, one.os in present)
            said.add(one.os)
        elif one.reason in _LOST and one.certificate.path != one.path:
            # Not of a file: in a statement, each has a name of its own.
            text = f"it does not count: {one.why}"
            level = WARNING if one.reason in _ON_PURPOSE else ERROR
            yield Finding(level, one.reason, text, one.certificate.path)
    yield from settings.not_stated(present, said)


def _not_named(one: Ignored, os_name: str, present: bool) -> Finding:
    # An older one beside another that counts is in nobody's way.
    text = "it does not count: the trust statement does not name it"
    remedy = f"Have it made again, also with --release {os_name}={one.path}, or remove the file"
    return Finding(WARNING if present else ERROR, one.reason, text, one.path, remedy)
