"""Digests as values, and `veriseal digest` beside `fsverity digest`."""

import json
import os
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from veriseal.digest import SHA256, SHA512, Digest, algorithm, algorithm_by_number
from veriseal.errors import VerisealError

pytestmark = pytest.mark.unit

Cli = Callable[..., tuple[int, bytes, str]]


def test_parse_and_print_round_trip() -> None:
    for chosen in (SHA256, SHA512):
        digest = Digest(chosen, bytes(range(chosen.size)))
        assert Digest.parse(str(digest)) == digest
        assert pickle.loads(pickle.dumps(digest.algorithm)) is chosen  # noqa: S301


@pytest.mark.parametrize(
    "text",
    ["", "sha256", "sha256:", "sha256:zz", "sha256:00", "md5:" + "0" * 32, "sha512:" + "0" * 64],
)
def test_parse_refuses(text: str) -> None:
    with pytest.raises(VerisealError) as caught:
        Digest.parse(text)
    assert caught.value.reason in ("bad-digest", "bad-algorithm")


def test_unknown_algorithms_are_refused() -> None:
    with pytest.raises(VerisealError):
        algorithm("md5")
    with pytest.raises(VerisealError):
        algorithm_by_number(3)


def test_digests_of_different_algorithms_differ() -> None:
    assert Digest(SHA256, bytes(32)) != Digest(SHA512, bytes(64))
    assert Digest(SHA256, bytes(32)) != "sha256:" + "0" * 64


OPTIONS: list[list[str]] = [
    [],
    ["--compact"],
    ["--for-builtin-sig"],
    ["--compact", "--for-builtin-sig"],
    ["--hash-alg=sha512"],
    ["--block-size=1024", "--salt=00ff"],
    ["--hash-alg=sha512", "--block-size=65536", "--salt=" + "5a" * 32],
]


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_output_is_that_of_fsverity(
    options: list[str], tmp_path: Path, cli: Cli, fsverity: str
) -> None:
    names = []
    for number, size in enumerate([0, 1, 4096, 5000, 700_000, 33 * 1024 * 1024 + 7]):
        path = tmp_path / f"{9 - number} back\\slash é"
        path.write_bytes(os.urandom(size))
        names.append(str(path))
    expected = subprocess.run([fsverity, "digest", *options, *names], stdout=-1, check=True).stdout
    assert cli("digest", *options, *names) == (0, expected, "")


def test_one_bad_file_does_not_hide_the_others(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "good").write_bytes(b"x")
    os.mkfifo(tmp_path / "fifo")
    names = [str(tmp_path / name) for name in ("fifo", "missing", "good", "missing too")]
    status, out, err = cli("digest", *names, str(tmp_path))
    assert status == 1
    assert out.count(b"\n") == 1
    assert out.endswith(b"/good\n")
    assert err.splitlines() == [
        f"veriseal: {names[0]}: not a regular file",
        f"veriseal: {names[1]}: No such file or directory",
        f"veriseal: {names[3]}: No such file or directory",
        f"veriseal: {tmp_path}: not a regular file",
    ]


def test_names_cannot_forge_a_line(tmp_path: Path, cli: Cli) -> None:
    hostile = tmp_path / f"a\nsha256:{'0' * 64} \\b\x1b"
    hostile.write_bytes(b"")
    status, out, _ = cli("digest", str(hostile))
    assert status == 0
    assert out.count(b"\n") == 1
    assert out.startswith(b"\\sha256:")
    assert out.endswith(rb"a\nsha256:" + b"0" * 64 + rb" \\b\x1b" + b"\n")


def test_names_that_are_not_utf8_are_kept(tmp_path: Path, cli: Cli) -> None:
    name = os.fsencode(tmp_path) + b"/\xff"
    with open(name, "wb"):
        pass
    assert cli("digest", os.fsdecode(name))[1].endswith(b"/\xff\n")


def test_json(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "f").write_bytes(b"x")
    path, missing = str(tmp_path / "f"), str(tmp_path / "missing")
    status, out, _ = cli("digest", "--json", path, missing)
    report = json.loads(out)
    assert status == 1
    assert report["schema"] == 1
    assert Digest.parse(report["files"][0]["digest"]).algorithm is SHA256
    assert report["files"][1]["error"]["path"] == missing


@pytest.mark.parametrize(
    ("option", "word"),
    [
        ("--block-size=1000", "block size"),
        ("--block-size=512", "block size"),
        ("--block-size=131072", "block size"),
        ("--block-size=-4096", "not a number"),
        ("--block-size=4k", "not a number"),
        ("--salt=xyz", "hexadecimal"),
        ("--salt=" + "00" * 33, "salt"),
        ("--hash-alg=md5", "algorithm"),
    ],
)
def test_bad_parameters_are_wrong_usage(option: str, word: str, cli: Cli) -> None:
    status, out, err = cli("digest", option, "f")
    assert (status, out) == (2, b"")
    assert word in err


def test_without_files_is_wrong_usage(cli: Cli) -> None:
    assert cli("digest")[0] == 2
