"""The Merkle tree: golden vectors of `fsverity`, and a plain second implementation."""

import hashlib
import json
import os
import pickle
import struct
import subprocess
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veriseal.digest import ALGORITHMS, SHA256, SHA512, Algorithm, Digest, algorithm
from veriseal.errors import VerisealError
from veriseal.merkle import Parameters, combine, data_digest, file_digest, group_hashes

pytestmark = pytest.mark.unit

DATA = Path(__file__).parents[1] / "data" / "fsverity-digests.json"
VECTORS = json.loads(DATA.read_text())["vectors"]


def reference(data: bytes, chosen: Algorithm, block_size: int, salt: bytes) -> str:
    """The definition, word for word, with every level in memory."""
    padded_salt = salt + bytes(-len(salt) % {"sha256": 64, "sha512": 128}[chosen.name])
    level = data
    hashes = [bytes(chosen.size)]
    while level:
        blocks = [level[i : i + block_size] for i in range(0, len(level), block_size)]
        hashes = [
            hashlib.new(chosen.name, padded_salt + block + bytes(block_size - len(block))).digest()
            for block in blocks
        ]
        level = b"".join(hashes) if len(hashes) > 1 else b""
    descriptor = struct.pack(
        "<BBBBIQ64s32s144s",
        1,
        {"sha256": 1, "sha512": 2}[chosen.name],
        {1024: 10, 2048: 11, 4096: 12, 8192: 13}[block_size],
        len(salt),
        0,
        len(data),
        hashes[0],
        salt,
        b"",
    )
    return f"{chosen.name}:{hashlib.new(chosen.name, descriptor).hexdigest()}"


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Any]:
    """Contents to an open descriptor."""
    fds: list[int] = []

    def make(data: bytes) -> int:
        path = tmp_path / str(len(fds))
        path.write_bytes(data)
        fds.append(os.open(path, os.O_RDONLY))
        return fds[-1]

    yield make
    for fd in fds:
        os.close(fd)


def in_parts(fd: int, size: int, parameters: Parameters, groups: int) -> Digest:
    step = groups * parameters.group_size
    parts = [
        b"".join(group_hashes(fd, at, min(step, size - at), parameters))
        for at in range(0, size, step)
    ]
    return combine(parts, size, parameters)


@pytest.mark.parametrize(
    "vector",
    VECTORS,
    ids=lambda v: f"{v['algorithm']}-{v['block_size']}-{v['size']}-{v['salt'][:4]}",
)
def test_golden(vector: dict[str, Any], opened: Any) -> None:
    size = vector["size"]
    data = hashlib.shake_128(b"veriseal").digest(size) if size else b""
    parameters = Parameters(
        algorithm(vector["algorithm"]), vector["block_size"], bytes.fromhex(vector["salt"])
    )
    fd = opened(data)
    assert data_digest(data, parameters).value.hex() == vector["digest"]
    assert file_digest(fd, size, parameters).value.hex() == vector["digest"]
    if size > parameters.group_size:
        for groups in (1, 2, 3, 1000):
            assert in_parts(fd, size, parameters, groups).value.hex() == vector["digest"]


@settings(deadline=None, max_examples=200)
@given(
    size=st.one_of(st.integers(0, 9000), st.integers(0, 300_000)),
    chosen=st.sampled_from(ALGORITHMS),
    block_size=st.sampled_from([1024, 2048, 4096, 8192]),
    salt=st.binary(max_size=32),
)
def test_equals_the_definition(size: int, chosen: Algorithm, block_size: int, salt: bytes) -> None:
    data = hashlib.shake_128(salt).digest(size) if size else b""
    parameters = Parameters(chosen, block_size, salt)
    expected = reference(data, chosen, block_size, salt)
    assert str(data_digest(data, parameters)) == expected
    with open(os.memfd_create("data"), "wb") as file:
        file.write(data)
        file.flush()
        assert str(file_digest(file.fileno(), size, parameters)) == expected


