"""Everything that is wrong with the certificates and trust settings of a system, at once.

Unlike `load`, which stops at the first defect, for nothing counts then; what that says besides is
`atboot`'s. What `load` would refuse is an error here, too. So is what keeps a certificate of the
window from counting, although a boot with the others goes on: somebody put it there to count. The
rest is a warning.
"""

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from veriseal import certificate, chain, collisions, pem, voa
from veriseal.certificate import Certificate
from veriseal.errors import VerisealError
from veriseal.policy import Policy
from veriseal.trust import dates, finding, misplaced, model, window
from veriseal.trust.finding import ERROR, WARNING, Finding
from veriseal.trust.named import Settings

_BLOCK = re.compile(
    rb"-----BEGIN CERTIFICATE-----[ \t]*\r?\n[A-Za-z0-9+/=\r\n]+-----END CERTIFICATE-----"
)
_OWNERS = "etc/voa"
"""Below the root: what the machine's owner says."""


class _File(NamedTuple):
    """A file that was found where certificates are. ``path`` is its name, ``target`` is read."""

    os: str
    purpose: str
    path: str
    target: str
    counts: bool


class _Held(NamedTuple):
    """A certificate that could be read."""

    file: _File
    certificate: Certificate
    authority: bool


class Examined(NamedTuple):
    """What was found, and of the files those ``counted`` whose names and contents are right."""

    found: list[Finding]
    counted: frozenset[str]


def examine(
    policy: Policy, own: Sequence[str], settings: Settings, *, root: str = "/", at: int
) -> Examined:
    """The findings about the system below ``root``, in the order of the checks.

    ``own`` are its VOA names, ``settings`` those in ``policy``; ``at`` is the time that dates are
    judged against, seconds since 1970. Raises OSError.
    """
    found: list[Finding] = [*settings.window()]
    names = settings.names
    systems, strange = voa.systems(voa.LOAD_PATHS, root)
    for one in strange:
        found.append(Finding(WARNING, "bad-os-name", one.why, one.path, "Name it as ID:VERSION_ID"))
    files: list[_File] = []
    for os_name in systems:
        with _reading(found):
            if os_name not in names:
                found += _outside(os_name, names, policy.context, root)
            for purpose in (voa.PURPOSE, voa.ANCHOR_PURPOSE):
                files += _files(os_name, purpose, policy.context, root, found)
    with _reading(found):
        for lost in misplaced.find(names, policy.context, root):
            found.append(Finding(WARNING, model.NOT_READ, lost.why, lost.path, lost.remedy))
    held = [one for file in files for one in _certificates(file, files, file.os in names, found)]
    counting = [one for one in held if one.file.counts and one.file.os in names]
    releases = [one.certificate for one in counting if not one.authority]
    _identities(releases, found)
    _dates(policy, [one.certificate for one in counting], at, found)
    _chains(policy, root, counting, held, found)
    if not policy.statement:
        found += settings.missing({one.file.os for one in counting if not one.authority})
    anchors = any(one.purpose == voa.ANCHOR_PURPOSE for one in files)
    found += settings.contradictions(anchors, len(releases))
    exposed = {one.path for one in found if one.name == "private-key-exposed"}
    # It must not be given the name of a certificate.
    found = [one for one in found if one.name != "bad-name" or one.path not in exposed]
    return Examined(found, frozenset(one.file.path for one in counting))


@contextlib.contextmanager
def _reading(found: list[Finding]) -> Iterator[None]:
    """Go on after a directory that cannot be read."""
    try:
        yield
    except OSError as error:
        found.append(finding.unreadable(error))


def _outside(os_name: str, names: Sequence[str], context: str, root: str) -> Iterable[Finding]:
    for purpose in (voa.PURPOSE, voa.ANCHOR_PURPOSE):
        counted, _ = voa.find(voa.LOAD_PATHS, [os_name], purpose, context, root)
        for one in counted:
            yield Finding(
                WARNING,
                model.OUTSIDE,
                f"{os_name} is not in the window ({', '.join(names)})",
                one.path,
                "Remove it, or name the release in trust.previous or trust.next",
            )


def _files(
    os_name: str, purpose: str, context: str, root: str, found: list[Finding]
) -> Iterable[_File]:
    """Everything with contents in the directories of ``os_name``; says what is odd about names."""
    counted, ignored = voa.find(voa.INITRD_LOAD_PATHS, [os_name], purpose, context, root)
    files = [_File(os_name, purpose, one.path, one.target, True) for one in counted]
    ephemeral, more = voa.find([voa.EPHEMERAL], [os_name], purpose, context, root)
    files += [_File(os_name, purpose, one.path, one.target, False) for one in ephemeral]
    for one in (*ignored, *more):
        if one.target is not None:
            files.append(_File(os_name, purpose, one.path, one.target, False))
        if one.reason == voa.UNUSABLE:
            found.append(_unusable(one))
    with_contents = {os.path.basename(one.path) for one in files}
    for one in ignored:
        if one.reason == voa.MASKED and one.target is None:
            found += _mask(one.path, with_contents, root)
    why = f"{voa.EPHEMERAL} is not taken into the initrd, where alone it would count"
    lost = [(one.path, why) for one in ephemeral]
    why = f"the key is not masked by it: {voa.EPHEMERAL} is not taken into the initrd"
    lost += [(one.path, why) for one in more if one.reason == voa.MASKED and one.target is None]
    remedy = f"Move it below {os.path.join(root, _OWNERS)}"
    found += [Finding(WARNING, model.NOT_IN_INITRD, text, path, remedy) for path, text in lost]
    return files


