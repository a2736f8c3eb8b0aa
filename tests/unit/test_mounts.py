"""mountinfo: every escape, and which of many mounts is on top."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriseal.errors import VerisealError
from veriseal.kernel import mounts
from veriseal.kernel.mounts import Mount

pytestmark = pytest.mark.unit

# What Linux 6.12 writes for a root, an overlay, and an overlay with a hostile source.
REAL = rb"""27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,noinit_itable
38 27 254:32 / /verity rw,relatime shared:28 - ext4 /dev/vdc rw,noinit_itable
46 38 0:35 / /verity/mnt rw,relatime shared:35 - overlay composefs ro,lowerdir+=/tmp/.composefs.dFqmIm,datadir+=/verity/a\040b\054verity=require,redirect_dir=on,metacopy=on
50 46 0:38 / /verity/mnt rw,relatime shared:37 master:3 - overlay a\040b\0121\0402\0400:3\040/\040-\040overlay ro,metacopy=on
70 50 0:41 / /verity/mnt rw,relatime - overlay  ro,lowerdir+=/verity/low
"""  # noqa: E501


def test_real_lines() -> None:
    root, _, plain, hostile, nameless = mounts.parse(REAL.splitlines(keepends=True))
    assert root == Mount(
        27,
        1,
        os.makedev(254, 0),
        "/",
        "/",
        ("rw", "relatime"),
        "ext4",
        "/dev/vda",
        ("rw", "noinit_itable"),
    )
    assert (plain.id, plain.parent, plain.point, plain.source) == (
        46,
        38,
        "/verity/mnt",
        "composefs",
    )
    assert plain.super_options == (
        "ro",
        "lowerdir+=/tmp/.composefs.dFqmIm",
        "datadir+=/verity/a b,verity=require",
        "redirect_dir=on",
        "metacopy=on",
    )
    assert hostile.source == "a b\n1 2 0:3 / - overlay"
    assert hostile.super_options == ("ro", "metacopy=on")
    assert (nameless.source, nameless.filesystem) == ("", "overlay")


def test_the_mounts_of_this_machine() -> None:
    assert mounts.at(mounts.read(), "/proc").filesystem == "proc"
    assert mounts.at(mounts.read(), "/").point == "/"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"27 1 254:0 / / rw",
        b"27 1 254:0 / / rw shared:1 ext4 /dev/vda rw",
        b"27 1 254:0 / / rw - ext4 /dev/vda",
        b"27 1 254:0 / / rw - ext4 /dev/vda rw more",
        b"x 1 254:0 / / rw - ext4 /dev/vda rw",
        b"27 x 254:0 / / rw - ext4 /dev/vda rw",
        b"27 1 254 / / rw - ext4 /dev/vda rw",
        b"27 1 254:0:0 / / rw - ext4 /dev/vda rw",
        b"27 1 254:x / / rw - ext4 /dev/vda rw",
        b"27 1 99999999999999999999:0 / / rw - ext4 /dev/vda rw",
        b"27 1 254:0 / - rw - ext4 /dev/vda",
        b"27 1 254:0 / / rw  ext4 /dev/vda rw",
        b"27 1 254:0 / /\\777 rw - ext4 /dev/vda rw",
    ],
)
def test_other_lines_are_refused(line: bytes) -> None:
    with pytest.raises(VerisealError) as raised:
        mounts.parse([line])
    assert raised.value.reason == "bad-mountinfo"


@given(st.lists(st.binary(max_size=80), max_size=4))
def test_garbage_is_refused_or_read(lines: list[bytes]) -> None:
    try:
        assert len(mounts.parse(lines)) == len(lines)
    except VerisealError as error:
        if error.reason != "bad-mountinfo":
            raise


def escaped(text: bytes, characters: bytes) -> bytes:
    """As mangle_path() and seq_escape() of the kernel write it."""
    return b"".join(b"\\%03o" % c if c in characters else bytes([c]) for c in text)


names = st.binary(min_size=1, max_size=20).map(lambda text: text.replace(b"\0", b"\\"))


@given(point=names, source=names, value=names)
def test_what_the_kernel_escapes_comes_back(point: bytes, source: bytes, value: bytes) -> None:
    fields = (
        *(b"1 2 0:3 /", b"/" + escaped(point, b" \t\n\\#"), b"ro - overlay"),
        *(escaped(source, b" \t\n\\#"), b"ro,lowerdir=" + escaped(value, b", \t\n\\#")),
    )
    line = b" ".join(fields) + b"\n"
    (mount,) = mounts.parse([line])
    assert os.fsencode(mount.point) == b"/" + point
    assert os.fsencode(mount.source) == source
    assert mount.super_options == ("ro", "lowerdir=" + os.fsdecode(value))


def mount(number: int, parent: int, point: str) -> Mount:
    return Mount(number, parent, number, "/", point, ("rw",), "ext4", f"/dev/{number}", ("rw",))


ROOT = mount(1, 1, "/")


def top(table: list[Mount], point: str) -> int:
    return mounts.at(table, point).id


def test_the_topmost_counts_whatever_the_order() -> None:
    table = [mount(4, 3, "/sysroot"), mount(3, 2, "/sysroot"), mount(2, 1, "/sysroot"), ROOT]
    assert top(table, "/sysroot") == 4
    assert top(table[::-1], "/sysroot") == 4


def test_a_hidden_mount_does_not_count() -> None:
    table = [ROOT, mount(2, 1, "/a"), mount(3, 2, "/a/b"), mount(4, 2, "/a")]
    with pytest.raises(VerisealError) as raised:
        mounts.at(table, "/a/b")
    assert (raised.value.reason, raised.value.path) == ("not-mounted", "/a/b")
    assert top([*table, mount(5, 4, "/a/b")], "/a/b") == 5


def test_a_second_root_on_top_hides_everything() -> None:
    table = [ROOT, mount(2, 1, "/sysroot"), mount(3, 1, "/")]
    assert top(table, "/") == 3
    with pytest.raises(VerisealError, match="nothing is mounted"):
        mounts.at(table, "/sysroot")


@pytest.mark.parametrize("point", ["/sysroot", "/sysroot2", "/sysroot/usr", "/sys", "/sysroot/"])
def test_only_the_very_place_counts(point: str) -> None:
    with pytest.raises(VerisealError, match="nothing is mounted"):
        mounts.at([ROOT, mount(2, 1, "/sysroot/us"), mount(3, 1, "/sysroo")], point)


@pytest.mark.parametrize(
    "table",
    [
        [],
        [mount(2, 2, "/sysroot")],
        [ROOT, mount(2, 7, "/")],
        [ROOT, mount(2, 1, "/sysroot"), mount(3, 1, "/sysroot")],
    ],
)
def test_what_cannot_be_told_is_refused(table: list[Mount]) -> None:
    with pytest.raises(VerisealError) as raised:
        mounts.at(table, "/sysroot")
    assert raised.value.reason == "ambiguous-mount"


def test_beneath_finds_all_that_is_attached() -> None:
    sysroot = mount(2, 1, "/sysroot")
    inside = [mount(5, 4, "/sysroot/var/lib"), mount(4, 2, "/sysroot/var"), mount(6, 2, "/sysroot")]
    table = [ROOT, *inside, sysroot, mount(7, 1, "/sysroot2")]
    assert mounts.beneath(table, sysroot) == inside
    assert mounts.beneath(table, inside[0]) == []


def tables() -> st.SearchStrategy[list[Mount]]:
    points = st.sampled_from(["/", "/a", "/a/b", "/a/b/c", "/ab"])
    numbers = st.integers(1, 6)
    rows = st.builds(mount, numbers, numbers, points)
    return st.lists(rows, max_size=7, unique_by=lambda row: row.id)


@given(tables(), st.sampled_from(["/", "/a", "/a/b", "/a/b/c"]))
def test_any_table_ends(table: list[Mount], point: str) -> None:
    try:
        found = mounts.at(table, point)
    except VerisealError as error:
        if error.reason not in ("ambiguous-mount", "not-mounted"):
            raise
        return
    assert found.point == point
    assert found not in mounts.beneath(table, found)
