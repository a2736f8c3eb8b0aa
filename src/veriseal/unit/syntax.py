"""Unit files: their lines, and the words of a value. Pure.

As systemd reads them: systemd.syntax(7), src/shared/conf-parser.c, src/basic/extract-word.c. Where
systemd would pass over something with a warning, here it is an error: what is not understood
must not decide what runs.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from veriseal.errors import VerisealError

MAX_SIZE = 1 << 19
"""Bytes of a unit file: half of systemd's longest line, so that every longer line fits as well."""

BLANK = " \t"
_COMMENT = "#;"
_ESCAPES = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "s": " ",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    '"': '"',
    "'": "'",
}
_NUMBERS = {"x": (2, 16), "u": (4, 16), "U": (8, 16)}
"""What follows the letter: digits, base. An octal escape has three digits and no letter."""


class Assignment(NamedTuple):
    """``key=value`` in ``[section]``, at a line of a file. Blanks around both are gone."""

    section: str
    key: str
    value: str
    path: str
    line: int


class Word(NamedTuple):
    """A word of a value.

    Attributes:
        text: as written, with quotes and escapes.
        start, end: where that is in the value.
    """

    text: str
    start: int
    end: int


def parse(data: bytes, path: str) -> list[Assignment]:
    """The assignments of a unit file or drop-in.

    Raises VerisealError ``bad-unit``.
    """
    return list(_assignments(_logical_lines(_decode(data, path)), path))


def _decode(data: bytes, path: str) -> str:
    if len(data) > MAX_SIZE:
        raise _bad(path, None, f"larger than {MAX_SIZE} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise _bad(path, None, f"not UTF-8 at byte {error.start}") from None
    # To systemd each of them ends a line.
    if "\0" in text or "\r" in text:
        raise _bad(path, None, "it holds a NUL or carriage return", "Write it with plain newlines")
    if any(0xFDD0 <= ord(c) <= 0xFDEF or ord(c) & 0xFFFE == 0xFFFE for c in text):
        raise _bad(path, None, "it holds a Unicode noncharacter, which systemd does not accept")
    text = text.removeprefix("\ufeff")
    # systemd takes one away from the start of any line, the first that it meets.
    if "\ufeff" in text:
        raise _bad(path, None, "it holds a byte order mark that is not at its start")
    return text


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Number and text of each line, continuations joined. A comment between does not end one."""
    parts: list[str] = []
    number = 0
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip(BLANK)[:1] in tuple(_COMMENT):
            continue
        if _ends_escaped(line):
            parts.append(line[:-1] + " ")
            continue
        yield number, "".join((*parts, line))
        parts.clear()
    if parts:
        yield number, "".join(parts)


def _ends_escaped(line: str) -> bool:
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _assignments(lines: Iterable[tuple[int, str]], path: str) -> Iterator[Assignment]:
    section = None
    for number, whole in lines:
        line = whole.strip(BLANK)
        if not line:
            continue
        if line.startswith("["):
            if not line.endswith("]") or len(line) < 3:
                raise _bad(path, number, "not a section header", found=line)
            section = line[1:-1]
            continue
        key, equals, value = line.partition("=")
        if not equals or not key.strip(BLANK):
            raise _bad(path, number, "neither a section nor an assignment", found=line)
        if section is None:
            raise _bad(path, number, "an assignment before the first section", found=line)
        yield Assignment(section, key.strip(BLANK), value.strip(BLANK), path, number)


def split(value: str) -> Iterator[Word]:
    """The words of ``value``, quotes and escapes still in them.

    Raises ValueError, with a sentence: unbalanced quotes, a backslash at the end.
    """
    place = 0
    while True:
        while value[place : place + 1] in tuple(BLANK):
            place += 1
        if place == len(value):
            return
        start = place
        quote = ""
        while place < len(value) and (quote or value[place] not in BLANK):
            character = value[place]
            if character == "\\":
                place += 1
                if place == len(value):
                    raise ValueError("a backslash at the end")
            elif quote:
                quote = "" if character == quote else quote
            elif character in "\"'":
                quote = character
            place += 1
        if quote:
            raise ValueError(f"the quote {quote} is not closed")
        yield Word(value[start:place], start, place)


def unquote(text: str) -> str:
    """What a word of `split` stands for: quotes removed, escapes replaced; specifiers stay.

    Raises ValueError, with a sentence: an unknown escape sequence, a NUL, not UTF-8.
    """
    out = bytearray()
    quote = ""
    place = 0
    while place < len(text):
        character = text[place]
        place += 1
        if character == "\\":
            decoded, place = _unescape(text, place)
            out += decoded
        elif character == quote:
            quote = ""
        elif not quote and character in "\"'":
            quote = character
        else:
            out += character.encode()
    try:
        return out.decode()
    except UnicodeDecodeError:
        raise ValueError("its escape sequences are not UTF-8") from None


def _unescape(text: str, place: int) -> tuple[bytes, int]:
    """The escape sequence whose backslash is before ``place``, and where it ends."""
    letter = text[place : place + 1]
    if letter in _ESCAPES:
        return _ESCAPES[letter].encode(), place + 1
    start, (count, base) = place + 1, _NUMBERS.get(letter, (0, 0))
    if not count:
        start, count, base = place, 3, 8
    digits = text[start : start + count]
    allowed = "01234567" if base == 8 else "0123456789abcdefABCDEF"
    if len(digits) != count or not all(digit in allowed for digit in digits):
        raise ValueError(f"unknown escape sequence \\{letter}")
    number = int(digits, base)
    # A byte for \x and octal, a character for \u and \U.
    most = 0xFF if count <= 3 else 0x10FFFF
    if number == 0 or number > most or 0xD800 <= number <= 0xDFFF:
        raise ValueError(f"\\{text[place : start + count]} stands for no character")
    end = start + count
    return (bytes([number]) if count <= 3 else chr(number).encode()), end


def _bad(
    path: str, line: int | None, problem: str, remedy: str | None = None, found: str | None = None
) -> VerisealError:
    where = problem if line is None else f"line {line}: {problem}"
    remedy = remedy or "systemd-analyze verify shows what systemd makes of it"
    return VerisealError("bad-unit", where, path=path, found=found, remedy=remedy)
