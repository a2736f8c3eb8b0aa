"""Tree lists that nobody should have written, refused with line and reason."""

import io
import time
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, count

import pytest

from veriseal.dump import (
    MAX_CONTENT,
    MAX_ENTRIES,
    MAX_LINE,
    MAX_PATH,
    MAX_SIZE,
    MAX_XATTR_VALUE,
    parse,
    reader,
)
from veriseal.errors import VerisealError

pytestmark = pytest.mark.unit

ROOT = b"/ 4096 40755 2 0 0 0 0.0 - - -\n"
DIR = b"/d 4096 40755 2 0 0 0 0.0 - - -\n"
D = b"0123456789abcdef" * 4


def refusal(text: Iterable[bytes]) -> VerisealError:
    with pytest.raises(VerisealError) as caught:
        deque(parse(text, "the.dump"), 0)
    error = caught.value
    assert error.reason == "bad-tree-list"
    assert error.path == "the.dump"
    assert str(error).isprintable()
    return error


def refused(text: bytes, number: int, problem: str) -> None:
    error = refusal(io.BytesIO(text))
    assert error.problem.startswith(f"line {number}: "), error
    assert problem in error.problem


def file(path: bytes = b"/f", **fields: bytes) -> bytes:
    """A line of a regular file, but for ``fields``."""
    line = {
        "path": path,
        "size": b"3",
        "mode": b"100644",
        "nlink": b"1",
        "uid": b"0",
        "gid": b"0",
        "rdev": b"0",
        "mtime": b"0.0",
        "payload": b"-",
        "content": b"-",
        "digest": b"-",
    } | fields
    return b" ".join(line.values()) + b"\n"


def test_the_lines_of_these_tests_are_good_ones() -> None:
    text = ROOT + DIR + file(b"/d/f") + file(b"/f", payload=b"x", digest=D, xattrs=b"a=b c=")
    assert len(list(parse([text]))) == 4


PLACES = {
    "relative": (b"f", "PATH is not an absolute path"),
    "relative below": (b"d/f", "PATH is not an absolute path"),
    "empty": (b"", "PATH is not an absolute path"),
    "not set": (b"-", "PATH is not an absolute path"),
    "absolute by an escape": (rb"\x2ff", "PATH is not an absolute path"),
    "dot": (b"/.", "'.' or '..'"),
    "dot below": (b"/d/.", "'.' or '..'"),
    "dot in between": (b"/d/./f", "'.' or '..'"),
    "dot dot": (b"/..", "'.' or '..'"),
    "dot dot below": (b"/d/..", "'.' or '..'"),
    "dot dot in between": (b"/d/../f", "'.' or '..'"),
    "escaped dot dot": (rb"/d/\x2e\x2e/f", "'.' or '..'"),
    "empty name": (b"//f", "an empty name"),
    "empty name below": (b"/d//f", "an empty name"),
    "empty name by an escape": (rb"/d/\x2ff", "an empty name"),
    "trailing slash": (b"/d/", "an empty name"),
    "trailing slash of a new name": (b"/f/", "an empty name"),
    "two slashes": (b"//", "an empty name"),
    "zero byte": (rb"/f\x00", "PATH has a zero byte"),
    "only a zero byte": (rb"/\x00", "PATH has a zero byte"),
    "long name": (b"/" + b"f" * 256, "name in the path is too long"),
    "long name below": (b"/d/" + b"f" * 256, "name in the path is too long"),
    "long path": (b"/d" + b"/f" * 2048, "PATH is too long"),
    "long path of escapes": (rb"/\x66" * 2048, "PATH is too long"),
    "the root": (b"/", "an empty name"),
    "again": (b"/d", "listed twice"),
    "again by an escape": (rb"/\x64", "listed twice"),
    "before": (b"/c", "not in order"),
    "before by its bytes": (b"/D", "not in order"),
    "below before": (b"/c/f", "not in order"),
    "no parent": (b"/e/f", "its parent is not listed"),
    "no parent below": (b"/d/e/f", "its parent is not listed"),
}


@pytest.mark.parametrize(("path", "problem"), PLACES.values(), ids=PLACES)
def test_a_path_out_of_place(path: bytes, problem: str) -> None:
    refused(ROOT + DIR + file(path), 3, problem)


