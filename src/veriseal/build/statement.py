"""Making a trust statement, and signing it with an anchor's key."""

import os
from collections.abc import Collection
from typing import NamedTuple

from veriseal.build import beside, files
from veriseal.build.sign import has_signature
from veriseal.build.signer import Signer
from veriseal.digest import MAX_SIGNATURE_SIZE, Digest
from veriseal.errors import VerisealError
from veriseal.trust import statement, vouched
from veriseal.trust.model import Anchor
from veriseal.trust.statement import Statement

_REMEDIES = {
    "bad-statement": "Correct what --release, --revoke-cert and --cert name",
    "other-os": "Give --os and each --release an OS of one system, such as debian and debian:13",
    "statement-not-signed": "Sign with a root that has the key usage cRLSign: veriseal pki root",
}


class Written(NamedTuple):
    """What was written.

    Attributes:
        statement: as it was read back.
        digest: what was signed.
        signature: the file.
        removed: signatures of another statement that was here before.
        ambiguous: whether that one had the same version.
    """

    statement: Statement
    digest: Digest
    signature: str
    removed: list[str]
    ambiguous: bool


def write(path: str, made: Statement, by: Signer, revoked_keys: Collection[bytes] = ()) -> Written:
    """Write ``made`` to ``path``, and its signature beside it.

    ``revoked_keys`` are those of the certificates that it revokes, as far as they are known.

    It is checked as at boot before anything is written, and read back. Signatures of the same
    statement, byte for byte, by other anchors stay. A statement of a higher version is not
    replaced.

    Raises OSError, VerisealError (``lower-version`` and others).
    """
    data = statement.serialize(made)
    ambiguous = _check_version(path, data, made, by)
    digest = vouched.digest(data)
    own = beside.signature_path(path, by)
    # Of those under which the root can be installed it vouches for the most.
    anchors = [Anchor(made.os.partition(":")[0], by.certificate)]
    # Not every key gives the same signature twice: what is there and good stays.
    good = has_signature(own, digest, by.certificate)
    der = files.read(own, MAX_SIGNATURE_SIZE) if good else by.sign(digest)
    try:
        checked = statement.check(data, {own: der}, anchors, [made.os], made.version, path)
        statement.check_revoked(checked, revoked_keys)
    except VerisealError as error:
        raise _not_made(error) from None
    removed = beside.make_room(path, data, by)
    files.replace(own, der)
    files.replace(path, data)
    directory, name = os.path.split(path)
    read = statement.load(name, anchors, [made.os], made.version, directory or ".")
    return Written(read, digest, own, removed, ambiguous)


def _check_version(path: str, data: bytes, made: Statement, by: Signer) -> bool:
    """Whether another statement of the same version is at ``path``, whoever signed it.

    Raises OSError, and VerisealError ``lower-version`` if ``made`` is older than that. What is no
    statement has no version.
    """
    try:
        there = files.read(path, statement.MAX_SIZE)
        before = statement.parse(there, path, by.certificate)
    except (FileNotFoundError, VerisealError):
        return False
    if before.version > made.version:
        raise VerisealError(
            "lower-version",
            "a statement of a higher version is here and is not replaced: no machine that has "
            "known it would take a lower one",
            path=path,
            expected=f"higher than version {before.version}",
            found=f"version {made.version}",
            remedy="Give a higher --version, or another file with --out",
        )
    return before.version == made.version and there != data


def _not_made(error: VerisealError) -> VerisealError:
    """``error`` for who makes the statement: there is no file yet, nor a machine that has it."""
    return VerisealError(
        error.reason,
        f"this would be no good statement: {error.problem}",
        expected=error.expected,
        found=error.found,
        remedy=_REMEDIES.get(error.reason),
    )
