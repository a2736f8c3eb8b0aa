"""Second opinions: the rules of the kernel and of glob(7), written down from their sources.

Slow and literal on purpose: each follows its source line by line, so that a mistake in ours is
not repeated here.
"""

import re

_SPACES = b" \t\n\v\f\r"


def script(header: bytes) -> tuple[bytes, bytes | None] | None:
    """Interpreter and argument that the kernel takes from a ``#!`` line; None for ENOEXEC.

    Source: load_script() of fs/binfmt_script.c, Linux 5.10 and later.
    """
    size = 256
    buf = header[:size].ljust(size, b"\0")
    if buf[:2] != b"#!":
        return None
    buf_end = size - 1
    stop = buf.find(b"\0") if b"\0" in buf else size
    i_end = buf.find(b"\n", 0, stop)
    if i_end < 0:
        first = _next_non_spacetab(buf, 2, buf_end)
        if first is None or _next_terminator(buf, first, buf_end) is None:
            return None
        i_end = buf_end
    while buf[i_end - 1 : i_end] in (b" ", b"\t"):
        i_end -= 1
    i_name = _next_non_spacetab(buf, 2, i_end)
    if i_name is None or i_name == i_end:
        return None
    argument = None
    i_sep = _next_terminator(buf, i_name, i_end)
    if i_sep is not None and buf[i_sep] != 0:
        i_arg = _next_non_spacetab(buf, i_sep, i_end)
        if i_arg is not None:
            argument = buf[i_arg:i_end].split(b"\0")[0]
    end = i_end if i_sep is None else i_sep
    return buf[i_name:end].split(b"\0")[0], argument


def _next_non_spacetab(buf: bytes, first: int, last: int) -> int | None:
    for at in range(first, last + 1):
        if buf[at : at + 1] not in (b" ", b"\t"):
            return at
    return None


def _next_terminator(buf: bytes, first: int, last: int) -> int | None:
    for at in range(first, last + 1):
        if buf[at : at + 1] in (b" ", b"\t", b"\0"):
            return at
    return None


def parameters(line: bytes) -> list[tuple[bytes, bytes | None]]:
    """Names and values on a kernel command line. Source: next_arg() of lib/cmdline.c."""
    found = []
    args = line.split(b"\0")[0].lstrip(_SPACES)
    while args:
        quoted = in_quote = args.startswith(b'"')
        if quoted:
            args = args[1:]
        equals = 0
        i = 0
        while i < len(args):
            if args[i] in _SPACES and not in_quote:
                break
            if equals == 0 and args[i : i + 1] == b"=":
                equals = i
            if args[i : i + 1] == b'"':
                in_quote = not in_quote
            i += 1
        word, args = args[:i], args[i + 1 :].lstrip(_SPACES)
        if not equals:
            name, value = word, None
        else:
            name, value = word[:equals], word[equals + 1 :]
            if value.startswith(b'"'):
                value = value[1:].removesuffix(b'"')
                quoted = False
        if quoted:
            if value is None:
                name = name.removesuffix(b'"')
            else:
                value = value.removesuffix(b'"')
        found.append((name, value))
    return found


def matches(pattern: str, path: bytes) -> bool:
    """Whether ``pattern`` stands for ``path``: glob(7), a name at a time, or for what is above it.

    By dynamic programming: no pattern makes it slow.
    """
    names = [] if pattern == "/" else pattern.encode("utf-8", "surrogateescape").split(b"/")[1:]
    parts = path.split(b"/")
    if parts[0] or len(parts) - 1 < len(names):
        return False
    return all(_name_matches(*pair) for pair in zip(names, parts[1:], strict=False))


def _name_matches(pattern: bytes, name: bytes) -> bool:
    reached = {0}
    for token in _tokens(pattern):
        if token is None:
            reached = set(range(min(reached), len(name) + 1)) if reached else set()
        else:
            reached = {at + 1 for at in reached if at < len(name) and name[at] in token}
    return len(name) in reached


def _tokens(pattern: bytes) -> list[frozenset[int] | None]:
    """For each part of a name the bytes that it takes; None for any number of any."""
    anything = frozenset(range(256))
    tokens: list[frozenset[int] | None] = []
    at = 0
    while at < len(pattern):
        byte = pattern[at : at + 1]
        at += 1
        if byte == b"*":
            tokens.append(None)
        elif byte == b"?":
            tokens.append(anything)
        elif byte == b"[" and (match := re.match(rb"([!^]?)(\]?[^]]*)\]", pattern[at:])):
            inside = _bracket(match[2])
            tokens.append(anything - inside if match[1] else inside)
            at += match.end()
        else:
            tokens.append(frozenset(byte))
    return tokens


def _bracket(inside: bytes) -> frozenset[int]:
    found: set[int] = set()
    at = 0
    while at < len(inside):
        if inside[at + 1 : at + 2] == b"-" and at + 2 < len(inside):
            found.update(range(inside[at], inside[at + 2] + 1))
            at += 3
        else:
            found.add(inside[at])
            at += 1
    return frozenset(found)


def is_der(data: bytes) -> bool:
    """Whether ``data`` is one element in DER, as far as tags and lengths go (X.690, 10.1)."""
    try:
        return _element(data, 0, 0) == len(data)
    except IndexError:
        return False


def _element(data: bytes, at: int, depth: int) -> int:
    """Where the element at ``at`` ends. Raises IndexError."""
    tag, length = data[at], data[at + 1]
    at += 2
    if tag & 0x1F == 0x1F or depth > 64:
        raise IndexError
    if length >= 0x80:
        count = length & 0x7F
        digits = data[at : at + count]
        length = int.from_bytes(digits, "big")
        at += count
        if not 0 < count == len(digits) or digits[0] == 0 or length < 0x80:
            raise IndexError
    end = at + length
    if end > len(data):
        raise IndexError
    if tag & 0x20:
        while at < end:
            at = _element(data[:end], at, depth + 1)
    return end
