"""Every certificate file in the load paths, whichever system it is for, and the masked keys."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from veriseal import certificate, pem, regular, voa
from veriseal.certificate import Certificate
from veriseal.errors import VerisealError
from veriseal.trust import window as windows
from veriseal.trust.model import MASKED, NOT_IN_INITRD, Ignored


class File(NamedTuple):
    """A certificate file that counts as far as its name and place go."""

    os: str
    path: str
    data: bytes

    def certificate(self) -> Certificate | None:
        """What is in it, of a release or an authority; None if that is of no use."""
        for load in (certificate.load, certificate.load_root):
            try:
                return load(self.data, self.path)
            except VerisealError:
                continue
        return None


class Survey(NamedTuple):
    """What was found.

    Attributes:
        releases, anchors: by the order of the window, then others by name.
        ignored: each once.
        masked: files by the keys (`certificate.key_bytes`) in them that a mask revokes.
        keys: that of every certificate that was found, of use or not, by its fingerprint.
        anchored: whether there is anything where anchors of the window's systems are.
    """

    releases: list[File]
    anchors: list[File]
    ignored: list[Ignored]
    masked: dict[bytes, str]
    keys: dict[str, bytes]
    anchored: bool


def survey(window: Mapping[str, str], context: str, root: str, load_paths: Sequence[str]) -> Survey:
    """Look through ``load_paths`` below ``root``. Files in no initrd are among what is ignored.

    Raises OSError.
    """
    names, strangers = voa.systems(load_paths, root)
    names = list(dict.fromkeys([*window, *names]))
    result = Survey([], [], [Ignored(*one[:4]) for one in strangers], {}, {}, False)
    mine = windows.systems(window)
    for purpose, files in (
        (voa.PURPOSE, result.releases),
        (voa.ANCHOR_PURPOSE, result.anchors),
    ):
        found, ignored = voa.find(load_paths, names, purpose, context, root)
        present = [one.os for one in found]
        files += [File(one.os, one.path, _read(one.target)) for one in found]
        for file in files:
            result.keys.update(certificate.keys_in(file.data))
        for one in ignored:
            data = None if one.target is None else _read(one.target)
            result.ignored.append(_ignored(one, data))
            keys = {} if data is None else certificate.keys_in(data)
            result.keys.update(keys)
            if one.reason == MASKED:
                for key in keys.values():
                    result.masked.setdefault(key, one.path)
            if one.os is not None and _could_be(one, keys):
                present.append(one.os)
        if purpose == voa.ANCHOR_PURPOSE:
            anchored = any(windows.system(name) in mine for name in present)
            result = result._replace(anchored=anchored)
    result.ignored.extend(_elsewhere(context, root, load_paths, result.keys))
    unique = {one.path: one for one in reversed(result.ignored)}
    return result._replace(ignored=list(unique.values())[::-1])


def _could_be(one: voa.Ignored, keys: Mapping[str, bytes]) -> bool:
    """Whether an anchor was meant to be there, with ``keys`` in it.

    The mask of a whole OS directory hides none, and a file of another suffix may be a note.
    """
    if one.why == voa.DIRECTORY_MASK:
        return f"/{voa.ANCHOR_PURPOSE}" in one.path
    return one.why != voa.OTHER_SUFFIX or bool(keys)


def _elsewhere(
    context: str, root: str, load_paths: Iterable[str], keys: dict[str, bytes]
) -> list[Ignored]:
    """What is in the load paths that do not count. Its keys are added to ``keys``."""
    others = [path for path in voa.LOAD_PATHS if path not in load_paths]
    names, strangers = voa.systems(others, root)
    every = list(strangers)
    why = f"in {' or '.join(others)}, which does not count"
    for purpose in (voa.PURPOSE, voa.ANCHOR_PURPOSE):
        found, ignored = voa.find(others, names, purpose, context, root)
        every += [voa.Ignored(one.path, NOT_IN_INITRD, why, one.os, one.target) for one in found]
        every += ignored
    result = []
    for one in every:
        data = None if one.target is None else _read(one.target)
        keys.update({} if data is None else certificate.keys_in(data))
        result.append(_ignored(one._replace(reason=NOT_IN_INITRD, why=why), data))
    return result


def _ignored(one: voa.Ignored, data: bytes | None) -> Ignored:
    held = None if data is None or one.os is None else File(one.os, one.path, data).certificate()
    return Ignored(one.path, one.reason, one.why, one.os, held)


def _read(path: str) -> bytes:
    """The start of a regular file. One byte more than is accepted, for the check of the size."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return regular.contents(fd, pem.MAX_FILE_SIZE, path)
    finally:
        os.close(fd)