def test_a_file_is_no_parent() -> None:
    refused(ROOT + file() + file(b"/f/g"), 3, "its parent is not listed before it as a directory")
    link = file(mode=b"120777", payload=b"/")
    refused(ROOT + link.replace(b" 3 ", b" 1 ") + file(b"/f/g"), 3, "its parent is not")
    hardlink = file(b"/g", mode=b"@100644", payload=b"/f")
    refused(ROOT + file() + hardlink + file(b"/g/h"), 4, "its parent is not")


def test_a_directory_is_not_entered_twice() -> None:
    text = ROOT + DIR + file(b"/d/a") + file(b"/e")
    refused(text + file(b"/d/b"), 5, "not in order")
    refused(text + file(b"/e"), 5, "listed twice")
    refused(text + file(b"/d/a"), 5, "listed twice")
    refused(text + DIR, 5, "not in order")
    refused(ROOT + DIR + file(b"/d/a") + DIR, 4, "listed twice")
    refused(ROOT + DIR + ROOT, 3, "an empty name")


def test_the_root_is_first_and_a_directory() -> None:
    refused(b"", 1, "empty")
    refused(b"\n", 1, "too few fields")
    refused(DIR + ROOT, 1, "the first entry is not the root")
    refused(file(b"/"), 1, "the root is not a directory")
    refused(file(b"/", mode=b"@40755", payload=b"/"), 1, "the root is not a directory")
    refused(b"-" + ROOT, 1, "PATH")
    refused(b"\xef\xbb\xbf" + ROOT, 1, "PATH")


NUMBERS = [
    *(b"-1", b"+1", b"1_000", b"", b"-", b"00", b"01", b"0x1", b"1.0", b"1e3", b"a"),
    *(b"\t1", b"1\t", b"1\x00", b"1\x0b", "١".encode(), "²".encode(), rb"\x31"),
    *(b"1" * 20, b"9" * 5000, b"18446744073709551616"),
]


@pytest.mark.parametrize("name", ["size", "nlink", "uid", "gid", "rdev"])
@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: ascii(number[:24]))
def test_what_is_no_number(name: str, number: bytes) -> None:
    text = file(mode=b"20644", **{"size": b"0", name: number})
    refused(ROOT + text, 2, f"{name.upper()} is not a number")


@pytest.mark.parametrize(
    ("name", "largest"),
    [
        ("size", (1 << 63) - 1),
        ("nlink", (1 << 32) - 1),
        ("uid", (1 << 32) - 2),
        ("gid", (1 << 32) - 2),
        ("rdev", (1 << 32) - 1),
    ],
)
def test_numbers_out_of_range(name: str, largest: int) -> None:
    mode = b"20644" if name == "rdev" else b"100644"
    fields = {"size": b"0", "mode": mode}
    assert len(list(parse([ROOT + file(**(fields | {name: b"%d" % largest}))]))) == 2
    for number in (largest + 1, 9_999_999_999_999_999_999):
        text = file(**(fields | {name: b"%d" % number}))
        refused(ROOT + text, 2, "out of range")
        # A second time as the first, whatever is remembered.
        refused(ROOT + text, 2, "out of range")


@pytest.mark.parametrize(
    "mode",
    [
        *(b"", b"-", b"@", b"0", b"644", b"0644", b"0100644", b"100648", b"100644 ", b"+100644"),
        *(b"0o100644", b"100_644", b"1000644", b"@@100644", b"@0100644", b"100644@", b"-100644"),
        *(b"30644", b"50644", b"70644", b"110644", b"130644", b"150644", b"160644", b"170644"),
        *(
            b"200644",
            b"300644",
            b"340755",
            b"777777",
            b"1100644",
            b"100644\x00",
            "١".encode() + b"00644",
            b"81a4",
        ),
    ],
)
def test_modes(mode: bytes) -> None:
    refused(ROOT + file(mode=mode), 2, "NLINK" if mode == b"100644 " else "MODE")


@pytest.mark.parametrize(
    "mtime",
    [
        *(
            b"",
            b"-",
            b"0",
            b".",
            b"0.",
            b".0",
            b"1.1.1",
            b"1,1",
            b"-0.0",
            b"+1.0",
            b"1.-1",
            b"1.+1",
        ),
        *(
            b"01.0",
            b"1.00",
            b"1.01",
            b"1.1000000000",
            b"1.0000000001",
            b"1e9.0",
            b"nan.0",
            b"--1.0",
        ),
        *(b"9223372036854775808.0", b"-9223372036854775809.0", b"1" * 20 + b".0", b"1_0.0"),
    ],
)
def test_times(mtime: bytes) -> None:
    refused(ROOT + file(mtime=mtime), 2, "MTIME")


