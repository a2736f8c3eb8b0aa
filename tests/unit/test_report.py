"""The boot report: who may have written it, and what it must say."""

import os
import posix
from pathlib import Path

import pytest

from veriseal import report, trusted
from veriseal.errors import VerisealError

pytestmark = pytest.mark.unit


@pytest.fixture
def path(tmp_path: Path, own_files_are_roots: None) -> str:
    """Where a report goes."""
    return str(tmp_path / "run" / "boot.json")


GOOD = report.State("sealed", "verified", "both")
BAD = report.State("failed", "pending", "both")


def refused(path: str) -> VerisealError:
    with pytest.raises(VerisealError) as caught:
        report.state(path).require_ready(path)
    assert caught.value.path == path
    assert caught.value.remedy is not None
    return caught.value


def test_what_was_written_is_read_and_counts(path: str) -> None:
    report.write(GOOD, {"seal": {"serial": 1}}, path)
    report.state(path).require_ready(path)
    found = report.read(path)
    assert found["keyring"] == "sealed"
    assert found["boot_id"] == trusted.boot_id()
    assert found["seal"] == {"serial": 1}
    assert oct(os.stat(path).st_mode) == "0o100644"


def test_it_is_replaced_in_one_step(path: str) -> None:
    report.write(GOOD, {"a": 1}, path)
    report.write(BAD, {"failure": {"problem": "why"}}, path)
    assert os.listdir(os.path.dirname(path)) == ["boot.json"]
    assert report.read(path)["keyring"] == "failed"


@pytest.mark.parametrize("keyring", ["sealed", "off", "failed"])
@pytest.mark.parametrize("manifest", ["pending", "verified", "reported", "failed"])
@pytest.mark.parametrize("require", ["both", "manifest", "signature"])
def test_which_states_let_programs_run(
    path: str, keyring: str, manifest: str, require: str
) -> None:
    report.write(report.State(keyring, manifest, require), {"keyring": "sealed"}, path)
    found = report.state(path)
    assert (found.keyring, found.manifest, found.require) == (keyring, manifest, require)
    if keyring == "failed":
        assert refused(path).reason == "not-sealed"
    elif require != "signature" and manifest in ("pending", "failed"):
        assert refused(path).reason == "not-verified"
    else:
        found.require_ready(path)


def test_an_unsealed_boot_is_refused_with_the_agents_reason(path: str) -> None:
    report.write(BAD, {"failure": {"problem": "no certificate"}}, path)
    error = refused(path)
    assert error.reason == "not-sealed"
    assert error.found == "no certificate"


def test_missing(path: str) -> None:
    assert refused(path).reason == "no-boot-report"


def test_of_another_boot(path: str) -> None:
    report.write(GOOD, {}, path)
    text = Path(path).read_text().replace(trusted.boot_id(), "another")
    Path(path).write_text(text)
    assert refused(path).reason == "report-of-another-boot"


@pytest.mark.parametrize(
    ("old", "new"),
    [("\n  ", "\n "), ('"sealed"', '"Sealed"'), ('"keyring"', '"keyrings"'), ('"both"', '""')],
)
def test_another_layout_is_refused_though_it_claims_to_be_sealed(
    path: str, old: str, new: str
) -> None:
    report.write(GOOD, {}, path)
    Path(path).write_text(Path(path).read_text().replace(old, new))
    assert refused(path).reason == "report-damaged"


@pytest.mark.parametrize("revoked", [[], ["sha256:" + "ab" * 32], ["sha256:00", "sha512:11"] * 9])
@pytest.mark.parametrize("release", ["", "debian:13 version 2", 'a"b\\c\n\udcff'])
def test_what_the_launcher_reads_besides(path: str, revoked: list[str], release: str) -> None:
    report.write(report.State("sealed", "verified", "both", release, revoked), {}, path)
    found = report.state(path)
    assert list(found.revoked) == revoked
    assert report.read(path)["revoked"] == revoked
    assert report.read(path)["release"] == release
    assert found.release.isprintable()


@pytest.mark.parametrize("size", range(1, 40))
def test_cut_off_at_its_end(path: str, size: int) -> None:
    report.write(GOOD, {"tree": {"summary": "no findings"}}, path)
    os.truncate(path, os.stat(path).st_size - size)
    assert refused(path).reason == "report-damaged"


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_writable_by_others(path: str, mode: int) -> None:
    report.write(GOOD, {}, path)
    os.chmod(path, mode)
    assert refused(path).reason == "report-not-trusted"


def test_of_another_owner(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    report.write(GOOD, {}, path)
    fields = [*os.stat(path)]
    fields[4] = 1000
    monkeypatch.setattr(posix, "fstat", lambda _fd: os.stat_result(fields))
    assert refused(path).reason == "report-not-trusted"


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_not_a_regular_file(path: str, kind: str) -> None:
    report.write(GOOD, {}, path + ".real")
    if kind == "link":
        os.symlink(path + ".real", path)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        os.mkdir(path)
    assert refused(path).reason == "report-not-trusted"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"schema": 1}',
        b"\xff",
        b"[" * 100000,
        b" " * report.MAX_SIZE + b"{}",
    ],
    ids=["empty", "cut", "list", "null", "schema", "binary", "deep", "large"],
)
def test_damaged(path: str, data: bytes) -> None:
    report.write(GOOD, {}, path)
    Path(path).write_bytes(data)
    assert refused(path).reason == "report-damaged"
