"""Errors as their readers meet them."""

import os

import pytest

from veriseal.boot import agent
from veriseal.cli import main
from veriseal.errors import MAX_LENGTH, UsageError, VerisealError, path_of, printable, some
from veriseal.trust import finding

pytestmark = pytest.mark.unit


def test_one_sentence_names_path_problem_both_sides_and_remedy() -> None:
    error = VerisealError(
        "other", "is not it", path="/a b", expected="x", found=7, remedy="Do that"
    )
    assert str(error) == "/a b: is not it (expected x, found 7). Do that"
    assert error.sentence() == "is not it (expected x, found 7). Do that"


def test_inside_of_another_error_it_gives_no_advice() -> None:
    error = VerisealError("x", "is not it", path="/a", expected="x", found=7, remedy="Do that")
    assert error.without_remedy() == "/a: is not it (expected x, found 7)"


def test_what_is_not_known_is_left_out() -> None:
    assert str(VerisealError("plain", "it failed")) == "it failed"
    assert str(VerisealError("plain", "it failed", found=0)) == "it failed (found 0)"


def test_json_has_the_attributes_that_are_set_as_text() -> None:
    error = VerisealError("other", "is not it", path="/a", found=7)
    assert error.as_json() == {
        "reason": "other",
        "problem": "is not it",
        "path": "/a",
        "found": "7",
    }
    assert str(VerisealError(**error.as_json())) == str(error)


def test_wrong_usage_is_a_reason_of_its_own() -> None:
    assert UsageError("what?").reason == "usage"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/usr/bin/true", "/usr/bin/true"),
        ("two words ü", "two words ü"),
        ("new\nline", "new\\nline"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\udcff", "\\udcff"),
        ("right\u202eleft", "right\\u202eleft"),
        ("\0", "\\x00"),
    ],
)
def test_a_strangers_name_stays_on_one_line(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert str(VerisealError("r", "p", path=text, found=text)) == f"{shown}: p (found {shown})"


def test_what_a_stranger_makes_long_stays_short_and_the_remedy_is_seen() -> None:
    error = VerisealError("r", "p", path="/a", found="\n" * 100_000, remedy="Do that")
    for text in (str(error), error.sentence()):
        assert len(text) < MAX_LENGTH + 10
        assert text.endswith("Do that")
    assert len(error.as_json()["found"]) < MAX_LENGTH + 10
    # The longest path that there is remains whole.
    assert VerisealError("r", "p", path="/" + "a" * 4095).as_json()["path"] == "/" + "a" * 4095


def test_some() -> None:
    assert some(["a"] * 8) == ["a"] * 8
    assert some([*"abcdefghij"]) == [*"abcdefgh", "and 2 more"]


def test_the_path_of_an_error_of_the_system() -> None:
    assert path_of(OSError(5, "x", b"/a\xff")) == "/a\udcff"
    assert path_of(OSError(5, "x", "/a")) == "/a"
    assert path_of(OSError(5, "x")) is None
    fd = os.open("/etc/passwd", os.O_RDONLY)
    try:
        with pytest.raises(NotADirectoryError) as caught:
            os.listdir(fd)
    finally:
        os.close(fd)
    assert caught.value.filename == fd
    assert path_of(caught.value) is None
    assert agent.as_error(caught.value).path is None
    assert finding.unreadable(caught.value).path is None
    assert main._describe(caught.value) == "Not a directory"
