"""What an audit comes to: findings first, then how many files, by release and directory. Pure."""

import os
import shlex
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from veriseal.audit import fate
from veriseal.audit.fate import Fate, Judge
from veriseal.audit.files import MANIFEST, Examined, FileState
from veriseal.errors import VerisealError, printable
from veriseal.trust.model import TrustSet

UNSIGNED, NAMELESS = "unsigned", "unknown signer"
"""Rows of the summary by release that are of no certificate."""

_DEPTH = 2
"""Components of the directories that files are summed up by."""


class Side(NamedTuple):
    """A trust set that files are judged by.

    Attributes:
        name: of the root that it is of, for people.
        trust: as it was loaded; an empty one if that failed.
        judge: by it.
        errors: why it cannot be loaded, or does not take the tree's manifest.
        warnings: what is odd about it.
        unseen: whether a boot goes by a trust statement that nobody has looked at.
    """

    name: str
    trust: TrustSet
    judge: Judge
    errors: Sequence[VerisealError] = ()
    warnings: Sequence[str] = ()
    unseen: bool = False


class Finding(NamedTuple):
    """A needed file that is not as the system needs it, now or then.

    Attributes:
        file: what it is.
        today: its fate by the certificates that count today.
        then: by the others; the same where there are none.
    """

    file: FileState
    today: Fate
    then: Fate

    @property
    def worst(self) -> Fate:
        """What it is about: what will be, or else what is."""
        return self.then if self.then.kind != fate.OK else self.today

    def __str__(self) -> str:
        named = self.file.named
        by = "" if named is None else f"; signer: {named}"
        if self.today.kind == self.then.kind:
            when = ""
        elif self.then.kind == fate.OK:
            when = " (today; ok then)"
        else:
            when = f" (today: {self.today.kind})"
        path = os.fsdecode(self.file.path)
        return printable(f"{self.worst.kind}: {path}: {self.worst.why}{by}{when}")


class Row(NamedTuple):
    """Counts of some files.

    Attributes:
        name: of the release or directory, for people.
        files: all of them.
        verity, signed, listed, needed: how many of them are.
        kept: needed ones that keep their trust today, and then.
        lost: needed ones that do not, then.
    """

    name: str
    files: int
    verity: int
    signed: int
    listed: int
    needed: int
    kept: tuple[int, int]
    lost: int


class Summary(NamedTuple):
    """An audit.

    Attributes:
        tree: its root.
        about: the release of its manifest and the like, one line; None without a manifest.
        sides: by which files were judged: today's, then the other one if there is one.
        problems: what is wrong with the whole, gravest first: each fails the audit.
        notes: what is odd about the whole and fails nothing.
        findings: about needed files, the gravest first, then by path.
        releases, directories: the counts, the largest first, and by name.
        total: of all files.
        examined: every file, and what was not looked at.
        fates: of every file: today's, and then.
    """

    tree: str
    about: str | None
    sides: Sequence[Side]
    problems: Sequence[VerisealError]
    notes: Sequence[str]
    findings: Sequence[Finding]
    releases: Sequence[Row]
    directories: Sequence[Row]
    total: Row
    examined: Examined
    fates: Sequence[tuple[Fate, Fate]]

    @property
    def lost(self) -> list[Finding]:
        """The findings that are about the trust set that is asked about."""
        return [one for one in self.findings if one.then.kind != fate.OK]

    @property
    def failed(self) -> bool:
        """Whether the system would lose, or lacks, what it needs."""
        return bool(self.problems or self.lost)

    @property
    def conditions(self) -> list[str]:
        """What must be true for the fates to be, a sentence each."""
        return [_condition(self.tree, one.name) for one in self.sides if one.unseen]

    def as_json(self) -> dict[str, object]:
        """For ``--json``. A path's undecodable bytes are lone surrogates."""
        return {
            "schema": 1,
            "tree": self.tree,
            "manifest": self.about,
            "failed": self.failed,
            "trust": [_side(one) for one in self.sides],
            "problems": [one.as_json() for one in self.problems],
            "notes": list(self.notes),
            "conditions": self.conditions,
            "total": self.total._asdict(),
            "releases": [one._asdict() for one in self.releases],
            "directories": [one._asdict() for one in self.directories],
            "skipped": [
                {"path": os.fsdecode(one.path), "why": one.why} for one in self.examined.skipped
            ],
            "unread": self.examined.unread,
            "others": self.examined.others,
            "findings": [
                {
                    "path": os.fsdecode(one.file.path),
                    "today": one.today._asdict(),
                    "then": one.then._asdict(),
                    "lost": one.then.kind != fate.OK,
                }
                for one in self.findings
            ],
            "files": [
                _file(state, *fates)
                for state, fates in zip(self.examined.files, self.fates, strict=True)
            ],
        }


