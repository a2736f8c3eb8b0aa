"""`veriseal audit` of unpacked trees, with releases that `veriseal build` made."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

import veriseal.audit
from veriseal import manifest, merkle
from veriseal.build.sign import name_by_digest

pytestmark = pytest.mark.unit

Cli = Callable[..., tuple[int, bytes, str]]
SETTINGS = b'[build]\nsign = ["/opt"]\nmutable = ["/var"]\n'
VOA = "usr/share/voa/{}/image/default/x509"


class Key(NamedTuple):
    """A release key; ``options`` are those of `veriseal build`."""

    cert: Path
    options: list[str]


@pytest.fixture(scope="module")
def keys(
    tmp_path_factory: pytest.TempPathFactory,
    certify: Callable[..., bytes],
    key_pem: Callable[[Any], bytes],
) -> dict[str, Key]:
    """Of two releases and of a stranger."""
    place = tmp_path_factory.mktemp("keys")
    made = {}
    for name in ("acme:42", "acme:43", "stranger"):
        key = rsa.generate_private_key(65537, 2048)
        (place / f"{name}.key").write_bytes(key_pem(key))
        (place / f"{name}.pem").write_bytes(certify(key, subject=f"Release {name}"))
        options = [f"--key={place / name}.key", f"--cert={place / name}.pem"]
        made[name] = Key(place / f"{name}.pem", options)
    return made


def install(root: Path, name: str, cert: Path) -> Path:
    """Put a certificate where those of the release ``name`` are."""
    place = root / VOA.format(name) / f"{cert.stem.replace(':', '-')}.pem"
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(cert, place)
    return place


def make_root(root: Path, version: str, **settings: list[str]) -> Path:
    """A system's os-release and settings."""
    (root / "etc/veriseal").mkdir(parents=True, exist_ok=True)
    (root / "etc/os-release").write_text(f"ID=acme\nVERSION_ID={version}\n")
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    (root / "etc/veriseal/veriseal.toml").write_text("\n".join(["[trust]", *lines, ""]))
    return root


class Made(NamedTuple):
    """A tree with its certificates and manifest, and what `veriseal build` wrote."""

    tree: Path
    out: Path


@pytest.fixture
def made(tmp_path: Path, keys: dict[str, Key], cli: Cli) -> Made:
    """Of release 42, whose certificate is in it, and that of 43, which is in no window."""
    tree, out = make_root(tmp_path / "tree", "42"), tmp_path / "out"
    (tree / "opt/kiosk").mkdir(parents=True)
    (tree / "var").mkdir()
    for one in (b"ping", b"poweroff", b"<script>", b"\xff\xfe"):
        with open(os.fsencode(tree) + b"/opt/kiosk/" + one, "wb") as file:
            file.write(one * 10)
    os.mkfifo(tree / "opt/kiosk/fifo")
    (tree / "opt/kiosk/link").symlink_to("/etc/passwd")
    (tree / "srv").mkdir()
    (tree / "srv/motd").write_text("listed, and need not have verity\n" * 10)
    (tree / "var/data").write_text("mutable\n")
    for name in ("acme:42", "acme:43"):
        install(tree, name, keys[name].cert)
    build(tree, out, keys["acme:42"], cli)
    return Made(tree, out)


def build(tree: Path, out: Path, key: Key, cli: Cli, settings: str = "") -> None:
    shutil.rmtree(out, ignore_errors=True)
    config = out.with_suffix(".toml")
    config.write_bytes(SETTINGS + settings.encode())
    words = ["--os=acme:42", "--version=1", "--created=1", f"--config={config}", f"--out={out}"]
    status, _, err = cli("build", str(tree), *words, *key.options)
    assert status == 0, err
    place = tree / manifest.DIRECTORY
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(out, place, ignore=shutil.ignore_patterns("signatures"))


def report(cli: Cli, *arguments: str | Path) -> tuple[int, dict[str, Any]]:
    status, out, err = cli("audit", "--json", *map(str, arguments))
    assert err == ""
    return status, json.loads(out)


def kinds(body: dict[str, Any], when: str = "then") -> dict[str, str]:
    return {one["path"]: one[when]["kind"] for one in body["findings"]}


def reasons(body: dict[str, Any]) -> list[str]:
    return [one["reason"] for one in body["problems"]]


NEEDED = {
    "/opt/kiosk/ping",
    "/opt/kiosk/poweroff",
    "/opt/kiosk/<script>",
    "/opt/kiosk/\udcff\udcfe",
}


