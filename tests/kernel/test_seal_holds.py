"""The sealed keyring against root: every key operation of the kernel, on the keyring and its keys.

All attempts are system calls; `keyctl` goes through libkeyutils, which checks nothing itself.
After each the keyring is what it was, and a signed program is opened anew and runs.
"""

import ctypes
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

import keyutils
import pytest

from veriseal.boot import seal, throwaway
from veriseal.kernel import keyring

from . import helpers
from .conftest import Sealed
from .helpers import Signer

pytestmark = pytest.mark.kernel

SESSION, PROCESS, USER = -3, -2, -4
ALL_PERMISSIONS = 0x3F3F3F3F
CLONE_NEWUSER = 0x10000000

_libc = ctypes.CDLL(None, use_errno=True)
_lib = ctypes.CDLL("libkeyutils.so.1", use_errno=True)
_lib.keyctl.restype = ctypes.c_long
_lib.request_key.restype = ctypes.c_int32


def keyctl(operation: str, *arguments: int | bytes | None) -> int:
    """keyctl(2), with nothing between this and the kernel."""
    ctypes.set_errno(0)
    converted = [
        ctypes.c_long(value) if isinstance(value, int) else ctypes.c_char_p(value)
        for value in arguments
    ]
    result = int(_lib.keyctl(ctypes.c_int(OPERATIONS[operation]), *converted))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), operation)
    return result


# include/uapi/linux/keyctl.h
OPERATIONS = {
    "update": 2,
    "revoke": 3,
    "chown": 4,
    "setperm": 5,
    "clear": 7,
    "link": 8,
    "unlink": 9,
    "search": 10,
    "read": 11,
    "instantiate": 12,
    "negate": 13,
    "set_timeout": 15,
    "assume_authority": 16,
    "reject": 19,
    "instantiate_iov": 20,
    "invalidate": 21,
    "restrict": 29,
    "move": 30,
}


class Target(NamedTuple):
    """What is attacked: the keyring and one of its keys."""

    ring: int
    key: int


@pytest.fixture(scope="module")
def target(sealed: Sealed) -> Target:
    ring = sealed.report["kernel_keyring"]
    return Target(ring["serial"], ring["keys"][0]["serial"])


@pytest.fixture(scope="module")
def unopened(sealed: Sealed, rsa: Signer) -> Iterator[str]:
    """Signed programs that the kernel knows nothing of: it checks each when it is opened."""
    paths = [f"/verity/holds/{number}" for number in range(120)]
    for path in paths:
        helpers.install(path, helpers.tiny_elf(0), rsa)
    helpers.evict()
    return iter(paths)


@pytest.fixture(autouse=True)
def still_sealed(sealed: Sealed, unopened: Iterator[str]) -> Iterator[None]:
    """Afterwards nothing has changed, and the kernel checks and takes a signed program."""
    yield
    seal.read_back(seal.Sealed.from_json(sealed.report["kernel_keyring"]))
    assert helpers.run([next(unopened)]).status == 0


def add_certificate(ring: int) -> int:
    return keyring.add_certificate(throwaway.certificate(), ring)


def add_user_key(ring: int) -> int:
    try:
        return int(keyutils.add_key(b"name", b"payload", ring, b"user"))
    except keyutils.Error as error:
        raise OSError(error.args[0], "add_key") from None


ON_KEYRING: dict[str, tuple[str, Callable[[Target], object]]] = {
    "add a certificate": ("EACCES", lambda t: add_certificate(t.ring)),
    "add another key": ("EACCES", lambda t: add_user_key(t.ring)),
    "clear": ("EACCES", lambda t: keyctl("clear", t.ring)),
    "unlink a key": ("EACCES", lambda t: keyctl("unlink", t.key, t.ring)),
    "link a key back in": ("EACCES", lambda t: keyctl("link", t.key, t.ring)),
    "link a new key in": (
        "EACCES",
        lambda t: keyctl("link", add_certificate(PROCESS), t.ring),
    ),
    "move a new key in": (
        "EACCES",
        lambda t: keyctl("move", add_certificate(PROCESS), PROCESS, t.ring, 0),
    ),
    "move a key out": ("EACCES", lambda t: keyctl("move", t.key, t.ring, SESSION, 0)),
    "link elsewhere": ("EACCES", lambda t: keyctl("link", t.ring, SESSION)),
    "link to the user's keyring": ("EACCES", lambda t: keyctl("link", t.ring, USER)),
    "revoke": ("EACCES", lambda t: keyctl("revoke", t.ring)),
    "invalidate": ("EACCES", lambda t: keyctl("invalidate", t.ring)),
    "set a timeout": ("EACCES", lambda t: keyctl("set_timeout", t.ring, 1)),
    "set permissions": ("EACCES", lambda t: keyctl("setperm", t.ring, ALL_PERMISSIONS)),
    "set the same permissions": ("EACCES", lambda t: keyctl("setperm", t.ring, seal.KEYRING_MASK)),
    "change the owner": ("EACCES", lambda t: keyctl("chown", t.ring, 1000, 1000)),
    "restrict again": ("EACCES", lambda t: keyctl("restrict", t.ring, None, None)),
    "restrict to a type": (
        "EACCES",
        lambda t: keyctl("restrict", t.ring, b"asymmetric", b"builtin_trusted"),
    ),
    "update": ("EACCES", lambda t: keyctl("update", t.ring, b"x", 1)),
    "instantiate": ("EPERM", lambda t: keyctl("instantiate", t.ring, b"x", 1, 0)),
    "reject": ("EPERM", lambda t: keyctl("reject", t.ring, 1, 126, 0)),
    "search it": ("EACCES", lambda t: keyctl("search", t.ring, b"asymmetric", b"x", 0)),
}

