"""The signatures beside a signed document: one file for each signer."""

import os

from veriseal.build import files
from veriseal.build.sign import SUFFIX
from veriseal.build.signer import Signer

_NAME_DIGITS = 16


def signature_path(path: str, by: Signer) -> str:
    """Where the signature of the document ``path`` by ``by`` is."""
    return f"{path}.{by.certificate.fingerprint[:_NAME_DIGITS]}{SUFFIX}"


def make_room(path: str, data: bytes, by: Signer) -> list[str]:
    """Remove signatures of what ``path`` was, unless that was ``data``. Returns their paths.

    They would be no signatures of ``data``. Those of the same document, byte for byte, stay: by
    other keys, as several may be needed. Nor is the one by ``by`` removed, which is written next.

    Raises OSError.
    """
    try:
        if files.read(path, len(data)) == data:
            return []
    except FileNotFoundError:
        pass
    directory = os.path.dirname(path)
    paths = (os.path.join(directory, name) for name in sorted(os.listdir(directory or ".")))
    others = [one for one in paths if one.startswith(f"{path}.") and one.endswith(SUFFIX)]
    removed = [one for one in others if one != signature_path(path, by)]
    for one in removed:
        os.unlink(one)
    return removed
