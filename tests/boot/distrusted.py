"""Boots of a release that are refused for reasons of trust, and one that is not.

Each is made of the first release's disk and initrd, or of the disk that it leaves to the second.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.boot import booting, issued, overlay, releases, sequence, stating, tampering
from tests.boot.appliance import Appliance
from tests.boot.inside import groups
from tests.boot.inside.row import A1, A3
from tests.boot.overlay import Overlay
from tests.boot.refusal import DONE, Base, Refusal, Scenario, early
from tests.boot.releases import FIRST, SECOND, SETTINGS, Releases
from tests.boot.result import Result
from tests.guest.store import BUILD

MOST_LINES = 10
"""Of the console, for the refusal and what systemd says of its consequences."""
OWN, NEXT = releases.certificate(FIRST), releases.certificate(SECOND)
GOES_ON = "certificates accepted"
CLOCKS = {"1970": 60, "now": None, "2099": 4070908800}
"""Name: seconds since 1970; None leaves the machine's clock alone."""

_SET_CLOCK = """\
import time

# The kernel takes no time before its own start.
time.clock_settime(time.CLOCK_REALTIME, {seconds} + time.monotonic())
"""
_TRY_DATES = """\
import os
import time

PATH, SAID = "/etc/veriseal/veriseal.toml", "/run/said"
with open(PATH) as file:
    text = file.read()
for dates in ("ignore", "warn"):
    with open(PATH, "w") as file:
        file.write(text.replace("enforce", dates))
    status = os.system(f"veriseal boot seal --dry-run >{SAID}")
    with open(SAID) as file:
        said = file.read()
    with open("/dev/console", "w") as console:
        print("in", time.gmtime().tm_year, "dates", dates, "status", status,
              "enrolled", said.count("enrol debian:42 "), "warned", "warning: " in said,
              file=console)
with open(PATH, "w") as file:
    file.write(text)
"""
_FILL_KEYRING = """\
import ctypes
import os
import sys

sys.path.insert(0, "/usr/lib/veriseal")
from veriseal.kernel import keyring

ring = keyring.fs_verity_keyring()
for name in {names}:
    with open(name, "rb") as file:
        keyring.add_certificate(file.read(), ring)
# As systemd-keyring-setup leaves it.
lib = ctypes.CDLL("libkeyutils.so.1", use_errno=True)
if lib.keyctl_restrict_keyring(ring, b"asymmetric", b"key_or_keyring:0:chain") != 0:
    raise SystemExit(os.strerror(ctypes.get_errno()))
keyring.set_permissions(ring, 0x08070000)
"""


def _first(of: Appliance) -> Base:
    """The first release; its initrd has nothing of trust."""
    return Base(releases.build(of).image, of.bare)


def _second(of: Appliance) -> Base:
    """The second release, staged by the first; as well without trust."""
    return Base(sequence.disk(of, SECOND), of.bare)


def _given(
    number: int, change: Callable[[Releases, Overlay], object]
) -> Callable[[Appliance], Overlay]:
    """What the initrd of a release is given, with something changed."""

    def files(of: Appliance) -> Overlay:
        made = releases.build(of)
        found = overlay.read(made.given / str(number))
        change(made, found)
        return found

    return files


def _set(number: int = FIRST, trust: str = "", **window: bool) -> Overlay:
    return {SETTINGS: releases.settings(number, trust, **window).encode()}


def _without_previous(_made: Releases, files: Overlay) -> None:
    files |= _set(SECOND, previous=False)


def _without_next(_made: Releases, files: Overlay) -> None:
    files |= _set(following=False)
    del files[NEXT]


def _masked(_made: Releases, files: Overlay) -> None:
    files[OWN.replace("usr/share", "etc")] = Path("/dev/null")


def _of_another_vendor(made: Releases, files: Overlay) -> None:
    files |= _set(following=False)
    files[OWN] = (made.keys / f"stranger-{FIRST}.pem").read_bytes()


