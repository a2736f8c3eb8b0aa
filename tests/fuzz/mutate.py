"""Changes to a valid document that keep most of it valid, so that the depths are reached.

A mutator takes the source of its choices, a document and the *tokens* of its language, and
returns another document. Choices are few and small: hypothesis records and shrinks them.
"""

import base64
import copy
import json
import re
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

Mutator = Callable[[Random, bytes, Sequence[bytes]], bytes]

MAX_SIZE = 1 << 16
"""Bytes of what a mutator returns."""

_BYTES = (
    *(b"\0", b"\n", b"\r", b"\t", b" ", b'"', b"'", b"\\", b"/", b"=", b"-", b"\x7f", b"\x80"),
    *(b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\xc2\x85", b"\x1b[2J"),
)
_RUNS = (2, 255, 256, 257, 4300)
_WORDS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_ATOMS: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 1.0, 1e308, float("inf"), float("nan")),
    *(1 << 31, 1 << 63, 1 << 64, "", "\0", "/", "..", "\ud800", "\x1b[2J\n", [], {}, [[]], [0]),
)


def edit_bytes(random: Random, data: bytes, tokens: Sequence[bytes]) -> bytes:
    """Change, add, drop, repeat or move a few bytes, knowing nothing of the document."""
    for _ in range(random.randint(1, 3)):
        data = random.choice(_EDITS)(random, data, tokens)
    return data[:MAX_SIZE]


def edit_lines(random: Random, data: bytes, tokens: Sequence[bytes]) -> bytes:
    """Change the order of lines, or one field of a line."""
    lines = data.splitlines(keepends=True) or [b""]
    at = random.randrange(len(lines))
    what = random.randrange(6)
    if what == 0:
        del lines[at]
    elif what == 1:
        lines.insert(at, random.choice(lines))
    elif what == 2:
        other = random.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    else:
        lines[at] = _edit_field(random, lines[at], random.choice(lines), tokens)
    return b"".join(lines)[:MAX_SIZE]


def edit_json(random: Random, data: bytes, tokens: Sequence[bytes]) -> bytes:
    """Replace, drop, add or repeat one value somewhere in a JSON document."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return edit_bytes(random, data, tokens)
    places = list(_places(document))
    if not places:
        return json.dumps(_value(random, tokens, document)).encode()
    holder, key = random.choice(places)
    what = random.randrange(5)
    if what == 0:
        del holder[key]
    elif what == 1 and isinstance(holder, list):
        holder.insert(key, holder[key])
    elif what == 1:
        holder[_text(random, tokens)] = holder[key]
    else:
        holder[key] = _value(random, tokens, holder[key])
    return json.dumps(document, indent=random.choice((None, 2))).encode()[:MAX_SIZE]


def edit_der(random: Random, data: bytes, tokens: Sequence[bytes]) -> bytes:
    """Change one element of a DER document; the lengths around it are made to fit again."""
    elements = _read_der(data)
    if elements is None:
        return edit_bytes(random, data, tokens)
    _edit_element(random, elements, tokens)
    return _write_der(elements)[:MAX_SIZE]


def edit_pem(random: Random, data: bytes, tokens: Sequence[bytes]) -> bytes:
    """As `edit_der`, inside the first block of a PEM file."""
    match = re.search(rb"-----BEGIN [A-Z ]+-----\n([A-Za-z0-9+/=\n]+)-----END", data)
    try:
        der = base64.b64decode(match[1]) if match else b""
    except ValueError:
        der = b""
    if match is None or not der:
        return edit_bytes(random, data, tokens)
    changed = base64.encodebytes(edit_der(random, der, tokens))
    return (data[: match.start(1)] + changed + data[match.end(1) :])[: 2 * MAX_SIZE]


def _flip(random: Random, data: bytes, _tokens: Sequence[bytes]) -> bytes:
    if not data:
        return data
    at = random.randrange(len(data))
    return data[:at] + bytes((data[at] ^ 1 << random.randrange(8),)) + data[at + 1 :]


def _insert(random: Random, data: bytes, tokens: Sequence[bytes]) -> bytes:
    at = random.randint(0, len(data))
    return data[:at] + random.choice((*_BYTES, *tokens)) + data[at:]


def _replace(random: Random, data: bytes, tokens: Sequence[bytes]) -> bytes:
    begin, end = _range(random, data)
    return data[:begin] + random.choice((*_BYTES, *tokens)) + data[end:]


def _drop(random: Random, data: bytes, _tokens: Sequence[bytes]) -> bytes:
    begin, end = _range(random, data)
    return data[:begin] + data[end:]


def _cut(random: Random, data: bytes, _tokens: Sequence[bytes]) -> bytes:
    return data[: random.randint(0, len(data))]


def _repeat(random: Random, data: bytes, _tokens: Sequence[bytes]) -> bytes:
    begin, end = _range(random, data, 8)
    return data[:end] + data[begin:end] * random.choice(_RUNS) + data[end:]


def _move(random: Random, data: bytes, _tokens: Sequence[bytes]) -> bytes:
    begin, end = _range(random, data)
    rest = data[:begin] + data[end:]
    at = random.randint(0, len(rest))
    return rest[:at] + data[begin:end] + rest[at:]


def _set_word(random: Random, data: bytes, _tokens: Sequence[bytes]) -> bytes:
    size = random.choice((1, 2, 4))
    at = random.randint(0, max(0, len(data) - size))
    word = (random.choice(_WORDS) & (1 << 8 * size) - 1).to_bytes(size, "little")
    return data[:at] + word + data[at + size :]


_EDITS: tuple[Mutator, ...] = (_flip, _insert, _replace, _drop, _cut, _repeat, _move, _set_word)


def _range(random: Random, data: bytes, longest: int = 64) -> tuple[int, int]:
    begin = random.randint(0, len(data))
    return begin, begin + random.randint(0, min(longest, len(data) - begin))


def _edit_field(random: Random, line: bytes, other: bytes, tokens: Sequence[bytes]) -> bytes:
    separator = random.choice((b" ", b"=", b"/", b","))
    fields = line.split(separator)
    at = random.randrange(len(fields))
    what = random.randrange(5)
    if what == 0:
        del fields[at]
    elif what == 1:
        fields.insert(at, fields[at])
    elif what == 2:
        fields[at] = random.choice(other.split(separator))
    elif what == 3:
        fields[at] = random.choice((*_BYTES, *tokens))
    else:
        fields[at] = random.choice(_EDITS)(random, fields[at], tokens)
    return separator.join(fields)


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Each value inside, as what holds it and its key or index there."""
    if not isinstance(document, dict | list):
        return
    for key in document if isinstance(document, dict) else range(len(document)):
        yield document, key
        yield from _places(document[key])


