"""A1, who has the disk: what was changed on the block device while it was not mounted is refused.

Each file system gets a loop device with signed programs, is unmounted, changed, and mounted
again. On btrfs the checksums of changed tree blocks are made right again, as an attacker would.
"""

import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from veriseal.digest import Digest

from . import helpers
from .conftest import Sealed
from .helpers import Signer, launch_refused

pytestmark = pytest.mark.kernel

PAGE = 4096
BTRFS_NODE = 16384
SIZE_OF_SIGNATURE = 4  # struct fsverity_descriptor: offset of sig_size,
ROOT_HASH = 16  # of the root hash,
DESCRIPTOR = 256  # and its size; the signature follows

COMMANDS = {
    "ext4": ("mkfs.ext4", "-q", "-O", "verity", "-b", "4096"),
    "btrfs": ("mkfs.btrfs", "-q", "-m", "single", "-d", "single"),
}
OPTIONS = {"ext4": "defaults", "btrfs": "nodatasum"}

# What is done to each program, and the reason with which it is refused then.
REASONS = {
    "nothing": None,
    "a byte of the first page": "corrupt",
    "a byte of the root hash": "signature-mismatch",
    "the signature of another file": "signature-mismatch",
    "and the other way round": "signature-mismatch",
    "the last byte of the signature": "signature-mismatch",
    "the first byte of the signature": "malformed-signature",
    "the issuer in the signature": "not-enrolled",
    "the signature taken away": "unsigned",
}


class Disk:
    """An unmounted block device; finds bytes on it and changes them."""

    def __init__(self, device: mmap.mmap, kind: str) -> None:
        self._device = device
        self._kind = kind

    def patch(self, known: bytes, offset: int, data: bytes) -> None:
        """Write ``data`` at ``offset`` from wherever ``known`` stands: stale copies do no harm."""
        start = self._device.find(known)
        assert start >= 0, "not found on the disk"
        while start >= 0:
            at = start + offset
            self._device[at : at + len(data)] = data
            if self._kind == "btrfs" and known[:4] != b"\x7fELF":
                self._mend(at // BTRFS_NODE * BTRFS_NODE)
            start = self._device.find(known, start + 1)

    def flip(self, known: bytes, offset: int) -> None:
        """Change one byte."""
        start = self._device.find(known)
        self.patch(known, offset, bytes([self._device[start + offset] ^ 0x01]))

    def _mend(self, node: int) -> None:
        body = self._device[node + 32 : node + BTRFS_NODE]
        self._device[node : node + 4] = struct.pack("<I", crc32c(body))


def crc32c(data: bytes) -> int:
    """Castagnoli's checksum, bit by bit as a table of bytes."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def _entry(value: int) -> int:
    for _ in range(8):
        value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value


_TABLE = [_entry(value) for value in range(256)]


class Program(NamedTuple):
    path: str
    digest: Digest
    data: bytes
    signature: bytes


@contextmanager
def unmounted(device: str, mount: str, kind: str) -> Iterator[Disk]:
    """The disk between two mounts."""
    helpers.must_run("umount", mount)
    fd = os.open(device, os.O_RDWR)
    with mmap.mmap(fd, 0 or os.lseek(fd, 0, os.SEEK_END)) as raw:
        yield Disk(raw, kind)
        raw.flush()
    os.fsync(fd)
    os.close(fd)
    helpers.must_run("mount", "-o", OPTIONS[kind], device, mount)


def attack(disk: Disk, programs: dict[str, Program]) -> None:
    """Do to each program what its name says."""
    signatures = {name: program.signature for name, program in programs.items()}
    first = programs["a byte of the first page"]
    disk.flip(first.data[:PAGE], 1000)
    disk.flip(signatures["a byte of the root hash"], ROOT_HASH - DESCRIPTOR)
    last = signatures["the last byte of the signature"]
    disk.flip(last, len(last) - 1)
    disk.flip(signatures["the first byte of the signature"], 0)
    issuer = signatures["the issuer in the signature"]
    disk.flip(issuer, issuer.index(b"Acme"))
    gone = signatures["the signature taken away"]
    disk.patch(gone, SIZE_OF_SIGNATURE - DESCRIPTOR, bytes(4))
    one = signatures["the signature of another file"]
    other = signatures["and the other way round"]
    assert len(one) == len(other)
    disk.patch(one, 0, other[:-32] + b"\0" * 32)
    disk.patch(other, 0, one)
    disk.patch(other[:-32] + b"\0" * 32, 0, other)


@pytest.fixture(scope="module", params=list(COMMANDS))
def attacked(
    request: pytest.FixtureRequest,
    sealed: Sealed,
    rsa: Signer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Program]]:
    """The programs of `REASONS`, changed offline and mounted again."""
    kind = request.param
    scratch = str(tmp_path_factory.mktemp("offline"))
    # Below /btrfs, so that the helpers know what this kernel can show there.
    mount = f"/{'btrfs' if kind == 'btrfs' else 'verity'}/offline"
    os.mkdir(mount)
    with open(f"{scratch}/image", "wb") as file:
        file.truncate(128 << 20 if kind == "btrfs" else 16 << 20)
    device = helpers.must_run("losetup", "--find", "--show", f"{scratch}/image").strip()
    helpers.must_run(*COMMANDS[kind], device)
    helpers.must_run("mount", "-o", OPTIONS[kind], device, mount)
    programs = {}
    for number, name in enumerate(REASONS):
        data = helpers.tiny_elf(0, b"victim%d" % number, 3 * PAGE)
        path = f"{mount}/{number}"
        digest = helpers.install(path, data, rsa)
        programs[name] = Program(path, digest, data, helpers.sign(data, rsa))
        assert helpers.run([path]).status == 0
    with unmounted(device, mount, kind) as disk:
        attack(disk, programs)
    yield programs
    helpers.must_run("umount", mount)
    helpers.must_run("losetup", "--detach", device)
    os.rmdir(mount)


@pytest.mark.parametrize("change", REASONS)
def test_changed_on_the_disk(attacked: dict[str, Program], change: str) -> None:
    program = attacked[change]
    reason = REASONS[change]
    if reason is None:
        helpers.check_launch(program.path, program.digest)
    elif reason != "corrupt":
        # Refused when it is opened: there is nothing to measure.
        launch_refused(program.path, reason)
    elif helpers.shows_signature(program.path):
        launch_refused(program.path, reason, program.digest)
    else:
        launch_refused(program.path, "signature-unreadable", program.digest)


def test_verity_taken_away_on_the_disk(sealed: Sealed, rsa: Signer, tmp_path: str) -> None:
    """An attacker clears the flag of the file, and may then write it."""
    image, mount = f"{tmp_path}/image", f"{tmp_path}/mount"
    os.mkdir(mount)
    helpers.must_run(*COMMANDS["ext4"], image, "16M")
    helpers.must_run("mount", "-o", "loop", image, mount)
    helpers.install(f"{mount}/program", helpers.tiny_elf(0), rsa)
    helpers.must_run("umount", mount)
    helpers.must_run("debugfs", "-w", "-R", "set_inode_field program flags 0x80000", image)
    helpers.must_run("mount", "-o", "loop", image, mount)
    try:
        launch_refused(f"{mount}/program", "no-verity")
    finally:
        helpers.must_run("umount", mount)