def test_a_file_that_is_all_hole_is_not_read(made: Made, cli: Cli) -> None:
    for name in ("var/hole", "opt/kiosk/ping"):
        with open(made.tree / name, "wb") as file:
            file.truncate(4 << 40)
    status, body = report(cli, made.tree, "--signatures", made.out)
    assert (status, kinds(body)) == (1, {"/opt/kiosk/ping": "unknown"})


def test_before_it_is_enabled(made: Made, cli: Cli) -> None:
    status, body = report(cli, made.tree, "--signatures", made.out)
    assert (status, body["problems"], body["findings"]) == (0, [], [])
    files = {one["path"]: one for one in body["files"]}
    assert {path for path, one in files.items() if one["needed"]} == NEEDED
    for path in NEEDED:
        one = files[path]
        assert (one["verity"], one["signed"], one["os"]) == (False, True, "acme:42")
        assert (one["known_from"], one["today"]) == ("signatures", "ok")
    assert files["/srv/motd"]["listed"]
    assert not files["/var/data"]["listed"]
    assert "/opt/kiosk/fifo" not in files
    assert body["others"] == 2
    assert body["manifest"] == "acme:42 version 1"


def test_without_verity_and_signatures_all_is_lost(made: Made, cli: Cli) -> None:
    status, body = report(cli, made.tree)
    assert status == 1
    assert kinds(body) == dict.fromkeys(NEEDED, "no-verity")
    assert body["unread"] == len(body["files"])  # nobody asked for their digests
    by = {(one["signer_name"], one["known_from"]) for one in body["files"] if one["needed"]}
    assert by == {("CN=Release acme:42", "manifest")}


def test_the_next_release_without_the_old_one(
    made: Made, tmp_path: Path, keys: dict[str, Key], cli: Cli
) -> None:
    staged = make_root(tmp_path / "staged", "43")
    for name in ("acme:42", "acme:43"):
        install(staged, name, keys[name].cert)
    words = (made.tree, "--signatures", made.out, "--to", staged)
    status, body = report(cli, *words)
    assert status == 1
    assert kinds(body) == dict.fromkeys(NEEDED, "not-trusted")
    assert kinds(body, "today") == dict.fromkeys(NEEDED, "ok")
    assert reasons(body) == ["manifest-not-signed"]
    assert "outside the window" in body["findings"][0]["then"]["why"]
    make_root(staged, "43", previous=["acme:42"])
    assert report(cli, *words)[0] == 0
    # And the other way round: what is staged, today.
    status, body = report(
        cli, made.tree, "--signatures", made.out, "--trust", staged, "--to", made.tree
    )
    assert (status, body["findings"]) == (0, [])


def test_text_has_findings_first(
    made: Made, tmp_path: Path, keys: dict[str, Key], cli: Cli
) -> None:
    staged = make_root(tmp_path / "staged", "43")
    install(staged, "acme:43", keys["acme:43"].cert)
    words = (str(made.tree), f"--signatures={made.out}", f"--to={staged}")
    status, out, err = cli("audit", *words, "--list")
    assert (status, err) == (1, "")
    lines = out.decode().splitlines()
    assert lines[0].startswith("manifest-not-signed: ")
    assert lines[1].startswith("not-trusted: /opt/kiosk/<script>: its certificate is not in the ")
    assert f"{len(NEEDED)} needed: {len(NEEDED)} lost under {staged}" in lines[-1]
    assert any(line.startswith("acme:42  CN=Release acme:42 ") for line in lines)
    shown = [line for line in lines if line.startswith("/opt/kiosk/\\udcff\\udcfe: ")]
    assert shown == [
        "/opt/kiosk/\\udcff\\udcfe: ok -> not-trusted, no verity, "
        "signer: acme:42  CN=Release acme:42, needed"
    ]


def test_a_masked_key_is_lost(made: Made, tmp_path: Path, keys: dict[str, Key], cli: Cli) -> None:
    staged = make_root(tmp_path / "staged", "42", next=["acme:43"])
    place = install(staged, "acme:42", keys["acme:42"].cert)
    install(staged, "acme:43", keys["acme:43"].cert)
    mask = staged / "etc/voa" / place.relative_to(staged / "usr/share/voa")
    mask.parent.mkdir(parents=True)
    mask.symlink_to("/dev/null")
    status, body = report(cli, made.tree, "--signatures", made.out, "--to", staged)
    assert status == 1
    assert kinds(body) == dict.fromkeys(NEEDED, "not-trusted")
    assert "masked by" in body["findings"][0]["then"]["why"]


