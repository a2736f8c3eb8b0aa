"""veriseal trust statement: make and sign a trust statement."""

import argparse
import re
import sys

from veriseal import certificate, chain, pem
from veriseal.build import files, pki, statement
from veriseal.certificate import Certificate
from veriseal.cli import numbers, revoking, signer
from veriseal.cli.warning import warn
from veriseal.errors import UsageError, VerisealError, printable
from veriseal.trust.statement import Statement, StatementRelease

_RELEASE = re.compile(r"(?P<os>[^=]+)=(?P<certificates>.+?)(@(?P<floor>[0-9]+))?", re.DOTALL)
_EXAMPLE = "For example --release debian:13=13.pem@5"

_EPILOG = f"""\
The signer is the vendor's root: its certificate, a trust anchor, must be in the initrds that are to
accept the statement. FILE gets the statement, and beside it lies the signature, FILE.NAME.sig. Both
are installed where trust.statement says. A version that a machine has once known is the lowest that
its next initrd accepts: raise it with each change. A statement that is in FILE is not replaced by
one of a lower version. CERT has no comma in its path.

Where the anchors themselves are to change, each one signs: run this command again with the same
--created and the other --key and --cert. A statement that is not the same byte for byte replaces
the old one, whose signatures are removed.

{signer.EPILOG}"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the step's arguments."""
    parser.add_argument(
        "--os", required=True, metavar="NAME", help="of the systems it is for, such as debian"
    )
    parser.add_argument(
        "--version", required=True, metavar="N", help="of the statement; only grows", dest="number"
    )
    parser.add_argument(
        "--created", metavar="SECONDS", help="since 1970 [SOURCE_DATE_EPOCH, or else now]"
    )
    parser.add_argument(
        "--release",
        required=True,
        action="append",
        metavar="OS=CERT[,CERT...][@FLOOR]",
        help="a release that counts, its certificates, PEM, and the lowest version of its manifest "
        "[0]; can be repeated",
    )
    parser.add_argument(
        "--revoke-digest",
        action="append",
        default=[],
        metavar="DIGEST",
        help="that no file may have, sha256:HEX or sha512:HEX; can be repeated",
    )
    parser.add_argument(
        "--revoke-cert",
        action="append",
        default=[],
        metavar="CERT",
        help="a certificate, PEM, or its SHA-256 fingerprint; can be repeated",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="such as trust.json")
    signer.add(parser)
    parser.epilog = _EPILOG
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Make, sign, write and read back the statement."""
    version = numbers.number("--version", options.number, 1)
    created = numbers.created(options.created)
    _check_os("--os", options.os)
    by = signer.of(options, certificate.load_root)
    revoked = [revoking.named(text) for text in options.revoke_cert]
    made = Statement(
        options.os,
        version,
        created,
        tuple(_release(text) for text in options.release),
        tuple(revoking.digest(text) for text in options.revoke_digest),
        tuple(one.fingerprint for one in revoked),
        options.out,
        by.certificate,
    )
    keys = {one.key for one in revoked if one.key is not None}
    written = statement.write(options.out, made, by, keys)
    if written.ambiguous:
        warn(
            f"{options.out}: replaces another statement of version {version}. No machine can tell "
            "which of the two is newer: raise --version if the other was ever installed"
        )
    for path in written.removed:
        print(f"removed {printable(path)}: it signed another statement", file=sys.stderr)
    for release in written.statement.releases:
        for one in release.certificates:
            text = f"{release.os}: {one.subject}, {one.fingerprint}, from version {release.floor}"
            print(printable(text), file=sys.stderr)
            _warn_of_stranger(one, by.certificate)
    named = [one for release in written.statement.releases for one in release.certificates]
    signer.warn_of_dates([by.certificate, *named], created)
    print(f"{written.digest} {printable(options.out)}")


def _warn_of_stranger(release: Certificate, root: Certificate) -> None:
    """Other roots may be anchors as well, so this is no error."""
    try:
        chain.check_issued_by(release, root)
    except VerisealError as error:
        warn(f"needs another anchor in the initrd: {error}")


def _release(text: str) -> StatementRelease:
    match = _RELEASE.fullmatch(text)
    if match is None:
        raise UsageError(
            f"--release: not OS=CERT[,CERT...][@FLOOR]: {text}",
            remedy=_EXAMPLE,
        )
    _check_os("--release", match["os"])
    floor = numbers.number("--release: @FLOOR", match["floor"] or "0", 0)
    loaded = [_load(path) for path in match["certificates"].split(",")]
    return StatementRelease(match["os"], floor, tuple(loaded))


def _load(path: str) -> Certificate:
    try:
        return certificate.load(files.read(path, pem.MAX_FILE_SIZE), path)
    except FileNotFoundError:
        if "@" not in path:
            raise
        raise UsageError(
            f"--release: @FLOOR: not a number, and there is no file of this name: {path}",
            remedy=_EXAMPLE,
        ) from None


def _check_os(option: str, name: str) -> None:
    try:
        pki.check_os(name)
    except VerisealError as error:
        raise UsageError(f"{option}: {error}") from None
