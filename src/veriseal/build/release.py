"""A release: the list of a tree, the signatures of its files, the signed manifest."""

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from veriseal import manifest, merkle
from veriseal.build import files, scan, signer
from veriseal.build.digests import Compute, OnPart, each
from veriseal.build.sign import has_signature, name_by_digest
from veriseal.build.signer import Signer
from veriseal.digest import Digest
from veriseal.errors import VerisealError
from veriseal.manifest import Manifest
from veriseal.merkle import Parameters
from veriseal.pattern import Patterns

SIGNATURES = "signatures"
"""The directory of built-in signatures, in that of the release."""

_NAME_DIGITS = 16

SIGNED = "signed"
KEPT = "kept"


class Listed(NamedTuple):
    """An entry of the tree that is done.

    Attributes:
        lines: of the list, one for each of its names.
        state: `SIGNED`; `KEPT` if there was a signature already; None if it is to have none.
    """

    lines: list[bytes]
    state: str | None


class Written(NamedTuple):
    """The files of a release, by path, and the digests of two of them."""

    manifest: str
    manifest_digest: Digest
    tree_digest: Digest
    signature: str


def entries(
    nodes: Sequence[scan.Node],
    parameters: Parameters,
    by: Signer,
    signed: Patterns,
    directory: str,
    on_part: OnPart | None = None,
) -> Iterator[tuple[scan.Node, Listed | VerisealError]]:
    """Read each of ``nodes``; those that ``signed`` stands for get a signature in ``directory``.

    Yields each with what belongs into the list or with why not, in order.
    Raises VerisealError ``signer-failed``: that would meet every file.
    """
    by_host = {node.host: node for node in nodes}

    def act(host: str, compute: Compute) -> tuple[list[bytes], str | None]:
        node = by_host[host]
        digest, content, xattrs = scan.read(node, compute)
        state = None
        if digest is not None and any(map(signed.cover, node.paths)):
            state = _sign(digest, by, os.path.join(directory, name_by_digest(digest)))
        return scan.lines(node, digest, content, xattrs), state

    outcomes = each(list(by_host), parameters, act, on_part)
    for node, (_, outcome) in zip(nodes, outcomes, strict=True):
        if isinstance(outcome, VerisealError):
            if outcome.reason == signer.FAILED:
                raise outcome
            yield node, outcome
        else:
            yield node, Listed(*outcome)


def write(out: str, lines: Sequence[bytes], statement: Manifest, by: Signer) -> Written:
    """Write list, signature and manifest of a release into the directory ``out``.

    ``statement`` lacks digest and size of the list of ``lines``. The manifest is the last file:
    without it there is no release. Raises OSError, VerisealError.
    """
    tree_list = b"".join(lines)
    if len(tree_list) > manifest.MAX_TREE_LIST_SIZE:
        raise VerisealError(
            "tree-too-large",
            "the list of the tree is too large",
            expected=f"at most {manifest.MAX_TREE_LIST_SIZE} bytes",
            found=f"{len(tree_list)} bytes",
            remedy="Name in build.mutable what need not be verified",
        )
    tree = merkle.data_digest(tree_list, manifest.PARAMETERS)
    data = manifest.serialize(statement._replace(tree=tree, size=len(tree_list)))
    digest = merkle.data_digest(data, manifest.PARAMETERS)
    path = os.path.join(out, manifest.NAME)
    files.replace(os.path.join(out, manifest.TREE_LIST), tree_list)
    der = f"{path}.{by.certificate.fingerprint[:_NAME_DIGITS]}.sig"
    _sign(digest, by, der)
    files.replace(path, data)
    return Written(path, digest, tree, der)


def _sign(digest: Digest, by: Signer, path: str) -> str:
    # Not every key gives the same signature twice: what is there and good stays.
    if has_signature(path, digest, by.certificate):
        return KEPT
    files.replace(path, by.sign(digest))
    return SIGNED
