"""Switch fs-verity on, each file with its signature, and read back what the kernel then says.

Enabling is for good. Whatever can be found wrong is found before: the digest is computed from
the descriptor that verity is then enabled through, and the signature is checked against it.

Source: Documentation/filesystems/fsverity.rst (FS_IOC_ENABLE_VERITY), fs/verity/enable.c.
"""

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence

from veriseal import signature
from veriseal.build import files
from veriseal.build.digests import Compute, OnPart, each, open_regular
from veriseal.build.sign import SUFFIX, name_by_digest
from veriseal.certificate import Certificate
from veriseal.digest import MAX_SIGNATURE_SIZE, Digest
from veriseal.errors import VerisealError
from veriseal.kernel import verity
from veriseal.merkle import Parameters

ENABLED = "enabled"
ALREADY = "already"
WITHOUT_SIGNATURE = "without-signature"


class Signatures:
    """Where the signature of a file comes from, and who must have made it.

    Exactly one of these says where: ``file``, one signature; ``directory``, signatures named by
    digest; ``beside``, FILE.sig; or none of them, for files that are to have no signature.
    With ``certificates``, a signature by anyone else is refused before the file is touched.

    Attributes:
        beside: as given.
        wanted: whether files are to have a signature at all.
    """

    def __init__(
        self,
        file: str | None = None,
        directory: str | None = None,
        beside: bool = False,
        certificates: Sequence[Certificate] = (),
    ) -> None:
        self.beside = beside
        self.wanted = beside or file is not None or directory is not None
        self._file = file
        self._directory = directory
        self._certificates = certificates

    def find(self, path: str, digest: Digest) -> bytes | None:
        """The signature for ``path``, whose digest is ``digest``; None if there is none.

        Raises OSError, and VerisealError: ``malformed-signature``, ``other-signer``,
        ``signature-mismatch``.
        """
        if self._file is not None:
            source = self._file
        elif self._directory is not None:
            source = os.path.join(self._directory, name_by_digest(digest))
        else:
            source = path + SUFFIX
        try:
            der = files.read(source, MAX_SIGNATURE_SIZE)
        except FileNotFoundError:
            if self._file is not None:
                raise
            return None
        info = signature.inspect(der, source)
        if self._certificates:
            named = [one for one in self._certificates if info.names(one)]
            # With the first of several that it does not name, it says whom it names.
            signature.verify(der, digest, (named or self._certificates)[0], source)
        return der

    def describe(self, path: str) -> str:
        """Where the signature of ``path`` would be."""
        if self._directory is not None:
            return f"a signature named by digest in {self._directory}"
        return f"a signature in {path}{SUFFIX}"


def enable(
    paths: Sequence[str],
    parameters: Parameters,
    signatures: Signatures,
    on_part: OnPart | None = None,
) -> Iterator[tuple[str, tuple[str, Digest] | VerisealError]]:
    """Enable verity on each of ``paths``; each must be another file.

    Yields each path with what it is now and its digest, or with why not, in order:
    `ENABLED` and `ALREADY` after the kernel has confirmed digest and signature;
    `WITHOUT_SIGNATURE` if none was found, the file untouched.
    """

    def act(path: str, compute: Compute) -> tuple[str, bytes]:
        state, digest = _enable(path, parameters, signatures, compute)
        return state, digest.value

    for path, value in each(paths, parameters, act, on_part):
        if isinstance(value, VerisealError):
            yield path, value
        else:
            yield path, (value[0], Digest(parameters.algorithm, value[1]))


def no_signature(path: str, digest: Digest, signatures: Signatures) -> VerisealError:
    """What to say of a file that was named and has no signature."""
    return VerisealError(
        "no-signature",
        "there is no signature for this file",
        path=path,
        expected=signatures.describe(path),
        found=digest,
        remedy="Sign it first (veriseal sign), or say --unsigned",
    )


def _enable(
    path: str, parameters: Parameters, signatures: Signatures, compute: Compute
) -> tuple[str, Digest]:
    try:
        fd, size = open_regular(path, os.O_NOFOLLOW)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise VerisealError(
                "symbolic-link", "is a symbolic link, which is not followed", path=path
            ) from None
        # The kernel already refuses this file: say why, in its words.
        raise verity.failure(error, path) from None
    try:
        measured = _measured(fd, path)
        if measured is not None:
            return ALREADY, _confirm_already(fd, path, size, measured, signatures, compute)
        digest = compute(fd, size)
        der = signatures.find(path, digest) if signatures.wanted else b""
        if der is None:
            return WITHOUT_SIGNATURE, digest
        before = os.fstat(fd)
        verity.enable(fd, parameters.algorithm, parameters.block_size, parameters.salt, der, path)
        _restore_times(fd, before)
        now = verity.measure(fd, path)
        if now != digest:
            raise VerisealError(
                "changed-while-read",
                "the file changed before verity was enabled; it is now fixed as it was then",
                path=path,
                expected=digest,
                found=now,
                remedy="Replace it by a fresh copy, and enable that",
            )
        _confirm_signature(fd, path, der)
        return ENABLED, digest
    finally:
        os.close(fd)


def _restore_times(fd: int, before: os.stat_result) -> None:
    """Undo that the kernel counts this as a change of the file.

    Python's bytecode fits its source by that time: root's next script would write it anew, without
    verity, and the boot after that be refused.
    """
    # Whoever may enable verity may not be the owner.
    with contextlib.suppress(PermissionError):
        os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))


def _confirm_already(
    fd: int, path: str, size: int, measured: Digest, signatures: Signatures, compute: Compute
) -> Digest:
    """Raise VerisealError unless the file has the wanted digest and the wanted signature."""
    digest = compute(fd, size)
    if measured != digest:
        raise VerisealError(
            "other-digest",
            "verity is already enabled, with another digest",
            path=path,
            expected=digest,
            found=measured,
            remedy="It was enabled with other parameters: replace it by a fresh copy",
        )
    der = signatures.find(path, digest) if signatures.wanted else b""
    if der is None:
        raise no_signature(path, digest, signatures)
    _confirm_signature(fd, path, der)
    return digest


def _confirm_signature(fd: int, path: str, wanted: bytes) -> None:
    try:
        stored = verity.read_signature(fd, path)
    except VerisealError as error:
        if error.reason == "signature-unreadable":
            # The kernel checked it when verity was enabled, and checks it at every open.
            return
        if error.reason != "unsigned":
            raise
        stored = b""
    if stored != wanted:
        raise VerisealError(
            "other-signature",
            "verity is enabled with the same digest but "
            + ("without a signature" if not stored else "another signature"),
            path=path,
            expected=f"a signature of {len(wanted)} bytes" if wanted else "no signature",
            found=f"one of {len(stored)} bytes" if stored else "none",
            remedy="A signature cannot be added later: replace the file by a fresh copy",
        )


def _measured(fd: int, path: str) -> Digest | None:
    try:
        return verity.measure(fd, path)
    except VerisealError as error:
        if error.reason == "no-verity":
            return None
        raise
