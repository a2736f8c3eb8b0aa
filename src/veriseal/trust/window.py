"""The window: the releases whose certificates are enrolled, as the settings have it."""

from collections.abc import Mapping

from veriseal import voa
from veriseal.errors import VerisealError
from veriseal.policy import Policy
from veriseal.trust.model import CURRENT, NEXT, PREVIOUS


def of(settings: Policy, os_release: Mapping[str, str]) -> dict[str, str]:
    """Which part of the window each VOA name is in: previous, current, then next.

    What the settings name and the system itself is, is current: settings outlive the upgrade that
    they were made for, and that must not keep a machine from booting.

    Raises VerisealError ``bad-os-release``, and ``bad-configuration`` for what is no VOA name, or
    is both previous and next.
    """
    parts = {
        PREVIOUS: settings.previous,
        CURRENT: tuple(voa.os_identifiers(os_release)),
        NEXT: settings.next,
    }
    window: dict[str, str] = {}
    for part, names in parts.items():
        for name in names:
            if not voa.is_os_name(name):
                raise VerisealError(
                    "bad-configuration",
                    f"trust.{part}: not the name of a release",
                    expected="ID:VERSION_ID as in os-release, such as fedora:43",
                    found=name,
                )
            if name in parts[CURRENT] and part != CURRENT:
                continue
            if window.setdefault(name, part) != part:
                raise VerisealError(
                    "bad-configuration",
                    f"{name} is both in trust.{PREVIOUS} and in trust.{NEXT}",
                    remedy="Take it out of one of the two",
                )
    return window


def system(name: str) -> str:
    """The ID in a VOA name, such as ``fedora``."""
    return name.partition(":")[0]


def systems(window: Mapping[str, str]) -> set[str]:
    """The IDs in the window."""
    return {system(name) for name in window}