def _unusable(one: voa.Ignored) -> Finding:
    if os.path.islink(one.path):
        remedy = "Copy the file, or remove the link"
        return Finding(ERROR, "bad-link", f"it does not count: {one.why}", one.path, remedy)
    if not one.path.endswith(".pem") and os.path.isfile(one.path):
        return Finding(
            WARNING, "bad-name", one.why, one.path, "Rename it to NAME.pem, or remove it"
        )
    path = one.path
    while not os.path.lexists(path):
        path = os.path.dirname(path)  # a file in place of a directory above
    return Finding(ERROR, "not-a-file", f"it does not count: {one.why}", path, "Remove it")


def _mask(path: str, names: set[str], root: str) -> Iterable[Finding]:
    if os.path.basename(path) not in names:
        text = "this mask matches nothing: no load path has a certificate of this name"
        yield Finding(WARNING, "mask-of-nothing", text, path, "Correct its name, or remove it")
    belongs = os.path.join(root, _OWNERS)
    if not path.startswith(f"{belongs}/"):
        text = "a mask belongs to the machine, not to what a vendor installs"
        yield Finding(WARNING, "misplaced-mask", text, path, f"Move it below {belongs}")


def _certificates(
    file: _File, files: Sequence[_File], matters: bool, found: list[Finding]
) -> Iterable[_Held]:
    """The usable certificates in ``file``. What is wrong with it is an error where it counts."""
    level = ERROR if matters and file.counts else WARNING
    try:
        with open(file.target, "rb") as opened:
            data = opened.read(pem.MAX_FILE_SIZE + 1)
    except OSError as error:
        found.append(finding.unreadable(error, level, file.path))
        return
    blocks = [data]
    try:
        pem.one_certificate(data, file.path)
    except VerisealError as error:
        exposed = error.reason == "private-key-exposed"
        if file.path.endswith(".pem") or exposed:
            found.append(finding.of(error, ERROR if exposed else level))
        blocks = _BLOCK.findall(data[: pem.MAX_FILE_SIZE])
    for block in blocks:
        try:
            yield _usable(file, files, block)
        except VerisealError as error:
            found.append(finding.of(error, level))


def _usable(file: _File, files: Sequence[_File], data: bytes) -> _Held:
    if file.purpose == voa.ANCHOR_PURPOSE:
        return _Held(file, certificate.load_root(data, file.path), True)
    try:
        return _Held(file, certificate.load(data, file.path), False)
    except VerisealError as error:
        # An intermediate authority is at its place where there is an anchor above it.
        anchors = any(one.purpose == voa.ANCHOR_PURPOSE for one in files)
        if error.reason != "certificate-authority" or not anchors:
            raise
    return _Held(file, certificate.load_root(data, file.path), True)


def _identities(releases: Sequence[Certificate], found: list[Finding]) -> None:
    """Say what the kernel, or people, could take for one another."""
    kept: list[Certificate] = []
    by_der: dict[bytes, Certificate] = {}
    by_key: dict[bytes, Certificate] = {}
    by_subject: dict[str, Certificate] = {}
    for one in releases:
        if (other := by_der.setdefault(one.der, one)) is not one:
            text = f"the same certificate is also in {other.path}"
            remedy = "Remove one of the two files"
            found.append(Finding(WARNING, "same-certificate", text, one.path, remedy))
            continue
        key = certificate.key_bytes(one.public_key)
        if (other := by_key.setdefault(key, one)) is not one:
            text = f"has the same key as {other.path}: two signers must not be one"
            remedy = "Issue one of them again, with a new key: veriseal pki issue"
            found.append(Finding(ERROR, "same-key", text, one.path, remedy))
            continue
        try:
            collisions.check([*kept, one])
            kept.append(one)
        except VerisealError as error:
            found.append(finding.of(error))
            continue
        if (other := by_subject.setdefault(one.subject, one)) is not one:
            text = f"has the same subject as {other.path}: messages cannot tell them apart"
            remedy = "Give each release's certificate a subject of its own"
            found.append(Finding(WARNING, "same-subject", text, one.path, remedy))


def _dates(
    policy: Policy, certificates: Sequence[Certificate], at: int, found: list[Finding]
) -> None:
    level = ERROR if policy.dates == "enforce" else WARNING
    for one in certificates:
        if (text := dates.judge(one, at)) is None:
            continue
        name = model.EXPIRED if dates.expired(one, at) else model.NOT_YET_VALID
        found.append(Finding(level, name, text, one.path, "Replace it by one that is valid"))


def _chains(
    policy: Policy,
    root: str,
    counting: Sequence[_Held],
    held: Sequence[_Held],
    found: list[Finding],
) -> None:
    """Say which release certificates no anchor vouches for, where there is any anchor."""
    if not any(one.file.purpose == voa.ANCHOR_PURPOSE for one in held):
        return
    anchors = [one for one in counting if one.file.purpose == voa.ANCHOR_PURPOSE]
    others = [one.certificate for one in counting if one not in anchors and one.authority]
    for one in counting:
        if one.authority:
            continue
        above = [two.certificate for two in anchors if voa.covers(two.file.os, one.file.os)]
        try:
            chain.check(one.certificate, others, above)
        except VerisealError as error:
            system = window.system(one.file.os)
            place = voa.place(system, voa.ANCHOR_PURPOSE, policy.context, root)
            remedy = f"Put the root that issued it into {place}, or replace it by one that is "
            remedy += "issued by a root which is there"
            found.append(finding.of(error)._replace(remedy=remedy))
