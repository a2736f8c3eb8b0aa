"""The launch table: what was written is accepted, and nothing else, whatever became of the file."""

import os
import posix
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veriseal import table
from veriseal.digest import SHA256, SHA512, Digest
from veriseal.errors import VerisealError
from veriseal.table import Table

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("own_files_are_roots")]

BOOT = "0f3c8a52-6a3e-4d0c-9f0f-1b6d3d1d5a11"
INDEX = 56
"""Bytes of the header; the index follows."""


def digest(number: int) -> Digest:
    return Digest(SHA256, number.to_bytes(32, "big"))


PING, POWEROFF, GONE = digest(1), digest(2), digest(3)
NEEDS = [(b"/lib64/ld.so", b"\1" * 68), (b"/etc/ld.so.preload", table.ABSENT)]
OTHER_NEEDS = [*NEEDS, (b"/opt/\xff\n/lib.so", table.REFUSED)]
ROWS = [(b"/usr/bin/ping", PING), (b"/usr/bin/poweroff", POWEROFF), (b"/usr/lib/x", digest(4))]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the table goes."""
    return str(tmp_path_factory.mktemp("run") / "veriseal" / "launch.table")


@pytest.fixture
def written(path: str) -> str:
    """A table of ROWS."""
    assert table.write(ROWS, {}, BOOT, path) == len(ROWS)
    return path


def require(path: str, name: str | bytes, wanted: Digest) -> None:
    with Table(BOOT, path) as opened:
        opened.require(name, wanted)


def refused(
    path: str, name: str | bytes = b"/usr/bin/ping", wanted: Digest = PING
) -> VerisealError:
    with pytest.raises(VerisealError) as caught:
        require(path, name, wanted)
    assert caught.value.remedy is not None
    return caught.value


def outcome(path: str, name: bytes, wanted: Digest) -> str:
    """The reason of a refusal, or nothing. Any other exception is a failed test."""
    try:
        require(path, name, wanted)
    except VerisealError as error:
        return error.reason
    return ""


def record(name: bytes, wanted: Digest) -> bytes:
    head = struct.pack("=HHII", wanted.algorithm.number, len(name), 0, 0)
    return head + wanted.value + name


# What it says


def test_what_is_listed_passes_as_bytes_and_as_text(written: str) -> None:
    for name, wanted in ROWS:
        require(written, name, wanted)
        require(written, os.fsdecode(name), wanted)
    assert oct(os.stat(written).st_mode) == "0o100644"
    assert oct(os.stat(os.path.dirname(written)).st_mode) == "0o40755"


def test_a_signed_program_in_the_place_of_another(written: str) -> None:
    error = refused(written, "/usr/bin/ping", POWEROFF)
    assert error.reason == "misplaced"
    assert error.problem == "signed, but this is /usr/bin/poweroff"
    assert (error.path, error.expected, error.found) == ("/usr/bin/ping", str(PING), str(POWEROFF))
    assert error.digest == POWEROFF


def test_a_signed_program_in_a_place_of_its_own(written: str) -> None:
    error = refused(written, "/usr/bin/ping2", PING)
    assert error.reason == "misplaced"
    assert error.problem == "signed, but this is /usr/bin/ping"
    assert error.expected is None


def test_an_older_release_of_a_listed_file(written: str) -> None:
    error = refused(written, "/usr/bin/ping", GONE)
    assert (error.reason, error.expected, error.found) == ("other-contents", str(PING), str(GONE))


def test_neither_path_nor_contents_are_known(written: str) -> None:
    error = refused(written, "/tmp/ping", GONE)
    assert (error.reason, error.path, error.digest) == ("not-in-manifest", "/tmp/ping", GONE)


@pytest.mark.parametrize("name", [b"", b"/", b"usr/bin/ping", b"/usr/bin/ping/", b"/usr/bin/pin"])
def test_almost_the_path_is_another_path(written: str, name: bytes) -> None:
    assert refused(written, name).reason == "misplaced"


def test_the_same_bytes_under_another_algorithm_are_another_digest(path: str) -> None:
    wide = Digest(SHA512, PING.value * 2)
    table.write([(b"/a", PING), (b"/b", wide)], {}, BOOT, path)
    require(path, b"/b", wide)
    assert refused(path, b"/a", wide).reason == "misplaced"
    assert refused(path, b"/b", PING).reason == "misplaced"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1, "/0"),
        (2, "/0 and /1"),
        (4, "/0, /1, /2 and /3"),
        (5, "/0, /1, /2, /3 and 1 more"),
        (900, "/0, /1, /10, /100 and 896 more"),
    ],
)
def test_all_places_are_named_up_to_a_limit(path: str, number: int, text: str) -> None:
    table.write([(b"/%d" % place, PING) for place in range(number)], {}, BOOT, path)
    error = refused(path, "/here", PING)
    assert error.problem == f"signed, but this is {text}"


def test_a_name_cannot_forge_a_line_of_the_message(path: str) -> None:
    table.write([(b"/a\nrefused\x1b[2J\xff", PING)], {}, BOOT, path)
    text = str(refused(path, b"/b\n\xff", PING))
    assert text.isprintable()
    assert "/a\\nrefused\\x1b[2J\\udcff" in text


def test_no_files_at_all(path: str) -> None:
    assert table.write([], {}, BOOT, path) == 0
    assert refused(path).reason == "not-in-manifest"


# Collisions


def same_hash(name: bytes) -> Iterator[bytes]:
    """Other paths of the same length with the same hash."""
    for step in count(1):
        other = (int.from_bytes(name, "big") + step * 1000000007).to_bytes(len(name), "big")
        if b"\0" not in other:
            assert table._hash(other) == table._hash(name)
            yield other


def test_equal_hashes_are_told_apart(path: str) -> None:
    others = same_hash(b"/usr/lib/some-library.so")
    names = [next(others) for _ in range(9)]
    rows = [(name, digest(index)) for index, name in enumerate(names[:-1])]
    table.write(rows, {}, BOOT, path)
    for index, name in enumerate(names):
        for other in range(len(names)):
            reason = outcome(path, name, digest(other))
            if index == other < len(rows):
                assert reason == ""
            elif other < len(rows):
                assert reason == "misplaced"
            else:
                assert reason == ("other-contents" if index < len(rows) else "not-in-manifest")


def test_equal_slots_are_told_apart(path: str) -> None:
    wanted = [b"/%d" % number for number in range(10000) if table._hash(b"/%d" % number) % 3 == 2]
    rows = [(name, digest(index)) for index, name in enumerate(wanted[:3])]
    table.write(rows, {}, BOOT, path)
    for name, own in rows:
        require(path, name, own)
    assert outcome(path, wanted[3], digest(9)) == "not-in-manifest"


@pytest.mark.parametrize(
    "names", [b"/data/%07d", b"/usr/lib/lib%x.so", b"/%d/x", b"/a/%d/usr/bin/sh"]
)
def test_numbered_names_do_not_pile_up(names: bytes) -> None:
    for number_of_slots in (20000, 1 << 14):
        slots = [0] * number_of_slots
        for number in range(number_of_slots):
            slots[table._hash(names % number) % number_of_slots] += 1
        assert max(slots) < 16


@pytest.mark.parametrize("rows", [1, 10, 5000])
def test_a_look_up_costs_the_same_in_every_table(
    path: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.write([(b"/usr/lib/file%d" % row, digest(row)) for row in range(rows)], {}, BOOT, path)
    reads: list[int] = []
    real = os.pread

    def counted(fd: int, size: int, offset: int) -> bytes:
        reads.append(size)
        return real(fd, size, offset)

    monkeypatch.setattr(posix, "pread", counted)
    require(path, b"/usr/lib/file0", digest(0))
    assert len(reads) == 3
    assert sum(reads) < 1000


# Writing


def test_the_same_rows_in_any_order_are_the_same_bytes(path: str) -> None:
    rows = [(b"/%d" % number, digest(number % 7)) for number in range(500)]
    found = set()
    for order in (rows, rows[::-1], sorted(rows, key=lambda row: row[1].value)):
        table.write(iter(order), {}, BOOT, path)
        found.add(Path(path).read_bytes())
    assert len(found) == 1


def test_every_user_can_read_it_whatever_the_umask(path: str) -> None:
    before = os.umask(0o777)
    try:
        table.write(ROWS, {}, BOOT, path)
    finally:
        os.umask(before)
    assert oct(os.stat(path).st_mode) == "0o100644"


@pytest.mark.parametrize(
    "name",
    [b"", b"usr/bin/sh", b"/a\0b", b"/" + 4096 * b"a", ROWS[0][0]],
    ids=["empty", "relative", "nul", "long", "twice"],
)
def test_a_bad_row_is_refused_and_the_old_table_stays(written: str, name: bytes) -> None:
    with pytest.raises(VerisealError) as caught:
        table.write([*ROWS, (name, GONE)], {}, BOOT, written)
    assert (caught.value.reason, caught.value.path) == ("bad-launch-row", os.fsdecode(name))
    require(written, *ROWS[0])


def test_rows_without_end_are_refused(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MAX_ROWS", 100)
    with pytest.raises(VerisealError) as caught:
        table.write(((b"/%d" % number, PING) for number in count()), {}, BOOT, written)
    assert caught.value.reason == "launch-table-too-large"
    require(written, *ROWS[0])


def test_a_table_that_would_be_too_large_is_refused(
    written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "MAX_SIZE", os.path.getsize(written))
    table.write(ROWS, {}, BOOT, written)
    with pytest.raises(VerisealError) as caught:
        table.write([*ROWS, (b"/more", GONE)], {}, BOOT, written)
    assert caught.value.reason == "launch-table-too-large"
    require(written, *ROWS[0])


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "launch.table" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError):
        table.write(ROWS, {}, BOOT, str(tmp_path / "launch.table"))
    assert os.listdir(tmp_path) == ["launch.table"]


# Whose it is


def test_missing(path: str) -> None:
    assert refused(path + ".none").reason == "no-launch-table"


def test_of_another_boot(written: str) -> None:
    table.write(ROWS, {}, BOOT.replace("0", "1"), written)
    error = refused(written)
    assert error.reason == "launch-table-of-another-boot"
    assert (error.expected, error.found) == (BOOT, BOOT.replace("0", "1"))


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_writable_by_others(written: str, mode: int) -> None:
    os.chmod(written, mode)
    assert refused(written).reason == "launch-table-not-trusted"


def test_of_another_owner(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = [*os.stat(written)]
    fields[4] = 1000
    monkeypatch.setattr(posix, "fstat", lambda _fd: os.stat_result(fields))
    assert refused(written).reason == "launch-table-not-trusted"


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_not_a_regular_file(written: str, tmp_path: Path, kind: str) -> None:
    path = str(tmp_path / "launch.table")
    if kind == "link":
        os.symlink(written, path)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        os.mkdir(path)
    assert refused(path).reason == "launch-table-not-trusted"


def test_no_refusal_leaves_a_descriptor_open(written: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    refused(written, b"/none", GONE)
    for damage in (b"", Path(written).read_bytes()[:-1]):
        Path(written).write_bytes(damage)
        refused(written)
    os.chmod(written, 0o620)
    refused(written)
    assert len(os.listdir("/proc/self/fd")) == before


# Closures


def closure(path: str, name: bytes, wanted: Digest) -> list[tuple[bytes, bytes]] | None:
    with Table(BOOT, path) as opened:
        return opened.closure(opened.require(name, wanted))


def test_a_program_has_its_closure_and_a_library_none(path: str) -> None:
    closures = {b"/usr/bin/ping": NEEDS, b"/usr/bin/poweroff": OTHER_NEEDS, b"/not/listed": NEEDS}
    table.write(ROWS, closures, BOOT, path)
    assert closure(path, b"/usr/bin/ping", PING) == NEEDS
    assert closure(path, b"/usr/bin/poweroff", POWEROFF) == OTHER_NEEDS
    assert closure(path, b"/usr/lib/x", digest(4)) is None


def test_a_program_that_needs_nothing_is_a_program(path: str) -> None:
    table.write(ROWS, {b"/usr/bin/ping": []}, BOOT, path)
    assert closure(path, b"/usr/bin/ping", PING) == []


def test_equal_closures_are_stored_once(path: str) -> None:
    names = [b"/%d" % number for number in range(100)]
    rows = [(name, PING) for name in names]
    table.write(rows, {names[0]: OTHER_NEEDS}, BOOT, path)
    once = os.path.getsize(path)
    table.write(rows, dict.fromkeys(names, OTHER_NEEDS), BOOT, path)
    assert os.path.getsize(path) == once
    for name in names:
        assert closure(path, name, PING) == OTHER_NEEDS


def test_who_needs_a_file(path: str) -> None:
    closures = {b"/usr/bin/ping": NEEDS, b"/usr/bin/poweroff": OTHER_NEEDS}
    table.write(ROWS, closures, BOOT, path)
    with Table(BOOT, path) as opened:
        assert sorted(opened.programs_with(b"\1" * 68)) == [b"/usr/bin/ping", b"/usr/bin/poweroff"]
        assert opened.programs_with(table.REFUSED) == [b"/usr/bin/poweroff"]
        assert opened.programs_with(bytes(67)) == []


def test_no_digest_of_another_size_is_written(path: str) -> None:
    with pytest.raises(ValueError, match="measures"):
        table.write(ROWS, {b"/usr/bin/ping": [(b"/a", b"\1" * 36)]}, BOOT, path)


def test_a_damaged_closure_is_damage_and_asks_for_no_more_than_the_table_has(path: str) -> None:
    table.write(ROWS, {b"/usr/bin/ping": OTHER_NEEDS}, BOOT, path)
    data = Path(path).read_bytes()
    size = 4 + 3 * 68 + sum(len(name) + 1 for name, _ in OTHER_NEEDS)
    offset = len(data) - size
    place = data.index(struct.pack("=II", offset, size))
    values = (0, 1, 3, 4, size - 1, size + 1, offset, len(data), 0xFFFFFFFF)
    for where, width in ((place, 8), (place + 4, 4), (offset, 4)):
        for value in values:
            changed = bytearray(data)
            changed[where : where + width] = struct.pack("=II", value, size)[:width]
            Path(path).write_bytes(changed)
            with suppress(VerisealError):
                # A size of 0 says that it is no program; a closure cut short is never shorter.
                assert closure(path, b"/usr/bin/ping", PING) in (None, OTHER_NEEDS), (where, value)


# Damage


def test_another_format_of_an_older_or_newer_version(written: str) -> None:
    data = Path(written).read_bytes()
    for version in (0, 1, 3, 1 << 24):
        Path(written).write_bytes(data[:8] + struct.pack("=I", version) + data[12:])
        assert refused(written).reason == "launch-table-damaged"


def test_cut_anywhere_or_longer(written: str) -> None:
    data = Path(written).read_bytes()
    for length in range(len(data)):
        Path(written).write_bytes(data[:length])
        assert refused(written).reason == "launch-table-damaged"
    Path(written).write_bytes(data + b"\0")
    assert refused(written).reason == "launch-table-damaged"


def test_cut_while_it_is_open(written: str) -> None:
    with Table(BOOT, written) as opened:
        os.truncate(written, INDEX + 8)
        for name, wanted in ROWS:
            with pytest.raises(VerisealError) as caught:
                opened.require(name, wanted)
            assert caught.value.reason == "launch-table-damaged"


def test_a_table_without_slots(written: str) -> None:
    data = bytearray(Path(written).read_bytes())
    data[48:52] = bytes(4)
    Path(written).write_bytes(data)
    assert refused(written).reason == "launch-table-damaged"


def test_damage_never_asks_for_more_memory_than_the_table_has(
    written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray(Path(written).read_bytes())
    begin = INDEX + 4 * (len(ROWS) + 1)
    data[INDEX:begin] = struct.pack("=4I", begin, 0xFFFFFFFF, begin, 0xFFFFFFFF)
    Path(written).write_bytes(data)
    real = os.pread

    def limited(fd: int, size: int, offset: int) -> bytes:
        assert 0 <= size <= len(data)
        return real(fd, size, offset)

    monkeypatch.setattr(posix, "pread", limited)
    for number in range(20):
        assert outcome(written, b"/%d" % number, GONE) == "launch-table-damaged"


def test_a_row_in_the_wrong_slot_is_damage_not_a_misplaced_file(path: str) -> None:
    names = [
        next(n for n in (b"/%d" % i for i in count()) if table._hash(n) % 2 == s) for s in (0, 1)
    ]
    table.write([(names[0], PING), (names[1], POWEROFF)], {}, BOOT, path)
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: INDEX + 12] + record(names[1], POWEROFF) + record(names[0], PING))
    assert refused(path, names[0], PING).reason == "launch-table-damaged"


def test_memory_that_cannot_be_read(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Table(BOOT, written) as opened:

        def fail(*_arguments: object) -> bytes:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(posix, "pread", fail)
        with pytest.raises(VerisealError) as caught:
            opened.require(*ROWS[0])
    assert caught.value.reason == "launch-table-damaged"


PROBES = [(name, wanted) for name, _own in ROWS for wanted in (PING, POWEROFF, digest(4), GONE)]
PROBES.append((b"/none", PING))


def never_wrong(path: str, data: bytes) -> None:
    """Whatever the table's bytes are: refused with a reason, or the pair stands in them."""
    Path(path).write_bytes(data)
    for name, wanted in PROBES:
        head = record(name, wanted)
        stands = re.search(re.escape(head[:4]) + b"(?s:.{8})" + re.escape(head[12:]), data)
        assert outcome(path, name, wanted) or stands