def test_a_trust_set_that_cannot_be_loaded_is_a_finding(
    made: Made, tmp_path: Path, keys: dict[str, Key], cli: Cli
) -> None:
    """And the audit goes on: who signed the files is said all the same."""
    broken = make_root(tmp_path / "broken", "42")
    install(broken, "acme:42", keys["acme:42"].cert)
    (broken / "etc/veriseal/veriseal.toml").write_text("[trust]\nnonsense = 1\n")
    status, body = report(cli, made.tree, "--signatures", made.out, "--trust", broken)
    assert (status, reasons(body)) == (1, ["bad-configuration"])
    assert {one["os"] for one in body["files"] if one["needed"]} == {"acme:42"}
    assert kinds(body) == dict.fromkeys(NEEDED, "not-trusted")
    # Nor does it help that all is well then.
    words = ("--trust", broken, "--to", made.tree)
    status, body = report(cli, made.tree, "--signatures", made.out, *words)
    assert (status, reasons(body)) == (1, ["bad-configuration"])
    assert set(kinds(body).values()) == {"ok"}


def test_a_root_that_cannot_be_read_is_a_finding(made: Made, tmp_path: Path, cli: Cli) -> None:
    broken = make_root(tmp_path / "broken", "42")
    (broken / "etc/veriseal/veriseal.toml").unlink()
    (broken / "etc/veriseal/veriseal.toml").mkdir()
    status, body = report(cli, made.tree, "--signatures", made.out, "--trust", broken)
    assert (status, reasons(body)) == (1, ["bad-configuration"])
    assert "with --trust" in body["problems"][0]["remedy"]
    assert set(kinds(body)) == NEEDED


def test_an_empty_root_has_no_trust(made: Made, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "nothing").mkdir()
    words = (made.tree, "--signatures", made.out, "--to", tmp_path / "nothing")
    status, body = report(cli, *words)
    assert (status, reasons(body)) == (1, ["bad-os-release"])


def test_a_manifest_that_does_not_count(made: Made, keys: dict[str, Key], cli: Cli) -> None:
    """Its signature is not needed to know what the tree needs; that it lacks one is a finding."""
    for path in (made.tree / manifest.DIRECTORY).glob("*.sig"):
        path.unlink()
    status, body = report(cli, made.tree, "--signatures", made.out)
    assert (status, reasons(body), body["findings"]) == (1, ["manifest-not-signed"], [])
    assert {one["path"] for one in body["files"] if one["needed"]} == NEEDED


@pytest.mark.parametrize("name", [manifest.NAME, manifest.TREE_LIST, "signers.json"])
def test_a_damaged_manifest_is_a_finding(made: Made, cli: Cli, name: str) -> None:
    (made.tree / manifest.DIRECTORY / name).write_bytes(b"{}")
    status, body = report(cli, made.tree, "--signatures", made.out)
    assert status == 1
    assert reasons(body) in (["bad-manifest"], ["attached-changed"])
    assert body["manifest"] is None
    assert len(body["files"]) > len(NEEDED)


def test_a_manifest_that_is_no_file_is_not_opened(made: Made, cli: Cli) -> None:
    path = made.tree / manifest.DIRECTORY / manifest.NAME
    path.unlink()
    os.mkfifo(path)
    status, body = report(cli, made.tree, "--signatures", made.out)
    assert (status, reasons(body)) == (1, ["not-a-regular-file"])
    path.unlink()
    path.symlink_to("/etc/passwd")
    status, body = report(cli, made.tree, "--signatures", made.out)
    assert (status, reasons(body)) == (1, ["no-manifest"])


def test_files_that_are_not_as_listed(made: Made, cli: Cli) -> None:
    kiosk = made.tree / "opt/kiosk"
    (kiosk / "ping").write_bytes(b"evil")
    (kiosk / "poweroff").unlink()
    (kiosk / "poweroff").symlink_to("ping")
    status, body = report(cli, made.tree, "--signatures", made.out)
    assert status == 1
    assert kinds(body) == {"/opt/kiosk/ping": "changed", "/opt/kiosk/poweroff": "missing"}


