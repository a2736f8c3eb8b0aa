"""veriseal trust lint: each defect by its name, all of them at once."""

import datetime
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from .systems import START, Signer, System

pytestmark = pytest.mark.unit

Cli = Callable[..., tuple[int, bytes, str]]


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path / "system")


@pytest.fixture
def lint(system: System, cli: Cli) -> Callable[[], tuple[int, list[dict[str, Any]]]]:
    def run() -> tuple[int, list[dict[str, Any]]]:
        status, out, _err = cli("trust", "lint", "--root", str(system.top), "--json")
        found = json.loads(out)["findings"]
        errors = [one for one in found if one["level"] == "error"]
        assert status == (1 if errors else 0)
        return status, found

    return run


Lint = Callable[[], tuple[int, list[dict[str, Any]]]]


def named(found: list[dict[str, Any]]) -> list[tuple[str, str, str | None]]:
    return [(one["level"], one["name"], one.get("path")) for one in found]


def test_a_good_system_has_no_findings(system: System, lint: Lint) -> None:
    root = Signer("Root", ca=True)
    system.anchor(root)
    system.certificate(Signer("Release", by=root))
    assert lint() == (0, [])


def test_text_names_level_name_path_and_remedy(system: System, cli: Cli) -> None:
    one = system.certificate(b"nonsense")
    status, out, err = cli("trust", "lint", "--root", str(system.top))
    assert status == 1
    line = next(line for line in out.decode().splitlines() if "not-a-certificate" in line)
    assert line.startswith(f"error: not-a-certificate: {one}: ")
    assert "openssl x509" in line
    assert "errors" in err


def test_the_same_serial_number_and_issuer(system: System, lint: Lint) -> None:
    root = Signer("Root", ca=True)
    system.anchor(root)
    system.certificate(Signer("A", by=root, serial=7), "a.pem")
    second = system.certificate(Signer("B", by=root, serial=7), "b.pem")
    assert named(lint()[1]) == [("error", "certificate-collision", second)]


def test_the_same_key_identifier(system: System, lint: Lint) -> None:
    system.certificate(Signer("A", skid=b"same"), "a.pem")
    second = system.certificate(Signer("B", skid=b"same"), "b.pem")
    assert named(lint()[1]) == [("error", "certificate-collision", second)]


def test_every_collision_is_found_not_only_the_first(system: System, lint: Lint) -> None:
    for name in "abc":
        system.certificate(Signer(name, skid=b"same"), f"{name}.pem")
    found = [one for one in lint()[1] if one["name"] == "certificate-collision"]
    assert [os.path.basename(one["path"]) for one in found] == ["b.pem", "c.pem"]


def test_the_same_subject_alone_is_a_warning(system: System, lint: Lint) -> None:
    root = Signer("Root", ca=True)
    system.anchor(root)
    system.certificate(Signer("A", by=root), "a.pem")
    second = system.certificate(Signer("A", by=root), "b.pem")
    assert named(lint()[1]) == [("warning", "same-subject", second)]


def test_the_same_key_twice(system: System, lint: Lint) -> None:
    first = Signer("A")
    system.certificate(first, "a.pem")
    second = system.certificate(Signer("B", key=first.key, skid=b"other"), "b.pem")
    assert ("error", "same-key", second) in named(lint()[1])


def test_the_same_certificate_twice(system: System, lint: Lint) -> None:
    first = Signer("A")
    system.certificate(first, "a.pem")
    second = system.certificate(first, "b.pem")
    assert named(lint()[1]) == [("warning", "same-certificate", second)]


def test_several_certificates_in_a_file_and_what_is_wrong_with_each(
    system: System, lint: Lint
) -> None:
    weak = Signer("Weak", key=rsa.generate_private_key(65537, 1024))  # noqa: S505
    path = system.certificate(Signer("A").pem + weak.pem)
    assert {("error", "several-certificates", path), ("error", "unsupported-key", path)} <= set(
        named(lint()[1])
    )


def test_a_private_key_is_an_error_wherever_it_lies(system: System, lint: Lint) -> None:
    good = Signer("A")
    system.certificate(good)
    readme = system.certificate(good.key_pem, "README")
    elsewhere = system.certificate(good.pem + good.key_pem, "x.pem", os_name="debian:99")
    found = named(lint()[1])
    assert ("error", "private-key-exposed", readme) in found
    assert ("error", "private-key-exposed", elsewhere) in found


def test_wrong_usage(system: System, lint: Lint) -> None:
    path = system.certificate(Signer("A", signs=False))
    assert ("error", "wrong-key-usage", path) in named(lint()[1])


def test_an_authority_among_releases_needs_an_anchor(system: System, lint: Lint) -> None:
    root = Signer("Root", ca=True)
    middle = Signer("Middle", by=root, ca=True)
    system.certificate(Signer("A", by=middle), "a.pem")
    path = system.certificate(middle, "middle.pem")
    assert ("error", "certificate-authority", path) in named(lint()[1])
    system.anchor(root)
    assert lint() == (0, [])


