"""Reading a release's manifest out of a directory that nobody has verified.

In order, so that nothing is parsed before its signature was checked:
  1. the manifest and its signatures are read, through directories alone;
  2. enough of the certificates that count have signed it;
  3. it is of this operating system, and they are of this release;
  4. it is not older than the floor, not revoked, and its signers' certificates are not out of date;
  5. the files beside it have the sizes and the fs-verity digests that it says.
"""

import functools
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from veriseal import closure, merkle, regular, signature, signers, voa
from veriseal import manifest as statement
from veriseal.certificate import Certificate
from veriseal.digest import MAX_SIGNATURE_SIZE, Digest
from veriseal.errors import VerisealError, some
from veriseal.kernel import files
from veriseal.manifest import Attached, Manifest, Signature
from veriseal.signature import SignatureInfo

_SUFFIX = ".sig"
_LONGEST_NAME = 64


Names = Callable[[Certificate], bool]
"""Whether a certificate is the one that a signature names."""


class Trust(NamedTuple):
    """Whose manifests count.

    Attributes:
        signers: certificates, each with the VOA name that it signs for; None stands for any.
        needed: how many of them must have signed.
        os_names: the VOA names of the system.
        floor: the lowest version.
        floors: the lowest version besides, by VOA name.
        revoked: digests that no file, manifest or image may have.
        judge: what is wrong with the dates of a certificate for a manifest that was created then
            (seconds since 1970), a clause; None if nothing is that matters.
        about: what is with the certificate that signed a manifest and does not count, a clause,
            and the remedy; its second argument is the release that the manifest says it is of,
            for the messages alone. None if there is nothing to say.
    """

    signers: Sequence[tuple[str | None, Certificate]]
    needed: int
    os_names: Sequence[str]
    floor: int
    floors: Mapping[str, int] = {}
    revoked: Sequence[Digest] = ()
    judge: Callable[[Certificate, int], str | None] = lambda _certificate, _created: None
    about: Callable[[Names, str], tuple[str, str] | None] = lambda _names, _os_name: None

    def vouches(self, signer: Certificate, os_name: str) -> bool:
        """Whether ``signer`` may sign for the release ``os_name``."""
        names = [name for name, certificate in self.signers if certificate is signer]
        return any(name is None or voa.covers(name, os_name) for name in names)

    def lowest(self, os_name: str) -> int:
        """The lowest version of a manifest of ``os_name``."""
        covering = (version for name, version in self.floors.items() if voa.covers(name, os_name))
        return max(self.floor, *covering, 0)


class Release(NamedTuple):
    """A manifest that passed, with its tree list.

    Attributes:
        manifest: what it says; also revoked is what the trust revokes besides.
        tree_list: composefs-dump(5), whole; empty for an image.
        closures: what its programs need, not parsed yet; empty for an image.
        signers: whose signatures its files have, not parsed yet; empty for an image.
        digest: of the manifest, which is what is signed.
        signatures: those that count.
        ignored: why each other signature counts for nothing.
        path: of the manifest, for messages.
    """

    manifest: Manifest
    tree_list: bytes
    closures: bytes
    signers: bytes
    digest: Digest
    signatures: list[Signature]
    ignored: list[str]
    path: str


