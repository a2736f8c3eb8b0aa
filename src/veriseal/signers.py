"""Whose signatures the files of a release have: written at build, read to say whose is missing.

A file may keep the signature of an earlier release. The kernel does not say by whom a file that
it refuses is signed, and its signature cannot be read then: the file beside the manifest does.
Pure. JSON:

    format, schema
    signers  os, fingerprint, subject and paths of each; the first has no paths: it signed every
             signed file that is not among those of another
"""

import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from veriseal.errors import VerisealError
from veriseal.fields import Fields, absolute, load

NAME = "signers.json"
"""The file, beside the manifest, which has its digest and size."""
FORMAT = "veriseal-signers"
SCHEMA = 1
MAX_SIZE = 1 << 26
"""Bytes of the file."""

_FINGERPRINT = re.compile("[0-9a-f]{64}")


class Signed(NamedTuple):
    """A signer, and what it signed.

    Attributes:
        os: the VOA name of the release that it signs for; empty if that is not known.
        fingerprint: of its certificate: SHA-256 of the DER, in hex.
        subject: of its certificate, RFC 4514-like.
        paths: in the tree, every name of each file. None for the first of a file: see above.
    """

    os: str
    fingerprint: str
    subject: str
    paths: tuple[bytes, ...] = ()

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.subject} ({self.os})" if self.os else self.subject


class Signers:
    """What is in one file.

    Attributes:
        entries: as they are there.
    """

    def __init__(self, entries: Sequence[Signed]) -> None:
        """``entries`` are not checked: see `parse` and `compact`."""
        self.entries = tuple(entries)
        self._by_path = {path: entry for entry in entries for path in entry.paths}

    def of(self, path: bytes) -> Signed:
        """Whose signature the file ``path``, which must be one that has one, is to have."""
        return self._by_path.get(path, self.entries[0])


def compact(groups: Iterable[Signed]) -> list[Signed]:
    """The entries for ``groups``, each with all of its paths: who signed most comes first.

    Groups of one signer become one. Of two that signed as much it is the one given first; who
    signed nothing is left out, unless nobody did.
    """
    merged: dict[str, Signed] = {}
    for one in groups:
        before = merged.setdefault(one.fingerprint, one._replace(paths=()))
        paths = (*before.paths, *one.paths)
        merged[one.fingerprint] = before._replace(os=before.os or one.os, paths=paths)
    # The sort is stable.
    first, *rest = sorted(merged.values(), key=lambda one: -len(one.paths))
    others = [one._replace(paths=tuple(sorted(one.paths))) for one in rest if one.paths]
    return [first._replace(paths=()), *sorted(others, key=lambda one: one.fingerprint)]


def serialize(entries: Sequence[Signed]) -> bytes:
    """The file; the same entries give the same bytes. Raises VerisealError ``too-large``."""
    document = {
        "format": FORMAT,
        "schema": SCHEMA,
        "signers": [
            {**one._asdict(), "paths": [os.fsdecode(path) for path in one.paths]} for one in entries
        ],
    }
    data = (json.dumps(document, separators=(",", ":")) + "\n").encode()
    if len(data) > MAX_SIZE:
        raise VerisealError(
            "too-large",
            "the names of files that keep a signature are too many to be read again",
            expected=f"at most {MAX_SIZE} bytes",
            found=f"{len(data)} bytes",
            remedy="Keep the signatures of fewer releases",
        )
    return data


def parse(data: bytes, path: str) -> Signers:
    """The signers in ``data``, the contents of ``path``. Raises VerisealError ``bad-signers``."""
    if len(data) > MAX_SIZE:
        raise _bad(path, "too large", f"at most {MAX_SIZE} bytes", f"{len(data)} bytes")
    fields = Fields(load(data, path, _bad), path, "the file", _bad)
    head = (fields.take("format"), fields.take("schema"))
    if head != (FORMAT, SCHEMA) or type(head[1]) is not int:
        found = repr(head)[:200]
        raise _bad(path, "not signers of a known format", f"{FORMAT} {SCHEMA}", found)
    values = fields.take("signers")
    fields.end()
    if not isinstance(values, list) or not values:
        raise _bad(path, "signers", "a list of at least one")
    entries = [_signed(value, path) for value in values]
    for position, one in enumerate(entries):
        if bool(one.paths) != bool(position):
            raise _bad(path, "the first signer has no paths, each other has some", found=one.name)
    for name, each in (
        ("signer", [one.fingerprint for one in entries]),
        ("path", [name for one in entries for name in one.paths]),
    ):
        if len(set(each)) != len(each):
            raise _bad(path, f"a {name} is there twice")
    return Signers(entries)


def _signed(value: object, path: str) -> Signed:
    fields = Fields(value, path, "a signer", _bad)
    entry = Signed(
        fields.text("os", may_be_empty=True),
        fields.text("fingerprint"),
        fields.text("subject"),
        tuple(_path(one, path) for one in fields.texts("paths")),
    )
    fields.end()
    if not _FINGERPRINT.fullmatch(entry.fingerprint):
        raise _bad(path, "not a fingerprint", "64 hex digits", repr(entry.fingerprint)[:200])
    return entry


def _path(value: Any, path: str) -> bytes:
    found = absolute(value)
    if found is None:
        raise _bad(path, "not an absolute path that a file can have", found=repr(value)[:200])
    return found


def _bad(path: str, problem: str, expected: object = None, found: object = None) -> VerisealError:
    return VerisealError(
        "bad-signers",
        problem,
        path=path,
        expected=expected,
        found=found,
        remedy="Make it again with: veriseal build",
    )
