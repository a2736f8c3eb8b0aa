"""Every regular file of a tree: has it verity, who signed it, does the system need it."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from veriseal import merkle, pool
from veriseal.audit import look, walk
from veriseal.audit.expected import Expected
from veriseal.audit.look import Look, Seen
from veriseal.audit.recognise import Recogniser, Signer
from veriseal.audit.walk import Skipped
from veriseal.certificate import Certificate
from veriseal.digest import Digest, algorithm_by_number

OnPart = Callable[[int, int], None]
"""Told how far it is: files done, files in all."""

MISSING = "missing"
NOT_EXAMINED = "not-examined"
"""Reasons why a needed file was not looked at, besides those of `look`."""

FILE, DIRECTORY, MANIFEST = "file", "signatures", "manifest"
"""Where a signer is known from: the file's own signature, one in the directory of signatures, or
only the manifest, which says whose it is to have."""

_BATCH = 200
"""Files that a worker takes at a time, about."""


class FileState(NamedTuple):
    """What one file is.

    Attributes:
        path: in the tree, absolute.
        verity: whether it has verity; None if that is not known.
        digest: measured or computed; None if it was neither.
        signed: whether it has a signature; None if that is not known.
        signer: fingerprint of the certificate that made it; None if no known one did.
        named: the signer as far as it is known, for people.
        os: the VOA name of the release that the signer signs for, if it is known.
        known_from: `FILE`, `DIRECTORY` or `MANIFEST`, where ``signer`` or ``named`` is set.
        listed: whether the manifest lists it; None without a manifest.
        needed: whether the system needs it: the manifest demands verity of it, or, without a
            manifest, it is signed.
        changed: whether its digest is known and not the one that is listed.
        refused: why it could not be opened or looked at, or what is wrong with its signature.
    """

    path: bytes
    verity: bool | None = None
    digest: Digest | None = None
    signed: bool | None = None
    signer: str | None = None
    named: str | None = None
    os: str | None = None
    known_from: str | None = None
    listed: bool | None = None
    needed: bool = False
    changed: bool = False
    refused: str | None = None


class Known(NamedTuple):
    """A certificate, counting or not, and the VOA name it was found under, if any."""

    certificate: Certificate
    os: str | None


class Examined(NamedTuple):
    """What there is in a tree.

    Attributes:
        files: in the order of their directories.
        skipped: directories that were not looked at.
        others: how many entries are neither directories nor regular files.
        unread: files without verity whose contents nobody has read.
    """

    files: list[FileState]
    skipped: list[Skipped]
    others: int
    unread: int


def examine(
    tree: int,
    expected: Expected | None,
    known: Sequence[Known],
    *,
    signatures: int | None = None,
    all_verity: bool = False,
    revoked: bool = False,
    on_part: OnPart | None = None,
) -> Examined:
    """Look at every regular file below the open directory ``tree``.

    ``known`` are all certificates whose signatures are to be recognised. With ``signatures``, an
    open directory of signatures named by digest, files without verity are taken as they will be
    once they are enabled. With ``all_verity`` every listed file is needed. With ``revoked`` some
    digests are revoked, so files are read for theirs where the kernel does not know it.

    Raises OSError for the tree itself, VerisealError ``worker-died``.
    """
    walked = walk.walk(tree)
    recogniser = Recogniser(one.certificate for one in known)
    parameters = merkle.Parameters() if expected is None else expected.manifest.parameters
    looking = Look(tree, recogniser, parameters, signatures, revoked)
    assembly = _Assembly(looking, expected, known, all_verity)

    def work(batch: Sequence[tuple[bytes, list[bytes]]]) -> list[object]:
        results: list[object] = []
        for path, names in batch:
            seen = looking.directory(path, names)
            results.append(seen if isinstance(seen, int) else [tuple(one) for one in seen])
        return results

    batches = list(_batched(walked.directories))
    files: list[FileState] = []
    skipped = list(walked.skipped)
    done = 0
    for batch, results in zip(batches, pool.run(work, batches), strict=True):
        for (path, names), seen in zip(batch, results, strict=True):
            done += len(names)
            if isinstance(seen, int):
                skipped.append(Skipped(path, f"it cannot be opened: {os.strerror(seen)}"))
                continue
            above = path.rstrip(b"/") + b"/"
            for one in seen:
                state = assembly.state(above, Seen(*one))
                if state is not None:
                    files.append(state)
        if on_part is not None:
            on_part(done, walked.files)
    files += assembly.unseen(skipped)
    unread = sum(one.verity is False and one.digest is None for one in files)
    return Examined(files, skipped, walked.others, unread)


def _batched(
    directories: Sequence[tuple[bytes, list[bytes]]],
) -> Iterator[list[tuple[bytes, list[bytes]]]]:
    """Directories, and parts of large ones, that are together about `_BATCH` files."""
    batch: list[tuple[bytes, list[bytes]]] = []
    size = 0
    for path, names in directories:
        for start in range(0, len(names), _BATCH):
            part = names[start : start + _BATCH]
            batch.append((path, part))
            size += len(part)
            if size >= _BATCH:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


class _Assembly:
    """Puts together what was seen, what is expected, and what is known of signers."""

    def __init__(
        self,
        looking: Look,
        expected: Expected | None,
        known: Sequence[Known],
        all_verity: bool,
    ) -> None:
        self._look = looking
        self._expected = expected
        self._needed = set() if expected is None else expected.needed(all_verity)
        self._left = set(self._needed)
        # The first that says which release it is for.
        self._by_fingerprint: dict[str, Known] = {}
        for one in sorted(known, key=lambda one: one.os is None):
            self._by_fingerprint.setdefault(one.certificate.fingerprint, one)

    def state(self, above: bytes, seen: Seen) -> FileState | None:
        path = above + seen.name
        wanted = None if self._expected is None else self._expected.digests.get(path)
        if seen.refused in (look.GONE, look.NOT_REGULAR):
            return None  # it changed meanwhile; if it is needed it is missing
        self._left.discard(path)
        digest = None
        if seen.algorithm is not None and seen.value is not None:
            digest = Digest(algorithm_by_number(seen.algorithm), seen.value)
        signer, signed, refused = Signer(*seen.signer), seen.signed, seen.refused
        source = DIRECTORY if seen.beside else FILE
        if refused == "not-enrolled" and wanted is not None:
            # The kernel gives neither its digest nor its signature away.
            found, signer = self._look.find(wanted)
            source = DIRECTORY if found else FILE
        named, os_name = signer.named, None
        if signer.fingerprint is not None:
            named, os_name = self._about(signer.fingerprint)
        fingerprint = signer.fingerprint
        needed = path in self._needed if self._expected is not None else bool(signed)
        known = fingerprint is not None or named is not None
        if not known and path in self._needed and (signed is None or refused == "not-enrolled"):
            fingerprint, named, os_name = self._promised(path)
            source, known = MANIFEST, fingerprint is not None
        return FileState(
            path, seen.verity, digest, signed, fingerprint, named, os_name,
            source if known else None,
            None if self._expected is None else wanted is not None,
            needed,
            digest is not None and wanted is not None and digest != wanted,
            refused or signer.mistake,
        )  # fmt: skip

    def unseen(self, skipped: Sequence[Skipped]) -> Iterator[FileState]:
        """The needed files that were not met with."""
        below = tuple(one.path.rstrip(b"/") + b"/" for one in skipped)
        for path in sorted(self._left):
            hidden = path.startswith(below)
            fingerprint, named, os_name = self._promised(path)
            yield FileState(
                path, signer=fingerprint, named=named, os=os_name,
                known_from=None if fingerprint is None else MANIFEST, listed=True, needed=True,
                refused=NOT_EXAMINED if hidden else MISSING,
            )  # fmt: skip

    def _about(self, fingerprint: str) -> tuple[str, str | None]:
        one = self._by_fingerprint[fingerprint]
        return one.certificate.subject, one.os

    def _promised(self, path: bytes) -> tuple[str | None, str | None, str | None]:
        if self._expected is None or self._expected.signers is None:
            return None, None, None
        entry = self._expected.signers.of(path)
        return entry.fingerprint, entry.subject, entry.os or None