def open_directory(root: int, directory: str, shown: str) -> int:
    """The manifest directory ``directory`` below ``root``; no link is followed on the way.

    ``shown`` is its name for messages. The caller closes it. Raises VerisealError.
    """
    try:
        return files.open_beneath(root, os.fsencode(directory), os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise VerisealError(
            "no-manifest",
            f"there is no manifest here: {error.strerror}",
            path=shown,
            remedy="Make it with veriseal build, and install what that writes here",
        ) from None


def load(directory: int, shown: str, trust: Trust) -> Release:
    """The release whose manifest lies in ``directory``. Steps 1 to 5 of this module.

    Raises VerisealError: ``no-manifest``, ``manifest-not-signed``, ``bad-manifest``,
    ``other-os``, ``rolled-back``, ``revoked``, ``attached-changed`` and others.
    """
    path = os.path.join(shown, statement.NAME)
    data = _read(directory, statement.NAME, statement.MAX_SIZE, shown)
    certificates = [certificate for _, certificate in trust.signers]
    ders = _signatures(directory, shown)
    try:
        signed, ignored = statement.check_signatures(data, ders, certificates, trust.needed, path)
    except VerisealError as error:
        raise _explained(error, ders, data, trust) from None
    manifest = statement.parse(data, path)
    statement.check_os(manifest, trust.os_names, path)
    counted = [one for one in signed if trust.vouches(one.signer, manifest.os)]
    _require_enough(counted, signed, trust, manifest, path)
    counted, late = _in_date(counted, trust, manifest, path)
    ignored += late
    statement.check_version(manifest, trust.lowest(manifest.os), path)
    tree_list = _attached(directory, statement.TREE_LIST, manifest.tree, shown)
    closures = _attached(directory, closure.NAME, manifest.closures, shown)
    signed_by = _attached(directory, signers.NAME, manifest.signers, shown)
    digest = statement.digest(data)
    _require_not_revoked((digest, manifest.image), trust, path)
    revoked = tuple(dict.fromkeys((*manifest.revoked, *trust.revoked)))
    manifest = manifest._replace(revoked=revoked)
    return Release(manifest, tree_list, closures, signed_by, digest, counted, ignored, path)


def _require_enough(
    counted: list[Signature], signed: list[Signature], trust: Trust, manifest: Manifest, path: str
) -> None:
    if len(counted) < trust.needed:
        raise VerisealError(
            "manifest-not-signed",
            "the manifest is signed by certificates of another release",
            path=path,
            expected=f"{trust.needed} of those for {manifest.os}",
            found=", ".join(some([one.signer.subject for one in signed])),
            remedy="Sign it with a key of its own release",
        )


def _in_date(
    counted: list[Signature], trust: Trust, manifest: Manifest, path: str
) -> tuple[list[Signature], list[str]]:
    """Those whose certificates are in date, and what is wrong with each other."""
    good: list[Signature] = []
    late: list[str] = []
    for one in counted:
        why = trust.judge(one.signer, manifest.created)
        if why is None:
            good.append(one)
        else:
            late.append(f"{one.signer.subject} ({one.signer.path}): {why}")
    if len(good) < trust.needed:
        raise VerisealError(
            "manifest-not-signed",
            "the certificates that signed the manifest are out of date",
            path=path,
            expected=f"{trust.needed} in date",
            found="; ".join(some(late)),
            remedy="Set the machine's clock, or install a release that a newer certificate signed",
        )
    return good, late


def _require_not_revoked(digests: tuple[Digest | None, ...], trust: Trust, path: str) -> None:
    for digest in digests:
        if digest is not None and digest in trust.revoked:
            raise VerisealError(
                "revoked",
                "the trust statement revokes this release",
                path=path,
                found=digest,
                remedy="Install a newer release",
            )


def _explained(
    error: VerisealError, ders: Mapping[str, bytes], data: bytes, trust: Trust
) -> VerisealError:
    """``error``, with what is known of the certificates whose signatures do not count."""
    os_name = _says(data)
    whole = statement.digest(data)
    known: list[str] = []
    counted: list[str] = []
    unknown: list[str] = []
    unreadable: list[str] = []
    remedies: list[str] = []
    for name, der in ders.items():
        try:
            info = signature.inspect(der, name)
        except VerisealError as bad:
            unreadable.append(bad.without_remedy())
            continue
        named: list[Certificate] = []
        good: list[Certificate] = []
        about = trust.about(functools.partial(_is_by, info, whole, named, good), os_name)
        if named and not good:
            # Whoever can write here can name anybody.
            unknown.append(f"{name} names {info.signer}, and is no signature of this manifest")
        elif about is not None:
            (known if good else unknown).append(f"{name} by {info.signer}: {about[0]}")
            remedies.insert(0 if good else len(remedies), about[1])
        elif good:
            counted.append(f"{name} by {info.signer}, which counts")
    if not known + unknown:
        return error
    # However many strangers there are, they do not hide it.
    clauses = some(known + counted + unknown + unreadable)
    if os_name:
        clauses.append(f"of itself it says that it is of release {os_name}")
    return VerisealError(
        error.reason,
        error.problem,
        path=error.path,
        expected=error.expected,
        found="; ".join(clauses),
        remedy=remedies[0] if remedies else error.remedy,
    )


def _is_by(
    info: SignatureInfo,
    whole: Digest,
    named: list[Certificate],
    good: list[Certificate],
    certificate: Certificate,
) -> bool:
    """Whether it is a signature of ``whole`` by ``certificate``; notes what it names."""
    if not info.names(certificate):
        return False
    named.append(certificate)
    try:
        signature.check(info, whole, certificate)
    except VerisealError:
        return False
    good.append(certificate)
    return True


def _says(data: bytes) -> str:
    """The release that a manifest without a good signature claims to be of, to help who reads.

    Nothing is decided by it. Empty if it has no such name.
    """
    try:
        claimed = statement.parse(data, "").os
    except VerisealError:
        return ""
    return claimed if voa.is_os_name(claimed) and len(claimed) <= _LONGEST_NAME else ""


def _signatures(directory: int, shown: str) -> dict[str, bytes]:
    prefix = f"{statement.NAME}."
    try:
        listed = os.listdir(directory)
    except OSError as error:
        raise VerisealError(
            "unreadable", f"the directory cannot be listed: {error.strerror}", path=shown
        ) from None
    names = sorted(name for name in listed if name.startswith(prefix) and name.endswith(_SUFFIX))
    if len(names) > statement.MAX_SIGNATURES:
        raise VerisealError(
            "manifest-not-signed",
            "too many signatures of the manifest",
            path=shown,
            expected=f"at most {statement.MAX_SIGNATURES}",
            found=len(names),
        )
    # A file that is larger than any signature is one byte too large, whatever its size.
    return {name: _read(directory, name, MAX_SIGNATURE_SIZE, shown) for name in names}


def _attached(directory: int, name: str, wanted: Attached | None, shown: str) -> bytes:
    """The contents of the file ``name``, if they are what the manifest says. Nothing for None."""
    if wanted is None:
        return b""
    path = os.path.join(shown, name)
    data = _read(directory, name, wanted.size, shown)
    if len(data) != wanted.size:
        more = "more" if len(data) > wanted.size else f"{len(data)} bytes"
        raise _changed(path, f"{wanted.size} bytes", more)
    digest = merkle.data_digest(data, statement.PARAMETERS)
    if digest != wanted.digest:
        raise _changed(path, wanted.digest, digest)
    return data


def _changed(path: str, expected: object, found: object) -> VerisealError:
    return VerisealError(
        "attached-changed",
        "not the file that the manifest was signed with",
        path=path,
        expected=expected,
        found=found,
        remedy="Install the manifest and the files beside it of one build",
    )


def _read(directory: int, name: str, limit: int, shown: str) -> bytes:
    """The contents of a regular file, or its first ``limit`` + 1 bytes. Raises VerisealError."""
    path = os.path.join(shown, name)
    try:
        # O_NONBLOCK: a FIFO must not stop the boot.
        fd = files.open_beneath(directory, os.fsencode(name), os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise VerisealError(
            "no-manifest",
            f"cannot be opened: {error.strerror}",
            path=path,
            remedy="Make it with veriseal build, and install what that writes here",
        ) from None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise VerisealError("not-a-regular-file", "not a regular file", path=path)
        return regular.contents(fd, limit)
    except OSError as error:
        raise VerisealError("unreadable", f"cannot be read: {error.strerror}", path=path) from None
    finally:
        os.close(fd)
