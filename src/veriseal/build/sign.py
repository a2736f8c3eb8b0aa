"""Built-in signatures of many files: the key is read once, the work is shared."""

from collections.abc import Callable, Iterator, Sequence

from veriseal import signature
from veriseal.build import files
from veriseal.build.digests import Compute, OnPart, digest_of, each
from veriseal.certificate import Certificate
from veriseal.digest import Digest
from veriseal.errors import VerisealError
from veriseal.merkle import Parameters
from veriseal.signature import PrivateKey

SUFFIX = ".sig"


def name_by_digest(digest: Digest) -> str:
    """The name of a signature in a directory of signatures: its digest in hex, and ``.sig``.

    64 digits are SHA-256, 128 are SHA-512.
    """
    return digest.value.hex() + SUFFIX


def sign(
    paths: Sequence[str],
    parameters: Parameters,
    key: PrivateKey,
    certificate: Certificate,
    place: Callable[[str, Digest], str],
    on_part: OnPart | None = None,
) -> Iterator[tuple[str, Digest | VerisealError]]:
    """Write a signature of each of ``paths`` to where ``place`` says, given path and digest.

    Yields each path with its digest, or with why it is not signed, in order. Each signature is
    written whole or not at all. ``key`` must be that of ``certificate``.
    """

    def act(path: str, compute: Compute) -> bytes:
        digest = digest_of(path, compute)
        files.replace(place(path, digest), signature.make(digest, key, certificate))
        return digest.value

    for path, value in each(paths, parameters, act, on_part):
        if isinstance(value, VerisealError):
            yield path, value
        else:
            yield path, Digest(parameters.algorithm, value)