def test_every_single_bit(written: str) -> None:
    data = Path(written).read_bytes()
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        never_wrong(written, bytes(changed))


@settings(max_examples=300, deadline=None)
@given(changes=st.dictionaries(st.integers(44, 235), st.integers(0, 255), max_size=12))
def test_any_bytes_changed(path: str, changes: dict[int, int]) -> None:
    table.write(ROWS, {}, BOOT, path)
    data = bytearray(Path(path).read_bytes())
    for position, value in changes.items():
        data[position % len(data)] = value
    never_wrong(path, bytes(data))


@settings(max_examples=300, deadline=None)
@given(
    slots=st.integers(0, 6) | st.integers(0, (1 << 32) - 1),
    index=st.lists(st.integers(50, 300) | st.integers(0, (1 << 32) - 1), max_size=7),
    records=st.lists(
        st.sampled_from([record(*row) for row in PROBES]) | st.binary(max_size=40), max_size=6
    ),
)
def test_a_hostile_table(path: str, slots: int, index: list[int], records: list[bytes]) -> None:
    body = struct.pack(f"={len(index)}I", *index) + b"".join(records)
    head = struct.pack("=8sI36sII", b"VSLaunch", 2, BOOT.encode(), slots, INDEX + len(body))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    never_wrong(path, head + body)


names = st.binary(max_size=30).map(lambda tail: b"/" + tail.replace(b"\0", b"/"))
digests = st.integers(0, 5).map(digest)


@settings(max_examples=200, deadline=None)
@given(rows=st.dictionaries(names, digests, max_size=20), name=names, wanted=digests)
def test_it_is_a_dictionary(
    path: str, rows: dict[bytes, Digest], name: bytes, wanted: Digest
) -> None:
    table.write(rows.items(), {}, BOOT, path)
    for listed, own in rows.items():
        assert outcome(path, listed, own) == ""
    for asked in (name, *rows):
        if rows.get(asked) == wanted:
            reason = ""
        elif wanted in rows.values():
            reason = "misplaced"
        else:
            reason = "other-contents" if asked in rows else "not-in-manifest"
        assert outcome(path, asked, wanted) == reason
