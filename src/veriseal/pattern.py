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
        self._names = [[_regex(name) for name in names] for names in components]
        whole = [_joined(names) for names in self._names]
        self._any = _compile(whole)
        depths = zip(map(_depth, components), whole, strict=True)
        self._depths = [(depth, _compile([text])) for depth, text in sorted(depths, reverse=True)]
        # By their number of components; made when first asked for, as nobody asks for all of a
        # pattern of thousands.
        self._above: dict[int, re.Pattern[bytes]] = {}

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
        # The root's own path is "/", and has no component.
        count = 0 if path == b"/" else path.count(b"/")
        if count not in self._above:
            longer = {_joined(names[:count]) or b"/" for names in self._names if len(names) > count}
            self._above[count] = _compile(sorted(longer))
        return self._above[count].fullmatch(path) is not None


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
    # Before, between and after the stars.
    chunks = [bytearray()]
    at = 0
    while at < len(name):
        byte = name[at : at + 1]
        at += 1
        if byte == b"*":
            chunks.append(bytearray())
        elif byte == b"?":
            chunks[-1] += b"[^/]"
        elif byte == b"[" and (end := name.find(b"]", at + 1 + (name[at : at + 1] in b"!^"))) > 0:
            negated = name[at : at + 1] in (b"!", b"^")
            inside = _bracket(name[at + negated : end])
            chunks[-1] += b"(?!/)[" + (b"^" if negated else b"") + inside + b"]"
            at = end + 1
        else:
            chunks[-1] += re.escape(byte)
    first, *others = map(bytes, chunks)
    if not others:
        return first
    # The first place where a chunk fits is as good as any later one. Without `(?>` all would be
    # tried, and all combinations of them.
    middle = (b"(?>[^/]*?%b)" % one for one in others[:-1] if one)
    return b"%b%b[^/]*%b" % (first, b"".join(middle), others[-1])


def _bracket(inside: bytes) -> bytes:
    """What is between brackets, so that nothing but bytes and ranges is seen in it."""
    out = b""
    at = 0
    while at < len(inside):
        out += re.escape(inside[at : at + 1])
        at += 1
        if inside[at : at + 1] == b"-" and at + 1 < len(inside):
            out += b"-" + re.escape(inside[at + 1 : at + 2])
            at += 2
    return out


def _joined(names: Sequence[bytes]) -> bytes:
    return b"".join(b"/" + name for name in names)


def _compile(alternatives: Sequence[bytes]) -> re.Pattern[bytes]:
    if not alternatives:
        return _NOTHING
    try:
        return re.compile(rb"(?:%s)(?:/|\Z)" % b"|".join(alternatives), re.DOTALL)
    except re.error as error:
        raise VerisealError("bad-pattern", f"not a pattern of paths: {error}") from None
