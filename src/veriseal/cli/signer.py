"""The options that say who signs, the same for every verb that makes signatures."""

import argparse
import shlex
from collections.abc import Callable, Iterable

from veriseal import certificate, pem
from veriseal.build import files, keys
from veriseal.build.signer import Command, Key, Signer
from veriseal.certificate import Certificate
from veriseal.cli import passphrase
from veriseal.cli.warning import warn
from veriseal.errors import UsageError
from veriseal.trust import dates

EPILOG = """\
--signer runs COMMAND for each signature, several at the same time, without a shell. It gets the
hash to sign on standard input, 32 or 64 raw bytes (SHA-256, or SHA-512 with --hash-alg sha512),
and writes the raw signature to standard output: PKCS #1 v1.5 for RSA, the DER pair for ECDSA.
With OpenSSL: --signer 'openssl pkeyutl -sign -inkey KEY -pkeyopt digest:sha256'.
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add ``--key``, ``--signer``, ``--cert`` and ``--passphrase-file``."""
    group = parser.add_argument_group("signer")
    who = group.add_mutually_exclusive_group(required=True)
    who.add_argument("--key", metavar="FILE", help="the private key, PEM")
    who.add_argument("--signer", metavar="COMMAND", help="a command that signs, for other keys")
    group.add_argument("--cert", required=True, metavar="FILE", help="its certificate, PEM")
    group.add_argument("--passphrase-file", metavar="FILE", help="of the key: its first line")


def of(
    options: argparse.Namespace, load: Callable[[bytes, str], Certificate] = certificate.load
) -> Signer:
    """Who the options of `add` name; ``load`` says what kind of certificate theirs must be.

    Raises OSError, VerisealError, UsageError.
    """
    cert = load(files.read(options.cert, pem.MAX_FILE_SIZE), options.cert)
    if options.key is not None:
        key = keys.load(
            options.key, lambda: passphrase.existing(options.passphrase_file, options.key)
        )
        keys.check_match(key, options.key, cert)
        return Key(key, cert)
    if options.passphrase_file is not None:
        raise UsageError("--passphrase-file is for --key")
    try:
        command = shlex.split(options.signer)
    except ValueError as error:
        raise UsageError(f"--signer: {error}") from None
    if not command:
        raise UsageError("--signer: an empty command")
    return Command(command, cert)


def warn_of_dates(certificates: Iterable[Certificate], created: int) -> None:
    """Say on stderr which certificates are not in date at the time that a document will bear.

    ``created`` is in seconds since 1970. No error: dates may not matter, or the clock may be set.
    """
    for one in certificates:
        why = dates.judge(one, created)
        if why is not None:
            warn(
                f"{one.path}: {why}, and what is signed says that it was made on "
                f'{dates.day(created)}. With trust.dates = "enforce" a machine whose clock is not '
                "set refuses it"
            )
