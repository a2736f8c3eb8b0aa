"""Whether an anchor vouches for a certificate: building and checking the path between them.

Stricter than RFC 5280 where that is simpler: of name constraints only those on directory names
are understood, and everything that another form constrains is refused. Dates are the caller's
business, and so is what is revoked.

Used in the initrd. Source: RFC 5280, sections 4.2.1 and 6.1.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from veriseal.certificate import SIGNATURE_HASHES, Certificate, key_bytes
from veriseal.errors import VerisealError

MAX_DEPTH = 8
"""Authorities above a release certificate, the anchor among them."""
_MAX_TRIED = 1000
"""Steps from a certificate to an issuer. Authorities that certify each other make many."""
_SHOWN = 4
"""Anchors and mistakes in a message."""

_ANY_PURPOSE = "2.5.29.37.0"
_PURPOSES = {ExtendedKeyUsageOID.CODE_SIGNING.dotted_string, _ANY_PURPOSE}

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


class _MistakeError(Exception):
    """Why a path does not count, as `VerisealError.found` has it."""


def check(
    certificate: Certificate, intermediates: Iterable[Certificate], anchors: Iterable[Certificate]
) -> Certificate:
    """The one of ``anchors`` that vouches for ``certificate``. Raises as `path` does."""
    return path(certificate, intermediates, anchors)[-1]


def path(
    certificate: Certificate, intermediates: Iterable[Certificate], anchors: Iterable[Certificate]
) -> tuple[Certificate, ...]:
    """From ``certificate`` up to one of ``anchors``, both included. The first that passes.

    Raises VerisealError ``not-vouched``.
    """
    search = _Search(list(intermediates), list(anchors))
    for one in search.paths((certificate,)):
        try:
            _check_constraints(one)
        except _MistakeError as mistake:
            search.mistakes.append(str(mistake))
        else:
            return one
    names = " or ".join(list(dict.fromkeys(anchor.subject for anchor in search.anchors))[:_SHOWN])
    mistakes = list(dict.fromkeys(search.mistakes))[:_SHOWN]
    raise VerisealError(
        "not-vouched",
        "no trust anchor vouches for this certificate",
        path=certificate.path,
        expected=f"issued by {names or 'an anchor for this release, and none counts'}",
        found="; ".join(mistakes) or f"issuer {certificate.issuer}",
        remedy="Replace it by one that an anchor has issued, or install its issuer as an anchor",
    )


def check_issued_by(certificate: Certificate, root: Certificate) -> None:
    """Raise VerisealError (``not-vouched``) unless ``root`` issued and signed ``certificate``."""
    try:
        _check_issued(certificate, root)
    except _MistakeError as mistake:
        raise VerisealError(
            "not-vouched",
            "the root does not vouch for this certificate",
            path=certificate.path,
            expected=f"issued by {root.subject} ({root.path})",
            found=mistake,
        ) from None


class _Search:
    """For paths from a certificate to an anchor, with what was wrong on the way."""

    def __init__(self, intermediates: list[Certificate], anchors: list[Certificate]) -> None:
        self.anchors = anchors
        self.mistakes: list[str] = []
        self._tried = 0
        self._issuers: dict[bytes, list[tuple[Certificate, bytes]]] = {}
        for one in (*anchors, *intermediates):
            # What makes it one authority, as RFC 4158, 2.4.2, has it for loops.
            identity = _subject(one) + key_bytes(one.public_key)
            self._issuers.setdefault(_subject(one), []).append((one, identity))

    def paths(
        self, below: tuple[Certificate, ...], passed: frozenset[bytes] = frozenset()
    ) -> Iterator[tuple[Certificate, ...]]:
        """Every path that begins with ``below``, without loops."""
        for issuer, identity in self._issuers.get(below[-1].issuer_der, ()):
            if identity in passed:
                continue
            if len(below) > MAX_DEPTH or self._tried == _MAX_TRIED:
                self.mistakes.append("too long a path, or too many of them")
                return
            self._tried += 1
            try:
                _check_issued(below[-1], issuer)
            except _MistakeError as mistake:
                self.mistakes.append(str(mistake))
                continue
            path = (*below, issuer)
            if any(issuer is anchor for anchor in self.anchors):
                yield path
            else:
                yield from self.paths(path, passed | {identity})


def _check_issued(certificate: Certificate, issuer: Certificate) -> None:
    """That ``issuer`` is one, is the one that is named, and made the signature."""
    parsed, key = certificate.x509, issuer.public_key
    if certificate.issuer_der != _subject(issuer):
        raise _MistakeError(f"issuer {certificate.issuer}")
    named = _extension(certificate, x509.AuthorityKeyIdentifier)
    if named is not None:
        _check_named(named, issuer)
    algorithm = SIGNATURE_HASHES[parsed.signature_algorithm_oid]
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(
                parsed.signature, parsed.tbs_certificate_bytes, padding.PKCS1v15(), algorithm
            )
        else:
            key.verify(parsed.signature, parsed.tbs_certificate_bytes, ec.ECDSA(algorithm))
    except (InvalidSignature, ValueError):
        raise _MistakeError("a signature by another key") from None
    _check_authority(issuer)


def _check_named(named: x509.AuthorityKeyIdentifier, issuer: Certificate) -> None:
    names = [
        one.value
        for one in named.authority_cert_issuer or ()
        if isinstance(one, x509.DirectoryName)
    ]
    if named.key_identifier not in (None, issuer.skid):
        raise _MistakeError("an authority key identifier of another key")
    if named.authority_cert_serial_number not in (None, issuer.serial) or (
        names and issuer.x509.issuer not in names
    ):
        raise _MistakeError("an authority key identifier of another certificate")


def _check_authority(issuer: Certificate) -> None:
    constraints = _extension(issuer, x509.BasicConstraints)
    usage = _extension(issuer, x509.KeyUsage)
    purposes = _extension(issuer, x509.ExtendedKeyUsage)
    mistake: str | None = None
    if constraints is None or not constraints.ca:
        mistake = "is no certificate authority"
    elif usage is None or not usage.key_cert_sign:
        mistake = "may not sign certificates"
    elif purposes is not None and not _PURPOSES & {one.dotted_string for one in purposes}:
        mistake = "is an authority for other purposes than code signing"
    if mistake is not None:
        raise _MistakeError(f"{issuer.subject} ({issuer.path}) {mistake}")


def _check_constraints(path: Sequence[Certificate]) -> None:
    """Path lengths and name constraints of a whole path, each authority over all below it."""
    for number, authority in enumerate(path[1:], 1):
        # Self-issued ones do not count, and no name constraint is for them: a new key of theirs.
        below = [one for one in path[1:number] if one.issuer_der != _subject(one)]
        constraints = _extension(authority, x509.BasicConstraints)
        limit = None if constraints is None else constraints.path_length
        if limit is not None and len(below) > limit:
            raise _MistakeError(
                f"{len(below)} authorities below {authority.subject}, which allows {limit}"
            )
        names = _extension(authority, x509.NameConstraints)
        if names is not None:
            for one in (path[0], *below):
                _check_names(one, names, authority)


def _check_names(
    certificate: Certificate, constraints: x509.NameConstraints, authority: Certificate
) -> None:
    permitted = list(constraints.permitted_subtrees or ())
    excluded = list(constraints.excluded_subtrees or ())
    # Nothing may be in it that was not read here, such as minimum and maximum of a subtree.
    if constraints.public_bytes() not in authority.x509.tbs_certificate_bytes:
        raise _MistakeError(f"name constraints of {authority.subject} in another form")
    alternatives = _extension(certificate, x509.SubjectAlternativeName)
    present = list(alternatives or ())
    for base in (*permitted, *excluded):
        if not isinstance(base, x509.DirectoryName) and (
            any(type(one) is type(base) for one in present) or _in_subject(certificate, base)
        ):
            raise _MistakeError(
                f"{certificate.subject} has a name in the form {type(base).__name__}, "
                f"which {authority.subject} constrains"
            )
    allowed = [one.value for one in permitted if isinstance(one, x509.DirectoryName)]
    forbidden = [one.value for one in excluded if isinstance(one, x509.DirectoryName)]
    names = [certificate.x509.subject]
    names += [one.value for one in present if isinstance(one, x509.DirectoryName)]
    for name in names:
        if (allowed and not any(_is_within(name.rdns, base.rdns) for base in allowed)) or any(
            _is_within(_folded(name), _folded(base)) for base in forbidden
        ):
            raise _MistakeError(
                f"the name {name.rfc4514_string()}, which {authority.subject} does not allow"
            )


def _in_subject(certificate: Certificate, base: x509.GeneralName) -> bool:
    """Whether a name of the form of ``base`` is in the subject: RFC 5280, 4.2.1.10."""
    addresses = certificate.x509.subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS)
    return isinstance(base, x509.RFC822Name) and bool(addresses)


def _is_within(name: Sequence[object], base: Sequence[object]) -> bool:
    return list(name[: len(base)]) == list(base)


def _folded(name: x509.Name) -> list[set[tuple[str, str]]]:
    """Equal for names that someone may take for the same: in no other case may one slip by."""
    return [
        {(one.oid.dotted_string, " ".join(str(one.value).split()).casefold()) for one in part}
        for part in name.rdns
    ]


def _subject(certificate: Certificate) -> bytes:
    return certificate.x509.subject.public_bytes()


def _extension(certificate: Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.x509.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