def test_an_anchor_that_is_no_authority(system: System, lint: Lint) -> None:
    system.certificate(Signer("A"))
    path = system.anchor(Signer("B"))
    assert ("error", "not-an-authority", path) in named(lint()[1])


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP521R1()),
        rsa.generate_private_key(65537, 1024),  # noqa: S505
        rsa.generate_private_key(65537, 4104),
    ],
    ids=["P-521", "RSA-1024", "RSA-4104"],
)
def test_keys_that_the_kernel_does_not_take(system: System, lint: Lint, key: Any) -> None:
    path = system.certificate(Signer("A", key=key))
    assert ("error", "unsupported-key", path) in named(lint()[1])


def test_ed25519(system: System, lint: Lint) -> None:
    root = Signer("Root", ca=True)
    path = system.certificate(Signer("A", by=root, key=ed25519.Ed25519PrivateKey.generate()))
    assert ("error", "unsupported-key", path) in named(lint()[1])


def test_weak_hashes(system: System, lint: Lint) -> None:
    from cryptography.hazmat.primitives import hashes

    path = system.certificate(Signer("A", algorithm=hashes.SHA224()))
    assert ("error", "weak-certificate-signature", path) in named(lint()[1])


def test_a_mask_that_matches_nothing(system: System, lint: Lint) -> None:
    system.certificate(Signer("A"))
    path = system.mask("releasse.pem")
    assert named(lint()[1]) == [("warning", "mask-of-nothing", path)]


def test_a_mask_belongs_below_etc(system: System, lint: Lint) -> None:
    system.certificate(Signer("A"), "a.pem")
    system.certificate(Signer("B"), "b.pem")
    path = system.mask("b.pem", load_path="usr/local/share/voa")
    assert named(lint()[1]) == [("warning", "misplaced-mask", path)]


def test_the_key_of_a_masked_file_is_named_where_it_comes_back(system: System, lint: Lint) -> None:
    bad = Signer("Bad")
    system.certificate(Signer("A"), "a.pem")
    system.certificate(bad, "bad.pem")
    system.mask("bad.pem")
    again = system.certificate(bad, "again.pem")
    assert ("warning", "masked", again) in named(lint()[1])


@pytest.mark.parametrize("target", ["/etc/passwd", "elsewhere.pem", "link.pem", "/nonexistent"])
def test_links_that_break_the_rules(system: System, lint: Lint, target: str) -> None:
    system.certificate(Signer("A"))
    path = system.certificate(b"", "link.pem")
    os.unlink(path)
    os.symlink(target, path)
    assert ("error", "bad-link", path) in named(lint()[1])


def test_names_that_do_not_end_in_pem(system: System, lint: Lint) -> None:
    system.certificate(Signer("A"))
    path = system.certificate(Signer("B"), "b.crt")
    assert named(lint()[1]) == [("warning", "bad-name", path)]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file(system: System, lint: Lint, make: Callable[[str], None]) -> None:
    path = system.certificate(Signer("A")).replace("release", "other")
    make(path)
    assert ("error", "not-a-file", path) in named(lint()[1])


def test_directories_that_are_no_names(system: System, lint: Lint) -> None:
    system.certificate(Signer("A"))
    system.put("usr/share/voa/De bian/x")
    system.put("usr/share/voa/a:b:c:d:e:f/x")
    paths = {str(system.top / "usr/share/voa" / one) for one in ("De bian", "a:b:c:d:e:f")}
    assert set(named(lint()[1])) == {("warning", "bad-os-name", path) for path in paths}


def test_what_is_outside_the_window(system: System, lint: Lint) -> None:
    system.certificate(Signer("A"))
    path = system.certificate(Signer("B"), os_name="debian:12")
    assert named(lint()[1]) == [("warning", "outside-window", path)]
    system.settings('[trust]\nprevious = ["debian:12"]\n')
    assert lint() == (0, [])


def test_what_is_below_run_is_not_taken_along(system: System, lint: Lint) -> None:
    system.certificate(Signer("A"))
    path = system.certificate(Signer("B"), "b.pem", load_path="run/voa")
    assert ("warning", "not-in-the-initrd", path) in named(lint()[1])


@pytest.mark.parametrize(("dates", "level"), [("warn", "warning"), ("enforce", "error")])
def test_dates(system: System, lint: Lint, dates: str, level: str) -> None:
    past, future = (START + datetime.timedelta(days=365 * years) for years in (-10, 300))
    system.certificate(Signer("A"), "a.pem")
    old = system.certificate(Signer("B", start=past, end=past), "b.pem")
    new = system.certificate(Signer("C", start=future, end=future), "c.pem")
    system.settings(f'[trust]\ndates = "{dates}"\n')
    assert set(named(lint()[1])) == {(level, "expired", old), (level, "not-yet-valid", new)}


