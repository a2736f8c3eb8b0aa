"""Which files of a release would lose trust, and why: by the signer, or by the digest. Pure."""

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from veriseal import signers
from veriseal.digest import Digest
from veriseal.manifest import Manifest
from veriseal.pattern import Patterns
from veriseal.plan import changes
from veriseal.tree.listed import Listed
from veriseal.trust.finding import ERROR, Finding
from veriseal.trust.model import TrustSet

REVOKED_DIGEST = "revoked-digest"
_SHOWN = 5
"""Paths in a message."""


class Lost(NamedTuple):
    """Files that one signer signed, whose certificate would not count, or that are revoked.

    Attributes:
        reason: why: of `Ignored`, `changes.MISSING` or `REVOKED_DIGEST`.
        why: a clause.
        signer: name and release of the signer; None for revoked files.
        fingerprint: of its certificate; None for revoked files.
        paths: in the tree, sorted.
    """

    reason: str
    why: str
    signer: str | None
    fingerprint: str | None
    paths: tuple[bytes, ...]

    def finding(self) -> Finding:
        """As an error: the next boot, or the program that needs the file, would be refused."""
        count = f"{len(self.paths)} needed file{'' if len(self.paths) == 1 else 's'}"
        named = ", ".join(os.fsdecode(path) for path in self.paths[:_SHOWN])
        more = len(self.paths) - _SHOWN
        files = f"{count}: {named}" + (f" and {more} more" if more > 0 else "")
        if self.signer is None:
            remedy = "Install a release without this file first, then revoke it"
            return Finding(ERROR, self.reason, f"{self.why}: {files}", None, remedy)
        remedy = (
            "Keep its certificate in the window, or first install a release whose files another "
            "key has signed"
        )
        text = f"{self.signer} signed what would lose trust ({self.why}): {files}"
        return Finding(ERROR, self.reason, text, None, remedy)

    def as_json(self) -> dict[str, object]:
        """For ``--json``: all paths."""
        return {
            "reason": self.reason,
            "why": self.why,
            "signer": self.signer,
            "fingerprint": self.fingerprint,
            "paths": [os.fsdecode(path) for path in self.paths],
        }


def needed(manifest: Manifest, listed: Listed) -> list[bytes]:
    """The files that must have verity and, where the kernel looks, a signature; sorted."""
    signed = Patterns(manifest.signed)
    return sorted(path for path in listed.digests if signed.cover(path))


def by_signer(known: signers.Signers, paths: Iterable[bytes], trust: TrustSet) -> list[Lost]:
    """Those of ``paths`` whose signer does not count in ``trust``, a group for each signer."""
    counted = {one.certificate.fingerprint for one in trust.releases}
    groups: dict[str, list[bytes]] = {}
    entries = {one.fingerprint: one for one in known.entries}
    for path in paths:
        groups.setdefault(known.of(path).fingerprint, []).append(path)
    return [
        Lost(*changes.fate(one, trust), entries[one].name, one, tuple(sorted(group)))
        for one, group in groups.items()
        if one not in counted
    ]


def by_digest(listed: Listed, revoked: Sequence[Digest]) -> list[Lost]:
    """The files whose digest is revoked, a group for each digest."""
    groups: dict[Digest, list[bytes]] = {}
    wanted = set(revoked)
    for path, digest in listed.digests.items():
        if digest in wanted:
            groups.setdefault(digest, []).append(path)
    return [
        Lost(REVOKED_DIGEST, f"{digest} is revoked", None, None, tuple(sorted(group)))
        for digest, group in groups.items()
    ]
