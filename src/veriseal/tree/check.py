"""The check of a whole tree, shared among processes, and what it comes to."""

import os
from collections.abc import Callable, Container, Iterator, Sequence
from typing import NamedTuple

from veriseal import pool, signers
from veriseal.digest import Digest
from veriseal.kernel import files
from veriseal.pattern import Patterns
from veriseal.tree import hidden
from veriseal.tree import listed as listing
from veriseal.tree.findings import OF_SIGNATURES, Finding
from veriseal.tree.listed import Directory, Listed
from veriseal.tree.look import Found, Look, Seen
from veriseal.tree.source import Release

OnPart = Callable[[int, int], None]
"""Told how far the check is: entries done, entries in all."""

_BATCH = 200
"""Entries that a worker takes at a time, about."""


class Result(NamedTuple):
    """What a check came to.

    Attributes:
        findings: in the order of the list; none means that the tree is as the manifest says.
        entries: in the list.
        measured: files whose digest the kernel gave.
        hashed, hashed_bytes, hashed_seconds: files without verity, which were read instead; the
            seconds are those of all processors together.
        not_looked_at: entries below directories that could not be opened.
        rows: path and digest of each regular file without a finding.
        refused: digests that a regular file with a finding should have had.
        directories: that the list names.
    """

    findings: list[Finding]
    entries: int
    measured: int
    hashed: int
    hashed_bytes: int
    hashed_seconds: float
    not_looked_at: int
    rows: list[tuple[bytes, Digest]]
    refused: set[Digest]
    directories: set[bytes]

    def as_json(self) -> dict[str, object]:
        """The counts, for reports and ``--json``."""
        return {
            "entries": self.entries,
            "files": len(self.rows),
            "measured": self.measured,
            "hashed": self.hashed,
            "hashed_bytes": self.hashed_bytes,
            "hashed_seconds": round(self.hashed_seconds, 3),
            "not_looked_at": self.not_looked_at,
        }


def check(
    root: int, release: Release, verity_for_all: bool, on_part: OnPart | None = None
) -> Result:
    """Compare the tree below ``root``, an open directory, with the list of ``release``.

    With ``verity_for_all`` no file is read in place of being measured.

    Raises VerisealError ``bad-tree-list``, ``bad-signers``, ``other-kind``: a signed manifest that
    cannot be used.
    What is wrong with the tree itself is in the result.
    """
    listed = listing.read(release)
    complaints = files.ext4_complaints()
    total = len(listed)
    batches = _batched(list(listed.directories.values()))

    # Made once: each worker inherits its compiled patterns.
    look = Look(root, release.manifest, listed.digests, verity_for_all)

    def work(batch: Sequence[Directory]) -> Seen:
        for one in batch:
            look.directory(one.own, one.entries)
        return look.take()

    found: list[Found] = []
    unopened: dict[bytes, int] = {}
    sums = [0, 0, 0, 0.0]
    done = 1  # the root
    for batch, (findings, closed, counts) in zip(batches, pool.run(work, batches), strict=True):
        found += findings
        unopened |= dict(closed)
        sums = [a + b for a, b in zip(sums, counts, strict=True)]
        done += sum(len(one.entries) for one in batch)
        if on_part is not None:
            on_part(done, total)
    results = _with_signers(_findings(found, listed), release)
    results += _unexplained(unopened, results)
    known = {one.path for one in results}
    results += hidden.by_name(root, release.manifest, {*known, *_paths(listed)})
    results += hidden.complaints(complaints)
    rows = _rows(listed, known, unopened)
    accepted = dict(rows)
    refused = {digest for path, digest in listed.digests.items() if path not in accepted}
    missed = sum(len(listed.directories[path].entries) for path in unopened)
    measured, hashed, hashed_bytes = (int(one) for one in sums[:3])
    return Result(
        results, total, measured, hashed, hashed_bytes, sums[3], missed, rows, refused,
        set(listed.directories),
    )  # fmt: skip


def _batched(directories: Sequence[Directory]) -> list[list[Directory]]:
    batches: list[list[Directory]] = [[]]
    size = 0
    for one in directories:
        batches[-1].append(one)
        size += 1 + len(one.entries)
        if size >= _BATCH:
            batches.append([])
            size = 0
    return batches


def _paths(listed: Listed) -> Iterator[bytes]:
    for one in listed.directories.values():
        yield one.own.path
        yield from (entry.path for entry in one.entries)


def _findings(found: list[Found], listed: Listed) -> list[Finding]:
    places: dict[bytes, bytes] = {}
    if found:
        for path, digest in listed.digests.items():
            places.setdefault(digest.value, path)
    return [_finding(one, places) for one in found]


def _finding(found: Found, places: dict[bytes, bytes]) -> Finding:
    kind, path, expected, seen, digest = found
    place = None if digest is None else places.get(digest)
    if kind == "changed" and place is not None:
        kind = "swapped"
    return Finding(kind, path, expected, seen, digest, place)


def _with_signers(findings: list[Finding], release: Release) -> list[Finding]:
    if not release.signers or not any(one.kind in OF_SIGNATURES for one in findings):
        return findings
    known = signers.parse(
        release.signers, os.path.join(os.path.dirname(release.path), signers.NAME)
    )
    signed = Patterns(release.manifest.signed)
    return [
        one._replace(signer=known.of(one.path))
        if one.kind in OF_SIGNATURES and signed.cover(one.path)
        else one
        for one in findings
    ]


def _unexplained(unopened: dict[bytes, int], findings: list[Finding]) -> Iterator[Finding]:
    """A finding for each directory that could not be opened though nothing else says so."""
    known = {one.path for one in findings}
    for path, number in unopened.items():
        above = path
        while above not in known and above != b"/":
            above = above.rpartition(b"/")[0] or b"/"
        if above not in known:
            yield Finding("unreadable", path, None, os.strerror(number))


def _rows(
    listed: Listed, bad: Container[bytes], unopened: Container[bytes]
) -> list[tuple[bytes, Digest]]:
    return [
        (path, digest)
        for path, digest in listed.digests.items()
        if path not in bad and (path.rpartition(b"/")[0] or b"/") not in unopened
    ]