def make(
    tree: str,
    about: str | None,
    sides: Sequence[Side],
    problems: Sequence[VerisealError],
    notes: Sequence[str],
    examined: Examined,
) -> Summary:
    """Judge every file by ``sides``, one or two of them, and count."""
    today, then = sides[0].judge, sides[-1].judge
    fates: list[tuple[Fate, Fate]] = []
    findings: list[Finding] = []
    for state in examined.files:
        first = today.of(state)
        last = first if then is today else then.of(state)
        fates.append((first, last))
        if state.needed and (first.kind, last.kind) != (fate.OK, fate.OK):
            findings.append(Finding(state, first, last))
    order = list(fate.KINDS)
    findings.sort(
        key=lambda one: (one.then.kind == fate.OK, order.index(one.worst.kind), one.file.path)
    )
    both = list(zip(examined.files, fates, strict=True))
    releases = sorted(_rows(both, by_release=True), key=lambda row: (-row.files, row.name))
    directories = sorted(_rows(both, by_release=False), key=lambda row: row.name)
    total = _row("all", both)
    promised = sum(
        one.known_from == MANIFEST and one.verity is True and one.needed for one in examined.files
    )
    if promised:
        text = f"{promised} needed files: the kernel does not show their signatures, so nobody has "
        notes = [*notes, text + "verified them; their signer is the one that the manifest names."]
    return Summary(
        tree, about, sides, problems, notes, findings, releases, directories, total, examined, fates
    )


def directory(path: bytes) -> str:
    """The directory that the file ``path`` is summed up under."""
    parts = path.split(b"/")[1:-1][:_DEPTH]
    return "/" + os.fsdecode(b"/".join(parts))


def release(state: FileState) -> str:
    """The signer that the file ``state`` is summed up under."""
    if state.named is not None:
        return state.named if state.os is None else f"{state.os}  {state.named}"
    return UNSIGNED if state.signed is False else NAMELESS


_Judged = tuple[FileState, tuple[Fate, Fate]]


def _rows(both: Iterable[_Judged], by_release: bool) -> Iterable[Row]:
    groups: dict[str, list[_Judged]] = {}
    for one in both:
        state = one[0]
        if by_release and state.verity is False and state.digest is None and not state.needed:
            # It has no signer, and nobody wants it to have one.
            continue
        name = release(state) if by_release else directory(state.path)
        groups.setdefault(name, []).append(one)
    return [_row(name, group) for name, group in groups.items()]


def _row(name: str, group: Sequence[_Judged]) -> Row:
    needed = [fates for state, fates in group if state.needed]
    kept = tuple(sum(one[when].kind == fate.OK for one in needed) for when in (0, 1))
    return Row(
        name,
        len(group),
        sum(state.verity is True for state, _ in group),
        sum(state.signed is True for state, _ in group),
        sum(state.listed is True for state, _ in group),
        len(needed),
        (kept[0], kept[1]),
        len(needed) - kept[1],
    )


def _condition(tree: str, name: str) -> str:
    about = f"--root {shlex.quote(name)} --tree {shlex.quote(tree)}"
    return (
        f"What is ok under {name} is so only if its trust statement allows it: nobody has looked "
        f"at that. With a copy of it: veriseal trust plan {about} --statement FILE"
    )


def _side(side: Side) -> dict[str, object]:
    trust = side.trust
    return {
        "name": side.name,
        "releases": [
            {
                "os": one.os,
                "part": one.part,
                "subject": one.certificate.subject,
                "fingerprint": one.certificate.fingerprint,
                "path": one.certificate.path,
            }
            for one in trust.releases
        ],
        "origin": trust.origin,
        "statement": trust.statement,
        "revoked": [str(one) for one in trust.revoked],
        "errors": [one.as_json() for one in side.errors],
        "warnings": list(side.warnings),
        "statement_not_seen": side.unseen,
    }


def _file(state: FileState, today: Fate, then: Fate) -> dict[str, object]:
    return {
        "path": os.fsdecode(state.path),
        "verity": state.verity,
        "digest": None if state.digest is None else str(state.digest),
        "signed": state.signed,
        "signer": state.signer,
        "signer_name": state.named,
        "os": state.os,
        "known_from": state.known_from,
        "listed": state.listed,
        "needed": state.needed,
        "refused": state.refused,
        "today": today.kind,
        "then": then.kind,
    }
