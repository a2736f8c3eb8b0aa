"""What is built once is built whole, once, and again when its inputs change."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import store
from .machine import joined

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(store, "BUILD", tmp_path)
    return tmp_path


def test_same_inputs_are_built_once() -> None:
    calls = []

    def make(part: Path, _scratch: Path) -> None:
        calls.append(part)
        part.write_text("whole")

    first = store.built("thing", ["a"], make)
    assert store.built("thing", ["a"], make) == first
    assert first.read_text() == "whole"
    assert len(calls) == 1


def test_other_inputs_replace_what_was_built(place: Path) -> None:
    def make(part: Path, _scratch: Path) -> None:
        part.mkdir()

    first = store.built("thing", ["a"], make)
    other = store.built("thing-other", ["a"], make)
    second = store.built("thing", ["b"], make)
    assert second != first
    assert sorted(path for path in place.iterdir() if path.is_dir()) == sorted([other, second])


def test_an_interrupted_build_leaves_nothing(place: Path) -> None:
    def make(part: Path, scratch: Path) -> None:
        part.write_text("half")
        scratch.mkdir()
        raise store.GuestError("the mirror is gone")

    with pytest.raises(store.GuestError):
        store.built("thing", [], make)
    assert [path.name for path in place.iterdir()] == ["lock"]


def test_a_failing_command_is_quoted_with_what_it_said() -> None:
    with pytest.raises(store.GuestError, match=r"(?s)status 3.*broken"):
        store.command(["sh", "-c", "echo broken >&2; exit 3"])
    with pytest.raises(store.GuestError, match="no-such-command: command not found"):
        store.command(["no-such-command"])


def test_initrds_are_joined_at_multiples_of_four(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"12345")
    second.write_bytes(b"abc")
    assert joined([first, second], tmp_path).read_bytes() == b"12345\0\0\0abc\0"
    assert joined([first], tmp_path) == first
