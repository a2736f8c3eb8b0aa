"""Names that strangers choose, where they are printed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.systems import Signer, System
from veriseal.cli import boot
from veriseal.plan import side

pytestmark = pytest.mark.unit

EVIL = "\x1b]0;owned\x07"


def test_the_plan_of_the_seal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    system = System(tmp_path)
    root = Signer("Root", ca=True)
    system.certificate(Signer(f"Release {EVIL}", by=root))
    system.certificate(root, f"{EVIL}.pem", os_name="debian:9")
    undecodable = os.fsdecode(b"\xff.pem")
    system.certificate(root, undecodable, os_name="debian:9")
    boot._print_plan(side.gathered(side.read(str(tmp_path))), as_json=False)
    said = capsys.readouterr().out
    assert said.replace("\n", "").isprintable()
    assert said.count("\\x1b]0") == 2
    assert "\\udcff.pem" in said


def test_the_name_of_a_file_that_is_missing(
    tmp_path: Path, cli: Callable[..., tuple[int, bytes, str]]
) -> None:
    key = tmp_path / f"{EVIL}.key"
    status, _, err = cli("sign", f"--key={key}", f"--cert={key}", "file")
    assert status == 1
    assert "No such file" in err
    assert err.replace("\n", "").isprintable()
