"""Mounts: what /proc/self/mountinfo says, and whether an image file is in use.

Source: Documentation/filesystems/proc.rst, section 3.5; fs/proc_namespace.c; fcntl(2).
"""

import errno
import fcntl
import os
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from veriseal.errors import VerisealError

MOUNTINFO = "/proc/self/mountinfo"

_ESCAPE = re.compile(rb"\\([0-7]{3})")
_OTHER_HOLDERS = (errno.EAGAIN, errno.EBUSY)


class Mount(NamedTuple):
    """A line of mountinfo, its escapes undone. Bytes that are not UTF-8 are surrogates.

    Attributes:
        id, parent: of this mount and of the one it is attached to.
        device: the ``st_dev`` of its files; with btrfs, for one, it is that of no block device.
        root: the directory of the file system that is shown, ``/`` for all of it.
        point: where it is attached, seen from this process's root.
        options: of the mount: ``ro``, ``nosuid``, ``idmapped`` and so on.
        filesystem: its type. No file system but overlayfs itself can say ``overlay``.
        source: any text; who mounts it chooses it.
        super_options: of the file system, in the kernel's order; a comma in a value is no border.
    """

    id: int
    parent: int
    device: int
    root: str
    point: str
    options: tuple[str, ...]
    filesystem: str
    source: str
    super_options: tuple[str, ...]


def read(path: str = MOUNTINFO) -> list[Mount]:
    """The mounts that this process sees. Raises VerisealError ``bad-mountinfo``, OSError."""
    with open(path, "rb") as file:
        return parse(file)


def parse(lines: Iterable[bytes]) -> list[Mount]:
    """Each line as a `Mount`, in their order. Raises VerisealError ``bad-mountinfo``."""
    mounts = [_parse_line(line.removesuffix(b"\n")) for line in lines]
    # `at` goes from parent to child, and ends because each has one parent.
    if len({mount.id for mount in mounts}) != len(mounts):
        raise VerisealError("bad-mountinfo", "two mounts have the same number")
    return mounts


def _parse_line(line: bytes) -> Mount:
    # By single spaces: a source may be empty. Any number of optional fields ends with a hyphen.
    fields = line.split(b" ")
    try:
        end = fields.index(b"-", 6)
        filesystem, source, super_options = fields[end + 1 :]
        return Mount(
            int(fields[0]),
            int(fields[1]),
            os.makedev(*map(int, fields[2].split(b":"))),
            _text(fields[3]),
            _text(fields[4]),
            tuple(_text(option) for option in fields[5].split(b",")),
            _text(filesystem),
            _text(source),
            tuple(_text(option) for option in super_options.split(b",")),
        )
    except (ValueError, TypeError, OverflowError):
        raise VerisealError(
            "bad-mountinfo", "a line that is not as the kernel writes it", found=os.fsdecode(line)
        ) from None


def _text(field: bytes) -> str:
    return os.fsdecode(_ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), field))


def at(mounts: Sequence[Mount], point: str) -> Mount:
    """The mount that a look-up of ``point`` ends on: the topmost there.

    ``point`` is absolute, without ``.``, ``..`` and links. Walks down as the kernel does, so a
    mount that another one hides is not found.

    Raises VerisealError: ``not-mounted`` if nothing is mounted at ``point`` itself;
    ``ambiguous-mount`` if mountinfo does not say what is on top.
    """
    ids = {mount.id for mount in mounts}
    tops = [m for m in mounts if m.point == "/" and (m.parent not in ids or m.parent == m.id)]
    current = _only(tops, "/")
    place = ""
    for name in ("", *point.strip("/").split("/")):
        place = f"{place.rstrip('/')}/{name}"
        while above := [
            m for m in mounts if m.parent == current.id and m.point == place and m is not current
        ]:
            current = _only(above, place)
    if current.point != point:
        raise VerisealError("not-mounted", "nothing is mounted there", path=point)
    return current


def beneath(mounts: Sequence[Mount], top: Mount) -> list[Mount]:
    """The mounts that are attached to ``top``, directly or not, in their order."""
    inside = {top.id}
    found: list[Mount] = []
    grown = True
    while grown:
        new = [m for m in mounts if m.parent in inside and m.id not in inside]
        inside.update(m.id for m in new)
        found += new
        grown = bool(new)
    return sorted(found, key=mounts.index)


def held_open(fd: int) -> bool:
    """Whether somebody besides ``fd`` has this regular file open, be it the kernel itself.

    A file that a loop device or erofs is backed by is held open. Asked by trying for a write
    lease, which is only given on a file that nobody else has open; it is given back at once.
    ``fd`` is open for reading only, by root or the owner.

    Raises OSError (EINVAL: this file system has no leases).
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError as error:
        if error.errno in _OTHER_HOLDERS:
            return True
        raise
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def _only(candidates: list[Mount], point: str) -> Mount:
    if len(candidates) != 1:
        raise VerisealError(
            "ambiguous-mount",
            "it cannot be told which mount is on top",
            path=point,
            expected="one",
            found=", ".join(str(mount.id) for mount in candidates) or "none",
        )
    return candidates[0]
