"""Looking into an initrd: what of it decides about trust, unpacked into a directory.

`lsinitrd` of dracut does the work: it knows compressions, early parts and unified kernel images.
The archive is trusted to be an initrd that was made here: cpio follows the names and links in it
wherever they lead, with the rights of the caller. So root unpacks only what no one else can have
written; see `unpack`.
"""

import contextlib
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator

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
def unpacked(path: str) -> Iterator[str]:
    """The directory that the initrd ``path`` was unpacked into; it is removed afterwards.

    Raises VerisealError as `unpack`.
    """
    with tempfile.TemporaryDirectory(prefix="veriseal-initrd-") as directory:
        unpack(path, directory)
        yield directory


def unpack(path: str, directory: str) -> None:
    """Unpack what concerns trust of the initrd ``path`` into ``directory``.

    The directory is the caller's alone, and empty.

    Raises VerisealError: ``no-initrd``; ``untrusted-initrd`` if the caller is root and others can
    have written the file; ``no-lsinitrd``; ``bad-initrd``; ``no-agent`` if the initrd was made
    without the dracut module veriseal.
    """
    path = os.path.abspath(path)
    said = _run(path, directory, _WANTED)
    if not os.listdir(directory):
        raise _bad(path, said) if said else _without_agent(path, "nothing of veriseal")
    missing = [one for one in _AGENT if not os.path.lexists(os.path.join(directory, one))]
    if missing:
        raise _without_agent(path, f"no /{missing[0]}")


def unpack_more(path: str, directory: str, name: str) -> None:
    """Unpack the file ``name`` of the initrd, and what begins with its name, such as signatures.

    It need not be there. Raises VerisealError as `unpack`.
    """
    _run(os.path.abspath(path), directory, (f"{_literal(name.lstrip('/'))}*",))


def _literal(name: str) -> str:
    return re.sub(r"([*?\[\\])", r"\\\1", name)


def _run(path: str, directory: str, wanted: tuple[str, ...]) -> str:
    """Unpack what is wanted. Returns what was complained about, on one line."""
    _require_trusted(path)
    program = shutil.which(COMMAND)
    if program is None:
        raise VerisealError(
            "no-lsinitrd",
            f"{COMMAND} is needed to look into an initrd, and is not here",
            path=path,
            remedy="Install dracut, or unpack the initrd and name the directory with --to",
        )
    try:
        done = subprocess.run(
            [program, "--unpack", path, *wanted],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TMPDIR": directory},
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _bad(path, f"{COMMAND} does not come to an end") from None
    said = " ".join(done.stderr.decode("utf-8", "replace").split())[:_MOST_SAID]
    if done.returncode != 0:
        raise _bad(path, said or f"{COMMAND} ended with status {done.returncode}")
    return said


def _require_trusted(path: str) -> None:
    try:
        status = os.stat(path)
    except OSError as error:
        raise VerisealError("no-initrd", f"cannot be read: {error.strerror}", path=path) from None
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
