"""What the agent is going to enrol: the initrd's certificates, found and checked."""

import os
from typing import NamedTuple

from veriseal import certificate, pem, voa
from veriseal.certificate import Certificate
from veriseal.errors import VerisealError
from veriseal.policy import Policy


class Release(NamedTuple):
    """A certificate and the VOA name of the release it signs for."""

    os: str
    certificate: Certificate


class Plan(NamedTuple):
    """Everything that is decided before the kernel is touched."""

    releases: list[Release]
    ignored: list[voa.Ignored]


def make(policy: Policy, os_release: dict[str, str], root: str = "/") -> Plan:
    """Find and check the certificates below ``root``.

    Raises VerisealError: ``no-certificates``, or what is wrong with one of them.
    """
    names = voa.os_identifiers(os_release)
    names = list(dict.fromkeys([*policy.previous, *names, *policy.next]))
    load_paths = [os.path.join(root, path.lstrip("/")) for path in voa.INITRD_LOAD_PATHS]
    found, ignored = voa.find(load_paths, names, policy.context)
    releases = [Release(name, certificate.load(_read(path), path)) for name, path in found]
    if not releases:
        raise VerisealError(
            "no-certificates",
            "the initrd holds no release certificate for this system",
            path=os.path.join(load_paths[0], names[-1], voa.PURPOSE, policy.context, "x509"),
            expected=f"a .pem file for one of {', '.join(names)}",
            found="; ".join(f"{path} ({why})" for path, why in ignored) or "nothing",
            remedy="Install the release certificate, rebuild the initrd with dracut, boot again",
        )
    certificate.check_collisions([release.certificate for release in releases])
    return Plan(releases, ignored)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        # One byte more than is accepted, so that the check of the size has something to refuse.
        return file.read(pem.MAX_FILE_SIZE + 1)