ON_KEY: dict[str, tuple[str, Callable[[Target], object]]] = {
    "link elsewhere": ("EACCES", lambda t: keyctl("link", t.key, SESSION)),
    "link to the user's keyring": ("EACCES", lambda t: keyctl("link", t.key, USER)),
    "read": ("EACCES", lambda t: keyctl("read", t.key, b"\0" * 16, 16)),
    "update": ("EACCES", lambda t: keyctl("update", t.key, b"x", 1)),
    "revoke": ("EACCES", lambda t: keyctl("revoke", t.key)),
    "invalidate": ("EACCES", lambda t: keyctl("invalidate", t.key)),
    "set a timeout": ("EACCES", lambda t: keyctl("set_timeout", t.key, 1)),
    "set permissions": ("EACCES", lambda t: keyctl("setperm", t.key, ALL_PERMISSIONS)),
    "change the owner": ("EACCES", lambda t: keyctl("chown", t.key, 1000, 1000)),
    "clear": ("EACCES", lambda t: keyctl("clear", t.key)),
    "restrict": ("EACCES", lambda t: keyctl("restrict", t.key, None, None)),
    "instantiate": ("EPERM", lambda t: keyctl("instantiate", t.key, b"x", 1, 0)),
    "negate": ("EPERM", lambda t: keyctl("negate", t.key, 1, 0)),
    "assume authority": ("ENOKEY", lambda t: keyctl("assume_authority", t.key)),
}


@pytest.mark.parametrize("attack", ON_KEYRING)
def test_on_the_keyring_root_cannot(target: Target, attack: str) -> None:
    expected, act = ON_KEYRING[attack]
    assert helpers.outcome(lambda: act(target)) == expected


@pytest.mark.parametrize("attack", ON_KEY)
def test_on_a_key_root_cannot(target: Target, attack: str) -> None:
    expected, act = ON_KEY[attack]
    assert helpers.outcome(lambda: act(target)) == expected


@pytest.mark.parametrize(
    "command",
    [
        "clear {ring}",
        "unlink {key} {ring}",
        "link {ring} @s",
        "link {key} @u",
        "move {key} {ring} @s",
        "revoke {ring}",
        "revoke {key}",
        "invalidate {ring}",
        "invalidate {key}",
        "timeout {ring} 1",
        "setperm {ring} 0x3f3f3f3f",
        "setperm {key} 0x3f3f3f3f",
        "chown {key} 0",
        "chgrp {ring} 0",
        "restrict_keyring {ring}",
        "reap -v",
    ],
)
def test_the_tool_keyctl_changes_nothing(target: Target, command: str) -> None:
    words = command.format(ring=target.ring, key=target.key).split()
    done = helpers.run(["keyctl", *words])
    if words[0] != "reap":
        assert done.status != 0
        assert "Permission denied" in done.err


def test_every_capability_is_there_and_does_not_help(target: Target) -> None:
    with open("/proc/self/status", encoding="ascii") as file:
        capabilities = next(line for line in file if line.startswith("CapEff:"))
    everything = (1 << (int(helpers.read("/proc/sys/kernel/cap_last_cap")) + 1)) - 1
    assert int(capabilities.split()[1], 16) == everything


def in_child(act: Callable[[], object]) -> str:
    """What ``act`` comes to in a process of its own, which may then change its keyrings."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, helpers.outcome(act).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader, "rb") as file:
        return file.read().decode()


def test_a_new_session_possesses_nothing(target: Target) -> None:
    def attack() -> None:
        keyutils.join_session_keyring(b"attacker")
        keyctl("link", target.ring, SESSION)

    assert in_child(attack) == "EACCES"


def test_no_keyring_can_take_its_name(target: Target) -> None:
    def attack() -> None:
        try:
            keyutils.join_session_keyring(b".fs-verity")
        except keyutils.Error as error:
            raise OSError(error.args[0], "join") from None

    assert in_child(attack) == "EPERM"


@pytest.mark.parametrize("kind", ["keyring", "asymmetric"])
def test_a_search_or_request_does_not_find_them(target: Target, kind: str) -> None:
    description = b".fs-verity"
    if kind == "asymmetric":
        description = keyring.describe(target.key).description.encode()

    def search() -> int:
        return keyctl("search", SESSION, kind.encode(), description, 0)

    def request() -> None:
        ctypes.set_errno(0)
        if _lib.request_key(kind.encode(), description, None, ctypes.c_int32(SESSION)) < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    assert helpers.outcome(search) == "ENOKEY"
    assert helpers.outcome(request) == "ENOKEY"


@pytest.mark.parametrize("attack", ["clear", "invalidate", "revoke"])
def test_root_of_a_user_namespace_cannot_either(target: Target, attack: str) -> None:
    def act() -> int:
        if _libc.unshare(CLONE_NEWUSER) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        return keyctl(attack, target.ring)

    assert in_child(act) == "EACCES"


@pytest.mark.parametrize("attack", ["clear", "invalidate", "revoke", "link"])
def test_another_user_cannot_either(target: Target, attack: str) -> None:
    def act() -> int:
        os.setuid(helpers.NOBODY)
        more = (SESSION,) if attack == "link" else ()
        return keyctl(attack, target.ring, *more)

    assert in_child(act) == "EACCES"
