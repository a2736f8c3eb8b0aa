"""What somebody changes on the disk before a boot, and what the boot must say of it."""

from __future__ import annotations

from typing import NamedTuple

from tests.boot.layout import BIN, LIB, STRAY
from tests.boot.tampering import (
    Change,
    added,
    closures_edited,
    commands,
    copied,
    edited,
    linked,
    manifest,
    own_signature,
    placed,
    renamed,
    script_as_manifest,
    signature,
    strangers_signature,
    swapped,
    without_last_line,
    writing,
)

_UNIT = "[Service]\nExecStart=/opt/stranger/evil\n"
_PROGRAM, _POWEROFF, _KIOSK = f"/{BIN}/program", f"/{BIN}/poweroff", f"/{BIN}/kiosk"
_APP, _CHANGED, _TRUE, _CAT = f"/{BIN}/app", f"/{BIN}/changed", "/usr/bin/true", "/usr/bin/cat"
_UNITS = "/etc/systemd/system"
_APP_LIBRARY = f"/{LIB}/libgreet.so.1"
_EXCLUSIVE = "verify: finding added"
_SIGNATURE = "verify: signature of the manifest"


class Tampering(NamedTuple):
    """A change of the disk. ``says`` are parts of what the console must then say."""

    name: str
    done: str
    stopped_by: str
    change: Change
    says: tuple[str, ...]