@pytest.mark.parametrize(
    "escape",
    ["\\", r"\\" + "\\", r"\x", r"\x1", r"\xg0", r"\x1g", r"\X41", r"\0", r"\a", r"\N", r"\u0041"],
)
@pytest.mark.parametrize("name", ["path", "payload", "content", "xattrs"])
def test_bad_escapes(name: str, escape: str) -> None:
    written = escape.encode()
    field = {"path": b"/" + written, "xattrs": b"a=" + written}.get(name, written)
    refused(ROOT + file(**{name: field}), 2, "bad escape")
    if name == "xattrs":
        refused(ROOT + file(xattrs=written + b"=a"), 2, "bad escape")


@pytest.mark.parametrize("byte", [b"\0", b"\x01", b"\t", b"\r", b"\x7f", b"\x80", b"\xff", b"\x1b"])
def test_bytes_that_need_an_escape(byte: bytes) -> None:
    for fields in (
        {"path": b"/f" + byte},
        {"payload": b"x" + byte},
        {"content": b"ab" + byte},
        {"digest": byte},
        {"digest": D + byte},
        {"xattrs": b"a" + byte + b"=b"},
        {"xattrs": b"a=b" + byte},
    ):
        refused(ROOT + file(**fields), 2, "")
    refused(ROOT.replace(b"\n", b"\r\n"), 1, "")


def test_fields_that_are_missing_or_empty() -> None:
    words = file().split(b" ")
    for number in range(1, len(words)):
        refused(ROOT + b" ".join(words[:number]) + b"\n", 2, "too few fields")
        refused(ROOT + b" ".join(words[:number]), 2, "too few fields")
        changed = [*words[:number], b"", *words[number + 1 :]]
        refused(ROOT + b" ".join(changed) + b"\n", 2, "is not")
        refused(ROOT + b" ".join(words[:number]) + b"\t" + b" ".join(words[number:]), 2, "")
    refused(ROOT + b"\n" + file(), 2, "too few fields")
    refused(ROOT + file() + b"\n", 3, "too few fields")
    refused(ROOT + b" " + file(), 2, "PATH")
    refused(ROOT + b"# a remark\n", 2, "too few fields")


@pytest.mark.parametrize(
    "digest",
    [
        b"0",
        b"",
        D[:-1],
        D + b"0",
        D + D[:-1],
        D + D + b"0",
        D.upper(),
        b"sha256:" + D,
        b"--",
        D[:40],
    ],
)
def test_digests(digest: bytes) -> None:
    refused(ROOT + file(digest=digest), 2, "DIGEST is not")


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        (b"a", "not KEY=VALUE"),
        (b"=", "not KEY=VALUE"),
        (b"=a", "not KEY=VALUE"),
        (b"", "not KEY=VALUE"),
        (b"a=b ", "not KEY=VALUE"),
        (b" a=b", "not KEY=VALUE"),
        (b"a=b  c=d", "not KEY=VALUE"),
        (rb"a\x3db", "not KEY=VALUE"),
        (rb"a\x00b=c", "KEY has a zero byte"),
        (b"a=b a=b", "there twice"),
        (rb"a=b c=d \x61=e", "there twice"),
        (b"a" * 256 + b"=b", "KEY is too long"),
        (b"a=" + b"b" * (MAX_XATTR_VALUE + 1), "an extended attribute is too long"),
        (b"a=" + b"b" * MAX_XATTR_VALUE + b" b=" + b"c" * 300, "too many extended attributes"),
        (b" ".join(b"%d=" % key for key in range(20_000)), "too many extended attributes"),
    ],
)
def test_attributes(attributes: bytes, problem: str) -> None:
    refused(ROOT + file(xattrs=attributes), 2, problem)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"content": b"ab"}, "SIZE is not that of CONTENT"),
        ({"content": rb"\x61\x62\x63d"}, "SIZE is not that of CONTENT"),
        ({"content": b"a" * 5001, "size": b"5001"}, "CONTENT is too long"),
        ({"content": b"abc", "digest": D}, "beside CONTENT"),
        ({"content": b"abc", "payload": b"x"}, "beside CONTENT"),
        ({"rdev": b"1"}, "RDEV"),
        ({"payload": rb"a\x00b"}, "PAYLOAD has a zero byte"),
        ({"payload": b"a" * 4096}, "PAYLOAD is too long"),
        ({"mode": b"40755", "content": b"abc"}, "CONTENT or DIGEST"),
        ({"mode": b"40755", "digest": D}, "CONTENT or DIGEST"),
        ({"mode": b"40755", "payload": b"x"}, "PAYLOAD of a file"),
        ({"mode": b"40755", "rdev": b"1"}, "RDEV"),
        ({"mode": b"120777"}, "without a target"),
        ({"mode": b"120777", "payload": b"ab"}, "SIZE is not that of the link's target"),
        ({"mode": b"120777", "payload": rb"\x61b"}, "SIZE is not that of the link's target"),
        ({"mode": b"120777", "payload": rb"a\x00b"}, "PAYLOAD has a zero byte"),
        ({"mode": b"120777", "payload": b"a" * 4096, "size": b"4096"}, "PAYLOAD is too long"),
        ({"mode": b"120777", "payload": b"abc", "content": b"abc"}, "CONTENT or DIGEST"),
        ({"mode": b"120777", "payload": b"abc", "digest": D}, "CONTENT or DIGEST"),
        ({"mode": b"120777", "payload": b"abc", "rdev": b"5"}, "RDEV"),
        ({"mode": b"10644", "size": b"0", "rdev": b"5"}, "RDEV"),
        ({"mode": b"140644", "size": b"0", "rdev": b"5"}, "RDEV"),
        ({"mode": b"10644"}, "SIZE of a device"),
        ({"mode": b"20644"}, "SIZE of a device"),
        ({"mode": b"60644", "size": b"0", "digest": D}, "CONTENT or DIGEST"),
        ({"mode": b"20644", "size": b"0", "payload": b"x"}, "PAYLOAD of a file"),
        ({"mode": b"140644", "size": b"0", "content": b"x"}, "CONTENT or DIGEST"),
    ],
)
def test_fields_that_do_not_suit_the_type(fields: dict[str, bytes], problem: str) -> None:
    refused(ROOT + file(**fields), 2, problem)


