"""veriseal pki: make a vendor root, and certificates for releases."""

import argparse
import os
import sys
from collections.abc import Callable

from veriseal import certificate, pem
from veriseal.build import files, keys, pki
from veriseal.cli import passphrase
from veriseal.errors import UsageError, VerisealError, printable
from veriseal.signature import PrivateKey

_ROOT_DAYS = 7300


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's arguments."""
    steps = parser.add_subparsers(metavar="root|issue", required=True)

    root = steps.add_parser("root", help="a vendor root", description="Make a vendor root.")
    root.add_argument("--name", required=True, help="of the vendor, as it stands in the subject")
    _add_outputs(root)
    root.add_argument("--days", type=int, default=_ROOT_DAYS, help=f"[{_ROOT_DAYS}]")
    root.set_defaults(run=run_root)

    issue = steps.add_parser(
        "issue",
        help="a certificate for a release",
        description="Make a key for signing the programs of one release, and its certificate.",
    )
    issue.add_argument("--root-key", required=True, metavar="FILE")
    issue.add_argument("--root-cert", required=True, metavar="FILE")
    issue.add_argument("--root-passphrase-file", metavar="FILE", help="of the root's key")
    issue.add_argument("--os", required=True, help="the release, such as fedora:43")
    issue.add_argument("--name", required=True, help="of the vendor or product, in the subject")
    _add_outputs(issue)
    issue.add_argument("--days", type=int, help="[ten years, or as long as the root]")
    issue.set_defaults(run=run_issue)


def run_root(options: argparse.Namespace) -> None:
    """Make a root's key and certificate."""
    key = keys.generate(options.key_type)
    text = _usage(lambda: pki.make_root(options.name, key, options.days))
    _write_both(options, key, text)
    made = certificate.load_root(text, options.cert_out)
    _say(
        f"Vendor root {made.subject}, {made.key}",
        f"  key:         {options.key_out}  keep it offline",
        f"  certificate: {options.cert_out}",
        f"  fingerprint: {made.fingerprint}",
        "Next: issue a certificate for each release:",
        f"  veriseal pki issue --root-key {options.key_out} --root-cert {options.cert_out} "
        "--os ID:VERSION_ID ...",
        "and install the root's certificate, to be built into the initrd as a trust anchor; under",
        "an ID without VERSION_ID it vouches for all releases of that ID:",
        "  /usr/share/voa/ID/trust-anchor-image/default/x509/NAME.pem",
    )


def run_issue(options: argparse.Namespace) -> None:
    """Make a release's key and certificate, vouched for by a root."""
    root = certificate.load_root(
        files.read(options.root_cert, pem.MAX_FILE_SIZE), options.root_cert
    )
    root_key = keys.load(
        options.root_key,
        lambda: passphrase.existing(options.root_passphrase_file, options.root_key),
    )
    keys.check_match(root_key, options.root_key, root)
    key = keys.generate(options.key_type)
    text = _usage(lambda: pki.issue(root_key, root, options.os, options.name, key, options.days))
    _write_both(options, key, text)
    made = certificate.load(text, options.cert_out)
    _say(
        f"Release certificate {made.subject}, {made.key}, serial {made.serial:x}",
        f"  key:         {options.key_out}",
        f"  certificate: {options.cert_out}",
        f"  fingerprint: {made.fingerprint}",
        f"  vouched by:  {root.subject}",
        f"  valid until: {made.not_after:%Y-%m-%d} (the kernel does not look at dates)",
        "Next: install the certificate, to be built into the initrd:",
        f"  /usr/share/voa/{options.os}/image/default/x509/NAME.pem",
        "and its root, as an anchor that vouches for all releases of that ID:",
        f"  /usr/share/voa/{options.os.partition(':')[0]}/trust-anchor-image/default/x509/NAME.pem",
        "and sign:",
        f"  veriseal sign --key {options.key_out} --cert {options.cert_out} FILE...",
    )


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--key-out", required=True, metavar="FILE", help="the new private key")
    parser.add_argument("--cert-out", required=True, metavar="FILE", help="the new certificate")
    parser.add_argument("--key-type", choices=keys.KEY_TYPES, default="rsa:3072", help="[rsa:3072]")
    parser.add_argument("--encrypt", action="store_true", help="the new key, with a passphrase")
    parser.add_argument("--passphrase-file", metavar="FILE", help="for --encrypt: its first line")


def _write_both(options: argparse.Namespace, key: PrivateKey, text: bytes) -> None:
    if options.passphrase_file is not None and not options.encrypt:
        raise UsageError("--passphrase-file is for --encrypt")
    secret = None
    if options.encrypt:
        secret = passphrase.new(options.passphrase_file, options.key_out)
    files.create(options.key_out, keys.to_pem(key, secret), 0o600)
    try:
        files.create(options.cert_out, text, 0o644)
    except (OSError, VerisealError):
        # A key without its certificate is of no use, and would block the next attempt.
        os.unlink(options.key_out)
        raise


def _usage(make: Callable[[], bytes]) -> bytes:
    try:
        return make()
    except VerisealError as error:
        if error.reason in ("bad-name", "bad-os", "bad-validity"):
            raise UsageError(str(error)) from None
        raise


def _say(*lines: str) -> None:
    for line in lines:
        print(printable(line), file=sys.stderr)
