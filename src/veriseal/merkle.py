"""fs-verity digests of contents: the Merkle tree and the descriptor, as the kernel builds them.

A file is cut into blocks, the last one padded with zeros. Each block is hashed; the hashes of one
level, packed into blocks, are the next level's data, up to a level of one block, whose hash is the
root hash. The digest is the hash of a descriptor that holds the root hash, the file's size and the
parameters.

Only one path through the tree is in memory at a time. A *group* is the data below one block of
hashes: `group_hashes` and `combine` let several processes share one large file.

Source: Documentation/filesystems/fsverity.rst, fs/verity/{enable,hash_algs,open}.c.
"""

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator

from veriseal.digest import SHA256, Algorithm, Digest
from veriseal.errors import VerisealError

MIN_BLOCK_SIZE = 1024
MAX_BLOCK_SIZE = 65536
MAX_SALT_SIZE = 32
"""Bytes, all three. The kernel also wants blocks no larger than its pages."""

MAX_FILE_SIZE = (1 << 63) - 1

# Small enough to stay in a processor's own cache between being read and being hashed.
_BUFFER_SIZE = 256 * 1024
# Buffers that nobody uses at the moment: fresh memory for each file takes longer to get, page by
# page, than many a file takes to hash.
_spare_buffers: list[memoryview] = []

_HASH_INPUT_BLOCK = {"sha256": 64, "sha512": 128}


class Parameters:
    """How the tree is built: what `FS_IOC_ENABLE_VERITY` is told. Immutable.

    Attributes:
        algorithm: the hash.
        block_size: bytes, a power of two from 1024 to 65536.
        salt: at most 32 bytes; hashed before every block, not before the descriptor.
        group_size: bytes of data below one block of hashes.
    """

    __slots__ = ("_plain", "_salted", "algorithm", "block_size", "group_size", "salt")

    def __init__(
        self, algorithm: Algorithm = SHA256, block_size: int = 4096, salt: bytes = b""
    ) -> None:
        """Raises VerisealError: ``bad-block-size``, ``bad-salt``."""
        if not MIN_BLOCK_SIZE <= block_size <= MAX_BLOCK_SIZE or block_size & (block_size - 1):
            raise VerisealError(
                "bad-block-size",
                "fs-verity has no such block size",
                expected=f"a power of two from {MIN_BLOCK_SIZE} to {MAX_BLOCK_SIZE}",
                found=block_size,
            )
        if len(salt) > MAX_SALT_SIZE:
            raise VerisealError(
                "bad-salt",
                "the salt is too long",
                expected=f"at most {MAX_SALT_SIZE} bytes",
                found=f"{len(salt)} bytes",
            )
        self.algorithm = algorithm
        self.block_size = block_size
        self.salt = salt
        self.group_size = block_size // algorithm.size * block_size
        # Copying a prepared state saves the search for the algorithm at each block.
        self._plain = hashlib.new(algorithm.name)
        self._salted = self._plain.copy()
        if salt:
            self._salted.update(salt.ljust(_HASH_INPUT_BLOCK[algorithm.name], b"\0"))

    def __reduce__(self) -> tuple[object, tuple[Algorithm, int, bytes]]:
        return Parameters, (self.algorithm, self.block_size, self.salt)

    def hash_block(self, block: bytes | bytearray | memoryview) -> bytes:
        """The hash of one whole block of data or of hashes."""
        state = self._salted.copy()
        state.update(block)
        return state.digest()

    def hash_blocks(self, data: bytes | memoryview) -> bytes:
        """The hashes of the blocks of ``data``, one after the other; the last may be short."""
        size = self.block_size
        copy = self._salted.copy
        hashes = []
        view = memoryview(data)
        for start in range(0, len(view), size):
            state = copy()
            state.update(view[start : start + size])
            hashes.append(state)
        short = -len(view) % size
        if short:
            hashes[-1].update(bytes(short))
        return b"".join([state.digest() for state in hashes])

    def descriptor(self, size: int, root_hash: bytes) -> bytes:
        """``struct fsverity_descriptor`` without a signature: 256 bytes, little-endian."""
        return struct.pack(
            "<BBBBIQ64s32s144x",
            1,
            self.algorithm.number,
            self.block_size.bit_length() - 1,
            len(self.salt),
            0,
            size,
            root_hash,
            self.salt,
        )

    def digest(self, size: int, root_hash: bytes) -> Digest:
        """The file digest of ``size`` bytes below ``root_hash``."""
        state = self._plain.copy()
        state.update(self.descriptor(size, root_hash))
        return Digest(self.algorithm, state.digest())


def data_digest(data: bytes, parameters: Parameters) -> Digest:
    """The fs-verity digest of a file with the contents ``data``."""
    size = len(data)
    if size <= parameters.group_size:
        return _digest_of_one_group(parameters.hash_blocks(data), size, parameters)
    view = memoryview(data)
    step = parameters.group_size
    return combine(
        (
            _fold(parameters.hash_blocks(view[at : at + step]), parameters)
            for at in range(0, size, step)
        ),
        size,
        parameters,
    )


