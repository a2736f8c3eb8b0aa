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
    assert policy.load(paths) == Policy()


def test_the_later_file_overrides_single_keys(paths: tuple[str, str]) -> None:
    Path(paths[0]).write_text('[trust]\nnext = ["fedora:44"]\ncontext = "kiosk"\n')
    Path(paths[1]).write_text("[trust]\nnext = []\n")
    assert policy.load(paths) == Policy(context="kiosk")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[trust]\nrelease = []\n", "release"),
        ("[Trust]\nnext = []\n", "Trust"),
        ("next = []\n", "next"),
        ("trust = 1\n", "trust"),
        ('[trust]\nnext = "fedora:44"\n', "trust.next"),
        ("[trust]\ncontext = 1\n", "trust.context"),
        ("[trust]\nnext = [1]\n", "trust.next"),
        ('[trust]\ncontext = ""\n', "trust.context"),
        ('[trust]\ncontext = ".."\n', "trust.context"),
        ('[trust]\ncontext = "a/b"\n', "trust.context"),
        ('[trust]\nnext = ["../../run/voa"]\n', "trust.next"),
        ('[trust]\ncontext = "a\\u0000b"\n', "trust.context"),
        ("[trust\n", "not TOML"),
        ("a = " + "[" * 100000 + "\n", "not TOML"),
        ('[boot]\nkeyring = "maybe"\n', "boot.keyring"),
        ("[boot]\nkeyring = false\n", "boot.keyring"),
        ('[boot]\nmode = ""\n', "boot.mode"),
        ("[boot]\nsignatures_needed = 0\n", "boot.signatures_needed"),
        ("[boot]\nsignatures_needed = true\n", "boot.signatures_needed"),
        ("[boot]\nsignatures_needed = 1.0\n", "boot.signatures_needed"),
        ('[launch]\nrequire = "none"\n', "launch.require"),
        ('[build]\nmutable = "/var"\n', "build.mutable"),
        ('[build]\nmutable = ["var"]\n', "build.mutable"),
        ('[build]\nexclusive = ["/usr/"]\n', "build.exclusive"),
        ('[build]\nsign = ["/usr/../etc"]\n', "build.sign"),
        ('[build]\nrevoked = ["sha256:00"]\n', "build.revoked"),
        ('[build]\nrevoked = "x"\n', "build.revoked"),
        ('[boot]\nimages = "images"\n', "boot.images"),
        ('[build]\nprograms = "/opt"\n', "build.programs"),
        ('[build]\nprograms = ["opt"]\n', "build.programs"),
        ("program = 1\n", "program"),
        ('[program]\nloads = ["/opt/*.so"]\n', "[program]"),
        ('[program."opt/app"]\nloads = []\n', "opt/app"),
        ('[program."/opt/app"]\nload = []\n', "load"),
        ('[program."/opt/app"]\nloads = "/opt/*.so"\n', 'program."/opt/app".loads'),
        ('[program."/opt/app"]\nloads = ["*.so"]\n', 'program."/opt/app".loads'),
        ("[program]\n'/opt/app' = 1\n", "/opt/app"),
    ],
)
def test_a_setting_that_is_not_understood(paths: tuple[str, str], text: str, named: str) -> None:
    Path(paths[1]).write_text(text)
    with pytest.raises(VerisealError) as caught:
        policy.load(paths)
    assert caught.value.reason == "bad-configuration"
    assert paths[1] in str(caught.value)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trust = 3\n", "trust is a section (expected [trust], found 3)"),
        ("nothing = 3\n", "a key in no section (expected [trust], [boot], "),
        ("[Trust]\n", "unknown section (expected [trust], [boot], "),
        ("[boot]\nmode = true\n", '(expected "enforce" or "report", found true)'),
        ('[boot]\nmode = "Enforce"\n', 'found "Enforce")'),
        ("[boot]\nmode = 1979-05-27\n", 'found "1979-05-27")'),
        ('[build]\nmutable = "/var"\n', 'found "/var")'),
        ('[build]\nmutable = ["/a", "var"]\n', ' and without a final /, found "var")'),
        ('[build]\nrevoked = ["x"]\n', '(expected sha256:HEX or sha512:HEX, found "x")'),
        ('[trust]\nnext = ["a", "b/c"]\n', "(expected a name without '/', found \"b/c\")"),
        ("[trust]\nnext = [true]\n", "found true)"),
    ],
)
def test_values_are_shown_as_in_the_file(paths: tuple[str, str], text: str, said: str) -> None:
    Path(paths[1]).write_text(text)
    with pytest.raises(VerisealError) as caught:
        policy.load(paths)
    assert said in str(caught.value)


