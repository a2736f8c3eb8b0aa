"""Making a trust statement, and signing it with an anchor's key."""

import os
from collections.abc import Collection
from typing import NamedTuple

from veriseal.build import beside, files, pki
from veriseal.build.sign import has_signature
from veriseal.build.signer import Signer
from veriseal.digest import MAX_SIGNATURE_SIZE, Digest
from veriseal.trust import statement, vouched
from veriseal.trust.model import Anchor
from veriseal.trust.statement import Statement


class Written(NamedTuple):
    """What was written.

    Attributes:
        statement: as it was read back.
        digest: what was signed.
        signature: the file.
        removed: signatures of another statement that was here before.
    """

    statement: Statement
    digest: Digest
    signature: str
    removed: list[str]


def write(path: str, made: Statement, by: Signer, revoked_keys: Collection[bytes] = ()) -> Written:
    """Write ``made`` to ``path``, and its signature beside it.

    ``revoked_keys`` are those of the certificates that it revokes, as far as they are known.

    It is checked as at boot before anything is written, and read back. Signatures of the same
    statement, byte for byte, by other anchors stay. Raises OSError, VerisealError.
    """
    for release in made.releases:
        pki.check_os(release.os)
    pki.check_os(made.os)
    data = statement.serialize(made)
    digest = vouched.digest(data)
    own = beside.signature_path(path, by)
    # Of those under which the root can be installed it vouches for the most.
    anchors = [Anchor(made.os.partition(":")[0], by.certificate)]
    # Not every key gives the same signature twice: what is there and good stays.
    good = has_signature(own, digest, by.certificate)
    der = files.read(own, MAX_SIGNATURE_SIZE) if good else by.sign(digest)
    checked = statement.check(data, {own: der}, anchors, [made.os], made.version, path)
    statement.check_revoked(checked, revoked_keys)
    removed = beside.make_room(path, data, by)
    files.replace(own, der)
    files.replace(path, data)
    directory, name = os.path.split(path)
    read = statement.load(name, anchors, [made.os], made.version, directory or ".")
    return Written(read, digest, own, removed)
