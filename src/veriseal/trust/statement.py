"""The trust statement: which releases count, signed by an anchor, apart from the initrd.

One JSON file. What is signed is its fs-verity digest, with the same built-in signature as that of
a program but a salt of its own, see `domain`, by the key of a trust anchor: ``NAME.json``, and
beside it ``NAME.json.ANYTHING.sig``.

`load` reads one that nobody has verified, in order, so that nothing is parsed before its signature
was checked:
  1. the statement and its signatures are read, through directories alone;
  2. an anchor that counts has signed it;
  3. it is understood, and each certificate in it is one that the kernel takes;
  4. it is of this operating system, and the anchor vouches for all that it names;
  5. it revokes neither the anchor that signed it nor a key that it names;
  6. it is not older than the floor.
"""

import json
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding

from veriseal import certificate, collisions, fields, voa
from veriseal.certificate import Certificate, key_bytes
from veriseal.digest import Digest
from veriseal.errors import VerisealError
from veriseal.fields import Fields
from veriseal.trust import beside, vouched
from veriseal.trust.model import Anchor

FORMAT = "veriseal-trust"
SCHEMA = 1
MAX_SIZE = 1 << 20
"""Bytes."""

_FINGERPRINT = re.compile("[0-9a-f]{64}")
_MAKE = "Make it again with: veriseal trust statement"


class StatementRelease(NamedTuple):
    """A release that counts.

    Attributes:
        os: as VOA names it, such as ``debian:13``.
        floor: the lowest version of its manifest; 0 for any.
        certificates: whose signatures count, at least one.
    """

    os: str
    floor: int
    certificates: tuple[Certificate, ...]


class Statement(NamedTuple):
    """What a vendor's anchor says of its releases.

    Attributes:
        os: the VOA name of the systems that it is for, such as ``debian``.
        version: only grows.
        created: seconds since 1970.
        releases: at least one, each name once.
        revoked: digests that no file may have.
        revoked_certificates: fingerprints: SHA-256 of the DER, hex.
        path: of the file, for messages.
        signer: the anchor whose signature counted.
    """

    os: str
    version: int
    created: int
    releases: tuple[StatementRelease, ...]
    revoked: tuple[Digest, ...]
    revoked_certificates: tuple[str, ...]
    path: str
    signer: Certificate


def serialize(statement: Statement) -> bytes:
    """The file; the same statement gives the same bytes."""
    document = {
        "format": FORMAT,
        "schema": SCHEMA,
        "os": statement.os,
        "version": statement.version,
        "created": statement.created,
        "releases": [
            {
                "os": release.os,
                "floor": release.floor,
                "certificates": [
                    one.x509.public_bytes(Encoding.PEM).decode() for one in release.certificates
                ],
            }
            for release in statement.releases
        ],
        "revoked": {
            "digests": [str(one) for one in statement.revoked],
            "certificates": list(statement.revoked_certificates),
        },
    }
    return (json.dumps(document, indent=2) + "\n").encode()


def parse(data: bytes, path: str, signer: Certificate) -> Statement:
    """The statement in ``data``, the contents of ``path``, which ``signer`` has signed.

    Nothing of it is verified but that it makes sense. Raises VerisealError ``bad-statement``; an
    unknown key is an error.
    """
    if len(data) > MAX_SIZE:
        raise _bad(path, "too large", f"at most {MAX_SIZE} bytes", f"{len(data)} bytes")
    top = Fields(fields.load(data, path, _bad), path, "the statement", _bad)
    head = (top.take("format"), top.take("schema"))
    if head != (FORMAT, SCHEMA) or type(head[1]) is not int:
        raise _bad(path, "not a trust statement of a known format", f"{FORMAT} {SCHEMA}", f"{head}")
    revoked = Fields(top.take("revoked"), path, "revoked", _bad)
    statement = Statement(
        os=_os(top, path),
        version=top.number("version", 1),
        created=top.number("created", 0),
        releases=tuple(_releases(top.take("releases"), path)),
        revoked=tuple(fields.exact_digest(one, path, _bad) for one in revoked.texts("digests")),
        revoked_certificates=tuple(revoked.texts("certificates")),
        path=path,
        signer=signer,
    )
    revoked.end()
    top.end()
    for one in statement.revoked_certificates:
        if not _FINGERPRINT.fullmatch(one):
            raise _bad(path, "a revoked certificate", "SHA-256 of its DER, 64 hex digits", one)
    _check_sense(statement)
    return statement


def load(
    path: str, anchors: Sequence[Anchor], os_names: Sequence[str], floor: int, root: str = "/"
) -> Statement:
    """The statement at ``path`` below the directory ``root``. Steps 1 to 6 of this module.

    ``anchors`` are those that count, ``os_names`` the VOA names of the system, ``floor`` the
    lowest version. No link is followed below ``root``.

    Raises VerisealError: ``no-statement``, ``statement-not-signed``, ``bad-statement``,
    ``other-os``, ``statement-rolled-back``, and nothing else.
    """
    shown = os.path.join(root, path.lstrip("/"))
    try:
        data, signatures = beside.read(path, root, MAX_SIZE)
    except OSError as error:
        raise VerisealError(
            "no-statement",
            f"the trust statement cannot be read: {error.strerror}",
            path=shown,
            remedy=vouched.REMEDY,
        ) from None
    return check(data, signatures, anchors, os_names, floor, shown)


