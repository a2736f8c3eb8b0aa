"""Patterns of paths: what they stand for, and what they must not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriseal.errors import VerisealError
from veriseal.pattern import EXCLUSIVE, MUTABLE, Patterns, Rules

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "path", "covered"),
    [
        ("/usr", b"/usr", True),
        ("/usr", b"/usr/bin/true", True),
        ("/usr", b"/usrlocal", False),
        ("/usr", b"/", False),
        ("/", b"/", True),
        ("/", b"/any/thing", True),
        ("/etc/ld.so.*", b"/etc/ld.so.preload", True),
        ("/etc/ld.so.*", b"/etc/ld.so.conf.d/x", True),
        ("/etc/ld.so.*", b"/etc/ldXso.preload", False),
        ("/etc/ld.so.*", b"/etc/ld.so", False),
        ("/opt/*/bin", b"/opt/a/bin/x", True),
        ("/opt/*/bin", b"/opt/a/b/bin/x", False),
        ("/opt/*", b"/opt/.hidden", True),
        ("/opt/*", b"/opt/a\nb", True),
        ("/opt/*", b"/opt", False),
        ("/a?c", b"/abc", True),
        ("/a?c", b"/a/c", False),
        ("/a[!x]c", b"/a/c", False),
        ("/a[!x]c", b"/abc", True),
        ("/a[a-c]c", b"/abc", True),
        ("/a[a-c]c", b"/adc", False),
        ("/a[]x]c", b"/a]c", True),
        ("/bin/[", b"/bin/[", True),
        ("/bin/[[]", b"/bin/[", True),
        ("/a+b", b"/aab", False),
        ("/a|/b", b"/b", False),
        ("/caf\u00e9", b"/caf\xc3\xa9", True),
        ("/\udcff", b"/\xff", True),
    ],
)
def test_what_a_pattern_stands_for(text: str, path: bytes, covered: bool) -> None:
    assert Patterns([text]).cover(path) is covered
    assert bool(Patterns([text]).depth(path)) is covered
    # Among others it is the same.
    assert Patterns(["/zzz", text]).cover(path) is covered


@pytest.mark.parametrize("text", ["", "usr", "./usr", "/usr/", "//usr", "/a/../b", "/a/.", "/a\0b"])
def test_not_a_pattern(text: str) -> None:
    with pytest.raises(VerisealError) as caught:
        Patterns([text])
    assert caught.value.reason == "bad-pattern"


def test_a_range_that_is_none_is_refused_not_raised() -> None:
    with pytest.raises(VerisealError) as caught:
        Patterns(["/a[z-a]"])
    assert caught.value.reason == "bad-pattern"


def test_no_patterns_stand_for_nothing() -> None:
    none = Patterns([])
    assert not none.cover(b"/")
    assert not none.depth(b"/usr")
    assert not none.lead_below(b"/")


def test_where_a_pattern_leads() -> None:
    patterns = Patterns(["/etc/xdg/*/user"])
    assert [p for p in (b"/", b"/etc", b"/etc/xdg", b"/etc/xdg/a") if patterns.lead_below(p)] == [
        b"/",
        b"/etc",
        b"/etc/xdg",
        b"/etc/xdg/a",
    ]
    assert not patterns.lead_below(b"/etc/xdg/a/user")
    assert not patterns.lead_below(b"/usr")


def test_the_longer_pattern_counts() -> None:
    rules = Rules(["/usr", "/var/lib/extensions", "/etc/ld.so.*"], ["/var", "/etc/ld.so.cache"])
    assert rules.kind(b"/usr/bin") == EXCLUSIVE
    assert rules.kind(b"/var/lib/other") == MUTABLE
    assert rules.kind(b"/var/lib/extensions/x") == EXCLUSIVE
    assert rules.kind(b"/etc/ld.so.cache") == MUTABLE
    assert rules.kind(b"/etc/ld.so.preload") == EXCLUSIVE
    assert rules.kind(b"/home/x") is None


def test_of_two_as_long_the_plainer_counts() -> None:
    rules = Rules(["/etc/systemd"], ["/etc/*"])
    assert rules.kind(b"/etc/systemd/system/x.service") == EXCLUSIVE
    assert rules.kind(b"/etc/other") == MUTABLE
    assert Rules(["/etc/systemd"], ["/etc/systemd"]).kind(b"/etc/systemd/x") == MUTABLE


def test_the_patterns_that_are_paths() -> None:
    assert Patterns(["/a*", "/b", "/c[d]", "/e?/f", "/"]).literal() == [b"/b", b"/"]


def test_which_directories_must_be_searched() -> None:
    rules = Rules(["/usr", "/etc/systemd"], ["/usr/share/cache"])
    assert rules.must_be_searched(b"/")
    assert rules.must_be_searched(b"/usr/share")
    assert rules.must_be_searched(b"/etc")
    assert not rules.must_be_searched(b"/usr/share/cache")
    assert not rules.must_be_searched(b"/home")


@given(st.text(), st.binary())
def test_hostile_text_is_refused_or_works(text: str, path: bytes) -> None:
    try:
        patterns = Patterns(["/" + text])
    except VerisealError:
        return
    assert patterns.cover(b"/" + path) is bool(patterns.depth(b"/" + path))
