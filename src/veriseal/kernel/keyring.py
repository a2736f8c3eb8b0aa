"""Kernel keys and keyrings: add, link, cut permissions, restrict, read.

Source: keyctl(2), keyrings(7), Documentation/security/keys/core.rst. What python-keyutils lacks
goes through libkeyutils. Every failure is an OSError whose ``filename`` is the operation.
"""

import ctypes
import os
import re
import struct
from collections.abc import Callable
from typing import NamedTuple

import keyutils

from veriseal.kernel.sysctl import no_builtin_signatures

PROC_KEYS = "/proc/keys"
PROCESS_KEYRING = -2
"""KEY_SPEC_PROCESS_KEYRING: lives as long as this process."""

POSSESSOR_VIEW, POSSESSOR_SEARCH = 0x01000000, 0x08000000
USER_VIEW, USER_READ = 0x00010000, 0x00020000
"""Permission bits, include/linux/key.h."""

_SERIAL = re.compile(r"[0-7][0-9a-f]{7}")

_lib = ctypes.CDLL("libkeyutils.so.1", use_errno=True)
_lib.keyctl_restrict_keyring.argtypes = (ctypes.c_int32, ctypes.c_char_p, ctypes.c_char_p)
_lib.keyctl_restrict_keyring.restype = ctypes.c_long
_lib.keyctl_pkey_verify.argtypes = (
    *(ctypes.c_int32, ctypes.c_char_p),
    *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t),
)
_lib.keyctl_pkey_verify.restype = ctypes.c_long


class Key(NamedTuple):
    """A key as KEYCTL_DESCRIBE shows it. ``permissions`` is the whole 32-bit mask."""

    serial: int
    type: str
    uid: int
    permissions: int
    description: str


def fs_verity_keyring(proc_keys: str = PROC_KEYS) -> int:
    """The serial of the kernel's ``.fs-verity`` keyring.

    Userspace cannot make a keyring whose name begins with a dot (security/keys/keyctl.c). But
    /proc/keys shows descriptions unescaped, so anybody can forge a line: the key is asked too.

    Raises VerisealError ``no-builtin-signatures`` if there is none.
    """
    with open(proc_keys, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            serial = parse_proc_keys_line(line, "keyring", ".fs-verity")
            if serial is not None and _is_fs_verity(serial):
                return serial
    raise no_builtin_signatures()


def _is_fs_verity(serial: int) -> bool:
    try:
        key = describe(serial)
    except OSError:
        return False
    return (key.type, key.uid, key.description) == ("keyring", 0, ".fs-verity")


def parse_proc_keys_line(line: str, key_type: str, description: str) -> int | None:
    """The serial in a line of /proc/keys if it is root's key of this type and description.

    Fields: serial (hex), flags, usage, expiry, permissions, uid, gid, type, description; then
    a colon and a summary (security/keys/proc.c).
    """
    fields = line.split(maxsplit=8)
    if len(fields) != 9 or fields[5] != "0" or fields[7] != key_type:
        return None
    if fields[8].rstrip("\n").rpartition(": ")[0] != description:
        return None
    # "%08x" of a positive int. A forged line can say more than the system call takes.
    return int(fields[0], 16) if _SERIAL.fullmatch(fields[0]) else None


def describe(serial: int) -> Key:
    """Type, owner, permissions and description. Needs *view* on the key."""
    text = _call("describe", keyutils.describe_key, serial)
    key_type, uid, _gid, permissions, description = os.fsdecode(text.rstrip(b"\0")).split(";", 4)
    return Key(serial, key_type, int(uid), int(permissions, 16), description)


def contents(keyring: int) -> list[int]:
    """Serials of the keys in ``keyring``. Needs *read* on it."""
    data = _call("read", keyutils.read_key, keyring)
    return [serial for (serial,) in struct.iter_unpack("=i", data)]


def add_certificate(der: bytes, keyring: int = PROCESS_KEYRING) -> int:
    """Add an X.509 certificate as an ``asymmetric`` key; returns its serial.

    With an empty description the kernel makes one from the certificate itself: the subject, a
    colon, the subject key identifier in hex (crypto/asymmetric_keys/x509_public_key.c).
    """
    return int(_call("add", keyutils.add_key, b"", der, keyring, b"asymmetric"))


def link(key: int, keyring: int) -> None:
    """Link ``key`` into ``keyring``: *link* on the key, *write* on the keyring."""
    _call("link", keyutils.link, key, keyring)


def unlink(key: int, keyring: int) -> None:
    """Take ``key`` out of ``keyring``."""
    _call("unlink", keyutils.unlink, key, keyring)


def set_permissions(key: int, permissions: int) -> None:
    """Replace the permission mask. What is given up here cannot be had back."""
    _call("set permissions", keyutils.set_perm, key, permissions)


def restrict(keyring: int) -> None:
    """Refuse every later link into ``keyring`` (KEYCTL_RESTRICT_KEYRING without a type).

    Possible once. It cannot be read back, and it hinders neither unlink nor clear.
    """
    if _lib.keyctl_restrict_keyring(keyring, None, None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "keyctl restrict")


def pkey_verify(key: int, info: str, hashed: bytes, signature: bytes) -> None:
    """Have the kernel verify a raw signature with an ``asymmetric`` key (KEYCTL_PKEY_VERIFY).

    ``info`` is ``enc=pkcs1 hash=NAME`` for RSA (PKCS #1 v1.5) and ``enc=x962 hash=NAME`` for
    ECDSA (a DER pair), NAME as in ``sha256``; ``hashed`` is that hash of the message. Needs
    *search* on the key. Nothing is stored anywhere.

    Raises OSError: EKEYREJECTED if it is not a signature of this by ``key``; EBADMSG or EINVAL
    if it cannot be one; ENOPKG or EOPNOTSUPP if the kernel lacks an algorithm.
    Source: security/keys/keyctl_pkey.c, crypto/asymmetric_keys/public_key.c.
    """
    size = len(signature)
    if _lib.keyctl_pkey_verify(key, info.encode(), hashed, len(hashed), signature, size) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "keyctl pkey_verify")


def _call(operation: str, function: Callable[..., bytes], *arguments: object) -> bytes:
    try:
        return function(*arguments)
    except keyutils.Error as error:
        number = error.args[0]
        raise OSError(number, os.strerror(number), f"keyctl {operation}") from None
