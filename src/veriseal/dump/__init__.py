"""Tree lists: composefs-dump(5), read with every doubt refused and written as composefs-info does.

One line a name, depth-first, siblings by the bytes of their names:

    PATH SIZE MODE NLINK UID GID RDEV MTIME PAYLOAD CONTENT DIGEST [KEY=VALUE]...

What mkcomposefs would read as another tree than we do is refused, so that a list means one tree to
everybody; only a digest of 64 bytes is beyond composefs, which takes the first half of it. All
escapes of the manual page are read, also where none is needed: ``\\x4a`` is ``J``.

Source: man/composefs-dump.md, tools/mkcomposefs.c and tools/composefs-info.c of composefs 1.0.8.
"""

from veriseal.dump.entry import Entry
from veriseal.dump.limits import (
    MAX_CONTENT,
    MAX_ENTRIES,
    MAX_LINE,
    MAX_NAME,
    MAX_PATH,
    MAX_SIZE,
    MAX_XATTR_NAME,
    MAX_XATTR_VALUE,
    MAX_XATTRS,
)
from veriseal.dump.reader import parse
from veriseal.dump.writer import line

__all__ = (
    "MAX_CONTENT",
    "MAX_ENTRIES",
    "MAX_LINE",
    "MAX_NAME",
    "MAX_PATH",
    "MAX_SIZE",
    "MAX_XATTRS",
    "MAX_XATTR_NAME",
    "MAX_XATTR_VALUE",
    "Entry",
    "line",
    "parse",
)