def test_a_strangers_signature(made: Made, keys: dict[str, Key], cli: Cli) -> None:
    """It is recognised, with --cert, and counts for nothing."""
    ping = made.tree / "opt/kiosk/ping"
    place = (
        made.out
        / "signatures"
        / name_by_digest(merkle.data_digest(ping.read_bytes(), merkle.Parameters()))
    )
    place.unlink()
    words = (str(ping), f"--out={place}", *keys["stranger"].options)
    assert cli("sign", *words)[0] == 0
    status, body = report(cli, made.tree, "--signatures", made.out)
    assert (status, kinds(body)) == (1, {"/opt/kiosk/ping": "not-trusted"})
    assert "nobody here knows" in body["findings"][0]["then"]["why"]
    words = ("--signatures", str(made.out), "--cert", str(keys["stranger"].cert))
    status, body = report(cli, made.tree, *words)
    assert (status, kinds(body)) == (1, {"/opt/kiosk/ping": "not-trusted"})
    names = {one["path"]: one["signer_name"] for one in body["files"]}
    assert names["/opt/kiosk/ping"] == "CN=Release stranger"


def test_signatures_that_are_no_files_are_not_opened(made: Made, cli: Cli) -> None:
    place = (
        made.out
        / "signatures"
        / name_by_digest(merkle.data_digest(b"ping" * 10, merkle.Parameters()))
    )
    place.unlink()
    os.mkfifo(place)
    status, body = report(cli, made.tree, "--signatures", made.out)
    assert (status, kinds(body)) == (1, {"/opt/kiosk/ping": "unsigned"})
    place.unlink()
    place.write_bytes(b"\x30\x00")
    status, body = report(cli, made.tree, "--signatures", made.out)
    assert (status, kinds(body)) == (1, {"/opt/kiosk/ping": "damaged"})


def test_a_revoked_digest(made: Made, keys: dict[str, Key], cli: Cli) -> None:
    """Files without verity are then read, though nobody asked for signatures."""
    old = merkle.data_digest(b"vulnerable", merkle.Parameters())
    build(made.tree, made.out, keys["acme:42"], cli, settings=f'revoked = ["{old}"]\n')
    (made.tree / "opt/kiosk/ping").write_bytes(b"vulnerable")
    (made.tree / "var/data").write_bytes(b"vulnerable")
    status, body = report(cli, made.tree)
    assert (status, body["unread"]) == (1, 0)
    others = dict.fromkeys(NEEDED, "no-verity")
    assert kinds(body) == {**others, "/opt/kiosk/ping": "revoked"}
    fates = {one["path"]: one["then"] for one in body["files"]}
    assert fates["/var/data"] == "revoked"


def test_without_a_manifest_what_is_signed_is_needed(made: Made, cli: Cli) -> None:
    shutil.rmtree(made.tree / manifest.DIRECTORY)
    status, body = report(cli, made.tree, "--signatures", made.out)
    assert (status, body["manifest"]) == (0, None)
    assert {one["path"] for one in body["files"] if one["needed"]} == NEEDED
    assert "no manifest" in body["notes"][0]
    status, body = report(cli, made.tree)
    assert (status, body["total"]["needed"]) == (0, 0)


def test_the_page(made: Made, tmp_path: Path, cli: Cli) -> None:
    path = tmp_path / "audit.html"
    status, out, err = cli("audit", str(made.tree), f"--html={path}")
    assert (status, err) == (1, "")
    text = path.read_text()
    assert text.startswith("<!DOCTYPE html>")
    assert "<li>/opt/kiosk/&lt;script&gt;</li>" in text
    assert "/opt/kiosk/\\udcff\\udcfe" in text
    assert "<script" not in text
    assert b"no-verity" in out


def test_the_page_without_jinja2(
    made: Made, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "veriseal.audit.page", raising=False)
    monkeypatch.delattr(veriseal.audit, "page", raising=False)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    status, out, err = cli("audit", str(made.tree), f"--html={tmp_path}/audit.html")
    assert (status, out) == (1, b"")
    assert "python3-jinja2" in err
    assert cli("audit", str(made.tree), f"--signatures={made.out}")[0] == 0


