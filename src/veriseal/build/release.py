"""A release: the list of a tree, the signatures of its files, the signed manifest.

Of a composefs image there is no list: its one digest stands for the whole tree.
"""

import contextlib
import os
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from veriseal import closure, dump, manifest, merkle, signers
from veriseal.build import beside, files, scan, signer
from veriseal.build.digests import Compute, OnPart, each, open_regular, shared_digest
from veriseal.build.keep import Keep
from veriseal.build.sign import has_signature, name_by_digest
from veriseal.build.signer import Signer
from veriseal.closure import Closures
from veriseal.digest import Digest
from veriseal.errors import VerisealError
from veriseal.manifest import Attached, Manifest
from veriseal.merkle import Parameters
from veriseal.pattern import Patterns
from veriseal.signers import Signed

# u32, little-endian: of composefs at the start (libcomposefs/lcfs-erofs.h), of the superblock of
# erofs (fs/erofs/erofs_fs.h).
_MAGIC = ((0, 0xD078629A), (1024, 0xE0F5E1E2))

SIGNED = "signed"
KEPT = "kept"


class Listed(NamedTuple):
    """An entry of the tree that is done.

    Attributes:
        lines: of the list, one for each of its names.
        digest: of a regular file.
        state: `SIGNED`; `KEPT` if there was a signature already; None if it is to have none.
        place, signer: where a signature of an earlier release was kept from, see `Keep`, and the
            fingerprint of its signer; None if it was not.
        bad: the places whose signature of it is no good one, if none was kept.
    """

    lines: list[bytes]
    digest: Digest | None
    state: str | None
    place: int | None
    signer: str | None
    bad: list[int]


_Signed = tuple[str | None, int | None, str | None, list[int]]
"""The last four attributes of `Listed`."""
_UNSIGNED: _Signed = (None, None, None, [])


class Written(NamedTuple):
    """What was written, by path, and the digests.

    Attributes:
        manifest, signature: the files.
        manifest_digest: what was signed.
        digest: of the list of the tree, or of the image.
        removed: signatures of another manifest that was here before.
    """

    manifest: str
    manifest_digest: Digest
    signature: str
    digest: Digest
    removed: list[str]


def entries(
    nodes: Sequence[scan.Node],
    statement: Manifest,
    by: Signer,
    keep: Keep,
    directory: str,
    on_part: OnPart | None = None,
) -> Iterator[tuple[scan.Node, Listed | VerisealError]]:
    """Read each of ``nodes``; those that ``statement`` says get a signature in ``directory``.

    It is that of ``keep`` where there is one, or else by ``by``.
    Yields each with what belongs into the list or with why not, in order.
    Raises VerisealError ``signer-failed``: that would meet every file.
    """
    by_host = {node.host: node for node in nodes}
    signed = Patterns(statement.signed)
    algorithm = statement.parameters.algorithm

    def act(host: str, compute: Compute) -> tuple[list[bytes], bytes | None, _Signed]:
        node = by_host[host]
        digest, content, xattrs = scan.read(node, compute)
        how = _UNSIGNED
        if digest in statement.revoked:
            raise VerisealError(
                "revoked",
                "its digest is revoked",
                path=host,
                found=digest,
                remedy="Take the file out of the tree, or the digest out of build.revoked",
            )
        if digest is not None and any(map(signed.cover, node.paths)):
            how = _sign_file(digest, by, keep, os.path.join(directory, name_by_digest(digest)))
        value = None if digest is None else digest.value
        return scan.lines(node, digest, content, xattrs), value, how

    with contextlib.closing(each(list(by_host), statement.parameters, act, on_part)) as outcomes:
        for node, (_, outcome) in zip(nodes, outcomes, strict=True):
            if isinstance(outcome, VerisealError):
                if outcome.reason == signer.FAILED:
                    raise outcome
                yield node, outcome
            else:
                lines, value, how = outcome
                digest = Digest(algorithm, value) if value is not None else None
                yield node, Listed(lines, digest, *how)


