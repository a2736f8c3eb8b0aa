"""The manifest: the signed statement about one version of a release, and its checks. Pure.

A small JSON file. What is signed is its fs-verity digest, with the same signature as that of a
program but a salt of its own, see `domain`; what it says of the tree are the fs-verity digests of
the files beside it: the tree list, the closures and the signers.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from veriseal import closure, domain, merkle, pattern, signature, signers
from veriseal.certificate import Certificate
from veriseal.digest import Digest, algorithm
from veriseal.errors import VerisealError, some
from veriseal.fields import Fields, exact_digest, load
from veriseal.merkle import Parameters

DIRECTORY = "usr/lib/veriseal/manifest"
"""Of an installed tree, below its root."""

NAME = "manifest.json"
TREE_LIST = "tree.dump"
FORMAT = "veriseal-manifest"
SCHEMA = 3
MAX_SIZE = 1 << 20
MAX_TREE_LIST_SIZE = 1 << 28
"""Bytes, both."""
MAX_SIGNATURES = 64

_INSTALL = (
    "Install the manifest of this release with its signatures, or boot an initrd that has the "
    "certificate of its signer"
)
_CHANGED = (
    "If the manifest or a signature was changed, install both again from their source. To add a "
    "signature: veriseal sign --manifest"
)

PARAMETERS = Parameters()
"""How the files beside the manifest are digested: SHA-256, 4096 bytes, no salt."""


class Attached(NamedTuple):
    """A file beside the manifest: its fs-verity digest, and its size in bytes."""

    digest: Digest
    size: int


class Manifest(NamedTuple):
    """One version of a release.

    Attributes:
        os: as VOA names it, such as ``fedora:43``.
        version: only grows.
        created: seconds since 1970.
        tree, closures, signers: the tree list, what its programs need, see `closure`, and whose
            signatures its files have, see `signers`; None for an image.
        image: the fs-verity digest of a composefs image; None for a tree.
        parameters: how the files of the tree are digested.
        exclusive, mutable, signed: patterns, see `pattern`: where nothing else may be, what is
            not checked, what must have verity and, where the kernel looks, a signature.
        revoked: digests that no file may have.
    """

    os: str
    version: int
    created: int
    tree: Attached | None = None
    closures: Attached | None = None
    signers: Attached | None = None
    image: Digest | None = None
    parameters: Parameters = PARAMETERS
    exclusive: tuple[str, ...] = ()
    mutable: tuple[str, ...] = ()
    signed: tuple[str, ...] = ()
    revoked: tuple[Digest, ...] = ()


def rules(manifest: Manifest) -> pattern.Rules:
    """What is exclusive and what may change; the manifest's own directory cannot be listed."""
    return pattern.Rules(manifest.exclusive, (*manifest.mutable, f"/{DIRECTORY}"))


