"""The window: the releases whose certificates are enrolled, as the settings have it."""

from collections.abc import Iterator, Mapping, Sequence

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
    own = voa.os_identifiers(os_release)
    for _part, mistake in mistakes(settings, own):
        raise mistake
    parts = {PREVIOUS: settings.previous, CURRENT: tuple(own), NEXT: settings.next}
    window: dict[str, str] = {}
    for part, names in parts.items():
        for name in names:
            if part == CURRENT or name not in own:
                window[name] = part
    return window


def mistakes(settings: Policy, own: Sequence[str]) -> Iterator[tuple[str, VerisealError]]:
    """All that `of` refuses for the system with the VOA names ``own``, by part of the window."""
    for part, names in ((PREVIOUS, settings.previous), (NEXT, settings.next)):
        for name in dict.fromkeys(names):
            if not voa.is_os_name(name):
                yield (
                    part,
                    VerisealError(
                        "bad-configuration",
                        f"trust.{part}: not the name of a release",
                        expected="ID:VERSION_ID as in os-release, such as fedora:43",
                        found=name,
                        remedy=f"Correct it, or take it out of trust.{part}",
                    ),
                )
            elif part == NEXT and name in settings.previous and name not in own:
                yield (
                    part,
                    VerisealError(
                        "bad-configuration",
                        f"{name} is both in trust.{PREVIOUS} and in trust.{NEXT}",
                        remedy="Take it out of one of the two",
                    ),
                )


def system(name: str) -> str:
    """The ID in a VOA name, such as ``fedora``."""
    return name.partition(":")[0]


def systems(window: Mapping[str, str]) -> set[str]:
    """The IDs in the window."""
    return {system(name) for name in window}