@settings(deadline=None, max_examples=25)
@given(
    size=st.integers(0, 400_000),
    chosen=st.sampled_from(ALGORITHMS),
    block_size=st.sampled_from([1024, 4096, 65536]),
    salt=st.binary(max_size=32),
)
def test_equals_the_real_tool(
    size: int, chosen: Algorithm, block_size: int, salt: bytes, fsverity: str
) -> None:
    data = os.urandom(size)
    command = [fsverity, "digest", f"--hash-alg={chosen}", f"--block-size={block_size}"]
    if salt:
        command.append(f"--salt={salt.hex()}")
    with open(os.memfd_create("data"), "wb") as file:
        file.write(data)
        file.flush()
        command.append(f"/proc/self/fd/{file.fileno()}")
        printed = subprocess.run(command, stdout=-1, check=True, pass_fds=[file.fileno()]).stdout
    digest = data_digest(data, Parameters(chosen, block_size, salt))
    assert printed.split()[0].decode() == str(digest)


def test_one_tebibyte_in_constant_memory() -> None:
    # 128 ** 4 blocks of zeros: all blocks of a level are equal, so that one stands for all.
    parameters = Parameters()
    size = 128**4 * 4096
    level = parameters.hash_block(bytes(4096))
    group = parameters.hash_block(level * 128)
    tracemalloc.start()
    try:
        digest = combine((group * 128 for _ in range(128**2)), size, parameters)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    for _ in range(4):
        level = parameters.hash_block(level * 128)
    assert digest == parameters.digest(size, level)
    assert peak < 100_000


def test_reading_takes_constant_memory(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    path.touch()
    os.truncate(path, 64 << 20)
    fd = os.open(path, os.O_RDONLY)
    tracemalloc.start()
    try:
        file_digest(fd, 64 << 20, Parameters())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        os.close(fd)
    assert peak < 1 << 20


def test_file_too_short(opened: Any) -> None:
    for size in (10, 300_000, 3_000_000):
        fd = opened(bytes(size - 1))
        with pytest.raises(VerisealError) as caught:
            file_digest(fd, size, Parameters(), "the/file")
        assert caught.value.reason == "changed-while-read"
        assert caught.value.path == "the/file"


def test_file_too_long(opened: Any) -> None:
    for size in (0, 10, 300_000, 3_000_000):
        fd = opened(bytes(size + 1))
        with pytest.raises(VerisealError) as caught:
            file_digest(fd, size, Parameters(), "the/file")
        assert caught.value.reason == "changed-while-read"


def test_file_truncated_between_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(4 << 20))
    real = os.preadv

    def truncating(fd: int, buffers: Any, offset: int) -> int:
        if offset > 1 << 20:
            os.truncate(path, 1 << 20)
        return real(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", truncating)
    fd = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(VerisealError) as caught:
            file_digest(fd, 4 << 20, Parameters(), str(path))
    finally:
        os.close(fd)
    assert caught.value.reason == "changed-while-read"


def test_short_reads_are_continued(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = os.urandom(600_000)
    fd = opened(data)
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, at: real(fd, [buffers[0][:1000]], at))
    assert file_digest(fd, len(data), Parameters()) == data_digest(data, Parameters())


def test_incomplete_groups_are_refused() -> None:
    parameters = Parameters()
    size = 3 * parameters.group_size
    for count in (0, 1, 2, 4):
        with pytest.raises(VerisealError) as caught:
            combine([bytes(32)] * count, size, parameters)
        assert caught.value.reason == "incomplete-tree"
    with pytest.raises(VerisealError):
        combine([bytes(32)], parameters.group_size, parameters)


@pytest.mark.parametrize("size", [0, 1, 512, 1000, 1023, 4097, 131072, -4096])
def test_bad_block_sizes(size: int) -> None:
    with pytest.raises(VerisealError) as caught:
        Parameters(SHA256, size)
    assert caught.value.reason == "bad-block-size"


def test_salt_of_33_bytes_is_refused() -> None:
    with pytest.raises(VerisealError) as caught:
        Parameters(SHA512, salt=bytes(33))
    assert caught.value.reason == "bad-salt"


def test_zero_salt_is_not_no_salt() -> None:
    assert data_digest(b"x", Parameters(salt=b"\0")) != data_digest(b"x", Parameters())


def test_parameters_cross_processes() -> None:
    copy = pickle.loads(pickle.dumps(Parameters(SHA512, 1024, b"s")))  # noqa: S301
    assert (copy.algorithm, copy.block_size, copy.salt) == (SHA512, 1024, b"s")
