"""Copying the certificate files of a system into an initrd: masks and links stay what they are."""

import os
import shutil
import stat

from veriseal import resolve, voa

_MOST = 10_000
"""Entries. A system has a few; links can be made to lead in circles."""


def copy(root: str, target: str, context: str) -> None:
    """Put every certificate file and anchor of the system below ``root`` below ``target``.

    Those of all operating systems: what is outside the window does not count at boot, but the
    boot can say whose signature it is that does not count. Nothing that a link leads to outside
    the load paths is copied: it does not count, and anybody's file could be there.

    Raises OSError.
    """
    copying = _Copying(root, target)
    for load_path in copying.bases:
        for os_name in copying.names(load_path, []):
            for purpose in (voa.PURPOSE, voa.ANCHOR_PURPOSE):
                copying.take(load_path, [os_name, purpose, context, voa.TECHNOLOGY])


class _Copying:
    """From the load paths below ``root`` to the same below ``target``."""

    def __init__(self, root: str, target: str) -> None:
        self._root = root
        self._target = target
        self._seen: set[tuple[str, ...]] = set()
        # What leads to a load path is the system's business, such as ostree's /usr/local.
        self.bases = {
            path: f"{parent.path.rstrip('/')}/{os.path.basename(path)}"
            for path in voa.INITRD_LOAD_PATHS
            if not (parent := resolve.follow(root, os.path.dirname(path))).error
        }

    def names(self, load_path: str, below: list[str]) -> list[str]:
        try:
            return sorted(os.listdir(self._here(load_path, below)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def take(self, load_path: str, below: list[str]) -> None:
        """Copy a file, or a directory with all in it, and every link on the way to it."""
        key = (load_path, *below)
        if key in self._seen or len(self._seen) >= _MOST:
            return
        self._seen.add(key)
        mode = 0
        for count in range(len(below) + 1):
            try:
                mode = os.lstat(self._here(load_path, below[:count])).st_mode
            except (FileNotFoundError, NotADirectoryError):
                return
            if stat.S_ISLNK(mode):
                self._take_link(load_path, below[:count], below[count:])
                return
        if stat.S_ISDIR(mode):
            for name in self.names(load_path, below):
                self.take(load_path, [*below, name])
        elif stat.S_ISREG(mode):
            shutil.copyfile(self._here(load_path, below), self._there(load_path, below))

    def _take_link(self, load_path: str, link: list[str], rest: list[str]) -> None:
        text = os.readlink(self._here(load_path, link))
        there = self._there(load_path, link)
        if os.path.lexists(there):
            os.unlink(there)
        os.symlink(text, there)
        directory = os.path.dirname("/".join((self.bases[load_path], *link)))
        leads_to = os.path.normpath(os.path.join(directory, text))
        for other, base in self.bases.items():
            for place in (base, other):
                if leads_to == place or leads_to.startswith(f"{place}/"):
                    below = [part for part in leads_to[len(place) :].split("/") if part]
                    self.take(other, [*below, *rest])
                    return

    def _here(self, load_path: str, below: list[str]) -> str:
        return resolve.real(self._root, "/".join((self.bases[load_path], *below)))

    def _there(self, load_path: str, below: list[str]) -> str:
        """The place below the target; its directory exists."""
        place = "/".join((self._target.rstrip("/") + load_path, *below))
        os.makedirs(os.path.dirname(place), exist_ok=True)
        return place
