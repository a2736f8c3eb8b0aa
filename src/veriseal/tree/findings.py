"""What can be wrong with a tree: the kinds of findings and how they are said. Pure."""

import os
from typing import NamedTuple

from veriseal.errors import printable
from veriseal.signers import Signed

_PROBLEMS = {
    "changed": "its contents are not those of this release",
    "swapped": "it is another file of this release",
    "missing": "it is missing",
    "added": "it is not part of this release, in a place where nothing else may be",
    "type": "it is of another type",
    "mode": "its mode is another",
    "owner": "its owner is another",
    "target": "the link leads elsewhere",
    "device": "its device number is another",
    "xattr": "its security attributes or access lists are others",
    "no-verity": "it does not have fs-verity",
    "unsigned": "it has fs-verity, but no built-in signature",
    "not-enrolled": "it is signed by a key that is not enrolled",
    "signature-mismatch": "its built-in signature is not one of this file",
    "malformed-signature": "its built-in signature is damaged",
    "revoked": "its digest is revoked",
    "corrupt": "it cannot be read as it was written",
    "unreadable": "it cannot be examined",
}
KINDS = tuple(_PROBLEMS)
OF_SIGNATURES = ("unsigned", "not-enrolled", "signature-mismatch", "malformed-signature")
"""The kinds whose findings name the signer that the release has."""

_LONGEST = 200
"""Characters of a value that is shown: attributes can be 64 KiB, and a disk full of them."""


class Finding(NamedTuple):
    """One difference between a tree and its manifest.

    Attributes:
        kind: one of `KINDS`.
        path: in the tree, absolute.
        expected, found: the two sides, if there are two.
        digest: that was measured or computed for the contents, if it was.
        place: what the file is, if it is another file of the release.
        signer: whose signature it has in the release, where that matters. What is here may have
            another, which the kernel does not show.
    """

    kind: str
    path: bytes
    expected: str | None = None
    found: str | None = None
    digest: bytes | None = None
    place: bytes | None = None
    signer: Signed | None = None

    def sentence(self) -> str:
        """The finding without its path, on one line."""
        text = _PROBLEMS[self.kind]
        if self.place is not None:
            what = "it is" if self.kind == "swapped" else f"{text}; it is"
            text = f"{what} {printable(os.fsdecode(self.place))} of this release"
        if self.signer is not None:
            text = f"{text}; in this release it is signed by {printable(_cut(self.signer.name))}"
        details = [
            f"{name} {printable(_cut(value))}"
            for name, value in (("expected", self.expected), ("found", self.found))
            if value is not None
        ]
        return f"{text} ({', '.join(details)})" if details else text

    def __str__(self) -> str:
        return f"{self.kind}: {printable(os.fsdecode(self.path))}: {self.sentence()}"

    def as_json(self) -> dict[str, str]:
        """For reports and ``--json``; a path's undecodable bytes are lone surrogates."""
        values = {
            "kind": self.kind,
            "path": os.fsdecode(self.path),
            "expected": None if self.expected is None else _cut(self.expected),
            "found": None if self.found is None else _cut(self.found),
            "place": None if self.place is None else os.fsdecode(self.place),
            "problem": self.sentence(),
        }
        if self.signer is not None:
            values |= {
                "signer": self.signer.fingerprint,
                "signer_subject": _cut(self.signer.subject),
                "signer_os": self.signer.os,
            }
        return {name: value for name, value in values.items() if value is not None}


def _cut(value: str) -> str:
    return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}..."


def summary(findings: list[Finding]) -> str:
    """How many of each kind, for one line."""
    counts = dict.fromkeys(KINDS, 0)
    for finding in findings:
        counts[finding.kind] += 1
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "no findings"