def test_the_file_that_has_the_last_word(paths: tuple[str, str]) -> None:
    assert policy.sources(paths) == {}
    Path(paths[0]).write_text('[trust]\nnext = []\n[launch]\nrequire = "both"\n')
    Path(paths[1]).write_text("[trust]\nnext = []\nprevious = []\n")
    assert policy.sources(paths) == {"next": paths[1], "previous": paths[1], "require": paths[0]}


def test_a_file_that_is_not_text(paths: tuple[str, str]) -> None:
    Path(paths[0]).write_bytes(b"\xff\xfe")
    with pytest.raises(VerisealError) as caught:
        policy.load(paths)
    assert caught.value.reason == "bad-configuration"


def test_all_settings(paths: tuple[str, str]) -> None:
    Path(paths[0]).write_text(
        '[boot]\nkeyring = "off"\nroot = "composefs"\nmode = "report"\nsignatures_needed = 2\n'
        'verity = "all"\n[launch]\nrequire = "manifest"\n'
        '[build]\nexclusive = ["/opt/kiosk"]\nmutable = ["/var", "/etc/machine-id"]\n'
    )
    found = policy.load(paths)
    assert (found.keyring, found.root, found.mode) == ("off", "composefs", "report")
    assert (found.signatures_needed, found.verity, found.require) == (2, "all", "manifest")
    assert found.mutable == ("/var", "/etc/machine-id")
    # Named besides the defaults, and signed like them.
    assert found.exclusive == found.sign == (*policy.EXCLUSIVE, "/opt/kiosk")


def test_what_is_signed_can_be_less_than_what_is_exclusive(paths: tuple[str, str]) -> None:
    Path(paths[0]).write_text('[build]\nexclusive = ["/opt"]\nsign = ["/opt/bin/*"]\n')
    found = policy.load(paths)
    assert found.sign == ("/opt/bin/*",)
    assert "/usr" in found.exclusive


def test_what_programs_load_is_overridden_by_program(paths: tuple[str, str]) -> None:
    assert Policy().programs == ("/",)
    Path(paths[0]).write_text(
        '[build]\nprograms = ["/opt", "/usr/bin"]\n[program."/opt/a"]\nloads = ["/opt/a.d"]\n'
        '[program."/opt/b"]\nloads = ["/opt/b.d"]\n[program."/opt/none"]\n'
    )
    Path(paths[1]).write_text('[program."/opt/b"]\nloads = ["/opt/*.so", "/opt/x"]\n')
    found = policy.load(paths)
    assert found.programs == ("/opt", "/usr/bin")
    assert found.loads == {
        "/opt/a": ("/opt/a.d",),
        "/opt/b": ("/opt/*.so", "/opt/x"),
        "/opt/none": (),
    }
    Path(paths[0]).unlink()
    assert policy.load(paths).loads == {"/opt/b": ("/opt/*.so", "/opt/x")}


def test_settings_that_leave_nothing_to_check(paths: tuple[str, str]) -> None:
    # One in each file: it is the result that counts.
    Path(paths[0]).write_text('[boot]\nkeyring = "off"\n')
    Path(paths[1]).write_text('[launch]\nrequire = "signature"\n')
    with pytest.raises(VerisealError) as caught:
        policy.load(paths)
    assert (caught.value.reason, caught.value.path) == ("bad-configuration", paths[1])


def test_what_is_empty_by_default_can_be_said(paths: tuple[str, str]) -> None:
    Path(paths[0]).write_text(
        '[trust]\nstatement = "/t.json"\nstatement_device = "/dev/x"\n[boot]\nimage_file = "/i"\n'
    )
    Path(paths[1]).write_text(
        '[trust]\nstatement = ""\nstatement_device = ""\n[boot]\nimage_file = ""\n'
    )
    assert policy.load(paths) == Policy()
    Path(paths[1]).write_text('[boot]\nimages = ""\n')
    with pytest.raises(VerisealError):
        policy.load(paths)
