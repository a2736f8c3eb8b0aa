"""Root tries to change the sealed keyring, its key and the sysctl."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

from .row import A3, BIN, REPORT, RUNS, Row, call, launch

STRANGER_CERTIFICATE = "/var/lib/veriseal/stranger.pem"
SYSCTL = "/proc/sys/fs/verity/require_signatures"


def keyring() -> dict[str, object]:
    """The keyring as the boot report has it."""
    with open(REPORT, encoding="utf-8") as file:
        return dict(json.load(file)["kernel_keyring"])


def ring() -> str:
    """The keyring's serial."""
    return str(keyring()["serial"])


def key() -> str:
    """The serial of the release's key."""
    keys = keyring()["keys"]
    return str(keys[0]["serial"]) if isinstance(keys, list) else ""


def keyctl(*words: str | Callable[[], str], data: bytes = b"") -> Callable[[], tuple[str, str]]:
    """An attempt with keyctl(1); afterwards a signed program must still run."""

    def attempt() -> tuple[str, str]:
        argv = [word if isinstance(word, str) else word() for word in words]
        ended = call("keyctl", *argv, data=data)
        seen = "accepted" if ended.status == 0 else "refused"
        after = launch(f"{BIN}/program")[0]
        if after != RUNS:
            seen += f", then {after}"
        return seen, ended.err.strip()

    return attempt


def add_certificate() -> tuple[str, str]:
    """Add the stranger's certificate to the sealed keyring."""
    der = subprocess.run(
        ["openssl", "x509", "-in", STRANGER_CERTIFICATE, "-outform", "DER"],
        capture_output=True,
        check=True,
    )
    return keyctl("padd", "asymmetric", "", ring, data=der.stdout)()


def sysctl_off() -> tuple[str, str]:
    """Write the sysctl back to 0, launch, restore."""
    try:
        with open(SYSCTL, "w", encoding="ascii") as file:
            file.write("0")
        return launch(f"{BIN}/program")
    finally:
        with open(SYSCTL, "w", encoding="ascii") as file:
            file.write("1")


OF_KEYS = "of the release's key"
RING, KEY = "seal: permissions of the keyring", "seal: permissions of the key"


def _refused(
    name: str, stopped_by: str, done: str, *words: str | Callable[[], str], data: bytes = b""
) -> Row:
    return Row(name, A3, done, "refused", stopped_by, keyctl(*words, data=data))


ROWS = (
    Row(
        "certificate added to the keyring",
        A3,
        "`keyctl padd asymmetric` with a stranger's certificate",
        "refused",
        "seal: restricted keyring",
        add_certificate,
    ),
    _refused("keyring cleared", RING, "`keyctl clear` of the keyring", "clear", ring),
    _refused("key unlinked", RING, "`keyctl unlink` of the release's key", "unlink", key, ring),
    _refused("keyring revoked", RING, "`keyctl revoke` of the keyring", "revoke", ring),
    _refused(f"revocation {OF_KEYS}", KEY, "`keyctl revoke` of the key", "revoke", key),
    _refused("keyring invalidated", RING, "`keyctl invalidate` of the keyring", "invalidate", ring),
    _refused(f"invalidation {OF_KEYS}", KEY, "`keyctl invalidate` of the key", "invalidate", key),
    _refused("timeout on the keyring", RING, "`keyctl timeout`, one second", "timeout", ring, "1"),
    _refused(f"timeout {OF_KEYS}", KEY, "`keyctl timeout`, one second", "timeout", key, "1"),
    _refused(
        "permissions of the keyring",
        RING,
        "`keyctl setperm`, everything to everybody",
        *("setperm", ring, "0x3f3f3f3f"),
    ),
    _refused(
        f"permissions {OF_KEYS}",
        KEY,
        "`keyctl setperm`, everything to everybody",
        *("setperm", key, "0x3f3f3f3f"),
    ),
    _refused("owner of the keyring", RING, "`keyctl chown` to a user", "chown", ring, "65534"),
    _refused(f"owner {OF_KEYS}", KEY, "`keyctl chown` to a user", "chown", key, "65534"),
    _refused(
        "keyring linked elsewhere", RING, "`keyctl link` into one's own keyring", "link", ring, "@s"
    ),
    _refused(
        "key linked elsewhere", KEY, "`keyctl link` into one's own keyring", "link", key, "@s"
    ),
    _refused(
        "key moved elsewhere",
        RING,
        "`keyctl move` into one's own keyring",
        *("move", key, ring, "@s"),
    ),
    Row(
        "sysctl written back to 0",
        A3,
        "`fs.verity.require_signatures=0`, then a signed program is launched",
        "126 sysctl-off",
        "launcher: sysctl",
        sysctl_off,
    ),
)