def _alike(made: Releases, files: Overlay) -> None:
    files[NEXT] = issued.twin(made.keys, SECOND, FIRST)


def _rogue(directory: str) -> tampering.Change:
    """A certificate of a stranger's in a VOA directory of the disk."""
    place = f"/{directory}/voa/debian/image/default/x509"

    def change(image: Path) -> None:
        for path in [*reversed(Path(place).parents), Path(place)][1:]:
            tampering.directory(image, str(path))
        pem = tampering.read(image, f"/{OWN}")
        tampering.write(image, f"{place}/rogue.pem", pem)

    return change


def _expired(clock: str) -> Callable[[Releases, Overlay], None]:
    """The release's certificate has expired, and its dates count, at this time."""

    def change(made: Releases, files: Overlay) -> None:
        files[OWN] = issued.expired(made.keys, FIRST)
        files |= _set(trust='dates = "enforce"')
        files |= early("python3 -I /stranger.py")
        files["stranger.py"] = f"{_clock(clock)}{_TRY_DATES}".encode()

    return change


def _clock(name: str) -> str:
    seconds = CLOCKS[name]
    return "" if seconds is None else _SET_CLOCK.format(seconds=seconds)


def _filled(*names: str) -> Callable[[Releases, Overlay], None]:
    """Another service fills and seals the keyring, with these certificates."""

    def change(made: Releases, files: Overlay) -> None:
        files |= early("python3 -I /stranger.py")
        for name in names:
            files[f"{name}.der"] = issued.der((made.keys / f"{name}.pem").read_bytes())
        listed = tuple(f"/{name}.der" for name in names)
        files["stranger.py"] = _FILL_KEYRING.format(names=listed).encode()

    return change


def _adopted(made: Releases, files: Overlay) -> None:
    _filled(str(FIRST), str(SECOND))(made, files)
    files |= _set(trust='dates = "warn"')
    files[OWN] = issued.expired(made.keys, FIRST)
    # The same key, issuer, serial and key identifier.
    files[f"{FIRST}.der"] = issued.der(issued.expired(made.keys, FIRST))
    files["stranger.py"] = overlay.data(files, "stranger.py") + _clock("2099").encode()


def boot_adopted(of: Appliance) -> list[Result]:
    """Boot where another service has sealed the keyring, in 2099, with an expired certificate."""
    base, name = _first(of), groups.ADOPTED
    files = _given(FIRST, _adopted)(of)
    archive = overlay.archive(files, BUILD / f"overlay-{name}.cpio")
    system = booting.System(of.kernel.image, base.image, [base.initrd, archive])
    return booting.boot_group(system, name)


def _one(
    name: str,
    done: str,
    stopped_by: str,
    says: tuple[str, ...],
    change: Callable[[Releases, Overlay], None],
    *,
    number: int = FIRST,
    base: Callable[[Appliance], Base] = _first,
    attacker: str = A1,
    disk: Callable[[Appliance], Path] | None = None,
) -> Scenario:
    refusal = Refusal(name, attacker, done, stopped_by, says)
    files = _given(number, change)
    return Scenario((refusal,), base, overlay=files, disk=disk, lines=MOST_LINES)


def _dates(clock: str) -> Scenario:
    when = {"1970": "the clock set to 1970", "now": "the clock right", "2099": "it set to 2099"}
    done = f"a certificate of 2020 in the initrd, {when[clock]}"
    year = "" if clock == "now" else f"in {clock} "
    tried = "`veriseal boot seal --dry-run` in that initrd"
    # By then the vendor's root has expired as well.
    named = releases.ANCHOR if clock == "2099" else OWN
    refusals = (
        Refusal(
            f"expired certificate, dates enforced, {clock}",
            A1,
            f'{done}, `dates = "enforce"`',
            "seal: dates of certificates",
            (DONE, named, "expired on 20"),
        ),
        *(
            Refusal(
                f"expired certificate, dates {dates}, {clock}",
                "-",
                f'{done}, `dates = "{dates}"`: {tried}',
                "nothing: it must work",
                (f"{year}dates {dates} status 0 enrolled 1 warned {dates == 'warn'}",),
                GOES_ON,
            )
            for dates in ("ignore", "warn")
        ),
    )
    return Scenario(refusals, _first, overlay=_given(FIRST, _expired(clock)), lines=MOST_LINES)


