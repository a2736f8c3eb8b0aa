"""Signatures of earlier releases, kept for the files that have not changed.

A signature is a part of a file with verity, and can never be replaced in it. A file that keeps
its own needs no fresh copy where the earlier release is installed.
"""

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from veriseal import collisions, manifest, merkle, signature, signers
from veriseal.build import files
from veriseal.build.sign import SIGNATURES, SUFFIX, name_by_digest
from veriseal.certificate import Certificate
from veriseal.digest import MAX_SIGNATURE_SIZE, Digest
from veriseal.errors import VerisealError
from veriseal.manifest import Manifest
from veriseal.signers import Signed

_BY_DIGEST = re.compile("([0-9a-f]{64}){1,2}" + re.escape(SUFFIX))
_REMEDY = "Give that release's certificate with --keep-cert, or name its directory of signatures"


class Place(NamedTuple):
    """An earlier release.

    Attributes:
        directory: as it was named.
        signatures: where its signatures are, named by digest.
        signers: who they may be by, without paths, by fingerprint.
    """

    directory: str
    signatures: str
    signers: dict[str, Signed]


class Kept(NamedTuple):
    """A signature that is good: DER, the number of its place, its signer's fingerprint."""

    der: bytes
    place: int
    signer: str


class Keep:
    """Where signatures may be kept from, and by whom they must be.

    Attributes:
        places: in the order of preference.
    """

    def __init__(
        self,
        directories: Sequence[str],
        certificates: Sequence[Certificate],
        beside: Certificate,
    ) -> None:
        """Each of ``directories`` is what `veriseal build` wrote, or has signatures alone.

        ``beside`` is the certificate whose signatures the other files get: the kernel must not
        take it for one of ``certificates``.

        Raises OSError, and VerisealError: ``no-signatures``; ``manifest-not-signed``,
        ``bad-manifest``, ``attached-changed`` and ``bad-signers`` of a release;
        ``certificate-collision``.
        """
        unique = {one.fingerprint: one for one in certificates}
        self._certificates = list(unique.values())
        collisions.check({beside.fingerprint: beside, **unique}.values())
        self.places = [self._place(directory) for directory in directories]

    def find(self, digest: Digest) -> tuple[Kept | None, list[int]]:
        """A good signature of ``digest``, and the numbers of places where there is a bad one.

        Raises OSError for one that cannot be read.
        """
        bad: list[int] = []
        for number, place in enumerate(self.places):
            path = os.path.join(place.signatures, name_by_digest(digest))
            try:
                der = files.read(path, MAX_SIGNATURE_SIZE)
            except FileNotFoundError:
                continue
            for one in self._certificates:
                if _is_good(der, digest, one):
                    return Kept(der, number, one.fingerprint), bad
            bad.append(number)
        return None, bad

    def _place(self, directory: str) -> Place:
        inner = os.path.join(directory, SIGNATURES)
        place = inner if os.path.isdir(inner) else directory
        # Those of a manifest are named otherwise.
        if not any(map(_BY_DIGEST.fullmatch, os.listdir(place))):
            raise VerisealError(
                "no-signatures",
                "there are no signatures of files here that could be kept",
                path=directory,
                expected=f"{inner}, or files named DIGEST{SUFFIX}",
                remedy="Name what veriseal build wrote for the earlier release",
            )
        names = self._names(directory)
        known = {
            one.fingerprint: Signed(names.get(one.fingerprint, ""), one.fingerprint, one.subject)
            for one in self._certificates
        }
        return Place(directory, place, known)

    def _names(self, directory: str) -> dict[str, str]:
        """The VOA names that the release in ``directory`` knows its signers by."""
        path = os.path.join(directory, manifest.NAME)
        try:
            data = files.read(path, manifest.MAX_SIZE)
        except FileNotFoundError:
            return {}
        statement = self._checked(data, path)
        if statement.signers is None:
            return {}
        path = os.path.join(directory, signers.NAME)
        data = files.read(path, statement.signers.size)
        found = merkle.data_digest(data, manifest.PARAMETERS)
        if found != statement.signers.digest:
            raise VerisealError(
                "attached-changed",
                "not the file that the manifest was signed with",
                path=path,
                expected=statement.signers.digest,
                found=found,
                remedy=_REMEDY,
            )
        return {one.fingerprint: one.os for one in signers.parse(data, path).entries}

    def _checked(self, data: bytes, path: str) -> Manifest:
        prefix = f"{path}."
        directory = os.path.dirname(path)
        paths = [os.path.join(directory, name) for name in sorted(os.listdir(directory))]
        signatures = {
            one: files.read(one, MAX_SIGNATURE_SIZE)
            for one in paths
            if one.startswith(prefix) and one.endswith(SUFFIX)
        }
        try:
            manifest.check_signatures(data, signatures, self._certificates, 1, path)
        except VerisealError as error:
            error.remedy = _REMEDY
            raise
        return manifest.parse(data, path)


def _is_good(der: bytes, digest: Digest, by: Certificate) -> bool:
    try:
        signature.verify(der, digest, by)
    except VerisealError:
        return False
    return True
