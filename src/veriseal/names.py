"""File names as bytes and as text, without `os`.

Modules on the launcher's path use `posix`, of which `os` is made: to import `os` takes a fifth as
long as the whole start of an interpreter does.
"""

import sys


def fsencode(name: str | bytes) -> bytes:
    """As `os.fsencode`: text as it came from the system, in its own bytes."""
    if isinstance(name, bytes):
        return name
    return name.encode(sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())


def fsdecode(name: str | bytes) -> str:
    """As `os.fsdecode`: bytes that are no text become surrogates."""
    if isinstance(name, str):
        return name
    return name.decode(sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())
