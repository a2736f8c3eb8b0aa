"""One line of a list, as far as it can be judged alone."""

import re
from binascii import unhexlify
from collections.abc import Callable
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK
from typing import TypeVar

from veriseal.dump.entry import Entry, check
from veriseal.dump.error import LineError
from veriseal.dump.limits import (
    MAX_LINE,
    MAX_OWNER,
    MAX_PATH,
    MAX_SIGNED,
    MAX_WORD,
    MAX_XATTR_NAME,
    MAX_XATTR_VALUE,
    MAX_XATTRS,
    MIN_SIGNED,
)

# The fields: name, pattern, and what the pattern means. A field is never empty: what is not set is
# "-". A byte that needs an escape is not taken without; a zero byte would end the field in C.
# Numbers have one form, strtoull has many. No pattern tries a second way (`++`): the time is
# linear.
_NUMBER = rb"0|[1-9][0-9]{0,18}"
_STRING = rb"[!-~]++"
_FIELDS = (
    ("PATH", rb"/[!-~]*+", "an absolute path"),
    ("SIZE", _NUMBER, "a number"),
    ("MODE", rb"@?[1-7][0-7]{4,5}", "an octal number with a file type"),
    ("NLINK", _NUMBER, "a number"),
    ("UID", _NUMBER, "a number"),
    ("GID", _NUMBER, "a number"),
    ("RDEV", _NUMBER, "a number"),
    ("MTIME", rb"(?:0|-?[1-9][0-9]{0,18})\.(?:0|[1-9][0-9]{0,8})", "SECONDS.NANOSECONDS"),
    ("PAYLOAD", _STRING, "escaped text or '-'"),
    ("CONTENT", _STRING, "escaped text or '-'"),
    ("DIGEST", rb"-|[0-9a-f]{64}|[0-9a-f]{128}", "'-' or 64 or 128 lower-case hex digits"),
)
_XATTRS = rb"((?: [ -~]*+)?)"
_match_line = re.compile(
    b" ".join(b"(%b)" % pattern for _, pattern, _ in _FIELDS) + _XATTRS
).fullmatch

# What is not a whole escape matches as a lone backslash, which means nothing.
_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|[\\nrt])?")
_SHORT_ESCAPES = {rb"\\": b"\\", rb"\n": b"\n", rb"\r": b"\r", rb"\t": b"\t"}

_KINDS = frozenset((S_IFREG, S_IFDIR, S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK))


def read(line: bytes) -> Entry:
    """The entry of a line without its newline. Raises LineError."""
    if len(line) > MAX_LINE:
        raise LineError("the line is too long", f"at most {MAX_LINE} bytes")
    match = _match_line(line)
    if match is None:
        raise _malformed(line)
    path, size, mode, nlink, uid, gid, rdev, mtime, payload, content, digest, xattrs = (
        match.groups()
    )
    st_mode, hardlink = _modes[mode]
    entry = Entry(
        _string("PATH", path, MAX_PATH),
        int(size),
        st_mode,
        _words[nlink],
        _owners[uid],
        _owners[gid],
        _words[rdev],
        _times[mtime],
        None if payload == b"-" else _string("PAYLOAD", payload, MAX_PATH),
        None if content == b"-" else _unescape(content),
        None if digest == b"-" else unhexlify(digest),
        _xattrs[xattrs] if xattrs else (),
        hardlink,
    )
    if not hardlink:
        check(entry)
    return entry


def _malformed(line: bytes) -> LineError:
    """Which field is to blame that the line does not match."""
    fields = line.split(b" ", len(_FIELDS))
    if len(fields) < len(_FIELDS):
        return LineError("too few fields", f"at least {len(_FIELDS)}", len(fields))
    for (name, pattern, meaning), field in zip(_FIELDS, fields, strict=False):
        if not re.fullmatch(pattern, field):
            return LineError(f"{name} is not {meaning}", found=field)
    return LineError("a byte in the extended attributes needs an escape", found=fields[-1])


def _string(field: str, raw: bytes, limit: int) -> bytes:
    """What C holds as a string, of at most ``limit`` bytes."""
    if b"\\" in raw:
        raw = _unescape(raw)
        if b"\0" in raw:
            raise LineError(f"{field} has a zero byte", found=raw)
    if len(raw) > limit:
        raise LineError(f"{field} is too long", f"at most {limit} bytes", raw)
    return raw


def _unescape(raw: bytes) -> bytes:
    return _ESCAPE.sub(_unescaped, raw)


def _unescaped(match: re.Match[bytes]) -> bytes:
    escape, digits = match.group(0, 1)
    if digits:
        return unhexlify(digits)
    if escape not in _SHORT_ESCAPES:
        raise LineError("bad escape", r"\xHH, \\, \n, \r or \t", match.string[match.start() :])
    return _SHORT_ESCAPES[escape]


def _to_mode(raw: bytes) -> tuple[int, bool]:
    mode = int(raw.lstrip(b"@"), 8)
    if S_IFMT(mode) not in _KINDS or mode > 0o177777:
        raise LineError("MODE has no known file type", found=raw)
    return mode, raw.startswith(b"@")


def _to_word(raw: bytes) -> int:
    if int(raw) > MAX_WORD:
        raise LineError("NLINK or RDEV is out of range", f"at most {MAX_WORD}", raw)
    return int(raw)


def _to_owner(raw: bytes) -> int:
    if int(raw) > MAX_OWNER:
        raise LineError("UID or GID is out of range", f"at most {MAX_OWNER}", raw)
    return int(raw)


def _to_time(raw: bytes) -> tuple[int, int]:
    seconds, nanoseconds = map(int, raw.split(b"."))
    if not MIN_SIGNED <= seconds <= MAX_SIGNED:
        raise LineError("MTIME is out of range", f"{MIN_SIGNED} to {MAX_SIGNED}", raw)
    return seconds, nanoseconds


def _to_xattrs(raw: bytes) -> tuple[tuple[bytes, bytes], ...]:
    pairs: dict[bytes, bytes] = {}
    size = 0
    for item in raw[1:].split(b" "):
        written_key, equals, written_value = item.partition(b"=")
        if not equals or not written_key:
            raise LineError("an extended attribute is not KEY=VALUE", found=item)
        key = _string("KEY", written_key, MAX_XATTR_NAME)
        value = _unescape(written_value)
        if key in pairs:
            raise LineError("an extended attribute is there twice", found=key)
        if len(value) > MAX_XATTR_VALUE:
            raise LineError(
                "an extended attribute is too long", f"at most {MAX_XATTR_VALUE} bytes", key
            )
        size += len(key) + len(value)
        if size > MAX_XATTRS:
            raise LineError("too many extended attributes", f"at most {MAX_XATTRS} bytes", key)
        pairs[key] = value
    return tuple(pairs.items())


_Value = TypeVar("_Value")


class _Memo(dict[bytes, _Value]):
    """Fields that were converted before: most files have the mode and owner of another one."""

    def __init__(self, convert: Callable[[bytes], _Value]) -> None:
        super().__init__()
        self._convert = convert

    def __missing__(self, raw: bytes) -> _Value:
        value = self._convert(raw)
        # A hostile list must not fill the memory.
        if len(self) >= 1024:
            self.clear()
        if len(raw) <= 256:
            self[raw] = value
        return value


_modes = _Memo(_to_mode)
_words = _Memo(_to_word)
_owners = _Memo(_to_owner)
_times = _Memo(_to_time)
_xattrs = _Memo(_to_xattrs)