def serialize(manifest: Manifest) -> bytes:
    """The file; the same manifest gives the same bytes."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "schema": SCHEMA,
        "os": manifest.os,
        "version": manifest.version,
        "created": manifest.created,
    }
    if manifest.tree is None or manifest.closures is None or manifest.signers is None:
        document["image"] = {"digest": str(manifest.image)}
    else:
        parameters = manifest.parameters
        for name in ("tree", "closures", "signers"):
            attached: Attached = getattr(manifest, name)
            document[name] = {"digest": str(attached.digest), "size": attached.size}
        document["verity"] = {
            "algorithm": parameters.algorithm.name,
            "block_size": parameters.block_size,
            "salt": parameters.salt.hex(),
        }
        document["exclusive"] = list(manifest.exclusive)
        document["mutable"] = list(manifest.mutable)
        document["signed"] = list(manifest.signed)
    document["revoked"] = [str(one) for one in manifest.revoked]
    return (json.dumps(document, indent=2) + "\n").encode()


def parse(data: bytes, path: str) -> Manifest:
    """The manifest in ``data``, the contents of ``path``. Nothing of it is verified.

    Raises VerisealError ``bad-manifest``; an unknown key is an error.
    """
    if len(data) > MAX_SIZE:
        raise _bad(path, "too large", f"at most {MAX_SIZE} bytes", f"{len(data)} bytes")
    fields = Fields(load(data, path, _bad), path, "the manifest", _bad)
    head = (fields.take("format"), fields.take("schema"))
    if head != (FORMAT, SCHEMA) or type(head[1]) is not int:
        raise _bad(path, "not a manifest of a known format", f"{FORMAT} {SCHEMA}", f"{head}")
    values: dict[str, Any] = {
        "os": fields.text("os"),
        "version": fields.number("version", 1),
        "created": fields.number("created", 0),
        "revoked": tuple(exact_digest(one, path, _bad) for one in fields.texts("revoked")),
    }
    if "image" in fields.left:
        image = Fields(fields.take("image"), path, "image", _bad)
        values["image"] = exact_digest(image.text("digest"), path, _bad)
        image.end()
    else:
        values |= _tree_values(fields, path)
    fields.end()
    return Manifest(**values)


def _tree_values(fields: Fields, path: str) -> dict[str, Any]:
    verity = Fields(fields.take("verity"), path, "verity", _bad)
    values: dict[str, Any] = {
        "tree": _attached(fields, "tree", MAX_TREE_LIST_SIZE, path),
        "closures": _attached(fields, "closures", closure.MAX_SIZE, path),
        "signers": _attached(fields, "signers", signers.MAX_SIZE, path),
    }
    try:
        values["parameters"] = domain.of_files(
            Parameters(
                algorithm(verity.text("algorithm")),
                verity.number("block_size", 1),
                bytes.fromhex(verity.text("salt", may_be_empty=True)),
            )
        )
        for name in ("exclusive", "mutable", "signed"):
            values[name] = pattern.Patterns(fields.texts(name)).texts
    except ValueError as error:
        raise _bad(path, str(error)) from None
    except VerisealError as error:
        raise _bad(path, error.problem, error.expected, error.found) from None
    verity.end()
    return values


def _attached(fields: Fields, name: str, most: int, path: str) -> Attached:
    inner = Fields(fields.take(name), path, name, _bad)
    attached = Attached(
        exact_digest(inner.text("digest"), path, _bad), inner.number("size", 1, most)
    )
    if attached.digest.algorithm is not PARAMETERS.algorithm:
        raise _bad(path, f"the digest of {name}", PARAMETERS.algorithm, attached.digest)
    inner.end()
    return attached


def digest(data: bytes) -> Digest:
    """What the signatures of the manifest ``data`` sign: its digest as a manifest."""
    return merkle.data_digest(data, domain.MANIFEST)


class Signature(NamedTuple):
    """A signature of the manifest that was verified: its signer, and its DER."""

    signer: Certificate
    der: bytes


def check_signatures(
    data: bytes,
    signatures: Mapping[str, bytes],
    certificates: Sequence[Certificate],
    needed: int,
    path: str,
) -> tuple[list[Signature], list[str]]:
    """The signatures of ``data``, the contents of ``path``: at least ``needed`` that count.

    ``signatures`` are DER by file name. Each certificate counts once, however many files hold
    its signature. What is not a signature by one of ``certificates`` counts for nothing; the
    second list says why.

    Raises VerisealError ``manifest-not-signed`` saying what is wrong with each file.
    """
    whole = digest(data)
    counted: dict[str, Signature] = {}
    ignored: list[str] = []
    damaged = False
    for name, der in signatures.items():
        try:
            signer = _signer(der, whole, certificates, name)
            counted[signer.fingerprint] = Signature(signer, der)
        except VerisealError as error:
            ignored.append(error.without_remedy())
            damaged = damaged or error.reason != "not-enrolled"
    if len(counted) < needed:
        subjects = [one.signer.subject for one in counted.values()]
        raise VerisealError(
            "manifest-not-signed",
            f"the manifest is not signed by {needed} of the certificates that count",
            path=path,
            expected=f"{needed} of: " + ", ".join(some([one.subject for one in certificates])),
            found="; ".join(some([*subjects, *ignored])) or "no signature",
            remedy=_CHANGED if damaged else _INSTALL,
        )
    return list(counted.values()), ignored


def _signer(
    der: bytes, whole: Digest, certificates: Iterable[Certificate], name: str
) -> Certificate:
    info = signature.inspect(der, name)
    for certificate in certificates:
        if info.names(certificate):
            signature.check(info, whole, certificate, name)
            return certificate
    raise VerisealError(
        "not-enrolled", "signed by a certificate that does not count", path=name, found=info.signer
    )


def check_os(manifest: Manifest, names: Sequence[str], path: str) -> None:
    """Raise VerisealError ``other-os`` unless the manifest is of one of ``names``."""
    if manifest.os not in names:
        raise VerisealError(
            "other-os",
            "the manifest is of another operating system or release",
            path=path,
            expected=" or ".join(names),
            found=manifest.os,
            remedy="After an upgrade, rebuild the initrd: it goes by its own copy of os-release",
        )


def check_version(manifest: Manifest, floor: int, path: str) -> None:
    """Raise VerisealError ``rolled-back`` if the manifest is older than version ``floor``."""
    if manifest.version < floor:
        raise VerisealError(
            "rolled-back",
            "the manifest is older than one this machine has known",
            path=path,
            expected=f"version {floor} or newer",
            found=f"version {manifest.version}",
            remedy="Install the newer release again, or boot the older one's own initrd",
        )


def _bad(path: str, problem: str, expected: object = None, found: object = None) -> VerisealError:
    return VerisealError(
        "bad-manifest",
        problem,
        path=path,
        expected=expected,
        found=found,
        remedy="Make it again with: veriseal build",
    )
