"""What is signed is told apart by the salt of its fs-verity digest: files, manifest, statement.

One key signs all that is in a tree, so a file of it may well have the contents of a manifest. Its
signature must be that of a file alone. The salt and its size are in what the digest is of, so no
digest with one salt is one with another. Salts that start with "veriseal " are ours: no file of a
tree has one.

Source: struct fsverity_descriptor, fs/verity/fsverity_private.h. Pure.
"""

from veriseal.errors import VerisealError
from veriseal.merkle import Parameters

MANIFEST = Parameters(salt=b"veriseal manifest")
STATEMENT = Parameters(salt=b"veriseal trust")
"""How a manifest and a trust statement are digested: SHA-256, 4096 bytes, a salt of their own."""

_RESERVED = b"veriseal "


def of_files(parameters: Parameters) -> Parameters:
    """``parameters``, if files of a tree may have them. Raises VerisealError ``reserved-salt``."""
    if parameters.salt.startswith(_RESERVED):
        raise VerisealError(
            "reserved-salt",
            "this salt is that of manifests and trust statements alone",
            expected=f'one that does not start with "{_RESERVED.decode()}"',
            found=parameters.salt.hex(),
            remedy="To sign a manifest: veriseal sign --manifest",
        )
    return parameters
