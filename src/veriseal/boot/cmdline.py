"""The kernel command line: which image or deployment the boot configuration names.

Double quotes count as they do for the kernel (lib/cmdline.c); but a reader that knows no quotes,
such as ostree, must see the same.

Source: composefs-rs (cmdline.rs), ostree (otcore-prepare-root.c, ostree-mount-util.h).
"""

import re

from veriseal.digest import SHA256, SHA512, Digest
from veriseal.errors import VerisealError

_NAMES = ("composefs", "composefs.digest")
_DEPLOYMENT = "ostree"
_PREPARE_ROOT = "ostree.prepare-root.composefs"
_SPACES = " \t\n\v\f\r"
# The last quote may be left open.
_WORD = re.compile(rf'(?:[^{_SPACES}"]++|"[^"]*+"?+)++')
_HEX = "[0-9a-f]{64}|[0-9a-f]{128}"
# composefs.digest= may say which format, hash and block size (its logarithm) are meant.
_VALUE = re.compile(rf"(?:v[0-9]-(sha256|sha512)-12:)?({_HEX})")


def image(cmdline: str) -> Digest | None:
    """The image that the kernel command line names, as bootc and composefs-rs write it.

    That is ``composefs=HEX`` or ``composefs.digest=v1-sha512-12:HEX``: 64 digits are SHA-256,
    128 are SHA-512. None if there is no such word; several are refused.

    Raises VerisealError: ``several-images-named``, ``bad-image-name``, ``verity-optional``,
    ``checks-switched-off``.
    """
    for name, value in (*_by_kernel(cmdline), *_by_spaces(cmdline)):
        _require_strict(name, value)
    named = _only(cmdline, _NAMES, "several-images-named", "composefs image")
    return None if named is None else _digest(named)


def deployment(cmdline: str) -> str:
    """The deployment that ``ostree=PATH`` names, a path on the physical root: absolute.

    Raises VerisealError: ``no-deployment-named``, ``several-deployments-named``,
    ``bad-deployment-name``.
    """
    value = _only(cmdline, (_DEPLOYMENT,), "several-deployments-named", "deployment of ostree")
    if value is None:
        raise VerisealError(
            "no-deployment-named",
            "the kernel command line names no deployment of ostree",
            expected="ostree=/ostree/boot.1/OS/CHECKSUM/0",
            remedy="Boot an entry of ostree, or take {ostree} out of boot.image_file",
        )
    start, *names = value.split("/")
    if start or not names or {"", ".", ".."} & set(names) or not value.isprintable():
        raise VerisealError(
            "bad-deployment-name",
            "the kernel command line names a deployment by what is no plain path",
            expected="ostree=/ostree/boot.1/OS/CHECKSUM/0",
            found=value,
            remedy="Boot an entry that ostree wrote",
        )
    return value


def _only(cmdline: str, names: tuple[str, ...], reason: str, what: str) -> str | None:
    """The value of the one word with a name of ``names``, the same for every reader."""
    named = [value for name, value in _by_kernel(cmdline) if name in names]
    hidden = {value for name, value in _by_spaces(cmdline) if name in names} - set(named)
    if len(named) > 1 or hidden:
        raise VerisealError(
            reason,
            f"the kernel command line must name one {what}",
            found=", ".join([*named, *sorted(hidden)]),
            remedy=f"Leave one {names[0]}= word, that of the image which has a digest file",
        )
    return named[0] if named else None


def _by_kernel(cmdline: str) -> list[tuple[str, str]]:
    return [_parameter(word) for word in _words(cmdline)]


def _by_spaces(cmdline: str) -> list[tuple[str, str]]:
    return [_bare(word) for word in re.split(f"[{_SPACES}]", cmdline) if "=" in word]


def _words(cmdline: str) -> list[str]:
    """The words of a kernel command line, with their quotes."""
    return _WORD.findall(cmdline)


def _parameter(word: str) -> tuple[str, str]:
    """Name and value without their quotes, as next_arg() of the kernel has them."""
    if word.startswith('"'):
        word = word[1:].removesuffix('"')
    name, _, value = word.partition("=")
    if value.startswith('"'):
        value = value[1:].removesuffix('"')
    return name, value


def _bare(word: str) -> tuple[str, str]:
    """Name and value as a reader sees them that splits at every space."""
    name, _, value = word.partition("=")
    return name.strip('"'), value.strip('"')


def _require_strict(name: str, value: str) -> None:
    if name in _NAMES and value.startswith("?"):
        raise VerisealError(
            "verity-optional",
            "the kernel command line makes verity optional",
            expected=f"{name}=HEX",
            found=f"{name}={value}",
            remedy="Install without --allow-missing-verity, on a file system with fs-verity",
        )
    # Every other value, also "verity" and "1", switches ostree's signatures off.
    if name.replace("_", "-") == _PREPARE_ROOT and value != "signed":
        raise VerisealError(
            "checks-switched-off",
            "the kernel command line switches ostree's checks off",
            expected=f"{_PREPARE_ROOT}=signed, or no such word",
            found=f"{name}={value}",
            remedy="Take it out, and set it in prepare-root.conf of the initrd",
        )


def _digest(value: str) -> Digest:
    match = _VALUE.fullmatch(value)
    if match is not None:
        algorithm = SHA256 if len(match[2]) == 2 * SHA256.size else SHA512
        if match[1] in (None, algorithm.name):
            return Digest(algorithm, bytes.fromhex(match[2]))
    raise VerisealError(
        "bad-image-name",
        "the kernel command line names a composefs image by what is no digest",
        expected="64 or 128 hexadecimal digits",
        found=value,
        remedy="mkcomposefs --print-digest shows the digest of an image",
    )
