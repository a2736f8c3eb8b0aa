"""veriseal trust show: what counts, what does not, and why."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .systems import Signer, System

pytestmark = pytest.mark.unit

Cli = Callable[..., tuple[int, bytes, str]]


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path / "system")


@pytest.fixture
def show(system: System, cli: Cli) -> Callable[[], tuple[int, Any, str]]:
    def run() -> tuple[int, Any, str]:
        status, out, err = cli("trust", "show", "--root", str(system.top), "--json")
        return status, json.loads(out), err

    return run


Show = Callable[[], tuple[int, Any, str]]


def test_what_counts_and_why(system: System, show: Show, cli: Cli) -> None:
    root = Signer("Root", ca=True)
    anchor = system.anchor(root)
    release = Signer("Release 13", by=root)
    path = system.certificate(release)
    system.certificate(Signer("Release 14", by=root), os_name="debian:14")
    system.settings('[trust]\nprevious = ["debian:12"]\nnext = ["debian:14"]\n')
    status, document, err = show()
    assert (status, err, document["origin"]) == (0, "", "built-in")
    assert document["window"] == {
        "debian:12": "previous", "debian": "current", "debian:13": "current", "debian:14": "next",
    }  # fmt: skip
    one, other = document["releases"]
    assert (one["os"], one["part"], one["subject"]) == ("debian:13", "current", "CN=Release 13")
    assert (one["path"], one["fingerprint"]) == (path, release.fingerprint)
    assert (one["anchor"]["subject"], one["anchor"]["path"]) == ("CN=Root", anchor)
    assert (other["os"], other["part"]) == ("debian:14", "next")
    assert [one["os"] for one in document["anchors"]] == ["debian"]
    text = cli("trust", "show", "--root", str(system.top))[1].decode()
    assert "counts     debian:13 (current): CN=Release 13" in text
    assert f"CN=Root vouches for it ({anchor})" in text
    assert "valid 2026-01-01 to 2046-01-01" in text
    assert "next:      debian:14" in text


def test_what_is_ignored_and_why(system: System, show: Show, cli: Cli) -> None:
    system.certificate(Signer("A"), "a.pem")
    masked = system.certificate(Signer("B"), "b.pem")
    mask = system.mask("b.pem")
    outside = system.certificate(Signer("C"), os_name="debian:12")
    readme = system.certificate(b"text", "README")
    ephemeral = system.certificate(Signer("D"), "d.pem", load_path="run/voa")
    status, document, _err = show()
    ignored = {one["path"]: one for one in document["ignored"]}
    assert status == 0
    assert {path: one["reason"] for path, one in ignored.items()} == {
        masked: "masked", mask: "masked", outside: "outside-window", readme: "unusable",
        ephemeral: "not-in-the-initrd",
    }  # fmt: skip
    assert ignored[masked]["why"] == f"masked by {mask}"
    assert ignored[outside]["certificate"]["subject"] == "CN=C"
    text = cli("trust", "show", "--root", str(system.top))[1].decode()
    assert f"ignored    {outside}: CN=C" in text
    assert f"masked: masked by {mask}" in text


def test_what_could_be_found_is_shown_with_the_error(system: System, show: Show) -> None:
    good = system.certificate(Signer("A"), "a.pem")
    bad = system.certificate(b"nonsense", "b.pem")
    status, document, err = show()
    assert status == 1
    assert document["releases"] == []
    assert {one["path"] for one in document["ignored"]} == {good, bad}
    assert (document["error"]["reason"], document["error"]["path"]) == ("not-a-certificate", bad)
    assert bad in err


@pytest.mark.parametrize("settings", ["", '[trust]\nnext = ["debian:13"]\n'])
def test_nothing_counts(system: System, show: Show, settings: str) -> None:
    system.settings(settings)
    status, document, err = show()
    assert (status, document["releases"], document["warnings"]) == (1, [], [])
    assert document["error"]["reason"] in ("no-certificates", "bad-configuration")
    assert err.startswith("veriseal: ")


def test_a_statement_that_does_not_count(system: System, show: Show, cli: Cli) -> None:
    root = Signer("Root", ca=True)
    system.anchor(root)
    system.certificate(Signer("A", by=root))
    system.settings('[trust]\nstatement = "/etc/trust.json"\nwithout_statement = "built-in"\n')
    assert show()[1]["statement_not_used"] is not None
    system.put("etc/trust.json", "nonsense")
    status, document, _err = show()
    assert (status, document["origin"]) == (0, "built-in")
    assert "not signed by a trust anchor" in document["statement_not_used"]
    text = cli("trust", "show", "--root", str(system.top))[1].decode()
    assert "warning:   the trust statement does not count: " in text


@pytest.mark.parametrize("fallback", ["refuse", "built-in"])
def test_a_statement_that_nobody_has_looked_at(
    system: System, show: Show, cli: Cli, fallback: str
) -> None:
    root = Signer("Root", ca=True)
    system.anchor(root)
    system.certificate(Signer("A", by=root))
    device = "/dev/disk/by-label/NOSUCH"
    system.settings(
        f'[trust]\nstatement = "/trust.json"\nstatement_device = "{device}"\n'
        f'without_statement = "{fallback}"\n'
    )
    _status, document, _err = show()
    (warning,) = document["warnings"]
    assert warning.startswith(f"{device} is not mounted here, so nobody has looked")
    clause = "at boot none of this counts unless the statement is there"
    assert (clause in warning) == (fallback == "refuse")
    text = cli("trust", "show", "--root", str(system.top))[1].decode()
    # First of all, and what nobody knows is not said.
    assert text.startswith(f"warning:   {warning}\n")
    assert "the trust statement does not count" not in text


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("etc/veriseal/veriseal.toml", "[trust]\nanchors = 1\n", "bad-configuration"),
        ("usr/lib/os-release", "VERSION_ID=13\n", "bad-os-release"),
    ],
)
def test_what_cannot_be_read_of_the_system(
    system: System, show: Show, cli: Cli, file: str, text: str, reason: str
) -> None:
    system.certificate(Signer("A"))
    path = system.put(file, text)
    status, document, err = show()
    assert (status, document["releases"], document["window"]) == (1, [], {})
    assert (document["error"]["reason"], document["error"]["path"]) == (reason, path)
    assert err.startswith(f"veriseal: {path}: ")
    assert cli("trust", "show", "--root", str(system.top)) == (1, b"", err)


def test_a_name_cannot_write_to_the_terminal(system: System, cli: Cli) -> None:
    system.certificate(Signer("A\x1b[2J"))
    status, out, _err = cli("trust", "show", "--root", str(system.top))
    assert status == 0
    assert b"\x1b" not in out