def test_what_no_anchor_vouches_for(system: System, lint: Lint) -> None:
    root, stranger = Signer("Root", ca=True), Signer("Stranger", ca=True)
    system.anchor(root)
    system.certificate(Signer("A", by=root), "a.pem")
    path = system.certificate(Signer("B", by=stranger), "b.pem")
    assert named(lint()[1]) == [("error", "not-vouched", path)]


def test_an_anchor_of_another_system_vouches_for_nothing_here(system: System, lint: Lint) -> None:
    root = Signer("Root", ca=True)
    system.anchor(root)
    system.certificate(Signer("A", by=root))
    other = Signer("Other", ca=True)
    system.anchor(other, os_name="fedora")
    system.settings('[trust]\nnext = ["fedora:44"]\n')
    path = system.certificate(Signer("F", by=root), os_name="fedora:44")
    found = named(lint()[1])
    assert ("error", "not-vouched", path) in found
    assert ("warning", "other-system", None) in found


def test_releases_of_the_window_without_a_certificate(system: System, lint: Lint) -> None:
    system.certificate(Signer("A"))
    system.settings('[trust]\nnext = ["debian:14"]\n')
    _, found = lint()
    assert named(found) == [("warning", "no-certificate", None)]
    assert "trust.next names debian:14" in found[0]["problem"]


def test_no_certificate_at_all(system: System, lint: Lint) -> None:
    assert "no-certificates" in [name for level, name, _ in named(lint()[1]) if level == "error"]


@pytest.mark.parametrize(
    ("settings", "level", "name"),
    [
        ('[trust]\nnext = ["debian:13"]', "warning", "contradicting-settings"),
        ('[trust]\nprevious = ["debian:12"]\nnext = ["debian:12"]', "error", "bad-configuration"),
        ('[trust]\nnext = ["Debian 14"]', "error", "bad-configuration"),
        ('[trust]\nanchors = "require"', "error", "no-anchor"),
        ('[trust]\nstatement = "/trust.json"', "error", "contradicting-settings"),
        ('[trust]\nstatement_device = "/dev/sda1"', "warning", "contradicting-settings"),
        ('[trust]\nwithout_statement = "built-in"', "warning", "contradicting-settings"),
        ("[boot]\nsignatures_needed = 2", "error", "contradicting-settings"),
    ],
)
def test_settings_that_contradict(
    system: System, lint: Lint, settings: str, level: str, name: str
) -> None:
    system.certificate(Signer("A"))
    system.settings(settings + "\n")
    assert (level, name) in [one[:2] for one in named(lint()[1])]


def test_the_statement_that_the_settings_name(system: System, lint: Lint) -> None:
    system.anchor(Signer("Root", ca=True))
    system.settings('[trust]\nstatement = "/etc/trust.json"\n')
    (one,) = named(lint()[1])
    assert one == ("error", "no-statement", str(system.top / "etc/trust.json"))
    system.settings('[trust]\nstatement = "/etc/trust.json"\nwithout_statement = "built-in"\n')
    assert "no-certificates" in [name for _, name, _ in named(lint()[1])]
    root = Signer("Root", ca=True)
    system.anchor(root)
    system.certificate(Signer("A", by=root))
    assert named(lint()[1]) == [("warning", "statement-not-used", None)]


def test_a_statement_on_a_device_that_is_not_here(system: System, lint: Lint) -> None:
    system.anchor(Signer("Root", ca=True))
    device = "/dev/disk/by-label/NOSUCH"
    system.settings(f'[trust]\nstatement = "/trust.json"\nstatement_device = "{device}"\n')
    assert named(lint()[1]) == [("warning", "statement-not-seen", device)]


def test_what_was_meant_to_count_is_an_error_although_another_counts(
    system: System, lint: Lint
) -> None:
    system.settings('[trust]\ndates = "enforce"\n')
    end = START - datetime.timedelta(days=1)
    good = Signer("A")
    system.certificate(good, "a.pem")
    start = end - datetime.timedelta(days=9)
    old = system.certificate(Signer("B", start=start, end=end), "b.pem")
    assert named(lint()[1]) == [("error", "expired", old)]


def test_all_defects_at_once(system: System, lint: Lint) -> None:
    system.certificate(b"nonsense", "1.pem")
    system.certificate(Signer("A").pem * 2, "2.pem")
    system.certificate(Signer("B", signs=False), "3.pem")
    system.certificate(Signer("C", skid=b"x"), "4.pem")
    system.certificate(Signer("D", skid=b"x"), "5.pem")
    system.mask("nothing.pem")
    system.settings('[trust]\nnext = ["Debian"]\n')
    names = {name for _, name, _ in named(lint()[1])}
    assert names >= {
        "not-a-certificate", "several-certificates", "wrong-key-usage", "certificate-collision",
        "mask-of-nothing", "bad-configuration",
    }  # fmt: skip


def test_settings_that_cannot_be_read(system: System, cli: Cli) -> None:
    system.settings("nonsense")
    status, _out, err = cli("trust", "lint", "--root", str(system.top))
    assert (status, "not TOML" in err) == (1, True)
