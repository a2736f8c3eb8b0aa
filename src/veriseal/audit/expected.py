"""What the manifest of a tree says of its files, whether or not its signature counts.

Nothing is taken for true because of it but what is needed: who could have changed it could have
changed the tree. Whether it counts is asked apart, for each set of certificates.
"""

import os
import stat
from typing import NamedTuple

from veriseal import manifest as statement
from veriseal import signers
from veriseal.digest import Digest
from veriseal.errors import VerisealError
from veriseal.kernel import files
from veriseal.manifest import Manifest
from veriseal.pattern import Patterns
from veriseal.signers import Signers
from veriseal.tree import listed, source


class Expected(NamedTuple):
    """A manifest with its list.

    Attributes:
        manifest: what it says.
        digests: that each regular file must have, by path.
        signers: whose signatures the files are to have; None if that is not said.
        path: of the manifest, for messages.
    """

    manifest: Manifest
    digests: dict[bytes, Digest]
    signers: Signers | None
    path: str

    def needed(self, all_verity: bool) -> set[bytes]:
        """The files that must have verity and, where the kernel looks, a signature."""
        demanded = Patterns(["/"] if all_verity else self.manifest.signed)
        return {path for path in self.digests if demanded.cover(path)}


def of(directory: int, shown: str) -> Expected:
    """The manifest in the open ``directory`` with its list; nobody's signature is asked for.

    Raises VerisealError ``no-manifest``, ``bad-manifest``, ``attached-changed``, ``bad-tree-list``,
    ``other-kind``, ``bad-signers`` and others.
    """
    path = os.path.join(shown, statement.NAME)
    release = source.load(directory, shown, source.Trust([], 0, [_os_name(directory, path)], 0))
    digests = listed.read(release).digests
    known = None
    if release.signers:
        known = signers.parse(release.signers, os.path.join(shown, signers.NAME))
    return Expected(release.manifest, digests, known, path)


def _os_name(directory: int, path: str) -> str:
    """The release that the manifest ``path``, in the open ``directory``, says it is of."""
    try:
        fd = files.open_beneath(directory, os.fsencode(statement.NAME), os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise VerisealError(
            "no-manifest", f"cannot be opened: {error.strerror}", path=path
        ) from None
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise VerisealError("not-a-regular-file", "not a regular file", path=path)
        return statement.parse(file.read(statement.MAX_SIZE + 1), path).os