BOOTS = (
    *(_dates(clock) for clock in CLOCKS),
    _one(
        "masked certificate",
        "`/etc/voa` of the initrd masks the certificate of the release",
        "verify: signature of the manifest",
        ("manifest.json", OWN, "masked by /etc/voa", "rebuild the initrd"),
        _masked,
    ),
    _one(
        "certificate of another vendor",
        "the initrd's release certificate is issued by a stranger's root",
        "seal: anchor that vouches",
        (OWN, "vouch", "rebuild the initrd"),
        _of_another_vendor,
    ),
    _one(
        "two certificates alike",
        "the next release's certificate has the serial and key identifier of the current one's",
        "seal: collisions",
        (OWN, NEXT),
        _alike,
    ),
    _one(
        "trust statement rolled back",
        "version 6 on a device of its own, where the machine has known version 7",
        "seal: floor of the trust statement",
        (stating.SEEN_ON_DEVICE, "older", "7", "6"),
        stating.on_device,
        disk=stating.device,
    ),
    _one(
        "device of the trust statement absent",
        "the settings name a device that is not there",
        "seal: trust statement",
        (stating.DEVICE, "is not mounted"),
        stating.on_device,
    ),
    Scenario(
        (
            Refusal(
                "revoked program",
                A1,
                "a trust statement revokes the digest of a program",
                "verify: finding revoked",
                (f"revoked: /{stating.REVOKED[0]}: ",),
            ),
            Refusal(
                "revoked library",
                A1,
                "the same statement revokes the digest of a library",
                "verify: finding revoked",
                (f"revoked: /{stating.REVOKED[1]}: ",),
            ),
            Refusal(
                "rogue certificate in every VOA directory of the real root",
                A1,
                "a certificate below `/etc/voa`, `/usr/local/share/voa` and `/usr/share/voa`",
                "verify: finding added",
                (
                    "added: /etc/voa: ",
                    "added: /usr/local/share/voa: ",
                    "added: /usr/share/voa/debian/image: ",
                ),
            ),
        ),
        _first,
        overlay=_given(
            FIRST, stating.in_initrd(stating.KNOWN, "--revoke-digest={0}", "--revoke-digest={1}")
        ),
        changes=tuple(_rogue(directory) for directory in ("etc", "usr/local/share", "usr/share")),
    ),
    _one(
        "keyring filled and sealed with a stranger's key",
        "another service fills the keyring, also with a stranger's certificate, and seals it",
        "seal: keys of another service",
        (DONE, "stranger", "no certificate that counts"),
        _filled(str(FIRST), f"stranger-{FIRST}"),
        attacker=A3,
    ),
    # Last: they wait for the disk.
    _one(
        "initrd without the next certificate",
        "the initrd of 42, whose window ends there, boots the release 43",
        "verify: signature of the manifest",
        ("manifest.json", "not in the initrd", f"/{NEXT}".rpartition("/")[0], "rebuild the initrd"),
        _without_next,
        base=_second,
    ),
    _one(
        "release dropped that still signs files",
        "the initrd of 43 without `trust.previous`; most files of 43 are signed by 42",
        "verify: finding not-enrolled",
        ("not-enrolled: /", "release debian:42", "outside the window", "trust.previous"),
        _without_previous,
        number=SECOND,
        base=_second,
    ),
)
REFUSALS = tuple(refusal for boot in BOOTS for refusal in boot.refusals)