def _value(random: Random, tokens: Sequence[bytes], old: Any) -> Any:
    what = random.randrange(5)
    if what == 0:
        return random.choice(_ATOMS)
    if what == 1:
        return _text(random, tokens)
    if what == 2:
        return random.choice(([old], [old, old], {"": old}, str(old)))
    if isinstance(old, str):
        return edit_bytes(random, old.encode("utf-8", "surrogatepass"), tokens).decode(
            "utf-8", "surrogateescape"
        )
    if isinstance(old, int):
        return old + random.choice((-1, 1, 1 << 31, -1 << 63))
    return None


def _text(random: Random, tokens: Sequence[bytes]) -> str:
    return random.choice((*_BYTES, *tokens)).decode("utf-8", "surrogateescape")


# A DER document as a list of [tag, contents]: bytes, or such a list.
_Elements = list[list[Any]]


def _read_der(data: bytes) -> _Elements | None:
    elements: _Elements = []
    at = 0
    while at < len(data):
        if at + 2 > len(data):
            return None
        tag, length = data[at], data[at + 1]
        at += 2
        if length >= 0x80:
            count = length & 0x7F
            if not 0 < count <= 3 or at + count > len(data):
                return None
            length = int.from_bytes(data[at : at + count], "big")
            at += count
        if at + length > len(data):
            return None
        contents = data[at : at + length]
        at += length
        # Constructed; and what is wrapped in a string, as the value of an extension is.
        inner = _read_der(contents) if tag & 0x20 or tag == 0x04 else None
        elements.append([tag, contents if inner is None else inner])
    return elements


def _write_der(elements: _Elements) -> bytes:
    out = b""
    for tag, contents in elements:
        raw = _write_der(contents) if isinstance(contents, list) else contents
        size = len(raw)
        if size < 0x80:
            length = bytes((size,))
        else:
            digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
            length = bytes((0x80 | len(digits),)) + digits
        out += bytes((tag,)) + length + raw
    return out


def _all_lists(elements: _Elements) -> list[_Elements]:
    found = [elements]
    for _, contents in elements:
        if isinstance(contents, list):
            found += _all_lists(contents)
    return [one for one in found if one]


def _edit_element(random: Random, elements: _Elements, tokens: Sequence[bytes]) -> None:
    lists = _all_lists(elements)
    if not lists:
        return
    chosen = random.choice(lists)
    at = random.randrange(len(chosen))
    what = random.randrange(6)
    if what == 0:
        del chosen[at]
    elif what == 1:
        chosen.insert(at, chosen[at])
    elif what == 2:
        chosen.insert(at, copy.deepcopy(random.choice(random.choice(lists))))
    elif what == 3:
        chosen[at][0] = random.choice((random.randrange(256), 0x30, 0x31, 0x02, 0x04, 0x06, 0xA0))
    else:
        contents = chosen[at][1]
        raw = _write_der(contents) if isinstance(contents, list) else contents
        chosen[at][1] = edit_bytes(random, raw, tokens)