def write(
    out: str,
    lines: Sequence[bytes],
    closures: Closures,
    signed: Sequence[Signed],
    statement: Manifest,
    by: Signer,
) -> Written:
    """Write list, closures, signers, signature and manifest of a release into ``out``.

    ``statement`` lacks the list of ``lines``, the closures and the signers. The manifest is the
    last file: without it there is no release. Raises OSError, VerisealError.
    """
    tree_list = b"".join(lines)
    if len(tree_list) > manifest.MAX_TREE_LIST_SIZE or len(lines) > dump.MAX_ENTRIES:
        raise VerisealError(
            "tree-too-large",
            "the list of the tree is too large to be read again",
            expected=f"at most {dump.MAX_ENTRIES} lines, {manifest.MAX_TREE_LIST_SIZE} bytes",
            found=f"{len(lines)} lines, {len(tree_list)} bytes",
            remedy="Name in build.mutable what need not be verified",
        )
    needed = closure.serialize(closures)
    named = signers.serialize(signed)
    tree = _attached(tree_list)
    statement = statement._replace(tree=tree, closures=_attached(needed), signers=_attached(named))
    removed = _make_room(out, statement, by)
    files.replace(os.path.join(out, manifest.TREE_LIST), tree_list)
    files.replace(os.path.join(out, closure.NAME), needed)
    files.replace(os.path.join(out, signers.NAME), named)
    return Written(*_write(out, statement, by), tree.digest, removed)


def _attached(data: bytes) -> Attached:
    return Attached(merkle.data_digest(data, manifest.PARAMETERS), len(data))


def write_image(out: str, image: Digest, statement: Manifest, by: Signer) -> Written:
    """Write the digest file of ``image`` and its signature into ``out``/HEX.

    ``statement`` lacks the digest. Raises OSError, VerisealError.
    """
    directory = os.path.join(out, image.value.hex())
    os.makedirs(directory, exist_ok=True)
    statement = statement._replace(image=image)
    removed = _make_room(directory, statement, by)
    return Written(*_write(directory, statement, by), image, removed)


def sign(path: str, by: Signer, out: str | None = None) -> Digest:
    """Add the signature of the manifest ``path`` by ``by``, as ``out`` or beside it.

    Returns what was signed. Raises OSError, VerisealError (``bad-manifest``).
    """
    data = files.read(path, manifest.MAX_SIZE)
    # What is no manifest gets no signature as one.
    manifest.parse(data, path)
    digest = manifest.digest(data)
    _sign(digest, by, beside.signature_path(path, by) if out is None else out)
    return digest


def image_digest(
    path: str, parameters: Parameters, on_part: OnPart | None = None
) -> tuple[Digest, int]:
    """The digest and the size in bytes of the composefs image ``path``.

    Raises OSError, VerisealError (``not-an-image``, ``not-a-regular-file``,
    ``changed-while-read``).
    """
    fd, size = open_regular(path)
    try:
        for offset, magic in _MAGIC:
            if os.pread(fd, 4, offset) != struct.pack("<I", magic):
                raise VerisealError(
                    "not-an-image",
                    "not a composefs image",
                    path=path,
                    remedy="Make it with mkcomposefs; for a directory say TREE",
                )
        return shared_digest(fd, size, parameters, path, on_part), size
    finally:
        os.close(fd)


def _write(directory: str, statement: Manifest, by: Signer) -> tuple[str, Digest, str]:
    path, data = os.path.join(directory, manifest.NAME), manifest.serialize(statement)
    digest = manifest.digest(data)
    der = beside.signature_path(path, by)
    _sign(digest, by, der)
    files.replace(path, data)
    return path, digest, der


def _make_room(directory: str, statement: Manifest, by: Signer) -> list[str]:
    path = os.path.join(directory, manifest.NAME)
    return beside.make_room(path, manifest.serialize(statement), by)


def _sign_file(digest: Digest, by: Signer, keep: Keep, path: str) -> _Signed:
    kept, bad = keep.find(digest)
    if kept is None:
        return _sign(digest, by, path), None, None, bad
    files.replace(path, kept.der)
    return KEPT, kept.place, kept.signer, []


def _sign(digest: Digest, by: Signer, path: str) -> str:
    # Not every key gives the same signature twice: what is there and good stays.
    if has_signature(path, digest, by.certificate):
        return KEPT
    files.replace(path, by.sign(digest))
    return SIGNED
