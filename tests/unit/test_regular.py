"""Small files of a foreign tree: what is no small file stops nobody and fills no memory."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from veriseal import osrelease, policy, regular
from veriseal.boot import floor
from veriseal.boot.floor import Floor
from veriseal.errors import VerisealError

pytestmark = pytest.mark.unit

READERS: dict[str, Callable[[str], object]] = {
    "bad-configuration": lambda path: policy.load((path,)),
    "bad-os-release": lambda path: osrelease.read((path,)),
    "bad-floor": floor.read,
}


def a_fifo(path: str) -> None:
    os.mkfifo(path)


def a_socket(path: str) -> None:
    socket.socket(socket.AF_UNIX).bind(path)


def a_sparse_file(path: str) -> None:
    with open(path, "wb") as file:
        file.truncate(1 << 40)


def a_loop(path: str) -> None:
    os.symlink(path, path)


@pytest.mark.parametrize("reason", READERS)
@pytest.mark.parametrize("make", [a_fifo, a_socket, a_sparse_file, os.mkdir, a_loop])
def test_what_is_no_small_file(reason: str, make: Callable[[str], None], tmp_path: Path) -> None:
    path = str(tmp_path / "x")
    make(path)
    with pytest.raises(VerisealError) as caught:
        READERS[reason](path)
    assert (caught.value.reason, caught.value.path) == (reason, path)


def test_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert regular.read(str(path), 5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        regular.read(str(path), 4)


def test_a_link_is_followed_but_for_the_floor(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(floor.serialize(Floor(7)))
    (tmp_path / "os-release").write_text("ID=debian\n")
    for name in ("file", "os-release"):
        (tmp_path / f"link-{name}").symlink_to(name)
    assert osrelease.read((str(tmp_path / "link-os-release"),)) == {"ID": "debian"}
    assert floor.read(str(tmp_path / "file")).version == 7
    with pytest.raises(VerisealError):
        floor.read(str(tmp_path / "link-file"))