def file_digest(fd: int, size: int, parameters: Parameters, path: str | None = None) -> Digest:
    """The fs-verity digest of the open file ``fd`` of ``size`` bytes; ``path`` is for errors.

    The file's offset is neither used nor changed. Raises OSError, and VerisealError
    (``changed-while-read``) if the file turns out shorter or longer.
    """
    if size < _BUFFER_SIZE and size <= parameters.group_size:
        buffer = _take_buffer()
        # One byte more shows a file that has grown, without another system call.
        found = os.preadv(fd, [buffer[: size + 1]], 0)
        if found != size:
            raise _changed(size, found, path)
        hashes = parameters.hash_blocks(buffer[:size])
        _spare_buffers.append(buffer)
        return _digest_of_one_group(hashes, size, parameters)
    if size <= parameters.group_size:
        hashes = b"".join(_block_hashes(fd, 0, size, parameters, path))
        digest = _digest_of_one_group(hashes, size, parameters)
    else:
        digest = combine(group_hashes(fd, 0, size, parameters, path), size, parameters)
    check_unchanged(fd, size, path)
    return digest


def group_hashes(
    fd: int, offset: int, length: int, parameters: Parameters, path: str | None = None
) -> Iterator[bytes]:
    """The hash of each group of ``length`` bytes of ``fd`` from ``offset``.

    Both are multiples of ``group_size``, but for a length that ends with the file. The file must
    be larger than one group: a single group has no level above it.

    Raises OSError, and VerisealError (``changed-while-read``).
    """
    for start in range(offset, offset + length, parameters.group_size):
        size = min(parameters.group_size, offset + length - start)
        yield _fold(b"".join(_block_hashes(fd, start, size, parameters, path)), parameters)


def combine(hashes: Iterable[bytes], size: int, parameters: Parameters) -> Digest:
    """The digest of a file of ``size`` bytes from the hashes of all its groups, in order.

    An item may hold the hashes of several groups, one after the other.
    """
    # What is not yet hashed of each level above the groups, and how many hashes it has had.
    pending: list[bytearray] = []
    counts: list[int] = []

    def push(level: int, new: bytes) -> None:
        if level == len(pending):
            pending.append(bytearray())
            counts.append(0)
        waiting = pending[level]
        waiting += new
        counts[level] += len(new) // parameters.algorithm.size
        while len(waiting) >= parameters.block_size:
            full = bytes(waiting[: parameters.block_size])
            del waiting[: parameters.block_size]
            push(level + 1, parameters.hash_block(full))

    for item in hashes:
        push(0, item)
    expected = -(-size // parameters.group_size)
    if expected < 2 or not counts or counts[0] != expected:
        raise VerisealError(
            "incomplete-tree",
            "not the hashes of all groups of the file",
            expected=max(expected, 2),
            found=counts[0] if counts else 0,
        )
    level = 0
    while counts[level] > 1:
        if pending[level]:
            push(level + 1, _fold(bytes(pending[level]), parameters))
        level += 1
    return parameters.digest(size, bytes(pending[level]))


def check_unchanged(fd: int, size: int, path: str | None = None) -> None:
    """Raise VerisealError (``changed-while-read``) unless ``fd`` still has ``size`` bytes."""
    found = os.fstat(fd).st_size
    if found != size:
        raise _changed(size, found, path)


def _digest_of_one_group(hashes: bytes, size: int, parameters: Parameters) -> Digest:
    if len(hashes) > parameters.algorithm.size:
        hashes = _fold(hashes, parameters)
    # An empty file has no blocks; its root hash is defined as zeros.
    return parameters.digest(size, hashes)


def _fold(hashes: bytes, parameters: Parameters) -> bytes:
    return parameters.hash_block(hashes.ljust(parameters.block_size, b"\0"))


def _block_hashes(
    fd: int, offset: int, length: int, parameters: Parameters, path: str | None
) -> Iterator[bytes]:
    buffer = _take_buffer()
    end = offset + length
    while offset < end:
        wanted = buffer[: min(len(buffer), end - offset)]
        got = 0
        while got < len(wanted):
            count = os.preadv(fd, [wanted[got:]], offset + got)
            if count == 0:
                raise _changed(end, offset + got, path)
            got += count
        yield parameters.hash_blocks(wanted)
        offset += got
    _spare_buffers.append(buffer)


def _take_buffer() -> memoryview:
    try:
        return _spare_buffers.pop()
    except IndexError:
        return memoryview(bytearray(_BUFFER_SIZE))


def _changed(expected: int, found: int, path: str | None) -> VerisealError:
    return VerisealError(
        "changed-while-read",
        "the file changed while it was read",
        path=path,
        expected=f"{expected} bytes",
        found=f"{found} bytes",
        remedy="Try again when nothing writes to it",
    )
