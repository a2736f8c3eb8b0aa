"""The boots that must not succeed: what is changed in each, and what the console must say.

Each must end before the root is switched.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.boot import changes, tampering
from tests.boot.appliance import Appliance
from tests.boot.layout import OS, RELEASE

# What a stranger put into the initrd does before the agent, and that it was done.
DONE = "stranger: done"
_EARLY_UNIT = """\
[Unit]
DefaultDependencies=no
Before=veriseal-seal.service

[Service]
Type=oneshot
ExecStart=/bin/sh -euc '{command} && echo "stranger: done" >/dev/console'
"""
_ENROL_STRANGER = """\
import sys

sys.path.insert(0, "/usr/lib/veriseal")
from veriseal.kernel import keyring

with open("/stranger.der", "rb") as file:
    keyring.add_certificate(file.read(), keyring.fs_verity_keyring())
"""
_VOA = f"voa/{OS}/image/default/x509"


# Files of the initrd that an overlay replaces.
CONFIGURATION = "etc/veriseal/veriseal.toml"

Overlay = dict[str, bytes | Path]
"""Files by their path in the initrd; a Path is a symbolic link to it."""


class Scenario(NamedTuple):
    """A boot that must be refused.

    Attributes:
        name: of the attack, without the ``boot:`` that the table puts before it.
        attacker: A1, A2 or A3.
        done: what is done, on one line.
        stopped_by: the part of veriseal, then the check.
        says: parts of the console's text.
        bare: whether the initrd is the one without a certificate.
        append: to the kernel command line.
        overlay: files laid over the initrd.
        change: what is done to the disk.
    """

    name: str
    attacker: str
    done: str
    stopped_by: str
    says: tuple[str, ...]
    bare: bool = True
    append: str = ""
    overlay: Callable[[Appliance], Overlay] = lambda _appliance: {}
    change: tampering.Change | None = None

    @property
    def title(self) -> str:
        """The name in the table."""
        return f"boot: {self.name}"


def _early(command: str) -> Overlay:
    name = "stranger.service"
    units = "etc/systemd/system"
    # Required by the agent, so that it certainly runs, and before it.
    return {
        f"{units}/{name}": _EARLY_UNIT.format(command=command).encode(),
        f"{units}/veriseal-seal.service.requires/{name}": Path(f"../{name}"),
    }


def _run_voa(appliance: Appliance) -> Overlay:
    return {
        **_early("cp -r /stranger-run/voa /run/voa"),
        f"stranger-run/{_VOA}/release.pem": tampering.read(appliance.image, RELEASE),
    }


def _stranger_key(appliance: Appliance) -> Overlay:
    pem = tampering.read(appliance.image, "/var/lib/veriseal/stranger.pem")
    der = subprocess.run(
        ["openssl", "x509", "-outform", "DER"], input=pem, capture_output=True, check=True
    )
    return {
        "stranger.der": der.stdout,
        "stranger.py": _ENROL_STRANGER.encode(),
        **_early("python3 -I /stranger.py"),
    }


def _broken(_appliance: Appliance) -> Overlay:
    text = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    return {f"usr/share/{_VOA}/release.pem": text}


NO_CERTIFICATE = "holds no release certificate"
CERTIFICATES = "seal: certificates of the initrd"
REQUIRED = "units: required by whatever mounts or enters the root"
BOOTS = (
    Scenario(
        "no certificate at all",
        "A1",
        "the certificate is removed from the disk, and the initrd has none",
        CERTIFICATES,
        (NO_CERTIFICATE,),
        change=tampering.commands(f"rm {RELEASE}"),
    ),
    Scenario(
        "certificate only on the real root",
        "A1",
        "the initrd has no certificate, the disk has one",
        CERTIFICATES,
        (NO_CERTIFICATE,),
    ),
    Scenario(
        "certificate only in /run/voa",
        "A1",
        "something before the agent puts a certificate below `/run/voa`",
        CERTIFICATES,
        (DONE, NO_CERTIFICATE),
        overlay=_run_voa,
    ),
    Scenario(
        "broken certificate",
        "A1",
        "the certificate of the initrd is no certificate",
        CERTIFICATES,
        ("release.pem: ",),
        overlay=_broken,
    ),
    Scenario(
        "keyring holds a stranger's key",
        "A3",
        "something before the agent puts a stranger's certificate into the keyring",
        "seal: keyring must be empty",
        (DONE, "already holds keys"),
        bare=False,
        overlay=_stranger_key,
    ),
    Scenario(
        "agent masked on the command line",
        "A1",
        "`rd.systemd.mask=veriseal-seal.service`",
        REQUIRED,
        ("Can't mount root filesystem",),
        bare=False,
        append="rd.systemd.mask=veriseal-seal.service",
    ),
    Scenario(
        "command line claims a container",
        "A1",
        "`container=lxc`, with which systemd skips units by their conditions",
        "units: AssertVirtualization",
        ("Assertion failed",),
        bare=False,
        append="container=lxc",
    ),
    Scenario(
        "check masked on the command line",
        "A1",
        "`rd.systemd.mask=veriseal-verify.service`",
        REQUIRED,
        ("Can't mount root filesystem",),
        bare=False,
        append="rd.systemd.mask=veriseal-verify.service",
    ),
    *(
        Scenario(one.name, "A1", one.done, one.stopped_by, one.says, bare=False, change=one.change)
        for one in changes.CHANGES
    ),
)
