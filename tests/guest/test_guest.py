"""The harness keeps its promises: exact status, separate streams, and failure without a report."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from .machine import Disk
from .root import ext4
from .run import NO_REPORT, run
from .store import GuestError

pytestmark = pytest.mark.boot


def _script(directory: Path, text: str) -> Path:
    path = directory / "script"
    path.write_text(text)
    return path


def test_status_streams_arguments_and_disks(tmp_path: Path) -> None:
    """One boot for everything that a well-behaved script sees."""
    disk = tmp_path / "disk, with a comma"
    ext4(disk, "16M")
    out, err = io.BytesIO(), io.BytesIO()
    script = _script(
        tmp_path,
        """
        echo "args $1|$2"
        echo error >/dev/stderr
        mount /dev/disk/by-id/virtio-extra /mnt && echo kept >/mnt/file && umount /mnt
        for place in /verity /btrfs; do
            echo data >$place/file && fsverity enable $place/file && echo "verity on $place"
        done
        grep -c ' [.]fs-verity: empty$' /proc/keys
        veriseal --version >/dev/null && test -d /usr/src/veriseal/tests/kernel && echo installed
        sleep 600 &
        kill -TERM $$
        """,
    )
    result = run(
        script, ["a b", "c'd"], disks=[Disk(disk, "extra", snapshot=False)], stdout=out, stderr=err
    )
    assert result.status == 128 + 15
    assert out.getvalue().decode().splitlines() == [
        "args a b|c'd",
        "verity on /verity",
        "verity on /btrfs",
        "1",
        "installed",
    ]
    assert err.getvalue().decode().splitlines()[0] == "error"
    assert result.output.read_bytes() == out.getvalue()
    assert b"kept" in disk.read_bytes()


def test_a_panic_is_a_failure(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    result = run(_script(tmp_path, "echo c >/proc/sysrq-trigger\n"), timeout=300)
    assert result.status == NO_REPORT
    assert result.seconds < 300
    said = capfd.readouterr().err
    assert "Kernel panic" in said
    assert str(result.console) in said


def test_a_hang_is_a_failure(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    # Too short even to start: what hangs does not matter, the end does.
    result = run(_script(tmp_path, "sleep 600\n"), timeout=4)
    assert result.status == NO_REPORT
    assert "ran out of time" in capfd.readouterr().err


def test_a_missing_script_is_said_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(GuestError, match="no such script"):
        run(tmp_path / "missing")
