"""What both guest-side programs do: put the certificate where the agent looks, and seal."""

from __future__ import annotations

from pathlib import Path

from veriseal.boot import agent, floor

VERISEAL = "/usr/bin/veriseal"
PYTHON = "/usr/bin/python3"
START_PYTHON = (PYTHON, "-I", "-c", "pass")
SEAL = (VERISEAL, "boot", "seal")
CERTIFICATE = Path("/etc/voa/debian:13/image/default/x509/release.pem")


def play_initrd(pem: bytes) -> None:
    """Make the agent take this guest for an initrd that holds the release certificate ``pem``."""
    Path(agent.INITRD_RELEASE).touch()
    Path(floor.PATH).write_text(floor.serialize(floor.Floor()))
    CERTIFICATE.parent.mkdir(parents=True, exist_ok=True)
    CERTIFICATE.write_bytes(pem)
