"""Patterns of paths, for what is exclusive, what may change, what is signed. Pure.

A pattern is an absolute path whose components may hold ``*``, ``?`` and ``[...]`` as in glob(7);
none of them matches ``/``, and all of them match a leading dot. A pattern stands for what it
matches and for everything below. ``/`` stands for the whole tree. Paths are bytes.
"""

import re
from collections.abc import Sequence

from veriseal.errors import VerisealError

EXCLUSIVE = "exclusive"
MUTABLE = "mutable"

_NOTHING = re.compile(rb"(?!)")
_WILDCARDS = re.compile(r"[*?\[]")


class Patterns:
    """A set of patterns. Immutable.

    Attributes:
        texts: as they were given.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        """Raises VerisealError ``bad-pattern``."""
        self.texts = tuple(texts)
        components = [_components(text) for text in texts]
        whole = [b"".join(b"/" + _regex(name) for name in names) for names in components]
        self._any = _compile(whole)
        depths = zip(map(_depth, components), whole, strict=True)
        self._depths = [(depth, _compile([text])) for depth, text in sorted(depths, reverse=True)]
        ancestors = {
            b"".join(b"/" + _regex(name) for name in names[:count])
            for names in components
            for count in range(len(names))
        }
        # The root's own path is "/", not "".
        leading = b"|".join(sorted(b"(?:%s)" % (one or b"/") for one in ancestors))
        self._ancestors = re.compile(leading, re.DOTALL) if ancestors else _NOTHING

    def cover(self, path: bytes) -> bool:
        """Whether a pattern stands for ``path``."""
        return self._any.match(path) is not None

    def depth(self, path: bytes) -> int:
        """How specific the most specific pattern is that stands for ``path``; 0 for none."""
        for depth, regex in self._depths:
            if regex.match(path):
                return depth
        return 0

    def literal(self) -> list[bytes]:
        """The patterns that hold no wildcard: paths as they are."""
        plain = [text for text in self.texts if not _WILDCARDS.search(text)]
        return [text.encode("utf-8", "surrogateescape") for text in plain]

    def lead_below(self, path: bytes) -> bool:
        """Whether something below ``path`` could match a pattern, though ``path`` does not."""
        return self._ancestors.fullmatch(path) is not None


class Rules:
    """What is exclusive and what may change; of two patterns the longer counts.

    Where both are as long, the one with fewer wildcards counts, and then `MUTABLE`: somebody
    named it on purpose.
    """

    def __init__(self, exclusive: Sequence[str], mutable: Sequence[str]) -> None:
        """Raises VerisealError ``bad-pattern``."""
        self.exclusive = Patterns(exclusive)
        self.mutable = Patterns(mutable)

    def kind(self, path: bytes) -> str | None:
        """`EXCLUSIVE`, `MUTABLE` or, for a path that no pattern stands for, None."""
        mutable = self.mutable.depth(path)
        exclusive = self.exclusive.depth(path)
        if mutable and mutable >= exclusive:
            return MUTABLE
        return EXCLUSIVE if exclusive else None

    def must_be_searched(self, directory: bytes) -> bool:
        """Whether an entry of ``directory`` that is not listed could be a finding."""
        if self.exclusive.lead_below(directory):
            return True
        return self.exclusive.cover(directory) and self.kind(directory) == EXCLUSIVE


def _depth(names: list[str]) -> int:
    """Longer is more specific; of two as long, that with fewer wildcards."""
    literal = sum(1 for name in names if not _WILDCARDS.search(name))
    # The root itself has 1, so that 0 is left for "not covered".
    return 1 + len(names) * 4096 + literal


def _components(text: str) -> list[str]:
    if text == "/":
        return []
    names = text.split("/")
    wrong = {"", ".", ".."} & set(names[1:])
    if names[0] or len(names) < 2 or wrong or "\0" in text:
        raise VerisealError(
            "bad-pattern",
            "not a pattern of paths",
            expected="an absolute path without empty, . or .. components, and without a final /",
            found=text,
        )
    return names[1:]


def _regex(component: str) -> bytes:
    """``component`` as a regular expression that never matches ``/``."""
    # Not by the locale: the manifest is UTF-8 wherever it is read.
    name = component.encode("utf-8", "surrogateescape")
    out = b""
    at = 0
    while at < len(name):
        byte = name[at : at + 1]
        at += 1
        if byte == b"*":
            out += b"[^/]*"
        elif byte == b"?":
            out += b"[^/]"
        elif byte == b"[" and (end := name.find(b"]", at + 1 + (name[at : at + 1] in b"!^"))) > 0:
            negated = name[at : at + 1] in (b"!", b"^")
            inside = re.sub(rb"([\\\[\]^&~|])", rb"\\\1", name[at + negated : end])
            out += b"(?!/)[" + (b"^" if negated else b"") + inside + b"]"
            at = end + 1
        else:
            out += re.escape(byte)
    return out


def _compile(alternatives: Sequence[bytes]) -> re.Pattern[bytes]:
    if not alternatives:
        return _NOTHING
    try:
        return re.compile(rb"(?:%s)(?:/|\Z)" % b"|".join(alternatives), re.DOTALL)
    except re.error as error:
        raise VerisealError("bad-pattern", f"not a pattern of paths: {error}") from None
