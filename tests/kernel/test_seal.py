"""The seal: what the agent did, said and wrote, and what it does when it runs again."""

import json
import os
import stat
from collections.abc import Iterator

import pytest

from veriseal import journal, report
from veriseal.boot import seal
from veriseal.kernel import keyring, sysctl

from . import helpers
from .conftest import AS_NOBODY, RELEASE_KEYS, USABLE_KEYS, Prepared, Sealed
from .helpers import Signer

pytestmark = pytest.mark.kernel


def test_the_report_says_what_was_sealed(sealed: Sealed, signers: dict[str, Signer]) -> None:
    ring = sealed.report["kernel_keyring"]
    assert sealed.report["keyring"] == "sealed"
    assert sealed.report["require_signatures"] is True
    assert (ring["permissions"], ring["sealed_by"]) == ("0x08030000", "veriseal")
    by_print = {key["fingerprint"]: key for key in ring["keys"]}
    for name in RELEASE_KEYS:
        certificate = signers[name].certificate
        key = by_print.pop(certificate.fingerprint)
        assert key["os"] == "debian:13"
        assert key["subject"] == certificate.subject
        assert key["key"] == certificate.key
        assert key["path"] == f"{helpers.VOA}/{name}.pem"
    assert by_print == {}
    status = os.stat(report.PATH)
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (0, 0o644)


def test_the_kernel_says_the_same_as_the_report(sealed: Sealed) -> None:
    ring = sealed.report["kernel_keyring"]
    assert sorted(keyring.contents(ring["serial"])) == sorted(k["serial"] for k in ring["keys"])
    assert keyring.describe(ring["serial"]).permissions == seal.KEYRING_MASK
    for key in ring["keys"]:
        found = keyring.describe(key["serial"])
        assert (found.permissions, found.description) == (seal.KEY_MASK, key["description"])
    assert sysctl.read_require_signatures()


def test_every_step_is_in_the_journal_under_its_own_id(sealed: Sealed) -> None:
    def logged(message_id: str) -> list[str]:
        lines = helpers.must_run(
            # Later tests run the agent again.
            *("journalctl", "-b", "-o", "json"),
            *(f"--since=@{sealed.since:.6f}", f"--until=@{sealed.until:.6f}"),
            f"MESSAGE_ID={message_id}",
        )
        return [json.loads(line)["MESSAGE"] for line in lines.splitlines()]

    assert len(logged(journal.CERTIFICATE_IGNORED)) == 2
    assert logged(journal.CERTIFICATES_FOUND) == ["found 5 certificates"]
    assert len(logged(journal.CERTIFICATE_ENROLLED)) == 5
    assert len(logged(journal.KEYRING_RESTRICTED)) == 1
    assert logged(journal.KEYRING_SEALED) == ["sealed with permissions 0x08030000"]
    assert len(logged(journal.SIGNATURES_REQUIRED)) == 1
    assert len(logged(journal.READ_BACK)) == 1
    assert logged(journal.SEAL_DONE) == ["sealed with 5 certificates"]
    assert logged(journal.SEAL_FAILED) == []


AGENT = (helpers.VERISEAL, "boot", "seal")


def test_without_a_screen_the_agent_is_silent(sealed: Sealed) -> None:
    assert (sealed.output.out, sealed.output.err) == (b"", "")


def test_a_second_run_checks_and_passes_and_a_screen_shows_it(sealed: Sealed) -> None:
    again = helpers.run(["script", "--quiet", "--return", "-c", " ".join(AGENT), "/dev/null"])
    shown = again.out.decode()
    assert again.status == 0, shown
    assert f"veriseal: ignored {helpers.VOA}/README: its name does not end in .pem" in shown
    assert f"veriseal: ignored {helpers.VOA}/revoked.pem: a mask" in shown
    assert "already sealed in this boot: 5 keys, unchanged" in shown
    written = json.loads(helpers.read(report.PATH))
    assert written["kernel_keyring"] == sealed.report["kernel_keyring"]


def test_a_sealed_keyring_without_its_report_is_somebody_elses(sealed: Sealed) -> None:
    before = helpers.read(report.PATH)
    os.unlink(report.PATH)
    done = helpers.run(AGENT)
    failure = report.read()["failure"]
    helpers.write(report.PATH, before)
    assert done.status == 1
    assert isinstance(failure, dict)
    assert failure["reason"] == "sealed-by-another"


def test_a_second_run_with_other_certificates_is_refused(sealed: Sealed, stranger: Signer) -> None:
    before = helpers.read(report.PATH)
    extra = helpers.write(f"{helpers.VOA}/stranger.pem", helpers.read(stranger.cert_path))
    try:
        done = helpers.run(AGENT)
        assert done.status == 1
        assert "sealed in this boot with other certificates" in done.err
        assert stranger.certificate.fingerprint in done.err
        failure = report.read()["failure"]
        assert isinstance(failure, dict)
        assert failure["reason"] == "other-certificates"
    finally:
        os.unlink(extra)
        helpers.write(report.PATH, before)


def test_status_says_sealed(sealed: Sealed, signers: dict[str, Signer]) -> None:
    done = helpers.run([helpers.VERISEAL, "status"])
    assert (done.status, done.err) == (0, "")
    text = done.out.decode()
    for name in RELEASE_KEYS:
        assert signers[name].certificate.fingerprint in text
    assert "changed:" not in text


@pytest.fixture
def sysctl_off() -> Iterator[None]:
    """Root wrote 0 meanwhile."""
    helpers.set_sysctl(False)
    yield
    helpers.set_sysctl(True)


def test_status_as_an_unprivileged_user_says_what_it_cannot_see(sealed: Sealed) -> None:
    done = helpers.run([*AS_NOBODY, helpers.VERISEAL, "status", "--json"])
    state = json.loads(done.out)
    assert done.status == 0, done.err
    assert state["sealed"] is True
    assert state["require_signatures"] is True
    assert state["drift"] == []
    assert state["unchecked"] == ["the keyring and its keys: Permission denied"]


@pytest.mark.parametrize("user", [(), AS_NOBODY], ids=["root", "nobody"])
def test_status_says_what_root_changed_since(
    sealed: Sealed, sysctl_off: None, user: tuple[str, ...]
) -> None:
    done = helpers.run([*user, helpers.VERISEAL, "status", "--json"])
    assert done.status == 1
    (drift,) = json.loads(done.out)["drift"]
    assert "fs.verity.require_signatures" in drift


def test_nothing_unsigned_can_be_opened_or_enabled(
    sealed: Sealed, prepared: dict[str, Prepared], place: str
) -> None:
    files = prepared["ext4" if place.startswith("/verity") else "btrfs"]
    assert helpers.outcome(lambda: os.open(files.unsigned, os.O_RDONLY)) == "EPERM"
    assert helpers.outcome(lambda: os.open(files.stranger, os.O_RDONLY)) == "ENOKEY"
    helpers.write(f"{place}/program", b"x")
    enabled = helpers.run(["fsverity", "enable", f"{place}/program"])
    assert enabled.status != 0
    assert "Operation not permitted" in enabled.err


def test_signed_files_open_with_every_enrolled_key(
    sealed: Sealed, signers: dict[str, Signer], place: str
) -> None:
    program = helpers.read("/usr/bin/true")
    for name in USABLE_KEYS:
        helpers.install(f"{place}/{name}", program, signers[name])
    helpers.evict()
    for name in USABLE_KEYS:
        assert helpers.run([f"{place}/{name}"]).status == 0
