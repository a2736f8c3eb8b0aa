"""Where certificates lie: the UAPI.11 directory layout (Verification of OS Artifacts).

``LOAD_PATH/OS/PURPOSE/CONTEXT/TECHNOLOGY/NAME``, for example
``/usr/share/voa/fedora:43/image/default/x509/release.pem``.
This module finds files; what is in them is `certificate`'s business.
"""

import os
import stat
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from veriseal.errors import VerisealError

INITRD_LOAD_PATHS = ("/etc/voa", "/usr/local/share/voa", "/usr/share/voa")
"""Highest priority first. /run/voa is missing on purpose: in the initrd only what was built
into it counts, and /run is what others fill at run time."""

PURPOSE = "image"
TECHNOLOGY = "x509"

_OS_FIELDS = ("ID", "VERSION_ID", "VARIANT_ID", "IMAGE_ID", "IMAGE_VERSION")


class Verifier(NamedTuple):
    """A certificate file that counts. ``os`` is the directory's name, such as ``fedora:43``."""

    os: str
    path: str


class Ignored(NamedTuple):
    """A file that does not count, and the reason."""

    path: str
    why: str


def os_identifiers(os_release: Mapping[str, str]) -> list[str]:
    """The ``OS`` names that match this system: ``ID``, ``ID:VERSION_ID``, and so on.

    An identifier ends before the first field that os-release(5) leaves out.
    Raises VerisealError ``bad-os-release`` if there is no ID, or a field cannot be in the name of
    a directory.
    """
    names: list[str] = []
    for field in _OS_FIELDS:
        value = os_release.get(field, "")
        if not value:
            break
        name = f"{names[-1]}:{value}" if names else value
        if name in (".", "..") or "/" in value or not value.isprintable():
            raise VerisealError(
                "bad-os-release",
                f"{field} is no part of the name of a directory",
                path="/etc/os-release",
                found=value,
            )
        names.append(name)
    if not names:
        raise VerisealError("bad-os-release", "there is no ID", path="/etc/os-release")
    return names


def find(
    load_paths: Iterable[str], os_names: Iterable[str], context: str
) -> tuple[list[Verifier], list[Ignored]]:
    """The certificate files of ``os_names``, in a stable order, and what is ignored.

    A name in a load path of higher priority hides the same name in a lower one; a symbolic link
    to /dev/null there masks it.

    Raises VerisealError: ``bad-symlink`` for any other link, ``not-a-regular-file``.
    """
    found: list[Verifier] = []
    ignored: list[Ignored] = []
    for os_name in os_names:
        taken: dict[str, str] = {}
        for load_path in load_paths:
            directory = _directory(load_path, os_name, PURPOSE, context, TECHNOLOGY)
            for name in _names(directory):
                path = os.path.join(directory, name)
                if name in taken:
                    ignored.append(Ignored(path, f"hidden by {taken[name]}"))
                elif not name.endswith(".pem"):
                    ignored.append(Ignored(path, "its name does not end in .pem"))
                elif _is_mask(path):
                    taken[name] = path
                    ignored.append(Ignored(path, "masked"))
                else:
                    taken[name] = path
                    found.append(Verifier(os_name, path))
    return found, ignored


def _directory(load_path: str, *parts: str) -> str:
    """Join the parts. Raises VerisealError ``bad-symlink`` if a directory among them is a link."""
    directory = ""
    for part in (load_path, *parts):
        directory = os.path.join(directory, part)
        if os.path.islink(directory):
            raise VerisealError(
                "bad-symlink",
                "a directory of certificates may not be a symbolic link",
                path=directory,
                found=os.readlink(directory),
                remedy="The initrd would not hold what it leads to: make it a directory",
            )
    return directory


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []


def _is_mask(path: str) -> bool:
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        target = os.readlink(path)
        if target == "/dev/null":
            return True
        raise VerisealError(
            "bad-symlink",
            "a certificate may be a symbolic link only to mask another",
            path=path,
            expected="/dev/null",
            found=target,
            remedy="Copy the certificate instead",
        )
    if not stat.S_ISREG(mode):
        raise VerisealError("not-a-regular-file", "not a regular file", path=path)
    return False
