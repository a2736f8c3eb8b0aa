"""The closures: what is written is read, and nothing else is."""

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriseal import closure, table
from veriseal.boot import verify
from veriseal.closure import Member
from veriseal.digest import SHA256, SHA512, Digest
from veriseal.errors import VerisealError
from veriseal.kernel import verity
from veriseal.tree import check

pytestmark = pytest.mark.unit

ONE, TWO = Digest(SHA256, bytes(32)), Digest(SHA512, bytes(range(64)))
PRELOAD = Member(b"/etc/ld.so.preload", None)
LOADER = Member(b"/lib64/ld-linux-x86-64.so.2", ONE)
STRANGE = Member(b"/opt/\xff\n", TWO)
CLOSURES = {b"/usr/bin/a": (LOADER, PRELOAD), b"/usr/bin/\xfe": (STRANGE, LOADER), b"/s": ()}


def test_what_is_written_is_read_in_the_same_order() -> None:
    data = closure.serialize(CLOSURES)
    assert closure.parse(data, "c") == CLOSURES
    assert closure.serialize(closure.parse(data, "c")) == data


def test_the_order_of_the_programs_does_not_matter() -> None:
    backwards = dict(reversed(CLOSURES.items()))
    assert closure.serialize(backwards) == closure.serialize(CLOSURES)


paths = st.binary(max_size=20).filter(lambda one: b"\0" not in one).map(lambda one: b"/" + one)
digests = st.binary(min_size=32, max_size=32).map(lambda value: Digest(SHA256, value))
members = st.builds(Member, paths, st.none() | digests)


@given(st.dictionaries(paths, st.lists(members, max_size=5).map(tuple), max_size=5))
def test_any_closures(closures: closure.Closures) -> None:
    assert closure.parse(closure.serialize(closures), "c") == closures


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(closure.serialize(CLOSURES))
    change(document)
    return json.dumps(document).encode()


BAD: dict[str, bytes] = {
    "empty": b"",
    "not text": b"\xff",
    "deep": b"[" * 100000,
    "a list": b"[]",
    "cut": closure.serialize(CLOSURES)[:-3],
    "large": b" " * (closure.MAX_SIZE + 1),
    "unknown key": changed(lambda d: d.update(more=1)),
    "no files": changed(lambda d: d.pop("files")),
    "format": changed(lambda d: d.update(format="x")),
    "schema": changed(lambda d: d.update(schema=2)),
    "schema true": changed(lambda d: d.update(schema=True)),
    "files an object": changed(lambda d: d.update(files={})),
    "programs a list": changed(lambda d: d.update(programs=[])),
    "file of three": changed(lambda d: d["files"].append(["/a", None, 1])),
    "file a text": changed(lambda d: d["files"].append("/a")),
    "relative": changed(lambda d: d["files"].append(["a", None])),
    "no path": changed(lambda d: d["files"].append([None, None])),
    "long path": changed(lambda d: d["files"].append(["/" + "a" * 4096, None])),
    "NUL": changed(lambda d: d["files"].append(["/a\0", None])),
    "surrogate": changed(lambda d: d["files"].append(["/\ud800", None])),
    "digest a number": changed(lambda d: d["files"].append(["/a", 0])),
    "digest false": changed(lambda d: d["files"].append(["/a", False])),
    "digest empty": changed(lambda d: d["files"].append(["/a", ""])),
    "digest short": changed(lambda d: d["files"].append(["/a", "sha256:00"])),
    "digest upper": changed(lambda d: d["files"].append(["/a", f"sha256:{'AB' * 32}"])),
    "beyond": changed(lambda d: d["programs"].update({"/p": [len(d["files"])]})),
    "negative": changed(lambda d: d["programs"].update({"/p": [-1]})),
    "true": changed(lambda d: d["programs"].update({"/p": [True]})),
    "members a number": changed(lambda d: d["programs"].update({"/p": 0})),
    "many members": changed(lambda d: d["programs"].update({"/p": [0] * 4097})),
    "relative program": changed(lambda d: d["programs"].update(p=[])),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_understood_is_refused(name: str) -> None:
    with pytest.raises(VerisealError) as caught:
        closure.parse(BAD[name], "c")
    error = caught.value
    assert (error.reason, error.path) == ("bad-closures", "c")
    assert str(error).isprintable()
    assert len(str(error)) < 2000


def checked(rows: list[tuple[bytes, Digest]], *refused: Digest) -> check.Result:
    return check.Result([], 0, 0, 0, 0, 0, 0, rows, set(refused), set())


def test_the_launch_table_gets_what_was_accepted() -> None:
    rows = [(b"/usr/lib/ld.so", ONE), (b"/usr/bin/a", TWO)]
    made = verify._closures(CLOSURES, checked(rows))
    good = [(LOADER.path, verity.raw_digest(ONE)), (PRELOAD.path, table.ABSENT)]
    assert made[b"/usr/bin/a"] == good
    assert made[b"/s"] == []
    assert verify._closures(CLOSURES, checked(rows[1:]))[b"/usr/bin/a"] == [
        (LOADER.path, table.REFUSED),
        good[1],
    ]


def test_a_file_with_a_finding_is_refused_though_another_has_its_contents() -> None:
    made = verify._closures(CLOSURES, checked([(b"/usr/lib/copy", ONE)], ONE))
    assert made[b"/usr/bin/a"][0] == (LOADER.path, table.REFUSED)


def test_what_could_not_be_read_again_is_not_written() -> None:
    many = tuple(Member(b"/%d" % number, ONE) for number in range(closure.MAX_MEMBERS + 1))
    with pytest.raises(VerisealError) as caught:
        closure.serialize({b"/p": many})
    assert caught.value.reason == "too-large"
    assert os.fsdecode(b"4097") in str(caught.value)
    assert "loads" in str(caught.value.remedy)
