"""An entry as a line."""

import re

from veriseal.dump.entry import Entry

# All but isgraph() of the C locale and the backslash; in attributes also "=".
_UNSAFE = re.compile(rb"[^!-\[\]-~]")
_UNSAFE_XATTR = re.compile(rb"[^!-<>-\[\]-~]")
_ESCAPES = {bytes((byte,)): b"\\x%02x" % byte for byte in range(256)} | {
    b"\\": rb"\\",
    b"\n": rb"\n",
    b"\r": rb"\r",
    b"\t": rb"\t",
}


def line(entry: Entry) -> bytes:
    """The entry as a line with its newline, byte for byte as `composefs-info dump` writes it.

    Checks nothing: what `parse` would refuse is written too.
    """
    words = [
        b"%b %d %b%o %d %d %d %d %d.%d %b %b %b"
        % (
            _escape(entry.path),
            entry.size,
            b"@" if entry.hardlink else b"",
            entry.mode,
            entry.nlink,
            entry.uid,
            entry.gid,
            entry.rdev,
            *entry.mtime,
            _optional(entry.payload),
            _optional(entry.content),
            entry.digest.hex().encode() if entry.digest else b"-",
        )
    ]
    for key, value in entry.xattrs:
        words.append(_escape(key, _UNSAFE_XATTR) + b"=" + _escape(value, _UNSAFE_XATTR))
    return b" ".join(words) + b"\n"


def _optional(value: bytes | None) -> bytes:
    # composefs knows no empty string apart from one that is not set.
    if not value:
        return b"-"
    return rb"\x2d" if value == b"-" else _escape(value)


def _escape(value: bytes, unsafe: re.Pattern[bytes] = _UNSAFE) -> bytes:
    return unsafe.sub(lambda match: _ESCAPES[match[0]], value)