@pytest.mark.parametrize("without", ["refuse", "built-in"])
def test_a_statement_that_nobody_has_looked_at(
    made: Made, tmp_path: Path, keys: dict[str, Key], cli: Cli, without: str
) -> None:
    """Nothing is lost as far as one can see, and every report says how far that is."""
    staged = make_root(tmp_path / "staged", "42")
    install(staged, "acme:42", keys["acme:42"].cert)
    lines = ['statement = "/trust.json"', 'statement_device = "/dev/disk/by-label/none"']
    lines.append(f'without_statement = "{without}"\n')
    with open(staged / "etc/veriseal/veriseal.toml", "a") as file:
        file.write("\n".join(lines))
    path = tmp_path / "audit.html"
    words = (str(made.tree), f"--signatures={made.out}", f"--to={staged}")
    status, out, err = cli("audit", *words, f"--html={path}")
    assert (status, err) == (0, "")
    text = out.decode().splitlines()
    device = "/dev/disk/by-label/none is not mounted here"
    assert [one for one in text if one.startswith(f"warning: {staged}: {device}")]
    assert f"{len(NEEDED)} needed: 0 lost under {staged}" in text[-2]
    says = f"What is ok under {staged} is so only if its trust statement allows it"
    assert text[-1].startswith(says)
    status, body = report(cli, *words)
    assert (status, body["conditions"]) == (0, [text[-1]])
    assert [one["statement_not_seen"] for one in body["trust"]] == [False, True]
    assert device in body["trust"][1]["warnings"][0]
    page = path.read_text()
    assert says in page
    assert device in page
    # What the last line says to do asks about that system and that tree.
    command = text[-1].split("veriseal ")[-1].replace("FILE", str(tmp_path / "none.json"))
    assert str(tmp_path / "none.json: ") in cli(*command.split())[1].decode()


def test_all_seen_there_is_no_condition(made: Made, tmp_path: Path, cli: Cli) -> None:
    path = tmp_path / "audit.html"
    words = (str(made.tree), f"--signatures={made.out}", f"--html={path}")
    status, out, _ = cli("audit", *words)
    assert status == 0
    assert "0 lost" in out.decode().splitlines()[-1]
    assert b"warning" not in out
    assert "only if" not in path.read_text()
    assert report(cli, made.tree)[1]["conditions"] == []


def test_the_text_has_the_warnings_of_the_others(made: Made, cli: Cli) -> None:
    with open(made.tree / "etc/veriseal/veriseal.toml", "a") as file:
        file.write('statement = "/none.json"\nwithout_statement = "built-in"\n')
    status, out, _ = cli("audit", str(made.tree), f"--signatures={made.out}")
    lines = out.decode().splitlines()
    (warning,) = json.loads(cli("audit", str(made.tree), "--json")[1])["trust"][0]["warnings"]
    assert "none.json: the trust statement cannot be read" in warning
    assert f"warning: {made.tree}: {warning}" in lines
    assert not [one for one in lines if "only if" in one]


def test_the_page_is_not_put_into_the_tree(made: Made, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "link").symlink_to(made.tree / "usr")
    for place in (made.tree / "page.html", made.tree / "usr/x/page.html", tmp_path / "link/p.html"):
        status, out, err = cli("audit", str(made.tree), f"--html={place}")
        assert (status, out) == (2, b"")
        assert "Name a file outside of it" in err
        assert not place.exists()
    # The running system: where nothing may be added.
    status, out, err = cli("audit", "/", "--html=/usr/lib/none/page.html")
    assert (status, out) == (2, b"")
    assert "Name a file in /root or /tmp" in err
    assert cli("audit", str(made.tree), f"--html={tmp_path}/none/page.html")[0] == 1
    beside = tmp_path / "tree.html"
    assert cli("audit", str(made.tree), f"--signatures={made.out}", f"--html={beside}")[0] == 0
    assert beside.exists()


def test_wrong_settings_are_to_be_corrected(made: Made, tmp_path: Path, cli: Cli) -> None:
    broken = make_root(tmp_path / "broken", "42")
    (broken / "etc/veriseal/veriseal.toml").write_text("[trust]\nanchors = 1\n")
    _, body = report(cli, made.tree, "--trust", broken)
    (problem,) = (one for one in body["problems"] if one["reason"] == "bad-configuration")
    assert "orrect" in problem["remedy"]
    assert "can be read" not in problem["remedy"]


def test_wrong_usage(made: Made, tmp_path: Path, cli: Cli) -> None:
    assert cli("audit")[0] == 2
    for more in ("--nonsense", str(made.tree)):
        status, out, err = cli("audit", str(made.tree), more)
        assert (status, out) == (2, b"")
        assert err.startswith("usage: veriseal audit ")
        assert f"unrecognized arguments: {more}" in err
    for words in ([str(tmp_path / "nowhere")], [str(made.tree), "--signatures=/nowhere"]):
        status, out, err = cli("audit", *words)
        assert (status, out) == (1, b"")
        assert "No such file or directory" in err
    status, out, err = cli("audit", str(made.tree), f"--cert={made.out / manifest.NAME}")
    assert (status, out) == (1, b"")
    assert "not-a-certificate" not in err
    assert "manifest.json" in err
