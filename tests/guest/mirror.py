"""Debian's archive: found in this machine's own configuration, asked for single packages."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .store import GuestError, command

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def uri() -> str:
    """The archive that this machine's apt uses; VERISEAL_DEBIAN_MIRROR overrides it."""
    chosen = os.environ.get("VERISEAL_DEBIAN_MIRROR")
    if chosen:
        return chosen
    row = "$(LABEL) $(COMPONENT) $(REPO_URI)"
    for attempt in ("as it is", "after an update"):
        if attempt == "after an update":
            command(["apt-get", "-qq", "update"])
        try:
            targets = command(["apt-get", "indextargets", "--format", row, "Created-By: Packages"])
        except GuestError:
            break
        for line in targets.splitlines():
            if line.startswith("Debian main "):
                return line.split(" ", 2)[2]
    raise GuestError(
        "no Debian archive in this machine's apt configuration: name one in the environment, as "
        "VERISEAL_DEBIAN_MIRROR=http://HOST/debian"
    )


def source(suite: str) -> str:
    """A line for sources.list."""
    return f"deb [signed-by={KEYRING}] {uri()} {suite} main"


def download(package: str, suite: str, into: Path, parts: str) -> list[Path]:
    """Download a package and, of what it depends on, the packages whose names match `parts`.

    apt gets a configuration and lists of its own under `into`, so nothing of this machine changes.
    """
    into.mkdir(parents=True)
    (into / "lists" / "partial").mkdir(parents=True)
    (into / "sources.list").write_text(source(suite) + "\n")
    (into / "status").touch()
    options = []
    for key, value in {
        "Dir::Etc::SourceList": into / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::State::Lists": into / "lists",
        "Dir::State::Status": into / "status",
        "Dir::Cache": into,
        "APT::Architecture": "amd64",
        "APT::Default-Release": "",
        # The download directory belongs to root; apt's own user could not write there.
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
    }.items():
        options += ["-o", f"{key}={value}"]
    command(["apt-get", "-qq", *options, "update"])
    # The parts may have parts: a kernel is one package in Debian 12 and 13, several in newer ones.
    names = [package]
    for name in names:
        described = command(["apt-cache", *options, "show", "--no-all-versions", name])
        depends = re.search(r"^(?:Pre-)?Depends: (.*)", described, re.MULTILINE)
        found = re.findall(rf"\b{parts}", depends[1]) if depends else []
        names += [new for new in dict.fromkeys(found) if new not in names]
    if len(names) == 1:
        raise GuestError(f"package {package} of {suite} depends on nothing that matches {parts}")
    command(["apt-get", "-qq", *options, "download", *names], cwd=into)
    return sorted(into.glob("*.deb"))


def extract(downloaded: list[Path], into: Path) -> None:
    """Unpack the files of packages, without their scripts."""
    into.mkdir(parents=True)
    for package in downloaded:
        command(["dpkg-deb", "-x", package, into])
