"""fs-verity digests as values: algorithms, parsing, printing, and the bytes a signature covers.

Computing one from a file's contents is `merkle`; asking the kernel is `kernel.verity`.
On the launcher's path: imports only the standard library's `struct`.

Source: Documentation/filesystems/fsverity.rst, include/uapi/linux/fsverity.h.
"""

import struct

from veriseal.errors import VerisealError

MAX_SIGNATURE_SIZE = 16128
"""Bytes of a built-in signature: FS_VERITY_MAX_SIGNATURE_SIZE, fs/verity/fsverity_private.h."""


class Algorithm:
    """A hash algorithm as fs-verity knows it.

    Attributes:
        name: ``sha256`` or ``sha512``, as the kernel and `fsverity` print it.
        number: ``FS_VERITY_HASH_ALG_*``.
        size: of a digest, in bytes.
    """

    __slots__ = ("name", "number", "size")

    def __init__(self, name: str, number: int, size: int) -> None:
        self.name = name
        self.number = number
        self.size = size

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[object, tuple[str]]:
        # One object an algorithm, also across worker processes.
        return algorithm, (self.name,)


SHA256 = Algorithm("sha256", 1, 32)
SHA512 = Algorithm("sha512", 2, 64)
ALGORITHMS = (SHA256, SHA512)


def algorithm(name: str) -> Algorithm:
    """The algorithm called ``name``. Raises VerisealError (``bad-algorithm``)."""
    for candidate in ALGORITHMS:
        if candidate.name == name:
            return candidate
    raise VerisealError(
        "bad-algorithm", "no such fs-verity hash algorithm", expected="sha256 or sha512", found=name
    )


def algorithm_by_number(number: int) -> Algorithm:
    """The algorithm ``FS_VERITY_HASH_ALG_*`` = ``number``. Raises VerisealError."""
    for candidate in ALGORITHMS:
        if candidate.number == number:
            return candidate
    raise VerisealError(
        "bad-algorithm", "unknown fs-verity hash algorithm", expected="1 or 2", found=number
    )


class Digest:
    """An fs-verity file digest: the hash of a file's ``fsverity_descriptor``. Immutable."""

    __slots__ = ("algorithm", "value")

    def __init__(self, algorithm: Algorithm, value: bytes) -> None:
        if len(value) != algorithm.size:
            raise VerisealError(
                "bad-digest",
                f"a {algorithm.name} digest of the wrong length",
                expected=f"{algorithm.size} bytes",
                found=f"{len(value)} bytes",
            )
        self.algorithm = algorithm
        self.value = value

    @classmethod
    def parse(cls, text: str) -> "Digest":
        """From ``sha256:HEX`` as `fsverity` prints it. Raises VerisealError (``bad-digest``)."""
        name, colon, digits = text.partition(":")
        try:
            if not colon:
                raise ValueError(text)
            return cls(algorithm(name), bytes.fromhex(digits))
        except ValueError:
            raise VerisealError(
                "bad-digest", "not a digest", expected="sha256:HEX or sha512:HEX", found=text
            ) from None

    @classmethod
    def parse_exact(cls, text: str) -> "Digest":
        """As `parse`, of nothing but what is printed: lower case. Raises VerisealError."""
        digest = cls.parse(text)
        if str(digest) != text:
            raise VerisealError(
                "bad-digest", "not a digest as it is written", expected=digest, found=text
            )
        return digest

    def formatted(self) -> bytes:
        """``struct fsverity_formatted_digest``: what a built-in signature signs.

        8 bytes ``FSVerity``, little-endian u16 algorithm, little-endian u16 size, the digest.
        """
        header = struct.pack("<8sHH", b"FSVerity", self.algorithm.number, self.algorithm.size)
        return header + self.value

    def __str__(self) -> str:
        return f"{self.algorithm.name}:{self.value.hex()}"

    def __repr__(self) -> str:
        return f"Digest({self})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Digest):
            return NotImplemented
        return self.algorithm is other.algorithm and self.value == other.value

    def __hash__(self) -> int:
        return hash((self.algorithm.number, self.value))
