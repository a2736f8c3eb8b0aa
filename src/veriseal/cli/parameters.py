"""The options that say how a digest is computed, the same for every verb that has them."""

import argparse

from veriseal import domain
from veriseal.digest import ALGORITHMS, algorithm
from veriseal.errors import UsageError, VerisealError
from veriseal.merkle import Parameters

_ALGORITHM, _BLOCK_SIZE = "sha256", "4096"


def add(parser: argparse.ArgumentParser) -> None:
    """Add ``--hash-alg``, ``--block-size`` and ``--salt``, named as `fsverity` names them."""
    group = parser.add_argument_group("fs-verity parameters")
    names = " or ".join(one.name for one in ALGORITHMS)
    group.add_argument("--hash-alg", metavar="ALG", default=_ALGORITHM, help=f"{names} [sha256]")
    group.add_argument(
        "--block-size",
        metavar="BYTES",
        default=_BLOCK_SIZE,
        help="a power of two from 1024 to 65536; the kernel takes none above its page size [4096]",
    )
    group.add_argument("--salt", metavar="HEX", default="", help="at most 32 bytes [none]")


def given(options: argparse.Namespace) -> bool:
    """Whether any of the options of `add` is not as it is without it."""
    return (options.hash_alg, options.block_size, options.salt) != (_ALGORITHM, _BLOCK_SIZE, "")


def of_files(options: argparse.Namespace) -> Parameters:
    """What the options of `add` say, for files of a tree. Raises UsageError."""
    try:
        return domain.of_files(of(options))
    except UsageError:
        raise
    except VerisealError as error:
        raise UsageError(f"--salt: {error}") from None


def of(options: argparse.Namespace) -> Parameters:
    """What the options of `add` say. Raises UsageError."""
    try:
        if not options.block_size.isascii() or not options.block_size.isdigit():
            raise UsageError(f"--block-size: not a number of bytes: {options.block_size}")
        try:
            salt = bytes.fromhex(options.salt)
        except ValueError:
            raise UsageError(f"--salt: not hexadecimal: {options.salt}") from None
        return Parameters(algorithm(options.hash_alg), int(options.block_size), salt)
    except UsageError:
        raise
    except VerisealError as error:
        raise UsageError(str(error)) from None
