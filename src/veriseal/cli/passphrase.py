"""Passphrases: from a file, or asked for on the terminal; never from the command line."""

import sys

from veriseal.build import files
from veriseal.errors import UsageError, VerisealError

_MAX_SIZE = 1024


def from_file(path: str) -> bytes:
    """The first line of ``path``. Raises OSError, and VerisealError (``bad-passphrase``)."""
    line = files.read(path, _MAX_SIZE).split(b"\n")[0].rstrip(b"\r")
    if not 0 < len(line) <= _MAX_SIZE:
        raise VerisealError(
            "bad-passphrase",
            "no passphrase in the first line of the file",
            path=path,
            expected=f"1 to {_MAX_SIZE} bytes",
        )
    return line


def existing(path: str | None, what: str) -> bytes | None:
    """The passphrase of ``what``, from the file ``path`` or the terminal; None without both."""
    if path is not None:
        return from_file(path)
    if sys.stdin is None or not sys.stdin.isatty():
        return None
    import getpass

    return getpass.getpass(f"Passphrase of {what}: ").encode() or None


def new(path: str | None, what: str) -> bytes:
    """A passphrase for the new key ``what``, asked for twice. Raises UsageError."""
    if path is not None:
        return from_file(path)
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("--encrypt needs a terminal or --passphrase-file")
    import getpass

    first = getpass.getpass(f"New passphrase for {what}: ")
    if not first:
        raise UsageError("an empty passphrase encrypts nothing")
    if getpass.getpass("Again: ") != first:
        raise UsageError("the two passphrases differ")
    return first.encode()
