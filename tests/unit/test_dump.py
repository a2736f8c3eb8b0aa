"""Tree lists as composefs writes them: read, and written back byte for byte."""

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriseal.dump import MAX_CONTENT, MAX_PATH, MAX_XATTR_VALUE, Entry, line, parse
from veriseal.errors import VerisealError

pytestmark = pytest.mark.unit

# From the tests of composefs (tests/assets): CentOS Stream 9, 64,246 entries.
CENTOS = Path(__file__).parent.parent / "data" / "cs9-x86_64-developer.dump.gz"

ROOT = Entry(b"/", 4096, 0o40755, 2, 0, 0, 0, (0, 0), None, None, None, (), False)
FILE = ROOT._replace(path=b"/f", size=3, mode=0o100644, nlink=1)
D32 = bytes(range(32))

# The example of composefs-dump(5).
LABEL = rb"security.selinux=unconfined_u:object_r:unlabeled_t:s0\x00"
D = b"35d02f81325122d77ec1d11baba655bc9bf8a891ab26119a41c50fa03ddfb408"
MANUAL = rb"""/ 4096 40755 4 1000 1000 0 1695372970.944925700 - - - %(label)b
/a\x20dir\x20w\x20space 27 40755 2 1000 1000 0 1694598852.869646118 - - - %(label)b
/a-dir 45 40755 2 1000 1000 0 1674041780.601887980 - - - %(label)b
/a-dir/a-file 259 100644 1 1000 1000 0 1695368732.385062094 35/%(backing)b - %(digest)b %(label)b
/a-hardlink 259 @100644 1 1000 1000 0 1695368732.385062094 /a-dir/a-file - %(digest)b %(label)b
/inline.txt 10 100644 1 1000 1000 0 1697019909.446146440 - some-text\n - %(label)b
""" % {b"label": LABEL, b"digest": D, b"backing": D[2:]}

# What composefs-info 1.0.8 printed for an image of mkcomposefs 1.0.8.
PRINTED = rb"""/ 4096 40755 3 0 0 0 0.0 - - -
/a=\x20b 3 120777 1 0 0 0 0.0 =\x20b - - user.a=\xc3\xa9 user.a\x3db=c\x3dd user.b=- user.c=
/blk 0 60660 1 0 6 259 0.0 - - -
/chr 0 20666 1 0 0 4294967295 0.0 - - -
/dash 1 120777 1 0 0 0 0.0 \x2d - -
/dashed 1 100644 1 0 0 0 0.0 - \x2d -
/dir 4096 40755 2 0 0 0 0.0 - - -
/dir/file 3 100755 1 4294967294 7 0 -5.999999999 - - %(digest)b
/dir-after 0 100600 0 0 0 0 5.1 - - - a\x3d=c\x00d b=\\\n\r\t
/link 1 @120777 1 0 0 0 0.0 /dash - -
/pipe 0 10755 1 0 0 0 0.0 - - -
/sock 0 140755 1 0 0 0 0.0 - - -
/tab\tnew\nreturn\rback\\slash\x7f\xff\x01 0 100644 1 0 0 0 0.0 - - -
""" % {b"digest": D}


def read(text: bytes) -> list[Entry]:
    return list(parse(io.BytesIO(text)))


def write(entries: list[Entry]) -> bytes:
    return b"".join(map(line, entries))


def test_a_whole_centos_round_trips() -> None:
    text = gzip.decompress(CENTOS.read_bytes())
    entries = read(text)
    assert len(entries) == 64_246
    assert write(entries) == text
    kinds = [S_IFMT(entry.mode) for entry in entries]
    assert (kinds.count(S_IFDIR), kinds.count(S_IFLNK)) == (8791, 4445)
    attributes = {entry.path: entry.xattrs for entry in entries if entry.xattrs}
    assert len(attributes) == 4
    assert attributes[b"/usr/bin/arping"] == (
        (b"security.capability", bytes.fromhex("0000000200200000000000000000000000000000")),
    )


@pytest.mark.parametrize("text", [MANUAL, PRINTED], ids=["manual", "printed"])
def test_what_composefs_writes_round_trips(text: bytes) -> None:
    assert write(read(text)) == text


def test_the_fields_of_the_manuals_example() -> None:
    _, space, _, file, hardlink, inline = read(MANUAL)
    label = ((b"security.selinux", b"unconfined_u:object_r:unlabeled_t:s0\0"),)
    assert space.path == b"/a dir w space"
    assert file == Entry(
        b"/a-dir/a-file",
        259,
        0o100644,
        1,
        1000,
        1000,
        0,
        (1695368732, 385062094),
        b"35/" + D[2:],
        None,
        bytes.fromhex(D.decode()),
        label,
        False,
    )
    assert hardlink == file._replace(path=b"/a-hardlink", payload=file.path, hardlink=True)
    assert (inline.content, inline.digest, inline.payload) == (b"some-text\n", None, None)


