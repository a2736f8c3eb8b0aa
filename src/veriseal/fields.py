"""Strict reading of signed JSON documents: no key unknown, missing or given twice. Pure."""

import json
import os
from typing import Protocol

from veriseal.digest import Digest
from veriseal.errors import VerisealError

MAX_NUMBER = (1 << 63) - 1
MAX_PATH = 4096
"""Bytes of a path: PATH_MAX, include/uapi/linux/limits.h."""


class Bad(Protocol):
    """Makes the error for a document of one kind."""

    def __call__(
        self, path: str, problem: str, expected: object = None, found: object = None
    ) -> VerisealError:
        """``path`` is that of the file."""


def load(data: bytes, path: str, bad: Bad) -> object:
    """The JSON in ``data``, the contents of ``path``. Raises what ``bad`` makes."""
    try:
        return json.loads(data.decode(), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise bad(path, f"not JSON: {error}") from None


def absolute(value: object) -> bytes | None:
    """The path that ``value`` is as text: absolute, and one that a file can have. Or None."""
    if not isinstance(value, str):
        return None
    try:
        path = os.fsencode(value)
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return None
    good = path.startswith(b"/") and b"\0" not in path and len(path) <= MAX_PATH
    return path if good else None


class Fields:
    """The keys of a JSON object; each is taken once, and `end` says which are left.

    ``path`` and ``name`` are those of the file and the object, for messages. Every method raises
    what ``bad`` makes.
    """

    def __init__(self, value: object, path: str, name: str, bad: Bad) -> None:
        if not isinstance(value, dict):
            raise bad(path, f"{name}: not an object")
        self._bad = bad
        self.left: dict[str, object] = dict(value)
        self._path = path
        self._name = name

    def take(self, key: str) -> object:
        """Any value."""
        if key not in self.left:
            raise self._bad(self._path, f"{self._name}: {key} is missing")
        return self.left.pop(key)

    def text(self, key: str, may_be_empty: bool = False) -> str:
        """A text."""
        value = self.take(key)
        if not isinstance(value, str) or not (value or may_be_empty):
            raise self._bad(self._path, f"{self._name}: {key}", "text", repr(value))
        return value

    def texts(self, key: str) -> list[str]:
        """A list of texts."""
        value = self.take(key)
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self._bad(self._path, f"{self._name}: {key}", "a list of texts", repr(value))
        return value

    def number(self, key: str, least: int, most: int = MAX_NUMBER) -> int:
        """A whole number."""
        value = self.take(key)
        # bool is an int, and is not meant.
        if type(value) is not int or not least <= value <= most:
            wanted = f"a number from {least} to {most}"
            raise self._bad(self._path, f"{self._name}: {key}", wanted, repr(value))
        return value

    def end(self) -> None:
        """No key is left."""
        if self.left:
            raise self._bad(self._path, f"{self._name}: unknown key", found=", ".join(self.left))


def exact_digest(text: str, path: str, bad: Bad) -> Digest:
    """The digest that ``text`` is, exactly as digests are written. Raises what ``bad`` makes."""
    try:
        return Digest.parse_exact(text)
    except VerisealError as error:
        raise bad(path, error.problem, error.expected, error.found) from None


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found