TARGETS = {
    "itself": b"/f/x",
    "nothing": b"/g",
    "later": b"/z",
    "a directory": b"/d",
    "the root": b"/",
    "a hard link": b"/e",
    "a relative path": b"d/a",
    "another way to the path": b"//d/a",
    "the path with a dot": b"/d/./a",
    "a trailing slash": b"/d/a/",
}


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_targets_of_hard_links(target: bytes) -> None:
    before = ROOT + DIR + file(b"/d/a") + file(b"/e", mode=b"@100644", payload=b"/d/a")
    link = file(b"/f", mode=b"@100644", payload=target.replace(b"/f/x", b"/f"))
    refused(before + link + file(b"/z"), 5, "a hard link to what is not an earlier entry")


def test_a_hard_link_needs_a_target() -> None:
    refused(ROOT + file(mode=b"@100644"), 2, "a hard link without a target")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("size", b"4"), ("mode", b"@104755"), ("mode", b"@120644"), ("mode", b"@40644")),
        *(("nlink", b"3"), ("uid", b"1"), ("gid", b"1"), ("rdev", b"1"), ("mtime", b"0.1")),
        *(("digest", b"-"), ("digest", D[::-1]), ("content", b"abc"), ("xattrs", b"a=c")),
    ],
)
def test_a_hard_link_has_the_fields_of_its_target(name: str, value: bytes) -> None:
    common = {"digest": D, "xattrs": b"a=b", "nlink": b"2"}
    first = ROOT + file(b"/a", **common)
    common |= {"mode": b"@100644", "payload": b"/a"}
    assert len(list(parse([first + file(b"/b", **common)]))) == 2 + 1
    refused(first + file(b"/b", **(common | {name: value})), 3, f"{name.upper()} of the hard link")


def test_messages_cannot_forge_a_line_or_drive_a_terminal() -> None:
    name = rb"/\x1b[2J\n\xe2\x80\xae\xff"
    error = refusal([ROOT + DIR, file(name)])
    assert error.found == r"/\x1b[2J\n\u202e\xff"
    error = refusal([ROOT, file(b"/" + b"f" * 4000)])
    assert len(str(error)) < 400
    for raw in (b"\x1b]0;x\x07", b"\xff\xfe", "\u202e".encode(), b"\x9b2J"):
        assert str(refusal([ROOT, raw + file()])).isprintable()
        assert str(refusal([ROOT, file(payload=raw)])).isprintable()
        assert str(refusal([ROOT, file(xattrs=raw)])).isprintable()


