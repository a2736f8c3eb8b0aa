"""The boots that must not succeed: what is changed in each, and what the console must say.

Each must end before the root is switched.
"""

from __future__ import annotations

import subprocess

from tests.boot import changes, tampering
from tests.boot.appliance import Appliance
from tests.boot.inside.row import A1, A3
from tests.boot.layout import OS, RELEASE
from tests.boot.overlay import Overlay
from tests.boot.refusal import DONE, Base, Refusal, Scenario, early

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


def _with_certificate(appliance: Appliance) -> Base:
    return Base(appliance.image, appliance.initrd)


def _bare(appliance: Appliance) -> Base:
    return Base(appliance.image, appliance.bare)


def _run_voa(appliance: Appliance) -> Overlay:
    return {
        **early("cp -r /stranger-run/voa /run/voa"),
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
        **early("python3 -I /stranger.py"),
    }


def _broken(_appliance: Appliance) -> Overlay:
    text = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    return {f"usr/share/{_VOA}/release.pem": text}


NO_CERTIFICATE = "no release certificate counts for this system"
CERTIFICATES = "seal: certificates of the initrd"
REQUIRED = "units: required by whatever mounts or enters the root"
BOOTS = (
    Scenario(
        (
            Refusal(
                "no certificate at all",
                A1,
                "the certificate is removed from the disk, and the initrd has none",
                CERTIFICATES,
                (NO_CERTIFICATE,),
            ),
        ),
        _bare,
        changes=(tampering.commands(f"rm {RELEASE}"),),
    ),
    Scenario(
        (
            Refusal(
                "certificate only on the real root",
                A1,
                "the initrd has no certificate, the disk has one",
                CERTIFICATES,
                (NO_CERTIFICATE,),
            ),
            Refusal(
                "certificate only in /run/voa",
                A1,
                "something before the agent puts a certificate below `/run/voa`",
                CERTIFICATES,
                (DONE, NO_CERTIFICATE),
            ),
        ),
        _bare,
        overlay=_run_voa,
    ),
    Scenario(
        (
            Refusal(
                "broken certificate",
                A1,
                "the certificate of the initrd is no certificate",
                CERTIFICATES,
                ("release.pem: ",),
            ),
        ),
        _bare,
        overlay=_broken,
    ),
    Scenario(
        (
            Refusal(
                "keyring holds a stranger's key",
                A3,
                "something before the agent puts a stranger's certificate into the keyring",
                "seal: keyring must be empty",
                (DONE, "already holds keys"),
            ),
        ),
        _with_certificate,
        overlay=_stranger_key,
    ),
    Scenario(
        (
            Refusal(
                "agent masked on the command line",
                A1,
                "`rd.systemd.mask=veriseal-seal.service`",
                REQUIRED,
                ("Can't mount root filesystem",),
            ),
        ),
        _with_certificate,
        append="rd.systemd.mask=veriseal-seal.service",
    ),
    Scenario(
        (
            Refusal(
                "command line claims a container",
                A1,
                "`container=lxc`, with which systemd skips units by their conditions",
                "units: AssertVirtualization",
                ("Assertion failed",),
            ),
        ),
        _with_certificate,
        append="container=lxc",
    ),
    Scenario(
        (
            Refusal(
                "check masked on the command line",
                A1,
                "`rd.systemd.mask=veriseal-verify.service`",
                REQUIRED,
                ("Can't mount root filesystem",),
            ),
        ),
        _with_certificate,
        append="rd.systemd.mask=veriseal-verify.service",
    ),
    *(
        Scenario(
            tuple(Refusal(one.name, A1, one.done, one.stopped_by, one.says) for one in disk),
            _with_certificate,
            changes=tuple(one.change for one in disk),
        )
        for disk in changes.DISKS
    ),
)
REFUSALS = tuple(refusal for boot in BOOTS for refusal in boot.refusals)
