"""veriseal trust lint: each defect by its name, all of them at once."""

import contextlib
import datetime
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from .systems import START, Signer, System, voa

pytestmark = pytest.mark.unit

Cli = Callable[..., tuple[int, bytes, str]]
SETTINGS = "etc/veriseal/veriseal.toml"


def place(system: System, os_name: str, purpose: str = "image") -> str:
    """Where a vendor's certificates belong."""
    return str(system.top / voa("x", os_name, "usr/share/voa", purpose))[:-2]


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
    assert err == "1 error, 1 warning\n"


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


def test_a_mask_below_run_masks_nothing_at_boot(system: System, lint: Lint) -> None:
    system.settings('[trust]\nprevious = ["debian:12"]\n')
    system.certificate(Signer("A"))
    system.certificate(Signer("B"), "b.pem", "debian:12")
    mask = system.mask("b.pem", "debian:12", load_path="run/voa")
    (one,) = lint()[1]
    assert named([one]) == [("warning", "not-in-the-initrd", mask)]
    assert "the key is not masked by it" in one["problem"]


def test_a_file_in_place_of_a_directory(system: System, lint: Lint) -> None:
    bad = system.certificate(b"nonsense")
    path = system.put("etc/voa/debian:13/image", "")
    found = named(lint()[1])
    assert {("error", "not-a-file", path), ("error", "not-a-certificate", bad)} <= set(found)


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
    assert ("warning", "other-system", str(system.top / SETTINGS)) in found


def test_releases_of_the_window_without_a_certificate(system: System, lint: Lint) -> None:
    system.certificate(Signer("A"))
    system.settings('[trust]\nnext = ["debian:14"]\n')
    _, found = lint()
    assert named(found) == [("warning", "no-certificate", place(system, "debian:14"))]
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
    path = str(system.top / "etc/trust.json")
    assert named(lint()[1]) == [("warning", "statement-not-used", path)]


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
    status, out, err = cli("trust", "lint", "--root", str(system.top))
    path = system.top / SETTINGS
    assert (status, err) == (1, "1 error, 0 warnings\n")
    assert out.decode().startswith(f"error: bad-configuration: {path}: not TOML: ")


@pytest.mark.parametrize(
    ("file", "text", "name"),
    [
        ("etc/veriseal/veriseal.toml", "[trust]\nanchors = 1\n", "bad-configuration"),
        ("usr/lib/os-release", "VERSION_ID=13\n", "bad-os-release"),
        ("usr/lib/os-release", "ID=De bian\n", "bad-os-release"),
        ("usr/lib/os-release", "ID='Debian'\n", "bad-os-release"),
    ],
)
def test_what_cannot_be_read_of_the_system_is_a_finding(
    system: System, lint: Lint, file: str, text: str, name: str
) -> None:
    system.certificate(Signer("A"))
    path = system.put(file, text)
    assert named(lint()[1]) == [("error", name, path)]


def test_a_root_that_is_not_there(system: System, cli: Cli) -> None:
    for step in ("lint", "show", "plan"):
        status, out, err = cli("trust", step, "--root", str(system.top / "nope"))
        assert status == 1
        assert f"{system.top}/nope: there is no such directory" in out.decode() + err


@pytest.mark.parametrize(
    "settings",
    [
        '[trust]\nnext = ["debian:14", "debian:14"]',
        '[trust]\nnext = ["debian:13", "fedora:44", "debian 14"]',
        '[trust]\nprevious = ["debian:12", "x y"]\nnext = ["debian:12", "Debian"]',
        '[trust]\nanchors = "require"',
        '[trust]\nstatement = "/trust.json"',
        '[trust]\nstatement = "/trust.json"\nwithout_statement = "built-in"',
        '[trust]\nstatement_device = "/dev/sda1"\nwithout_statement = "built-in"',
        '[trust]\nstatement = "/trust.json"\nstatement_device = "/dev/nosuch"',
        "[boot]\nsignatures_needed = 2",
        '[boot]\nkeyring = "off"\n[launch]\nrequire = "signature"',
    ],
)
@pytest.mark.parametrize("filled", [True, False])
def test_every_finding_has_a_path_below_the_root(
    system: System, lint: Lint, settings: str, filled: bool
) -> None:
    if filled:
        system.certificate(Signer("A"))
        system.certificate(Signer("F"), os_name="debian:99")
        system.certificate(Signer("R"), "r.pem", load_path="run/voa")
        system.mask("nothing.pem", load_path="usr/share/voa")
        system.mask("release.pem", load_path="run/voa")
    system.settings(settings + "\n")
    _, found = lint()
    assert found
    for one in found:
        assert one.get("path", "").startswith((str(system.top), "/dev/nosuch")), one
        for word in one.get("remedy", "").split():
            assert not word.startswith(("/etc", "/usr", "/run")), one