def measured(function: Callable[[], object]) -> int:
    """The largest amount of memory in use meanwhile, in bytes."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class Endless(io.RawIOBase):
    """A file that begins with ``start`` and goes on with ``more`` for ever, but is not read on."""

    def __init__(self, start: bytes, more: bytes, limit: int) -> None:
        self.start, self.more, self.limit, self.given = start, more, limit, 0

    def read(self, size: int = -1) -> bytes:
        assert 0 < size <= 1 << 20, "reads without bounds"
        assert self.given <= self.limit, "read on"
        data, self.start = (self.start + self.more * (size // len(self.more) + 1))[:size], b""
        self.given += size
        return data


@pytest.mark.parametrize("more", [b"a", b"/", b" ", b"\\", rb"\x00", b"=", b" a=", b"\0", b"0"])
@pytest.mark.parametrize("start", [b"", ROOT, ROOT + b"/", ROOT + file(xattrs=b"a=")[:-1]])
def test_a_line_without_end(start: bytes, more: bytes) -> None:
    endless = Endless(start, more, 2 * MAX_LINE)
    begin = time.process_time()
    peak = measured(lambda: refusal(endless))
    assert peak < 12 * MAX_LINE
    assert time.process_time() - begin < 2


def test_the_longest_line_is_within_the_limit() -> None:
    text = file(
        rb"/d" + rb"/\xff" * 2000,
        mode=b"120777",
        size=b"4095",
        payload=rb"\xff" * MAX_PATH,
        xattrs=b" ".join(
            rb"\x%02x\x%02x=" % (high, low) for high in range(1, 256) for low in range(1, 128)
        ),
    )
    assert len(text) + 4 * (MAX_CONTENT + MAX_PATH) < MAX_LINE
    refused(ROOT + text, 2, "its parent is not")


@pytest.mark.parametrize("more", [b"\n", ROOT, DIR, b"/d/f 3 100644\n", b"\0\n"])
def test_gigabytes_of_bad_lines(more: bytes) -> None:
    endless = Endless(ROOT + DIR, more, 1 << 20)
    assert measured(lambda: refusal(endless)) < 4 << 20


def test_directories_without_end_need_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 20_000
    monkeypatch.setattr(reader, "MAX_ENTRIES", limit)
    # Attributes and times that all differ are not kept either.
    lines = (b"/%09d 0 40755 2 %d 0 0 %d.0 - - - a=%d\n" % (n, n, n, n) for n in count())

    def run() -> None:
        error = refusal(chain([ROOT], lines))
        assert error.problem == f"line {limit + 1}: too many entries"

    assert measured(run) < 4 << 20


def test_long_attributes_are_not_kept() -> None:
    value = b"v" * 60_000
    lines = (b"/%d 0 40755 2 0 0 0 0.0 - - - a=%d%b\n" % (n, n, value) for n in range(100, 400))
    assert measured(lambda: deque(parse(chain([ROOT], lines)), 0)) < 4 << 20


def test_files_without_end_need_what_they_are_worth(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 20_000
    monkeypatch.setattr(reader, "MAX_ENTRIES", limit)
    lines = (b"/%09d 0 100644 1 0 0 0 0.0 - - %064x\n" % (n, n) for n in count())
    peak = measured(lambda: refusal(chain([ROOT], lines)))
    assert peak < limit * 600


def test_a_list_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_SIZE", 1 << 20)
    value = b"v" * 60_000
    lines = (b"/%09d 0 40755 2 0 0 0 0.0 - - - a=%b\n" % (n, value) for n in count())
    error = refusal(chain([ROOT], lines))
    assert "the list is too long" in error.problem
    assert (MAX_ENTRIES, MAX_SIZE) == (1 << 20, 1 << 28)


def test_depth_without_end() -> None:
    lines = (b"/d" * n + b" 0 40755 2 0 0 0 0.0 - - -\n" for n in count(1))
    error = refusal(chain([ROOT], lines))
    assert error.problem == "line 2049: PATH is too long"


def test_many_lines_of_many_escapes_are_read_in_time() -> None:
    value = rb"\x00" * 16_000
    lines = b"".join(b"/%d 0 40755 2 0 0 0 0.0 - - - a=%b\n" % (n, value) for n in range(10, 99))
    begin = time.process_time()
    deque(parse([ROOT + lines]), 0)
    assert time.process_time() - begin < 4


def test_nothing_is_read_after_the_first_refusal() -> None:
    def lines() -> Iterator[bytes]:
        yield ROOT
        yield b"garbage\n"
        pytest.fail("read on")

    assert refusal(lines()).problem.startswith("line 2: ")
