"""Trust statements of the releases' vendor: in the initrd, or on a device of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.boot import overlay, releases
from tests.boot.appliance import Appliance, veriseal
from tests.boot.overlay import Overlay
from tests.boot.releases import FIRST, SECOND, SETTINGS, Releases
from tests.guest import root
from tests.guest.store import BUILD, remove
from veriseal.boot import gather, initrd

FLOOR = "usr/lib/veriseal/floor.json"
STATEMENT = "usr/share/veriseal/trust.json"
DEVICE = "/dev/disk/by-id/virtio-trust"
SEEN_ON_DEVICE = f"{gather.MOUNT_POINT}/{Path(STATEMENT).name}"
KNOWN = 7
"""Version of the trust statement that the machine has known."""
REVOKED = ("opt/kiosk/bin/app", "opt/kiosk/lib/libgreet.so.1")
"""What ``{0}`` and ``{1}`` stand for in the options of a statement: the digests of these."""


def in_initrd(version: int, *options: str) -> Callable[[Releases, Overlay], None]:
    """A trust statement of this version in the initrd."""

    def change(made: Releases, files: Overlay) -> None:
        for name, data in _statement(made, version, *options).items():
            files[f"{Path(STATEMENT).parent}/{name}"] = data
        _known(files, f'statement = "/{STATEMENT}"')

    return change


def _statement(made: Releases, version: int, *options: str) -> dict[str, bytes]:
    """A trust statement and its signature, by their names."""
    out = BUILD / f"statement-{version}"
    remove(out)
    out.mkdir()
    chosen = [option.format(*map(made.digest, REVOKED)) for option in options]
    listed = [f"--release={releases.os_name(one)}={made.keys}/{one}.pem" for one in (FIRST, SECOND)]
    veriseal("trust", "statement", "--os", "debian", "--version", str(version), *listed,
             *chosen, "--key", made.keys / "vendor.key", "--cert", made.keys / "vendor.pem",
             "--out", out / Path(STATEMENT).name)  # fmt: skip
    found = {path.name: path.read_bytes() for path in out.iterdir()}
    remove(out)
    return found


def _known(files: Overlay, trust: str) -> None:
    """The machine has known version `KNOWN` of the statement that these settings name."""
    known = {**json.loads(overlay.data(files, FLOOR)), "statement": KNOWN}
    files[FLOOR] = json.dumps(known).encode()
    files[SETTINGS] = releases.settings(FIRST, trust).encode()


def on_device(_made: Releases, files: Overlay) -> None:
    """The initrd is told to read the statement from `DEVICE`."""
    units = BUILD / "statement-units"
    remove(units)
    initrd.write_units(str(units), DEVICE)
    files |= overlay.read(units)
    remove(units)
    _known(files, f'statement = "/{Path(STATEMENT).name}"\nstatement_device = "{DEVICE}"')


def device(of: Appliance) -> Path:
    """A file system with an old statement."""
    top, image = BUILD / "statement-device.files", BUILD / "statement-device.img"
    for path in (top, image):
        remove(path)
    top.mkdir()
    for name, data in _statement(releases.build(of), KNOWN - 1).items():
        (top / name).write_bytes(data)
    root.ext4(image, "8M", top)
    remove(top)
    return image
