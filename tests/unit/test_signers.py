"""Whose signatures files have: what is written is read, and nothing else is."""

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriseal import signers
from veriseal.errors import VerisealError
from veriseal.signers import Signed

pytestmark = pytest.mark.unit

OWN = Signed("debian:13", "1" * 64, "CN=Acme release debian:13")
OLD = Signed("debian:12", "2" * 64, "CN=Acme release debian:12", (b"/opt/\xff a", b"/usr/bin/a"))
OLDER = Signed("", "0" * 64, "CN=é", (b"/usr/bin/b",))
DATA = signers.serialize([OWN, OLD, OLDER])


def test_what_is_written_is_read() -> None:
    found = signers.parse(DATA, "s")
    assert found.entries == (OWN, OLD, OLDER)
    assert signers.serialize(found.entries) == DATA
    assert found.of(b"/opt/\xff a") == OLD
    assert found.of(b"/usr/bin/b") == OLDER
    for path in (b"/usr/bin/c", b"/usr/bin", b"/usr/bin/a/", b"/"):
        assert found.of(path) == OWN


def test_a_name_for_messages() -> None:
    assert OLD.name == "CN=Acme release debian:12 (debian:12)"
    assert OLDER.name == "CN=é"


PATHS = st.lists(st.binary(max_size=20).map(lambda end: b"/" + end.replace(b"\0", b"/")))


@given(PATHS, PATHS)
def test_any_paths(one: list[bytes], two: list[bytes]) -> None:
    first, second = set(one), set(two) - set(one)
    groups = [OWN._replace(paths=tuple(first)), OLD._replace(paths=tuple(second))]
    found = signers.parse(signers.serialize(signers.compact(groups)), "s")
    for path in first:
        assert found.of(path).fingerprint == OWN.fingerprint
    for path in second:
        assert found.of(path).fingerprint == OLD.fingerprint
    assert sum(len(entry.paths) for entry in found.entries) == min(len(first), len(second))


def test_who_signed_most_is_named_without_paths() -> None:
    few, more = OWN._replace(paths=(b"/b",)), OLD
    assert signers.compact([few, more]) == [OLD._replace(paths=()), few]
    # Of two that signed as much it is the first; the paths are in order whatever they came in.
    mine = OWN._replace(paths=(b"/y", b"/x"))
    assert signers.compact([mine, more]) == [OWN, OLD]
    assert signers.compact([more._replace(paths=more.paths[::-1]), mine]) == [
        OLD._replace(paths=()),
        OWN._replace(paths=(b"/x", b"/y")),
    ]


def test_who_signed_nothing_is_not_named() -> None:
    assert signers.compact([OWN, OLD]) == [OLD._replace(paths=())]
    assert signers.compact([OWN]) == [OWN]


def test_one_signer_of_several_groups() -> None:
    parts = [
        OWN._replace(os="", paths=(b"/b",)),
        OLD,
        OWN._replace(paths=(b"/a", b"/c")),
    ]
    assert signers.compact(parts) == [OWN, OLD]


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(DATA)
    change(document)
    return json.dumps(document).encode()


def one(position: int, **values: object) -> bytes:
    return changed(lambda d: d["signers"][position].update(values))


BAD: dict[str, bytes] = {
    "empty": b"",
    "not text": b"\xff",
    "deep": b"[" * 100000,
    "a list": b"[]",
    "cut": DATA[:-3],
    "large": b" " * signers.MAX_SIZE + DATA,
    "format": changed(lambda d: d.update(format="veriseal-closures")),
    "schema": changed(lambda d: d.update(schema=2)),
    "schema true": changed(lambda d: d.update(schema=True)),
    "unknown key": changed(lambda d: d.update(more=1)),
    "key twice": DATA.replace(b'"schema":1', b'"schema":1,"schema":1'),
    "no signers": changed(lambda d: d.pop("signers")),
    "nobody": changed(lambda d: d.update(signers=[])),
    "signers an object": changed(lambda d: d.update(signers={})),
    "a signer that is text": changed(lambda d: d["signers"].append("x")),
    "unknown key below": one(0, more=1),
    "no subject": changed(lambda d: d["signers"][1].pop("subject")),
    "empty subject": one(1, subject=""),
    "os a number": one(1, os=12),
    "fingerprint short": one(1, fingerprint="2" * 63),
    "fingerprint upper": one(1, fingerprint="A" * 64),
    "fingerprint and a line": one(1, fingerprint="2" * 64 + "\n"),
    "signer twice": one(1, fingerprint=OWN.fingerprint),
    "the first with paths": one(0, paths=["/x"]),
    "another without": one(1, paths=[]),
    "paths a text": one(1, paths="/x"),
    "a path that is a number": one(1, paths=[1]),
    "a relative path": one(1, paths=["x"]),
    "an empty path": one(1, paths=[""]),
    "a path with NUL": one(1, paths=["/x\0"]),
    "a path too long": one(1, paths=["/" + "x" * 4096]),
    "a surrogate that is no byte": one(1, paths=["/\ud800"]),
    "a path twice": one(1, paths=["/x", "/x"]),
    "a path of two": one(2, paths=[os.fsdecode(OLD.paths[0])]),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_understood_is_refused(name: str) -> None:
    with pytest.raises(VerisealError) as caught:
        signers.parse(BAD[name], "s")
    assert (caught.value.reason, caught.value.path) == ("bad-signers", "s")
    assert len(str(caught.value)) < 2000


@given(st.binary())
def test_bytes_are_refused_not_raised(data: bytes) -> None:
    with pytest.raises(VerisealError):
        signers.parse(data, "s")


def test_more_than_can_be_read_again_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signers, "MAX_SIZE", len(DATA) - 1)
    with pytest.raises(VerisealError) as caught:
        signers.serialize([OWN, OLD, OLDER])
    assert caught.value.reason == "too-large"
