"""Looking into an initrd: what of it decides about trust, unpacked into a directory.

`lsinitrd` of dracut does the work: it knows compressions, early parts and unified kernel images.
The archive is trusted to be an initrd that was made here: cpio follows the names and links in it
wherever they lead, with the rights of the caller. So root unpacks only what no one else can have
written; see `unpacked`.
"""

import contextlib
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from veriseal.errors import VerisealError

COMMAND = "lsinitrd"
TIMEOUT = 600
"""Seconds. A large initrd takes ten."""

_WANTED = ("*veriseal*", "etc/voa*", "usr/share/voa*", "usr/local/share/voa*")
"""Patterns as cpio(1) has them: `*` stands for `/`, too. Device nodes are left where they are."""

_AGENT = (
    "usr/lib/veriseal/floor.json",
    "usr/lib/veriseal/os-release",
    "usr/lib/systemd/system/veriseal-seal.service",
    "usr/lib/systemd/system/veriseal-verify.service",
    "etc/systemd/system/initrd-switch-root.target.requires/veriseal-seal.service",
    "etc/systemd/system/initrd-switch-root.target.requires/veriseal-verify.service",
)
_MOST_SAID = 500
"""Characters of what the tools complain about."""


@contextlib.contextmanager
def unpacked(paths: Sequence[str], more: Callable[[str], str | None]) -> Iterator[str]:
    """The directory that the initrds ``paths`` were unpacked into; it is removed afterwards.

    The boot loader hands them to the kernel one after the other, and a file of a later one takes
    the place of an earlier one's: so do they here. ``more``, called with the directory, names a
    file that is wanted besides, with what begins with its name, such as signatures.

    Raises VerisealError: ``no-initrd``; ``untrusted-initrd`` if the caller is root and others can
    have written a file; ``no-lsinitrd``; ``bad-initrd``; ``no-agent`` if none was made with the
    dracut module veriseal.
    """
    with tempfile.TemporaryDirectory(prefix="veriseal-initrd-") as directory:
        said = _unpack(paths, directory, _WANTED)
        missing = [one for one in _AGENT if not os.path.lexists(os.path.join(directory, one))]
        if missing and said:
            raise _bad(paths[-1], said)
        if missing:
            raise _without_agent(paths[-1], f"no /{missing[0]}")
        wanted = more(directory)
        if wanted is not None:
            _unpack(paths, directory, (f"{_literal(wanted.lstrip('/'))}*",))
        yield directory


def _unpack(paths: Sequence[str], directory: str, wanted: Sequence[str]) -> str:
    """Unpack what is wanted of each. Returns what was complained about, on one line."""
    said = []
    for path in paths:
        with tempfile.TemporaryDirectory(dir=os.path.dirname(directory)) as part:
            said.append(_run(os.path.abspath(path), part, wanted))
            _merge(part, directory)
    return " ".join(filter(None, said))


def _merge(part: str, into: str) -> None:
    for here, directories, names in os.walk(part):
        there = os.path.join(into, os.path.relpath(here, part))
        links = [one for one in directories if os.path.islink(os.path.join(here, one))]
        for name in set(directories) - set(links):
            place = os.path.join(there, name)
            if os.path.lexists(place) and (os.path.islink(place) or not os.path.isdir(place)):
                os.unlink(place)
            os.makedirs(place, exist_ok=True)
        for name in (*links, *names):
            place = os.path.join(there, name)
            if os.path.isdir(place) and not os.path.islink(place):
                shutil.rmtree(place)
            os.replace(os.path.join(here, name), place)


def _literal(name: str) -> str:
    return re.sub(r"([*?\[\\])", r"\\\1", name)


def _run(path: str, directory: str, wanted: Sequence[str]) -> str:
    """Unpack what is wanted. Returns what was complained about, on one line."""
    # A copy of what was looked at: by its name another file can be there by now, and by its
    # descriptor zstd takes it for a link and passes it over.
    with _opened(path) as source, tempfile.NamedTemporaryFile(prefix="veriseal-initrd-") as copy:
        program = shutil.which(COMMAND)
        if program is None:
            raise VerisealError(
                "no-lsinitrd",
                f"{COMMAND} is needed to look into an initrd, and is not here",
                path=path,
                remedy="Install dracut, or unpack the initrd and name the directory with --to",
            )
        shutil.copyfileobj(source, copy)
        copy.flush()
        try:
            done = subprocess.run(
                [program, "--unpack", copy.name, *wanted],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
                timeout=TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _bad(path, f"{COMMAND} does not come to an end") from None
    output = done.stdout.decode("utf-8", "replace").replace(copy.name, path)
    said = " ".join(output.split())[:_MOST_SAID]
    if done.returncode != 0:
        raise _bad(path, said or f"{COMMAND} ended with status {done.returncode}")
    return said


@contextlib.contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise VerisealError("no-initrd", f"cannot be read: {error.strerror}", path=path) from None
    try:
        _require_trusted(os.fstat(fd), path)
        with open(fd, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(fd)


def _require_trusted(status: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise VerisealError("no-initrd", "not a regular file", path=path)
    if os.geteuid() == 0 and (status.st_uid != 0 or status.st_mode & 0o022):
        raise VerisealError(
            "untrusted-initrd",
            "root does not unpack what others can have written",
            path=path,
            expected="a file of uid 0, not writable by others",
            found=f"uid {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}",
            remedy="Run this as the user who made the initrd",
        )


def _without_agent(path: str, found: str) -> VerisealError:
    return VerisealError(
        "no-agent",
        "the initrd does not hold the agent: it would boot without any check",
        path=path,
        found=found,
        remedy="Build it with the dracut module veriseal: "
        'add_dracutmodules+=" veriseal " in /etc/dracut.conf.d',
    )


def _bad(path: str, said: str) -> VerisealError:
    return VerisealError(
        "bad-initrd",
        "this cannot be unpacked as an initrd",
        path=path,
        found=said,
        remedy="Build it again with dracut",
    )