def test_everything_that_is_wrong_with_the_window_is_said_with_its_file(
    system: System, lint: Lint
) -> None:
    vendors = system.put("usr/lib/veriseal/veriseal.toml", '[trust]\nprevious = ["x y", "a:1"]\n')
    system.settings('[trust]\nnext = ["a:1", "Debian"]\n')
    own = str(system.top / SETTINGS)
    said = [one for one in named(lint()[1]) if one[1] == "bad-configuration"]
    assert said == [("error", "bad-configuration", path) for path in (vendors, own, own)]


@pytest.fixture
def readable_by_others() -> Iterator[Path]:
    """pytest's own directories are for one user."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)  # noqa: S103
        yield Path(name)


@contextlib.contextmanager
def somebody() -> Iterator[None]:
    """As a user who owns nothing."""
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(mine)


@pytest.mark.parametrize("directory", [False, True])
def test_what_the_user_cannot_read(readable_by_others: Path, cli: Cli, directory: bool) -> None:
    system = System(readable_by_others / "system")
    bad = system.certificate(Signer("A"), "a.pem")
    odd = system.certificate(Signer("B"), "b.crt", os_name="debian")
    bad = os.path.dirname(bad) if directory else bad
    cli("trust", "lint", "--root", str(system.top))  # imports everything
    os.chmod(bad, 0)
    with somebody():
        _, out, _ = cli("trust", "lint", "--root", str(system.top), "--json")
        status, shown, _err = cli("trust", "show", "--root", str(system.top), "--json")
    os.chmod(bad, 0o700)
    found = named(json.loads(out)["findings"])
    assert found.count(("error", "unreadable", bad)) == 1
    assert ("warning", "bad-name", odd) in found
    error = json.loads(shown)["error"]
    assert (status, error["reason"], error["path"]) == (1, "unreadable", bad)


# What nothing looks at.


@pytest.mark.parametrize(
    "where",
    ["image/defualt/x509", "image/default/X509", "images/default/x509", "image/default/openpgp",
     "image/default", "image", "."],
)  # fmt: skip
def test_masks_and_certificates_where_nothing_looks(
    system: System, lint: Lint, cli: Cli, where: str
) -> None:
    system.settings('[trust]\nprevious = ["debian:12"]\n')
    system.certificate(Signer("A"))
    counts = system.certificate(Signer("B"), "b.pem", "debian:12")
    mask = system.link(os.path.normpath(f"etc/voa/debian:12/{where}/b.pem"), "/dev/null")
    lost = system.put(os.path.normpath(f"usr/share/voa/debian:12/{where}/c.pem"), Signer("C").pem)
    _, found = lint()
    assert named(found) == [("warning", "not-read", mask), ("warning", "not-read", lost)]
    assert "the key is not masked by it" in found[0]["problem"]
    right = str(system.top / "etc/voa/debian:12/image/default/x509/b.pem")
    assert f"Move it to {right}, " in found[0]["remedy"]
    assert f"Move it to {place(system, 'debian:12')}/c.pem, " in found[1]["remedy"]
    out = cli("trust", "show", "--root", str(system.top), "--json")[1]
    shown = {one["path"]: one["reason"] for one in json.loads(out)["ignored"]}
    assert shown == {mask: "not-read", lost: "not-read"}
    # To do what the remedy says helps.
    os.makedirs(os.path.dirname(right))
    os.rename(mask, right)
    os.rename(lost, f"{place(system, 'debian:12')}/c.pem")
    assert lint() == (0, [])
    out = cli("trust", "show", "--root", str(system.top), "--json")[1]
    ignored = [one["path"] for one in json.loads(out)["ignored"]]
    assert counts in ignored


def test_an_anchor_where_nothing_looks(system: System, lint: Lint) -> None:
    system.certificate(Signer("A"))
    lost = system.put("usr/share/voa/debian/trust-anchors/default/x509/r.pem", b"")
    (one,) = lint()[1]
    assert (one["name"], one["path"]) == ("not-read", lost)
    assert "debian/trust-anchor-image/default/x509/r.pem, " in one["remedy"]


def test_a_place_that_is_taken(system: System, lint: Lint) -> None:
    system.certificate(Signer("A"))
    system.certificate(Signer("B"), "b.pem", load_path="etc/voa")
    mask = system.link("etc/voa/debian:13/image/x/x509/b.pem", "/dev/null")
    (one,) = lint()[1]
    assert one["path"] == mask
    assert f"{system.top}/usr/local/share/voa/debian:13/image/default/x509/b.pem" in one["remedy"]
    right = system.mask("b.pem", load_path="usr/share/voa")
    one = next(one for one in lint()[1] if one["path"] == mask)
    assert one["remedy"] == f"Remove it: {right} is a mask of this name already"
    lost = system.put("etc/voa/debian:13/image/x/x509/release.pem", b"")
    os.makedirs(system.top / "etc/voa/debian:13/image/default/x509", exist_ok=True)
    good = system.certificate(Signer("A2"), "release.pem", load_path="etc/voa")
    one = next(one for one in lint()[1] if one["path"] == lost)
    assert one["remedy"] == f"Remove it, or give it another name: {good} is there already"


def test_what_other_programs_keep_there(system: System, lint: Lint, tmp_path: Path) -> None:
    system.certificate(Signer("A"))
    top = "usr/share/voa/debian:13"
    system.put(f"{top}/package/default/openpgp/key.openpgp", b"")
    system.put(f"{top}/image/default/openpgp/README", b"")
    system.put(f"{top}/image/default/openpgp/deeper/and/deeper/key.pem", b"")
    os.mkfifo(system.top / top / "image/default/openpgp/fifo.pem")
    os.mkdir(system.top / top / "image/default/openpgp/directory.pem")
    system.link(f"{top}/image/default/openpgp/out.pem", "/etc/passwd")
    system.link(f"{top}/image/default/openpgp/device.pem", "/dev/zero")
    (tmp_path / "elsewhere/default/x509").mkdir(parents=True)
    (tmp_path / "elsewhere/default/x509/x.pem").touch()
    system.link(f"{top}/elsewhere", str(tmp_path / "elsewhere"))
    system.link(f"{top}/up", "..")
    system.link(f"{top}/loop", "loop")
    assert lint() == (0, [])


def test_where_a_certificate_leads_to_as_a_link_is_its_place(system: System, lint: Lint) -> None:
    keys = system.put("usr/share/voa/keys/release.pem", Signer("A").pem)
    system.link(
        "etc/voa/debian:13/image/default/x509/release.pem", "/usr/share/voa/keys/release.pem"
    )
    assert lint() == (0, [])
    # And a mask of that name masks it.
    system.link("etc/voa/keys/release.pem", "/dev/null")
    assert [name for _, name, _ in named(lint()[1])] == ["no-certificate", "no-certificates"]
    other = system.put("usr/share/voa/keys/other.pem", Signer("B").pem)
    assert ("warning", "not-read", other) in named(lint()[1])
    assert ("warning", "not-read", keys) not in named(lint()[1])


def test_another_context_is_named(system: System, lint: Lint) -> None:
    path = system.certificate(Signer("A"))
    system.settings('[trust]\ncontext = "kiosk"\n')
    found = lint()[1]
    (one,) = [one for one in found if one["name"] == "not-read"]
    assert one["path"] == path
    assert "debian:13/image/kiosk/x509, and not into debian:13/image/default/x509" in one["problem"]


# Anchors, and remedies that work.


def test_the_directory_that_no_anchor_names_covers_the_whole_window(
    system: System, lint: Lint
) -> None:
    root = Signer("Root", ca=True)
    releases = [f"debian:{number}" for number in (12, 13, 14)]
    paths = [system.certificate(Signer(one, by=root), os_name=one) for one in releases]
    system.settings(
        '[trust]\nanchors = "require"\nprevious = ["debian:12"]\nnext = ["debian:14"]\n'
    )
    (one,) = lint()[1]
    assert one["name"] == "no-anchor"
    right = place(system, "debian", "trust-anchor-image")
    assert one["path"] == right
    # For one release only: the others are still without.
    narrow = Path(place(system, "debian:13", "trust-anchor-image"))
    narrow.mkdir(parents=True)
    (narrow / "root.pem").write_bytes(root.pem)
    _, found = lint()
    assert named(found) == [("error", "not-vouched", path) for path in (paths[0], paths[2])]
    assert all("an anchor for this release, and none counts" in one["problem"] for one in found)
    assert all(f"into {right}, or" in one["remedy"] for one in found)
    Path(right).mkdir(parents=True)
    (Path(right) / "root.pem").write_bytes(root.pem)
    assert lint() == (0, [])


def test_a_key_is_not_to_be_renamed_to_a_certificate(system: System, lint: Lint) -> None:
    system.certificate(Signer("A"))
    path = system.certificate(Signer("B").key_pem, "b.key")
    assert named(lint()[1]) == [("error", "private-key-exposed", path)]


def test_signatures_needed_without_any_certificate(system: System, lint: Lint) -> None:
    system.settings("[boot]\nsignatures_needed = 2\n")
    assert [name for _, name, _ in named(lint()[1])] == ["no-certificate", "no-certificates"]


# What a trust statement leaves out.


@pytest.fixture
def state(system: System, cli: Cli, tmp_path: Path) -> Callable[..., str]:
    """Make and install a trust statement: of release and certificate, with further options."""

    def run(root: Signer, named: dict[str, Signer], *options: str) -> str:
        keys = tmp_path / "keys"
        keys.mkdir(exist_ok=True)
        out = system.top / "etc/trust.json"
        for old in system.top.glob("etc/trust.json*"):
            old.unlink()
        releases = [
            f"--release={os_name}={one.options(keys)[1].removeprefix('--cert=')}"
            for os_name, one in named.items()
        ]
        done = cli("trust", "statement", "--os=debian", "--version=1", *releases,
                   *root.options(keys), f"--out={out}", *options)  # fmt: skip
        assert done[0] == 0, done
        return str(out)

    return run


State = Callable[..., str]
STATED = '[trust]\nstatement = "/etc/trust.json"\nprevious = ["debian:12"]\nnext = ["debian:14"]\n'


def test_what_a_statement_does_not_name(system: System, lint: Lint, state: State) -> None:
    root = Signer("Root", ca=True)
    system.anchor(root)
    signers = {f"debian:{number}": Signer(f"{number}", by=root) for number in (12, 13, 14)}
    paths = {name: system.certificate(one, os_name=name) for name, one in signers.items()}
    system.settings(STATED)
    path = state(root, signers)
    assert lint() == (0, [])
    state(root, {"debian:12": signers["debian:12"], "debian:13": signers["debian:13"]})
    _, found = lint()
    assert named(found) == [("error", "not-in-the-statement", paths["debian:14"])]
    assert f"--release debian:14={paths['debian:14']}" in found[0]["remedy"]
    os.unlink(paths["debian:14"])
    assert named(lint()[1]) == [("warning", "no-certificate", path)]
    # Another one of the same release beside it that does count.
    system.certificate(Signer("14b", by=root), os_name="debian:14")
    state(root, signers)
    assert named(lint()[1]) == [("warning", "not-in-the-statement", paths["debian:14"])]


def test_what_a_statement_revokes(system: System, lint: Lint, state: State) -> None:
    root = Signer("Root", ca=True)
    system.anchor(root)
    old, own, new = (Signer(f"{number}", by=root) for number in (12, 13, 14))
    gone = system.certificate(old, os_name="debian:12")
    system.certificate(own)
    system.settings(STATED)
    path = state(root, {"debian:13": own, "debian:14": new}, f"--revoke-cert={gone}")
    assert named(lint()[1]) == [("warning", "revoked", gone), ("warning", "no-certificate", path)]


def test_what_keeps_the_certificates_of_a_statement_from_counting(
    system: System, lint: Lint, state: State
) -> None:
    root = Signer("Root", ca=True)
    system.anchor(root)
    past = START - datetime.timedelta(days=99)
    old = Signer("12", by=root, start=past, end=START)
    signers = {"debian:12": old, "debian:13": Signer("13", by=root)}
    system.settings(STATED.replace('next = ["debian:14"]', 'dates = "warn"'))
    path = state(root, signers)
    certificate = f"{path} (certificate 1 of debian:12)"
    assert named(lint()[1]) == [("warning", "expired", certificate)]
    system.settings(STATED.replace('next = ["debian:14"]', 'dates = "enforce"'))
    found = named(lint()[1])
    assert found == [("error", "expired", certificate), ("warning", "no-certificate", path)]
    system.settings(STATED.replace('next = ["debian:14"]', ""))
    signers["debian:12"] = Signer("S", by=Signer("Stranger", ca=True))
    state(root, signers)
    found = named(lint()[1])
    assert found == [("error", "not-vouched", certificate), ("warning", "no-certificate", path)]


def test_a_statement_that_is_not_signed_is_named_below_the_root(
    system: System, lint: Lint, state: State
) -> None:
    root = Signer("Root", ca=True)
    system.anchor(root)
    system.settings('[trust]\nstatement = "/etc/trust.json"\n')
    path = state(root, {"debian:13": Signer("A", by=root)})
    assert lint() == (0, [])
    system.put("etc/trust.json", "{}")
    assert named(lint()[1]) == [("error", "statement-not-signed", path)]
