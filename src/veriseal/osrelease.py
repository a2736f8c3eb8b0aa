"""Which operating system this is: os-release(5)."""

import shlex
from collections.abc import Mapping

from veriseal import regular
from veriseal.errors import VerisealError

PATHS = ("/usr/lib/veriseal/os-release", "/etc/os-release", "/usr/lib/os-release")
"""The first that exists counts. The first of all is in an initrd only: there the dracut module
puts the root's, for dracut's base module calls the initrd itself `ID=dracut`."""

MAX_SIZE = 1 << 16
"""Bytes."""


class OsRelease(dict[str, str]):
    """Assignments, and the ``path`` of the file that has them."""

    def __init__(self, values: Mapping[str, str], path: str) -> None:
        super().__init__(values)
        self.path = path


def read(paths: tuple[str, ...] = PATHS) -> OsRelease:
    """The assignments of the first file that exists.

    Raises VerisealError ``bad-os-release``.
    """
    for path in paths:
        try:
            data = regular.read(path, MAX_SIZE)
        except FileNotFoundError:
            continue
        except OSError as error:
            problem = f"cannot be read: {error.strerror}"
            raise VerisealError("bad-os-release", problem, path=path) from None
        return OsRelease(parse(data.decode(errors="replace"), path), path)
    raise VerisealError("bad-os-release", "no such file", path=paths[-1])


def parse(text: str, path: str) -> dict[str, str]:
    """``NAME=VALUE`` lines; values are quoted as in a shell, without expansion.

    Raises VerisealError ``bad-os-release``.
    """
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise VerisealError("bad-os-release", f"line {number}: {error}", path=path) from None
        if words:
            name, _equals, value = words[0].partition("=")
            values[name] = value
    return values
