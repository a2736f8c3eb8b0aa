"""Our digests are the kernel's."""

import os

import pytest

from veriseal import merkle
from veriseal.digest import algorithm
from veriseal.errors import VerisealError
from veriseal.merkle import Parameters

from . import helpers

pytestmark = pytest.mark.kernel

PAGE_SIZE = os.sysconf("SC_PAGESIZE")

# One level of SHA-256 hashes in blocks of 1024 covers 32 KiB, two cover 1 MiB.
SIZES = (0, 1, 1023, 4096, 4097, 131073, 1500000)


@pytest.mark.parametrize("salt", [b"", b"\x5a", bytes(range(32))], ids=["plain", "salt", "salt32"])
@pytest.mark.parametrize("block_size", helpers.BLOCK_SIZES)
@pytest.mark.parametrize("name", ["sha256", "sha512"])
def test_the_kernel_measures_what_we_compute(
    place: str, name: str, block_size: int, salt: bytes
) -> None:
    parameters = Parameters(algorithm(name), block_size, salt)
    pattern = bytes(range(251)) * 6000
    for size in SIZES:
        data = pattern[:size]
        measured = helpers.install(f"{place}/{size}", data, parameters=parameters)
        assert measured == merkle.data_digest(data, parameters), f"{size} bytes"


@pytest.mark.parametrize("block_size", sorted({1024, 2 * PAGE_SIZE} - set(helpers.BLOCK_SIZES)))
def test_a_block_size_the_kernel_does_not_take_is_named(place: str, block_size: int) -> None:
    with pytest.raises(VerisealError) as caught:
        helpers.install(f"{place}/file", b"x", parameters=Parameters(block_size=block_size))
    assert caught.value.reason == "bad-parameters"
    assert f"block size {block_size}" in str(caught.value)
