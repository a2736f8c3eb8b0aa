"""Which files of a release would lose trust, and why: by the signer, or by the digest. Pure."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from veriseal import signers
from veriseal.digest import Digest
from veriseal.plan import changes
from veriseal.signers import Signed
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


def by_signer(
    known: signers.Signers,
    paths: Iterable[bytes],
    trust: TrustSet,
    really: Mapping[bytes, Signed] | None = None,
) -> list[Lost]:
    """Those of ``paths`` whose signer does not count in ``trust``, a group for each signer.

    ``known`` says whose signature each file is to have, ``really`` whose it has, where that could
    be found out.
    """
    counted = {one.certificate.fingerprint for one in trust.releases}
    groups: dict[str, list[bytes]] = {}
    names: dict[str, str] = {}
    for path in paths:
        signer = (really or {}).get(path) or known.of(path)
        if signer.fingerprint not in counted:
            groups.setdefault(signer.fingerprint, []).append(path)
            names[signer.fingerprint] = signer.name
    return [
        Lost(*changes.fate(one, trust), names[one], one, tuple(sorted(group)))
        for one, group in groups.items()
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
