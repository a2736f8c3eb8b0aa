"""Target: a trust statement and its signature, of which one is not as it was made.

The first byte says which: the statement is as it was, or signed anew as if the anchor had written
it, so that what is behind the signature is reached too.
"""

import os
from collections.abc import Sequence
from random import Random

from tests.fuzz import mutate, samples, workplace
from tests.fuzz.contract import attempt
from veriseal import signature, voa
from veriseal.errors import VerisealError
from veriseal.trust import statement as trust
from veriseal.trust import vouched
from veriseal.trust.model import Anchor
from veriseal.trust.statement import Statement, StatementRelease

_CHANGED, _SIGNED, _SIGNATURE, _COUNT = 0, 1, 2, 3
_ID = samples.OS.partition(":")[0]
_NAMES = [_ID, samples.OS]
_FLOOR = 7


def _sample() -> bytes:
    releases = (
        StatementRelease(samples.OS, 5, (samples.signer("rsa"),)),
        StatementRelease(f"{_ID}:44", 0, (samples.signer("ec"),)),
    )
    revoked = (samples.DIGEST, samples.LONG_DIGEST)
    made = Statement(
        _ID, _FLOOR, 1767225600, releases, revoked, ("ab" * 32,), "trust.json", samples.root()
    )
    return trust.serialize(made)


def _sign(data: bytes) -> bytes:
    digest = vouched.digest(data)
    return signature.make(digest, samples.rsa_key(), samples.root())


def seeds() -> list[bytes]:
    good = _sample()
    return [b"\0" + good, b"\1" + good, b"\2" + _sign(good)]


def edit(random: Random, data: bytes, tokens: Sequence[bytes]) -> bytes:
    """A change that suits the file."""
    which = data[:1] or b"\0"
    change = mutate.edit_der if which[0] % _COUNT == _SIGNATURE else mutate.edit_json
    return which + change(random, data[1:], tokens)


def statement(data: bytes) -> None:
    """Nothing but what was signed is accepted, and it means the same once it is written again."""
    which, body = data[:1] or b"\0", data[1:]
    kind = which[0] % _COUNT
    good = _sample()
    contents = good if kind == _SIGNATURE else body
    der = {_CHANGED: _sign(good), _SIGNED: _sign(contents), _SIGNATURE: body}[kind]
    os.makedirs(os.path.join(workplace.directory(), "trust"), exist_ok=True)
    workplace.put("trust/trust.json", contents)
    workplace.put("trust/trust.json.1.sig", der)
    anchors = [Anchor(_ID, samples.root())]
    found = attempt(trust.load, "trust/trust.json", anchors, _NAMES, _FLOOR, workplace.directory())
    if isinstance(found, VerisealError):
        assert found.reason in (
            "statement-not-signed",
            "bad-statement",
            "other-os",
            "statement-rolled-back",
        )
        return
    if kind == _CHANGED:
        assert body == good
    assert found.version >= _FLOOR
    assert found.os in _NAMES
    assert found.signer is anchors[0].certificate
    for release in found.releases:
        assert voa.covers(_ID, release.os)
        assert release.certificates
    written = trust.serialize(found)
    assert trust.serialize(trust.parse(written, "trust.json", found.signer)) == written
