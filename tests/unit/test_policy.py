"""The settings: what is not understood is an error."""

from pathlib import Path

import pytest

from veriseal import policy
from veriseal.errors import VerisealError
from veriseal.policy import Policy

pytestmark = pytest.mark.unit


@pytest.fixture
def paths(tmp_path: Path) -> tuple[str, str]:
    return str(tmp_path / "usr.toml"), str(tmp_path / "etc.toml")


def test_without_any_file_the_defaults_count(paths: tuple[str, str]) -> None:
    assert policy.load(paths) == Policy((), "default")


def test_the_later_file_overrides_single_keys(paths: tuple[str, str]) -> None:
    Path(paths[0]).write_text('[trust]\nreleases = ["fedora:44"]\ncontext = "kiosk"\n')
    Path(paths[1]).write_text("[trust]\nreleases = []\n")
    assert policy.load(paths) == Policy((), "kiosk")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[trust]\nrelease = []\n", "release"),
        ("[Trust]\nreleases = []\n", "Trust"),
        ("releases = []\n", "releases"),
        ("trust = 1\n", "trust"),
        ('[trust]\nreleases = "fedora:44"\n', "trust.releases"),
        ("[trust]\ncontext = 1\n", "trust.context"),
        ("[trust]\nreleases = [1]\n", "trust.releases"),
        ('[trust]\ncontext = ""\n', "trust.context"),
        ('[trust]\ncontext = ".."\n', "trust.context"),
        ('[trust]\ncontext = "a/b"\n', "trust.context"),
        ('[trust]\nreleases = ["../../run/voa"]\n', "trust.releases"),
        ('[trust]\ncontext = "a\\u0000b"\n', "trust.context"),
        ("[trust\n", "not TOML"),
    ],
)
def test_a_setting_that_is_not_understood(paths: tuple[str, str], text: str, named: str) -> None:
    Path(paths[1]).write_text(text)
    with pytest.raises(VerisealError) as caught:
        policy.load(paths)
    assert caught.value.reason == "bad-configuration"
    assert paths[1] in str(caught.value)
    assert named in str(caught.value)


def test_a_file_that_is_not_text(paths: tuple[str, str]) -> None:
    Path(paths[0]).write_bytes(b"\xff\xfe")
    with pytest.raises(VerisealError) as caught:
        policy.load(paths)
    assert caught.value.reason == "bad-configuration"