def check(
    data: bytes,
    signatures: Mapping[str, bytes | OSError],
    anchors: Sequence[Anchor],
    os_names: Sequence[str],
    floor: int,
    path: str,
) -> Statement:
    """The statement in ``data``, the contents of ``path``. Steps 2 to 6 of this module.

    The rest is as for `vouched.signers` and `load`. Raises VerisealError as `load` does.
    """
    if len(data) > MAX_SIZE:
        raise _bad(path, "too large", f"at most {MAX_SIZE} bytes", "more")
    signers = vouched.signers(data, signatures, anchors, path)
    statement = parse(data, path, signers[0].certificate)
    if statement.os not in os_names:
        raise VerisealError(
            "other-os",
            "the trust statement is for another operating system or release",
            path=path,
            expected=" or ".join(os_names),
            found=statement.os,
            remedy="Install the one of this system's vendor",
        )
    keys = {
        key_bytes(anchor.certificate.public_key)
        for anchor in anchors
        if anchor.certificate.fingerprint in statement.revoked_certificates
    }
    statement = statement._replace(signer=_choose(statement, signers, keys))
    check_revoked(statement, keys)
    if statement.version < floor:
        raise VerisealError(
            "statement-rolled-back",
            "the trust statement is older than one this machine has known",
            path=path,
            expected=f"version {floor} or newer",
            found=f"version {statement.version}",
            remedy="Install the newer one again",
        )
    return statement


def check_revoked(statement: Statement, keys: Collection[bytes]) -> None:
    """Raise VerisealError ``bad-statement`` where a certificate that counts has one of ``keys``.

    They are those of the certificates that it revokes, as `certificate.key_bytes` gives them: no
    machine would take another certificate with such a key.
    """
    for one in _certificates(statement):
        if key_bytes(one.public_key) in keys:
            raise _bad(
                statement.path,
                "a certificate counts and its key is that of a revoked one",
                "a new key",
                one.subject,
            )
    if key_bytes(statement.signer.public_key) in keys:
        raise _revokes_signer(statement, statement.signer)


def _revokes_signer(statement: Statement, signer: Certificate) -> VerisealError:
    return _bad(
        statement.path,
        "revokes the anchor that signed it",
        "the signature of another anchor, with another key",
        signer.subject,
    )


def _choose(
    statement: Statement, signers: Sequence[Anchor], revoked: Collection[bytes]
) -> Certificate:
    """The signer that vouches for all of ``statement`` and has none of the keys ``revoked``.

    Raises VerisealError.
    """
    names = (statement.os, *(release.os for release in statement.releases))
    covering = [anchor for anchor in signers if all(voa.covers(anchor.os, name) for name in names)]
    if not covering:
        raise VerisealError(
            "other-os",
            "the anchor that signed the trust statement does not vouch for all that it names",
            path=statement.path,
            expected=" or ".join(f"nothing but {anchor.os}" for anchor in signers),
            found=", ".join(dict.fromkeys(names)),
            remedy="Install the anchor under the VOA name that covers them, such as debian",
        )
    for anchor in covering:
        if key_bytes(anchor.certificate.public_key) not in revoked:
            return anchor.certificate
    raise _revokes_signer(statement, covering[0].certificate)


def _releases(value: object, path: str) -> Iterable[StatementRelease]:
    if not isinstance(value, list) or not value:
        raise _bad(path, "releases", "a list of at least one")
    for one in value:
        release = Fields(one, path, "a release", _bad)
        name = _os(release, path)
        floor = release.number("floor", 0)
        texts = release.texts("certificates")
        release.end()
        if not texts:
            raise _bad(path, f"no certificate of {name}", "at least one")
        yield StatementRelease(
            name,
            floor,
            tuple(_certificate(text, path, f"{n} of {name}") for n, text in enumerate(texts, 1)),
        )


def _os(of: Fields, path: str) -> str:
    name = of.text("os")
    if not voa.is_os_name(name):
        raise _bad(path, "not the name of a release", "such as debian:13", name)
    return name


def _certificate(text: str, path: str, which: str) -> Certificate:
    try:
        return certificate.load(text.encode(errors="replace"), f"{path} (certificate {which})")
    except VerisealError as error:
        raise _bad(
            path, f"certificate {which}: {error.problem}", error.expected, error.found
        ) from None


def _check_sense(statement: Statement) -> None:
    names: set[str] = set()
    fingerprints: set[str] = set()
    for release in statement.releases:
        if release.os in names:
            raise _bad(statement.path, "a release is named twice", found=release.os)
        names.add(release.os)
        for one in release.certificates:
            if one.fingerprint in fingerprints:
                raise _bad(statement.path, "a certificate is named twice", found=one.subject)
            if one.fingerprint in statement.revoked_certificates:
                raise _bad(
                    statement.path, "a certificate both counts and is revoked", found=one.subject
                )
            fingerprints.add(one.fingerprint)
    try:
        collisions.check(_certificates(statement))
    except VerisealError as error:
        raise _bad(
            statement.path, f"{error.path}: {error.problem}", error.expected, error.found
        ) from None


def _certificates(statement: Statement) -> Iterable[Certificate]:
    return (one for release in statement.releases for one in release.certificates)


def _bad(path: str, problem: str, expected: object = None, found: object = None) -> VerisealError:
    return VerisealError(
        "bad-statement", problem, path=path, expected=expected, found=found, remedy=_MAKE
    )
