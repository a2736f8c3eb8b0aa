"""Target: a whole release in a directory, of which one file is not as it was built.

The first byte says which: the files after it are as they were, or signed anew as if the signer had
written them, so that what is behind the signature is reached too.
"""

import os
from collections.abc import Sequence
from random import Random

from tests.fuzz import mutate, samples, workplace
from tests.fuzz.contract import attempt
from veriseal import closure, manifest, signers
from veriseal.errors import VerisealError
from veriseal.tree import listed, source

_SIGNATURE = f"{manifest.NAME}.1.sig"
_CHANGED_MANIFEST, _SIGNED_MANIFEST, _SIGNATURE_FILE, _CHANGED_LIST, _SIGNED_LIST = range(5)
_CHANGED_CLOSURES, _CHANGED_SIGNERS, _COUNT = 5, 6, 7


def seeds() -> list[bytes]:
    statement = manifest.serialize(samples.statement())
    files = (
        statement,
        statement,
        samples.signed(statement),
        samples.tree_list(),
        samples.tree_list(),
        samples.closures(),
        samples.signed_by(),
    )
    return [bytes((number,)) + data for number, data in enumerate(files)]


def edit(random: Random, data: bytes, tokens: Sequence[bytes]) -> bytes:
    """A change that suits the file."""
    which = data[:1] or b"\0"
    change = {
        _CHANGED_MANIFEST: mutate.edit_json,
        _SIGNED_MANIFEST: mutate.edit_json,
        _SIGNATURE_FILE: mutate.edit_der,
        _CHANGED_CLOSURES: mutate.edit_json,
        _CHANGED_SIGNERS: mutate.edit_json,
    }.get(which[0], mutate.edit_lines)
    return which + change(random, data[1:], tokens)


def release(data: bytes) -> None:
    """Nothing but what was signed is accepted."""
    which, body = data[:1] or b"\0", data[1:]
    kind = which[0] % _COUNT
    good = manifest.serialize(samples.statement())
    files = {
        manifest.NAME: good,
        manifest.TREE_LIST: samples.tree_list(),
        closure.NAME: samples.closures(),
        signers.NAME: samples.signed_by(),
    }
    if kind in (_CHANGED_MANIFEST, _SIGNED_MANIFEST):
        files[manifest.NAME] = body
    elif kind in (_CHANGED_LIST, _SIGNED_LIST):
        files[manifest.TREE_LIST] = body
    elif kind == _CHANGED_CLOSURES:
        files[closure.NAME] = body
    elif kind == _CHANGED_SIGNERS:
        files[signers.NAME] = body
    if kind == _SIGNED_LIST and body:
        statement = samples.statement()._replace(tree=samples.attached(body))
        files[manifest.NAME] = manifest.serialize(statement)
    resigned = kind in (_SIGNED_MANIFEST, _SIGNED_LIST)
    files[_SIGNATURE] = samples.signed(files[manifest.NAME] if resigned else good)
    if kind == _SIGNATURE_FILE:
        files[_SIGNATURE] = body

    found = _load(files)
    if isinstance(found, VerisealError):
        return
    if not resigned and kind != _SIGNATURE_FILE:
        assert body == seeds()[kind][1:]
    assert (found.manifest.os, found.manifest.version >= 7) == (samples.OS, True)
    assert found.signatures
    tree = attempt(listed.read, found)
    if not isinstance(tree, VerisealError):
        assert set(tree.digests) <= {
            entry.path for one in tree.directories.values() for entry in one.entries
        }
        entries = found.tree_list.removesuffix(b"\n").count(b"\n") + 1
        assert sum(len(one.entries) for one in tree.directories.values()) == entries - 1


def _load(files: dict[str, bytes]) -> source.Release | VerisealError:
    directory = os.path.join(workplace.directory(), "manifest")
    os.makedirs(directory, exist_ok=True)
    for name, data in files.items():
        workplace.put(os.path.join("manifest", name), data)
    signer = samples.signer("rsa")
    trust = source.Trust([(samples.OS, signer)], 1, [samples.OS, "fedora"], 7)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return attempt(source.load, fd, "manifest", trust)
    finally:
        os.close(fd)
