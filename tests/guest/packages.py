"""The packages that the host needs, in Debian's and in Fedora's names, and their installation.

Usage: python -m tests.guest.packages GROUP...
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from .store import GuestError, command, locked, say


class Row(NamedTuple):
    group: str
    debian: str
    fedora: str


# The only place with package names of the host. The Fedora column was not tried on a machine.
TABLE = (
    Row("setup", "python3-venv", "python3-pip"),
    Row("setup", "python3-cryptography", "python3-cryptography"),
    Row("setup", "python3-keyutils", "python3-keyutils"),
    Row("setup", "python3-systemd", "python3-systemd"),
    Row("setup", "python3-asn1crypto", "python3-asn1crypto"),
    Row("setup", "python3-pyelftools", "python3-pyelftools"),
    Row("setup", "python3-tqdm", "python3-tqdm"),
    Row("setup", "python3-jinja2", "python3-jinja2"),
    Row("setup", "keyutils", "keyutils"),
    Row("setup", "openssl", "openssl"),
    Row("setup", "fsverity", "fsverity-utils"),
    Row("setup", "shellcheck", "ShellCheck"),
    Row("guest", "qemu-system-x86", "qemu-system-x86-core"),
    Row("guest", "mmdebstrap", "mmdebstrap"),
    Row("guest", "debian-archive-keyring", "debian-keyring"),
    Row("guest", "busybox-static", "busybox"),
    Row("guest", "kmod", "kmod"),
    Row("guest", "cpio", "cpio"),
    Row("guest", "zstd", "zstd"),
    Row("guest", "xz-utils", "xz"),
    Row("guest", "e2fsprogs", "e2fsprogs"),
    Row("guest", "btrfs-progs", "btrfs-progs"),
)
GROUPS = sorted({row.group for row in TABLE})

# A package manager that another process is using is waited for, not fought with.
APT = ("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0")
LOCK = Path("/run/lock/veriseal-packages.lock")


def family() -> str:
    """`debian` or `fedora`, by the package manager that is there."""
    if shutil.which("apt-get"):
        return "debian"
    if shutil.which("dnf"):
        return "fedora"
    raise GuestError(
        "neither apt-get nor dnf is here: install the packages by hand, see TABLE in "
        "tests/guest/packages.py"
    )


def missing(names: list[str]) -> list[str]:
    """Those of the packages that are not installed."""
    if family() == "debian":
        query = ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *names]
        found = subprocess.run(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        have = {
            line.split()[0] for line in found.stdout.splitlines() if line.endswith(" installed")
        }
        return [name for name in names if name not in have]
    query = ["rpm", "-q", "--whatprovides"]
    return [
        name for name in names if subprocess.run([*query, name], capture_output=True).returncode
    ]


def install(groups: list[str]) -> None:
    """Install what is missing of the groups; without anything missing, run no package manager."""
    column = family()
    names = [getattr(row, column) for row in TABLE if row.group in groups]
    if not missing(names):
        return
    if os.geteuid() != 0:
        raise GuestError(f"only root can install {' '.join(missing(names))}: install them first")
    with locked(LOCK):
        wanted = missing(names)
        if not wanted:
            return
        say(f"installing on this machine: {' '.join(wanted)}")
        if column == "fedora":
            command(["dnf", "--assumeyes", "--quiet", "install", *wanted])
            return
        add = [*APT, "--yes", "--no-install-recommends", "install", *wanted]
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        try:
            command(add, env=quiet)
        except GuestError:
            # The lists are empty or old: the package is unknown, or gone from the mirror.
            command([*APT, "update"])
            command(add, env=quiet)


def main(groups: list[str]) -> int:
    unknown = [group for group in groups if group not in GROUPS]
    if unknown or not groups:
        print(f"usage: python -m tests.guest.packages {'|'.join(GROUPS)}...", file=sys.stderr)
        return 2
    try:
        install(groups)
    except GuestError as error:
        say(str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