def test_the_fields_of_printed_escapes() -> None:
    entries = {entry.path: entry for entry in read(PRINTED)}
    assert entries[b"/a= b"].payload == b"= b"
    assert entries[b"/a= b"].xattrs == (
        (b"user.a", "é".encode()),
        (b"user.a=b", b"c=d"),
        (b"user.b", b"-"),
        (b"user.c", b""),
    )
    assert entries[b"/dash"].payload == b"-"
    assert entries[b"/dashed"].content == b"-"
    assert entries[b"/dir/file"].mtime == (-5, 999_999_999)
    # Nanoseconds are a number, not the digits after a decimal point.
    assert entries[b"/dir-after"].mtime == (5, 1)
    assert entries[b"/dir-after"].xattrs == ((b"a=", b"c\0d"), (b"b", b"\\\n\r\t"))
    assert b"/tab\tnew\nreturn\rback\\slash\x7f\xff\x01" in entries


@pytest.mark.parametrize(
    ("escaped", "plain"),
    [
        (rb"\x4a", b"J"),
        (rb"\x4A\x6b", b"Jk"),
        (rb"\x5c\\x41", b"\\\\x41"),
        (rb"\x0a\n", b"\n\n"),
        (rb"\x2d", b"-"),
        (rb"=", b"="),
        (rb"\x3d", b"="),
    ],
)
def test_every_escape_of_the_manual_is_read(escaped: bytes, plain: bytes) -> None:
    link = rb"/f %d 120777 1 0 0 0 0.0 %b - - u\x73er=%b" % (len(plain), escaped, escaped)
    assert read(line(ROOT) + link)[1] == FILE._replace(
        size=len(plain), mode=0o120777, payload=plain, xattrs=((b"user", plain),)
    )


def test_a_name_may_look_like_anything_that_is_no_separator() -> None:
    names = sorted([b"-", b"@", b"=", b" ", b"\n", b"...", b". ", b"\\x2f", b"\xff", b"\x01"])
    entries = [ROOT, *(FILE._replace(path=b"/" + name) for name in names)]
    assert read(write(entries)) == entries


def test_an_empty_string_is_written_as_composefs_info_does() -> None:
    assert line(FILE._replace(size=0, content=b"")) == b"/f 0 100644 1 0 0 0 0.0 - - -\n"


def test_an_escaped_slash_is_a_slash() -> None:
    directory = ROOT._replace(path=b"/d")
    text = write([ROOT, directory]) + rb"/d\x2ff 3 100644 1 0 0 0 0.0 - - -"
    assert read(text)[2].path == b"/d/f"


def test_siblings_are_in_the_order_of_their_names_not_of_their_paths() -> None:
    paths = [b"/a", b"/a/z", b"/a!", b"/a-", b"/a-/b", b"/a.b", b"/aa", b"/\xff"]
    directories = [ROOT._replace(path=path) for path in paths]
    assert [entry.path for entry in read(write([ROOT, *directories]))][1:] == paths
    assert paths != sorted(paths)


def test_the_last_line_may_lack_its_newline() -> None:
    assert read(MANUAL[:-1]) == read(MANUAL)


def test_any_pieces_are_the_same_list() -> None:
    entries = read(PRINTED)
    assert list(parse(PRINTED.splitlines(keepends=True))) == entries
    assert list(parse(bytes((byte,)) for byte in PRINTED)) == entries
    assert list(parse([PRINTED])) == entries


def test_entries_come_before_the_list_ends() -> None:
    def lines() -> Iterator[bytes]:
        yield line(ROOT)
        yield line(FILE)
        pytest.fail("read on")

    entries = parse(lines())
    assert (next(entries), next(entries)) == (ROOT, FILE)


def test_the_largest_of_everything_is_read() -> None:
    names = b"".join(b"/" + bytes((name,)) * 255 for name in b"bcdefghijklmnop")
    deep = [ROOT]
    for at in range(256, len(names) + 1, 256):
        deep.append(ROOT._replace(path=names[:at]))
    longest = names + b"/" + b"\xff" * (MAX_PATH - len(names) - 1)
    assert len(longest) == MAX_PATH
    entries = [
        ROOT,
        FILE._replace(path=b"/a", content=b"\0" * MAX_CONTENT, size=MAX_CONTENT),
        *deep[1:],
        ROOT._replace(
            path=longest,
            size=MAX_PATH,
            mode=0o127777,
            nlink=(1 << 32) - 1,
            uid=(1 << 32) - 2,
            gid=(1 << 32) - 2,
            mtime=(-(1 << 63), 999_999_999),
            payload=b"\n" * (MAX_PATH - 1) + b"\x01",
            xattrs=((b"\x02" * 255, b"\0" * MAX_XATTR_VALUE),),
        ),
        FILE._replace(path=b"/q", size=(1 << 63) - 1, mtime=((1 << 63) - 1, 0), digest=D32 * 2),
    ]
    assert read(write(entries)) == entries


NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda name: not {b"/", b"\0"} & {bytes((byte,)) for byte in name} and name not in (b".", b"..")
)
STRINGS = st.binary(min_size=1, max_size=40).map(lambda text: text.replace(b"\0", b"-"))
WORDS = st.integers(0, (1 << 32) - 1)
OWNERS = st.integers(0, (1 << 32) - 2)
TIMES = st.tuples(st.integers(-(1 << 63), (1 << 63) - 1), st.integers(0, 999_999_999))
XATTRS = st.dictionaries(STRINGS, st.binary(max_size=40), max_size=3).map(
    lambda pairs: tuple(pairs.items())
)
DIGESTS = st.none() | st.binary(min_size=32, max_size=32) | st.binary(min_size=64, max_size=64)


@st.composite
def leaves(draw: st.DrawFn, kinds: tuple[int, ...]) -> Entry:
    """An entry of one of the types, without a path."""
    kind = draw(st.sampled_from(kinds))
    entry = Entry(
        b"",
        0,
        kind | draw(st.integers(0, 0o7777)),
        draw(WORDS),
        draw(OWNERS),
        draw(OWNERS),
        draw(WORDS) if kind in (S_IFCHR, S_IFBLK) else 0,
        draw(TIMES),
        None,
        None,
        None,
        draw(XATTRS),
        False,
    )
    if kind == S_IFLNK:
        target = draw(STRINGS)
        return entry._replace(payload=target, size=len(target))
    if kind == S_IFREG and draw(st.booleans()):
        content = draw(st.binary(min_size=1, max_size=80))
        return entry._replace(content=content, size=len(content))
    if kind == S_IFREG:
        entry = entry._replace(payload=draw(st.none() | STRINGS), digest=draw(DIGESTS))
    if kind in (S_IFREG, S_IFDIR):
        entry = entry._replace(size=draw(st.integers(0, (1 << 63) - 1)))
    return entry


LEAF_KINDS = (S_IFREG, S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK)
# A directory is an entry and what is in it, None a hard link, if there is a file before it.
DIRECTORIES = leaves((S_IFDIR,))
NODES = st.recursive(
    st.none() | leaves(LEAF_KINDS),
    lambda inner: st.tuples(DIRECTORIES, st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=12,
)


@st.composite
def trees(draw: st.DrawFn) -> list[Entry]:
    """A whole list."""
    entries: list[Entry] = []
    files: list[Entry] = []

    def add(path: bytes, node: object) -> None:
        if isinstance(node, Entry):
            files.append(node._replace(path=path))
            entries.append(files[-1])
        elif isinstance(node, tuple):
            entries.append(node[0]._replace(path=path or b"/"))
            for name in sorted(node[1]):
                add(path + b"/" + name, node[1][name])
        elif files:
            target = draw(st.sampled_from(files))
            entries.append(target._replace(path=path, payload=target.path, hardlink=True))

    add(b"", (draw(DIRECTORIES), draw(st.dictionaries(NAMES, NODES, max_size=5))))
    return entries


@given(trees())
def test_whatever_is_written_is_read_again(entries: list[Entry]) -> None:
    text = write(entries)
    assert text.count(b"\n") == len(entries)
    assert not text.translate(None, bytes(range(32, 127)) + b"\n")
    assert read(text) == entries


@given(trees(), st.data())
def test_a_changed_list_is_refused_or_read_as_what_it_says(
    entries: list[Entry], data: st.DataObject
) -> None:
    text = write(entries)
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start, min(len(text), start + 8)))
    new = data.draw(st.binary(max_size=8) | st.sampled_from([b" ", b"/", b"\n", b"\\", b"0", b"-"]))
    found = outcome([text[:start] + new + text[end:]])
    if found is not None:
        assert read(write(found)) == found


@given(st.lists(st.binary(max_size=60) | st.just(line(ROOT)) | st.just(line(FILE)), max_size=5))
def test_garbage_raises_nothing_else(pieces: list[bytes]) -> None:
    outcome(pieces)


def outcome(pieces: list[bytes]) -> list[Entry] | None:
    """The entries, or None if they were refused as they should be."""
    problem = ""
    try:
        return list(parse(pieces))
    except VerisealError as error:
        problem = f"{error.reason}: {error.problem}"
        shown = str(error)
    assert problem.startswith("bad-tree-list: line ")
    assert shown.isprintable()
    return None