DISKS: tuple[tuple[Tampering, ...], ...] = (
    (
        Tampering(
            "two signed programs swapped",
            "two programs of the release exchange their places",
            "verify: finding swapped",
            swapped(_PROGRAM, _POWEROFF),
            (f"swapped: {_POWEROFF}: it is {_PROGRAM}", f"swapped: {_PROGRAM}: it is {_POWEROFF}"),
        ),
        Tampering(
            "signed program renamed",
            "a program gets another name",
            "verify: finding missing",
            renamed(_APP, f"/{BIN}/other"),
            (f"missing: {_APP}", f"added: /{BIN}/other: "),
        ),
        Tampering(
            "signed program hard-linked over another",
            "a program gets the name of another as well",
            "verify: finding swapped",
            placed(_KIOSK, _CHANGED),
            (f"swapped: {_CHANGED}: it is {_KIOSK}",),
        ),
    ),
    (
        Tampering(
            "older signed version of one file",
            "an earlier version of a program, with the release's signature, in its place",
            "verify: finding changed",
            placed(f"/{STRAY}/old-program", _PROGRAM),
            (f"changed: {_PROGRAM}: ",),
        ),
        Tampering(
            "older signed version of a library",
            "an earlier version of a library, with the release's signature, in its place",
            "verify: finding changed",
            placed(f"/{STRAY}/old-libgreet.so.1", _APP_LIBRARY),
            (f"changed: {_APP_LIBRARY}: ",),
        ),
        Tampering(
            "verity removed by copying",
            "a copy in place of a program: the same contents, without verity",
            "verify: finding no-verity",
            copied(_POWEROFF),
            (f"no-verity: {_POWEROFF}: ",),
        ),
        Tampering(
            "ld.so.cache changed",
            "one that knows no library in place of the release's",
            "verify: finding no-verity",
            writing("/etc/ld.so.cache", "glibc-ld.so.cache1.1"),
            ("no-verity: /etc/ld.so.cache: ",),
        ),
        Tampering(
            "file deleted",
            "a program of the system is removed",
            "verify: finding missing",
            commands("rm /usr/bin/systemctl"),
            ("missing: /usr/bin/systemctl",),
        ),
    ),
    (
        Tampering(
            "library added that the loader prefers",
            "a library below `glibc-hwcaps` beside the release's own",
            _EXCLUSIVE,
            added(f"/{LIB}/glibc-hwcaps", "libgreet.so.1", "a library"),
            (f"added: /{LIB}/glibc-hwcaps: ",),
        ),
        Tampering(
            "unit added",
            "a unit that starts a stranger's program",
            _EXCLUSIVE,
            writing(f"{_UNITS}/evil.service", _UNIT),
            (f"added: {_UNITS}/evil.service: ",),
        ),
        Tampering(
            "drop-in added",
            "a drop-in for the unit of the kiosk",
            _EXCLUSIVE,
            added(f"{_UNITS}/veriseal-run@.service.d", "evil.conf", _UNIT),
            (f"added: {_UNITS}/veriseal-run@.service.d: ",),
        ),
        Tampering(
            "generator added",
            "a generator of units",
            _EXCLUSIVE,
            added("/etc/systemd/system-generators", "evil", "#!/bin/sh\n"),
            ("added: /etc/systemd/system-generators: ",),
        ),
        Tampering(
            "ld.so.preload added",
            "it names a stranger's library",
            _EXCLUSIVE,
            writing("/etc/ld.so.preload", "/opt/stranger/evil.so\n"),
            ("added: /etc/ld.so.preload: ",),
        ),
    ),
    (
        Tampering(
            "ld.so.conf.d changed",
            "a file there names a stranger's directory",
            _EXCLUSIVE,
            writing("/etc/ld.so.conf.d/00-evil.conf", "/opt/stranger\n"),
            ("added: /etc/ld.so.conf.d/00-evil.conf: ",),
        ),
        Tampering(
            "directory replaced by a link",
            "the kiosk's directory is moved, and a link leads to it",
            "verify: finding type",
            linked("/opt/kiosk", "/var/kiosk"),
            ("type: /opt/kiosk: ",),
        ),
        Tampering(
            "setuid added",
            "a program gets the set-user-ID bit",
            "verify: finding mode",
            commands(f"sif {_TRUE} mode 0104755"),
            (f"mode: {_TRUE}: ",),
        ),
        Tampering(
            "owner changed",
            "a program gets a user as its owner",
            "verify: finding owner",
            commands(f"sif {_CAT} uid 1000"),
            (f"owner: {_CAT}: ",),
        ),
    ),
    (
        Tampering(
            "whole tree rolled back",
            "the signed manifest of an earlier version",
            "verify: floor",
            manifest("earlier"),
            ("older than one this machine has known",),
        ),
    ),
    (
        Tampering(
            "manifest edited",
            "`/usr` is no longer among its exclusive directories",
            _SIGNATURE,
            edited,
            ("not signed by 1 of the certificates",),
        ),
    ),
    (
        Tampering(
            "manifest replaced by a signed script",
            "a script of the release and its signature in place of the manifest and its own",
            _SIGNATURE,
            script_as_manifest,
            ("and is no signature of this manifest",),
        ),
    ),
    (
        Tampering(
            "manifest of another system",
            "with a signature by the same key",
            "verify: operating system",
            manifest("other-os"),
            ("of another operating system",),
        ),
    ),
    (
        Tampering(
            "manifest signed by a stranger",
            "a stranger's signature in place of the release's",
            _SIGNATURE,
            signature("stranger", strangers_signature),
            (".stranger.sig by issuer ", "its certificate is not in the initrd"),
        ),
        Tampering(
            "signature truncated",
            "the release's signature of the manifest without its last byte",
            _SIGNATURE,
            signature("truncated", lambda image: own_signature(image)[:-1]),
            (".truncated.sig: not a built-in signature",),
        ),
        Tampering(
            "signature garbage",
            "text in place of the manifest's signature",
            _SIGNATURE,
            signature("garbage", lambda _image: b"garbage" * 50),
            (".garbage.sig: not a built-in signature",),
        ),
        Tampering(
            "signature of 100 MB",
            "the manifest's signature with as many zeros after it",
            _SIGNATURE,
            signature("large", lambda image: own_signature(image) + bytes(100 << 20)),
            (".large.sig: not a built-in signature (expected 1 to 16128 bytes",),
        ),
    ),
    (
        Tampering(
            "tree list truncated",
            "the list without its last line",
            "verify: digest of the tree list",
            without_last_line("tree.dump"),
            ("tree.dump: not the file that the manifest was signed with",),
        ),
    ),
    (
        Tampering(
            "closures changed",
            "the list of what each program needs, with a library less",
            "verify: digest of the closures",
            closures_edited,
            ("closures.json: not the file that the manifest was signed with",),
        ),
    ),
)
"""What is done to one disk before one boot. Together are changes that the check finds apart from
each other, no more findings than the console has room for."""

CHANGES = tuple(change for disk in DISKS for change in disk)
