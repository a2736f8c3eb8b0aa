"""Which certificates count for a system: its VOA files, or a trust statement, after the settings.

In order:
  1. every certificate file is found and read, also those outside the window (`survey`);
  2. anchors: those of the window's systems that are neither masked, revoked nor past their dates;
  3. releases within the window: the same, and an anchor must vouch for them if there is any;
  4. one certificate counts once, and no two may be taken for each other.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from veriseal import certificate, collisions, voa
from veriseal.certificate import Certificate
from veriseal.errors import VerisealError
from veriseal.policy import Policy
from veriseal.trust import finding, model
from veriseal.trust import window as windows
from veriseal.trust.model import Anchor, Ignored, Release, TrustSet
from veriseal.trust.rules import Held, Rules
from veriseal.trust.survey import File, survey

if TYPE_CHECKING:
    from veriseal.trust.statement import Statement

_AUTHORITY = "an authority: it may vouch for releases, and signs no programs"
_PROBLEMS = {
    voa.PURPOSE: ("no-certificates", "no release certificate counts for this system"),
    voa.ANCHOR_PURPOSE: (
        "no-anchor",
        "no trust anchor counts, and the certificates of releases need one",
    ),
}
_MAX_NAMED = 8
"""Ignored files in a message."""
_PREFERRED = (model.CURRENT, model.NEXT, model.PREVIOUS)
"""Which part of the window a certificate counts for that is in several of them."""


def load(
    settings: Policy,
    os_release: Mapping[str, str],
    *,
    root: str = "/",
    at: int,
    statement: "Statement | None" = None,
    load_paths: Sequence[str] = voa.INITRD_LOAD_PATHS,
    revoked: Iterable[str] = (),
) -> TrustSet:
    """The certificates that count below ``root`` at the time ``at``, see `dates.judge`.

    With a ``statement``, which must have been checked, the release certificates are those that it
    holds; the files then give anchors, intermediate authorities and masks. ``revoked`` are SHA-256
    of certificates that are to be taken as revoked besides.

    Raises VerisealError: ``bad-configuration``, ``bad-os-release``, ``no-anchor``,
    ``no-certificates``, ``certificate-collision``, or what is wrong with a release certificate
    of the window. Raises OSError.
    """
    window = windows.of(settings, os_release)
    found = survey(window, settings.context, root, load_paths)
    rules = Rules(settings.dates, at, found, statement, revoked)
    anchors, ignored = _anchors(found.anchors, window, rules)
    needed = found.anchored or statement is not None or settings.anchors == "require"
    if needed and not anchors:
        raise _nothing(voa.ANCHOR_PURPOSE, settings, window, root, [*ignored, *found.ignored])
    releases, intermediates = _releases(found.releases, window, needed, statement, ignored)
    intermediates = rules.keep(intermediates, ignored)
    ignored += [_ignored(one, model.INTERMEDIATE, _AUTHORITY) for one in intermediates]
    releases = rules.keep(releases, ignored)
    if statement is not None:
        why = f"the certificates of {statement.path} count instead"
        ignored += [_ignored(one, model.NOT_IN_STATEMENT, why) for one in releases]
        releases = rules.keep(_of_statement(statement, window, ignored), ignored)
    counting = []
    for one in releases:
        path: Sequence[Certificate] = [one.certificate]
        if needed:
            vouching = [each.certificate for each in anchors if voa.covers(each.os, one.os)]
            try:
                path = rules.path(path[0], [each.certificate for each in intermediates], vouching)
            except VerisealError as error:
                ignored.append(_ignored(one, model.NOT_VOUCHED, finding.of(error).problem))
                continue
        anchor = path[-1] if needed else None
        warnings = rules.warnings(path)
        counting.append(Release(one.os, path[0], window[one.os], anchor, warnings))
    counting = _once(counting, list(window), ignored)
    ignored += found.ignored
    if not counting:
        raise _nothing(voa.PURPOSE, settings, window, root, ignored)
    collisions.check(one.certificate for one in counting)
    trust = TrustSet(counting, ignored, anchors, window)
    if statement is None:
        return trust
    return trust._replace(
        origin=model.STATEMENT,
        statement=statement.version,
        floors={one.os: one.floor for one in statement.releases},
        revoked=statement.revoked,
    )


def find_anchors(
    settings: Policy,
    os_release: Mapping[str, str],
    *,
    root: str = "/",
    at: int,
    load_paths: Sequence[str] = voa.INITRD_LOAD_PATHS,
    revoked: Iterable[str] = (),
) -> list[Anchor]:
    """The anchors that count, as `load` would take them: to check a statement with.

    Raises VerisealError: ``bad-configuration``, ``bad-os-release``. Raises OSError.
    """
    window = windows.of(settings, os_release)
    found = survey(window, settings.context, root, load_paths)
    return _anchors(found.anchors, window, Rules(settings.dates, at, found, None, revoked))[0]


def _anchors(
    files: Iterable[File], window: Mapping[str, str], rules: Rules
) -> tuple[list[Anchor], list[Ignored]]:
    ignored: list[Ignored] = []
    held: list[Held] = []
    for file in files:
        if not any(voa.covers(file.os, name) for name in window):
            ignored.append(_outside(file))
            continue
        try:
            held.append(Held(file.os, file.path, certificate.load_root(file.data, file.path)))
        except VerisealError as error:
            other = file.certificate()
            why = error.sentence()
            ignored.append(Ignored(file.path, model.UNUSABLE, why, file.os, other))
    anchors: list[Anchor] = []
    for one in rules.keep(held, ignored):
        same = [
            anchor
            for anchor in anchors
            if anchor.certificate.fingerprint == one.certificate.fingerprint
            and voa.covers(anchor.os, one.os)
        ]
        if same:
            ignored.append(_repeated(one, same[0].certificate, same[0].os))
        else:
            anchors.append(Anchor(one.os, one.certificate))
    return anchors, ignored


def _releases(
    files: Iterable[File],
    window: Mapping[str, str],
    anchored: bool,
    statement: "Statement | None",
    ignored: list[Ignored],
) -> tuple[list[Held], list[Held]]:
    """Release certificates of the window, and the authorities between them and an anchor."""
    releases: list[Held] = []
    intermediates: list[Held] = []
    for file in files:
        if file.os not in window:
            ignored.append(_outside(file))
            continue
        try:
            one = Held(file.os, file.path, certificate.load(file.data, file.path))
            releases.append(one)
        except VerisealError as error:
            authority = file.certificate()
            if authority is not None and anchored:
                intermediates.append(Held(file.os, file.path, authority))
            elif statement is not None:
                ignored.append(Ignored(file.path, model.UNUSABLE, error.sentence(), file.os))
            else:
                raise
    return releases, intermediates


def _of_statement(
    statement: "Statement", window: Mapping[str, str], ignored: list[Ignored]
) -> list[Held]:
    held: list[Held] = []
    for release in statement.releases:
        every = [Held(release.os, statement.path, one) for one in release.certificates]
        if release.os in window:
            held += every
        else:
            why = f"for {release.os}, which is outside the window"
            ignored += [_ignored(one, model.OUTSIDE, why) for one in every]
    return held


def _once(releases: list[Release], order: list[str], ignored: list[Ignored]) -> list[Release]:
    """Each certificate once, for the release that matters most; in the order of the window."""
    counted: dict[str, Release] = {}
    for one in sorted(releases, key=lambda one: _PREFERRED.index(one.part)):
        first = counted.setdefault(one.certificate.fingerprint, one)
        if first is not one:
            held = Held(one.os, one.certificate.path, one.certificate)
            ignored.append(_repeated(held, first.certificate, first.os))
    return sorted(counted.values(), key=lambda one: order.index(one.os))


def _ignored(one: Held, reason: str, why: str) -> Ignored:
    return Ignored(one.path, reason, why, one.os, one.certificate)


def _repeated(one: Held, first: Certificate, os_name: str) -> Ignored:
    why = f"the same certificate as {first.path}, which counts for {os_name}"
    return _ignored(one, model.REPEATED, why)


def _outside(file: File) -> Ignored:
    why = f"for {file.os}, which is outside the window"
    return Ignored(file.path, model.OUTSIDE, why, file.os, file.certificate())


def _nothing(
    purpose: str,
    settings: Policy,
    window: Mapping[str, str],
    root: str,
    ignored: Iterable[Ignored],
) -> VerisealError:
    """Nothing counts that is where ``purpose`` has its place: what there is, and why not."""
    reason, problem = _PROBLEMS[purpose]
    current = [name for name, part in window.items() if part == model.CURRENT]
    path = voa.place(current[-1], purpose, settings.context, root, voa.LOAD_PATHS[0])
    wanted = f"a .pem file for one of {', '.join(window)}"
    if purpose == voa.ANCHOR_PURPOSE:
        # For every release of the system: for one alone, the others would not count.
        path = voa.place(windows.system(current[0]), purpose, settings.context, root)
        wanted = f"the .pem file of a root that issued the certificates of {', '.join(window)}"
    # Those of this purpose and of the window first: they were meant to count.
    named = sorted(ignored, key=lambda one: (f"/{purpose}/" not in one.path, one.os not in window))
    found = [f"{one.path} ({one.why})" for one in named[:_MAX_NAMED]]
    if len(named) > _MAX_NAMED:
        found.append(f"and {len(named) - _MAX_NAMED} more")
    return VerisealError(
        reason,
        problem,
        path=path,
        expected=wanted,
        found="; ".join(found) or "nothing",
        remedy="Install the certificate, rebuild the initrd with dracut, boot again",
    )
