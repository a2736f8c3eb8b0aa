"""The check of a whole tree, shared among processes, and what it comes to."""

import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from veriseal import dump, pool
from veriseal.digest import Digest
from veriseal.manifest import TREE_LIST
from veriseal.tree.findings import Finding
from veriseal.tree.look import Found, Look, expected_digest
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


class _Directory(NamedTuple):
    own: dump.Entry
    entries: list[dump.Entry]


def check(
    root: int, release: Release, verity_for_all: bool, on_part: OnPart | None = None
) -> Result:
    """Compare the tree below ``root``, an open directory, with the list of ``release``.

    With ``verity_for_all`` no file is read in place of being measured.

    Raises VerisealError ``bad-tree-list``: a signed list that cannot be used. What is wrong with
    the tree itself is in the result.
    """
    directories = list(_grouped(release))
    total = sum(1 + len(one.entries) for one in directories)
    batches = _batched(directories)
    sizes = {entry.size for one in directories for entry in one.entries}

    def work(batch: Sequence[_Directory]) -> tuple[object, ...]:
        look = Look(root, release.manifest, sizes, verity_for_all)
        for one in batch:
            look.directory(one.own, one.entries)
        counts = (look.measured, look.hashed, look.hashed_bytes, look.hashed_seconds)
        return look.findings, look.unopened, counts

    found: list[Found] = []
    unopened: dict[bytes, int] = {}
    sums = [0, 0, 0, 0.0]
    done = 0
    for batch, (findings, closed, counts) in zip(batches, pool.run(work, batches), strict=True):
        found += findings
        unopened |= dict(closed)
        sums = [a + b for a, b in zip(sums, counts, strict=True)]
        done += sum(1 + len(one.entries) for one in batch)
        if on_part is not None:
            on_part(done, total)
    places = _places(directories, release) if found else {}
    results = [_finding(one, places) for one in found]
    results += _unexplained(unopened, results)
    rows = _rows(directories, release, {one.path for one in results}, unopened)
    names = {one.own.path for one in directories}
    missed = sum(len(one.entries) for one in directories if one.own.path in unopened)
    measured, hashed, hashed_bytes = (int(one) for one in sums[:3])
    return Result(results, total, measured, hashed, hashed_bytes, sums[3], missed, rows, names)


def _grouped(release: Release) -> Iterator[_Directory]:
    """The directories of the list, each with what is directly in it.

    A hard link is an entry like any other: what it must be is what its target must be.
    """
    path = os.path.join(os.path.dirname(release.path), TREE_LIST)
    directories: dict[bytes, _Directory] = {}
    others: dict[bytes, dump.Entry] = {}
    for entry in dump.parse(io.BytesIO(release.tree_list), path):
        if entry.hardlink:
            entry = others[entry.payload or b""]._replace(path=entry.path)
        elif stat.S_ISDIR(entry.mode):
            directories[entry.path] = _Directory(entry, [])
        else:
            others[entry.path] = entry
        if entry.path != b"/":
            parent = entry.path.rpartition(b"/")[0] or b"/"
            directories[parent].entries.append(entry)
    yield from directories.values()


def _batched(directories: Sequence[_Directory]) -> list[list[_Directory]]:
    batches: list[list[_Directory]] = [[]]
    size = 0
    for one in directories:
        batches[-1].append(one)
        size += 1 + len(one.entries)
        if size >= _BATCH:
            batches.append([])
            size = 0
    return batches


def _places(directories: Sequence[_Directory], release: Release) -> dict[bytes, bytes]:
    """Where each digest belongs: the first path that has it."""
    places: dict[bytes, bytes] = {}
    for one in directories:
        for entry in one.entries:
            if stat.S_ISREG(entry.mode):
                digest = expected_digest(entry, release.manifest.parameters)
                places.setdefault(digest.value, entry.path)
    return places


def _finding(found: Found, places: dict[bytes, bytes]) -> Finding:
    kind, path, expected, seen, digest = found
    place = None if digest is None else places.get(digest)
    if kind == "changed" and place is not None:
        kind = "swapped"
    return Finding(kind, path, expected, seen, digest, place)


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
    directories: Sequence[_Directory],
    release: Release,
    bad: set[bytes],
    unopened: dict[bytes, int],
) -> list[tuple[bytes, Digest]]:
    return [
        (entry.path, expected_digest(entry, release.manifest.parameters))
        for one in directories
        if one.own.path not in unopened
        for entry in one.entries
        if stat.S_ISREG(entry.mode) and entry.path not in bad
    ]
