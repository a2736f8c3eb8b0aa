"""Looking at the regular files of one directory: verity, digest, and the built-in signature.

No symbolic link is followed, and nothing but directories and regular files is opened: who has the
disk can put a device or a FIFO in a file's place.
"""

import errno
import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

from veriseal import merkle
from veriseal.audit.recognise import Recogniser, Signer
from veriseal.build.sign import name_by_digest
from veriseal.digest import MAX_SIGNATURE_SIZE, Digest
from veriseal.errors import VerisealError
from veriseal.kernel import files, verity
from veriseal.kernel.measuring import Measuring

GONE = "gone"
NOT_REGULAR = "not-a-regular-file"
UNREADABLE = "unreadable"
SPARSE = "sparse"
"""Reasons for which nothing is known of a file; the kernel's refusals are those of `verity`."""

REFUSALS = ("unsigned", "not-enrolled", "signature-mismatch", "malformed-signature", "corrupt")
"""What the kernel says when it opens no verity file."""

_HOLES = 64
"""The most that a file may be longer than its blocks are: reading holes takes as long as data."""
_SMALL = 1 << 20

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Seen(NamedTuple):
    """What one file is, in values that cross from a worker.

    Attributes:
        name: in its directory.
        verity: whether it has verity; None if that is not known.
        algorithm, value: of the digest, measured or computed; None if there is none.
        signed: whether it has a signature; None if that is not known.
        signer: of the signature, as in `Signer`.
        beside: whether the signature is from the directory of signatures.
        refused: why it could not be looked at, or what is wrong with its signature.
    """

    name: bytes
    verity: bool | None = None
    algorithm: int | None = None
    value: bytes | None = None
    signed: bool | None = None
    signer: tuple[str | None, ...] = (None, None, None)
    beside: bool = False
    refused: str | None = None


class Look:
    """Looks at directories below one root."""

    def __init__(
        self,
        root: int,
        recogniser: Recogniser,
        parameters: merkle.Parameters,
        signatures: int | None,
        read_all: bool,
    ) -> None:
        """``root`` and ``signatures`` are open directories; the latter has files named by digest.

        Without verity a file is read and digested, with ``parameters``, if there are
        ``signatures`` to be found by its digest, or if ``read_all``.
        """
        self._root = root
        self._recogniser = recogniser
        self._parameters = parameters
        self._signatures = signatures
        self._read_all = read_all
        self._measuring = Measuring()

    def directory(self, path: bytes, names: Sequence[bytes]) -> list[Seen] | int:
        """Look at the files ``names`` of ``path``; errno if it cannot be opened any more."""
        try:
            fd = files.open_beneath(self._root, path[1:] or b".", os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            return error.errno or errno.EIO
        try:
            return [self._file(fd, name) for name in names]
        finally:
            os.close(fd)

    def find(self, digest: Digest) -> tuple[bool, Signer]:
        """Whether the directory of signatures has one of ``digest``, and by whom that is."""
        if self._signatures is None:
            return False, Signer()
        name = name_by_digest(digest)
        try:
            fd = files.open_beneath(self._signatures, name.encode(), os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return False, Signer()
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return False, Signer()
            der = file.read(MAX_SIGNATURE_SIZE + 1)
        return True, self._recogniser.signer(der, digest)

    def _file(self, directory: int, name: bytes) -> Seen:
        try:
            # Here the kernel checks a built-in signature.
            fd = os.open(name, _FILE, dir_fd=directory)
        except FileNotFoundError:
            return Seen(name, refused=GONE)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                return Seen(name, refused=NOT_REGULAR)
            reason = verity.failure(error, None).reason
            if reason not in REFUSALS:
                return Seen(name, refused=UNREADABLE)
            return Seen(name, True, signed=reason != "unsigned", refused=reason)
        try:
            return self._opened(fd, name)
        except OSError:
            return Seen(name, refused=UNREADABLE)
        except VerisealError as error:
            return Seen(name, refused=error.reason)
        finally:
            os.close(fd)

    def _opened(self, fd: int, name: bytes) -> Seen:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return Seen(name, refused=NOT_REGULAR)
        raw = self._measuring.raw(fd, status.st_dev)
        if raw is not None:
            return self._stored(fd, name, verity.measured_digest(raw))
        if self._signatures is None and not self._read_all:
            return Seen(name, False)
        if status.st_size > _HOLES * max(_SMALL, 512 * status.st_blocks):
            return Seen(name, refused=SPARSE)
        digest = merkle.file_digest(fd, status.st_size, self._parameters)
        signed, signer = self.find(digest)
        number, value = digest.algorithm.number, digest.value
        return Seen(name, False, number, value, signed, tuple(signer), True)

    def _stored(self, fd: int, name: bytes, digest: Digest) -> Seen:
        signed: bool | None = True
        beside, signer = False, Signer()
        try:
            signer = self._recogniser.signer(verity.read_signature(fd), digest)
        except VerisealError as error:
            if error.reason == "unsigned":
                signed = False
            elif error.reason == "signature-unreadable":
                found, signer = self.find(digest)
                signed, beside = (True, True) if found else (None, False)
            else:
                raise
        number, value = digest.algorithm.number, digest.value
        return Seen(name, True, number, value, signed, tuple(signer), beside)
