"""What is on the disk of a tree, compared with what a boot would take."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from veriseal import manifest, signature
from veriseal.boot import gather
from veriseal.boot.gather import Gathered
from veriseal.errors import VerisealError
from veriseal.plan.lost import Lost
from veriseal.plan.side import Side
from veriseal.policy import Policy
from veriseal.tree import source
from veriseal.tree.listed import Listed
from veriseal.tree.source import Release
from veriseal.trust import beside, finding, model
from veriseal.trust.finding import ERROR, WARNING, Finding
from veriseal.trust.model import TrustSet


class State(NamedTuple):
    """What a look at the files came to.

    Attributes:
        lost: needed files that would lose trust, as they are on the disk.
        findings: what else is wrong with them.
        to_enable: how many needed files have no verity or no signature yet.
    """

    lost: list[Lost]
    findings: list[Finding]
    to_enable: int | None


def who_signed(tree: str, trust: TrustSet) -> Iterator[Finding]:
    """Of a manifest that is refused: each certificate that signed it and does not count."""
    try:
        _, found = beside.read(f"{manifest.DIRECTORY}/{manifest.NAME}", tree, manifest.MAX_SIZE)
    except OSError:
        return
    for name, der in found.items():
        if isinstance(der, OSError):
            continue
        try:
            info = signature.inspect(der, name)
        except VerisealError:
            continue
        for one in trust.ignored:
            signer = one.certificate
            if signer is not None and info.names(signer) and one.reason != model.REPEATED:
                text = f"{signer.subject}, which signed the manifest, does not count: {one.why}"
                yield Finding(ERROR, one.reason, text, one.path)


def images(tree: str, target: Side, then: Gathered) -> list[Finding]:
    """The digest files of composefs images, in the initrd and in ``tree``: which could be booted.

    Those that could not are errors only if no image is left.
    """
    trust = gather.manifest_trust(then, target.settings, target.os_release, target.floor.version)
    refused: list[VerisealError] = []
    good = 0
    for root in dict.fromkeys((target.root, tree)):
        for shown in _deployments(root, target.settings):
            directory = os.open(shown, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                source.load(directory, shown, trust)
                good += 1
            except VerisealError as error:
                refused.append(error)
            finally:
                os.close(directory)
    if not good and not refused:
        refused.append(
            VerisealError(
                "no-manifest",
                "there is no digest file of any image",
                path=os.path.join(target.root, target.settings.images.lstrip("/")),
                remedy="Make it with: veriseal build --image, and rebuild the initrd",
            )
        )
    return [finding.of(error, WARNING if good else ERROR) for error in refused]


def _deployments(root: str, settings: Policy) -> list[str]:
    place = os.path.join(root, settings.images.lstrip("/"))
    try:
        with os.scandir(place) as entries:
            return sorted(one.path for one in entries if one.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return []


def examine(
    tree: str, release: Release, contents: Listed, trust: TrustSet, settings: Policy
) -> State:
    """The needed files of ``tree`` as they are."""
    return State([], [], None)
