"""What is on the disk of a tree, compared with what a boot would take."""

import os
from collections.abc import Container, Iterable, Iterator
from typing import NamedTuple

from veriseal import manifest, signature
from veriseal.audit import fate, files
from veriseal.audit.expected import Expected
from veriseal.audit.files import FileState, Known
from veriseal.boot import gather
from veriseal.boot.gather import Gathered
from veriseal.digest import Digest
from veriseal.errors import VerisealError
from veriseal.plan import ring
from veriseal.plan.side import Side
from veriseal.policy import Policy
from veriseal.signers import Signed
from veriseal.tree import source
from veriseal.trust import beside, finding, model
from veriseal.trust.finding import ERROR, WARNING, Finding
from veriseal.trust.model import Ignored, TrustSet

NOT_ENABLED = "not-enabled"
_SYSROOT = "/sysroot"
_SHOWN = 5
"""Paths in a message."""


class State(NamedTuple):
    """What a look at the files came to.

    Attributes:
        signers: whose signature a file has, by path, where the kernel shows it.
        findings: what is wrong with needed files, besides whose signature they have.
        to_enable: how many needed files have no verity yet.
    """

    signers: dict[bytes, Signed]
    findings: list[Finding]
    to_enable: int


def who_signed(tree: str, trust: TrustSet) -> Iterator[Ignored]:
    """Of a manifest that is refused: each certificate that signed it and does not count."""
    try:
        data, found = beside.read(f"{manifest.DIRECTORY}/{manifest.NAME}", tree, manifest.MAX_SIZE)
    except OSError:
        return
    digest = manifest.digest(data)
    known = [one for one in trust.ignored if one.reason != model.REPEATED]
    for name, der in found.items():
        for one in known:
            signer = one.certificate
            if signer is None or isinstance(der, OSError):
                continue
            try:
                signature.verify(der, digest, signer, name)
            except VerisealError:
                continue  # anybody can write a name into a signature
            yield one


def images(tree: str, target: Side, then: Gathered, named: Digest | None) -> list[Finding]:
    """The digest files of composefs images where the boot looks for them: which could be booted.

    With ``named``, the image that the boot entry names, only its own counts; without, those that
    could not be booted are errors only if no image is left.
    """
    trust = gather.manifest_trust(then, target.settings, target.os_release, target.floor.version)
    root, place = _where(tree, target)
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    refused: list[VerisealError] = []
    good = 0
    try:
        names = _deployments(top, place) if named is None else [named.value.hex()]
        for name in names:
            try:
                _image(top, f"{place}/{name}", os.path.join(root, place, name), trust)
                good += 1
            except VerisealError as error:
                refused.append(error)
    finally:
        os.close(top)
    if not good and not refused:
        refused.append(
            VerisealError(
                "no-manifest",
                "there is no digest file of any image",
                path=os.path.join(root, place),
                remedy="Make it with: veriseal build --image, and rebuild the initrd",
            )
        )
    return [finding.of(error, WARNING if good else ERROR) for error in refused]


def _where(tree: str, target: Side) -> tuple[str, str]:
    """The root that boot.images is below, and the path there: the initrd has the tree mounted."""
    path = target.settings.images
    if path.startswith(f"{_SYSROOT}/"):
        return tree, path.removeprefix(_SYSROOT).strip("/")
    return target.root, path.strip("/")


def _image(top: int, path: str, shown: str, trust: source.Trust) -> None:
    """Raise VerisealError unless the boot takes the digest file below ``path`` for its image."""
    directory = source.open_directory(top, path, shown)
    try:
        release = source.load(directory, shown, trust)
    finally:
        os.close(directory)
    image = release.manifest.image
    if image is None or image.value.hex() != os.path.basename(path):
        raise VerisealError(
            "other-image",
            "the digest file is of another image",
            path=shown,
            found=image or "a tree",
            remedy="Make it with: veriseal build --image",
        )


def _deployments(top: int, place: str) -> list[str]:
    try:
        directory = source.open_directory(top, place, place)
    except VerisealError:
        return []
    try:
        with os.scandir(directory) as entries:
            return sorted(one.name for one in entries if one.is_dir(follow_symlinks=False))
    finally:
        os.close(directory)


def examine(tree: str, expected: Expected, trust: TrustSet, settings: Policy, final: bool) -> State:
    """The needed files of ``tree`` as they are. Raises OSError, VerisealError.

    See `judged` for ``final``.
    """
    known = [Known(one.certificate, one.os) for one in trust.releases]
    known += [
        Known(one.certificate, one.os) for one in trust.ignored if one.certificate is not None
    ]
    enrolled = ring.enrolled() or frozenset()
    everything = settings.verity == "all"
    top = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        states = files.examine(top, expected, known, all_verity=everything).files
    finally:
        os.close(top)
    return judged(states, trust, settings.keyring == "require", enrolled, final)


def judged(
    states: Iterable[FileState],
    trust: TrustSet,
    keyring: bool,
    enrolled: Iterable[str],
    final: bool,
) -> State:
    """What ``states`` come to. Pure.

    ``keyring`` and ``enrolled`` are those of `fate.Judge`. A ``final`` tree is the one that the
    next boot enters as it is: then what is not enabled yet, or could not be looked at, is an error.
    """
    judge = fate.Judge(trust, keyring=keyring, enrolled=enrolled)
    counting = {one.certificate.fingerprint for one in trust.releases}
    needed = [one for one in states if one.needed]
    groups: dict[str, list[bytes]] = {}
    for one in needed:
        kind = judge.of(one).kind
        if not _said_elsewhere(one, kind, counting):
            groups.setdefault(kind, []).append(one.path)
    bare = groups.pop(fate.NO_VERITY, [])
    found = [_said(kind, paths, final) for kind, paths in groups.items()]
    if bare:
        found.append(_bare(bare, len(needed), final))
    signed = {
        one.path: Signed(one.os or "", one.signer, one.named or one.signer)
        for one in needed
        if one.signer is not None and one.known_from == files.FILE
    }
    return State(signed, found, len(bare))


def _said_elsewhere(one: FileState, kind: str, counting: Container[str]) -> bool:
    """Whether `lost` names the file: by a known signer that does not count, or by its digest."""
    if kind == fate.NOT_TRUSTED:
        return one.signer is not None and one.signer not in counting
    return kind == fate.OK or kind == fate.REVOKED and not one.changed


def _said(kind: str, paths: list[bytes], final: bool) -> Finding:
    level = WARNING if kind == fate.UNKNOWN and not final else ERROR
    remedy = "See each with: veriseal audit"
    return Finding(level, kind, f"{fate.KINDS[kind]}: {_named(paths)}", None, remedy)


def _bare(paths: list[bytes], needed: int, final: bool) -> Finding:
    # Where no file has verity the tree is being built, or staged. Where some have, the others
    # were forgotten, or put there since.
    level = WARNING if len(paths) == needed and not final else ERROR
    text = f"without fs-verity the boot is refused: {_named(paths)}"
    remedy = "Before the reboot: veriseal enable --release RELEASE TREE"
    return Finding(level, NOT_ENABLED, text, None, remedy)


def _named(paths: list[bytes]) -> str:
    names = ", ".join(os.fsdecode(path) for path in sorted(paths)[:_SHOWN])
    more = len(paths) - _SHOWN
    count = f"{len(paths)} needed file{'' if len(paths) == 1 else 's'}"
    return f"{count}: {names}" + (f" and {more} more" if more > 0 else "")
