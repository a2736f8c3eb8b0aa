"""Built-in signatures of many files: the key is read once, the work is shared."""

from collections.abc import Callable, Iterator, Sequence

from veriseal import signature
from veriseal.build import files, signer
from veriseal.build.digests import Compute, OnPart, digest_of, each
from veriseal.build.signer import Signer
from veriseal.certificate import Certificate
from veriseal.digest import MAX_SIGNATURE_SIZE, Digest
from veriseal.errors import VerisealError
from veriseal.merkle import Parameters

SUFFIX = ".sig"
SIGNATURES = "signatures"
"""The directory of built-in signatures, in that of a release."""


def name_by_digest(digest: Digest) -> str:
    """The name of a signature in a directory of signatures: its digest in hex, and ``.sig``.

    64 digits are SHA-256, 128 are SHA-512.
    """
    return digest.value.hex() + SUFFIX


def sign(
    paths: Sequence[str],
    parameters: Parameters,
    by: Signer,
    place: Callable[[str, Digest], str],
    on_part: OnPart | None = None,
) -> Iterator[tuple[str, Digest | VerisealError]]:
    """Write a signature of each of ``paths`` to where ``place`` says, given path and digest.

    Yields each path with its digest, or with why it is not signed, in order. Each signature is
    written whole or not at all.

    Raises VerisealError ``signer-failed``: that would meet every file.
    """

    def act(path: str, compute: Compute) -> bytes:
        digest = digest_of(path, compute)
        files.replace(place(path, digest), by.sign(digest))
        return digest.value

    for path, value in each(paths, parameters, act, on_part):
        if isinstance(value, VerisealError):
            if value.reason == signer.FAILED:
                raise value
            yield path, value
        else:
            yield path, Digest(parameters.algorithm, value)


def has_signature(path: str, digest: Digest, certificate: Certificate) -> bool:
    """Whether the file ``path`` is a signature of ``digest`` by ``certificate``.

    Raises OSError if it is there and cannot be read.
    """
    try:
        signature.verify(files.read(path, MAX_SIGNATURE_SIZE), digest, certificate)
    except (FileNotFoundError, VerisealError):
        return False
    return True
