"""Targets: what the kernel shows, where others have a say in it; and the names of files."""

import os
import shutil

from tests.fuzz import samples, workplace
from tests.fuzz.contract import attempt
from veriseal import voa
from veriseal.boot import composefs
from veriseal.errors import VerisealError
from veriseal.kernel import keyring
from veriseal.kernel import mounts as table


def proc_keys(data: bytes) -> None:
    """A line counts only if it reads as the kernel writes one of root's; forged ones do no harm."""
    path = workplace.put("keys", data)
    for line in data.decode("utf-8", "surrogateescape").splitlines(keepends=True):
        serial = keyring.parse_proc_keys_line(line, "keyring", ".fs-verity")
        if serial is not None:
            assert line.split()[5] == "0"
            assert ".fs-verity: " in line
    # Each that counts is looked up in the kernel of this machine, which knows better.
    found = attempt(keyring.fs_verity_keyring, path)
    if not isinstance(found, VerisealError):
        assert keyring.describe(found).description == ".fs-verity"


def mounts(data: bytes) -> None:
    """Each line is a mount; the root is one only if it is read-only and demands verity."""
    path = workplace.put("mountinfo", data)
    found = attempt(table.read, path)
    if isinstance(found, VerisealError):
        return
    assert len(found) == data.removesuffix(b"\n").count(b"\n") + bool(data)
    for point in ("/", "/usr/lib", "/var/a b\nc"):
        top = attempt(table.at, found, point)
        if isinstance(top, VerisealError):
            continue
        assert top.point == point
        below = table.beneath(found, top)
        assert top not in below
        attempt(composefs.mounted_inside, found, point)
    digest = samples.LONG_DIGEST
    if attempt(composefs.require_mounted, found, "/", digest) is None:
        root = table.at(found, "/")
        assert (root.filesystem, root.source) == ("overlay", f"composefs:{digest.value.hex()}")
        assert {"ro", "verity=require"} <= set(root.super_options)
        assert not any(one.startswith(("upperdir", "workdir")) for one in root.super_options)
        inside = {mount.point for mount in table.beneath(found, root)}
        assert not any(f"{one}/".startswith(("/usr/", "/etc/")) for one in inside)


def certificate_names(data: bytes) -> None:
    """``data``: a file name on each line, or ``NAME -> TARGET``, or ``/NAME`` of a directory."""
    top = os.path.join(workplace.directory(), "voa")
    shutil.rmtree(top, ignore_errors=True)
    directory = os.path.join(top, samples.OS, voa.PURPOSE, "default", voa.TECHNOLOGY)
    os.makedirs(directory)
    for line in data.split(b"\n")[:16]:
        name, _, target = line.partition(b" -> ")
        place = os.path.join(os.fsencode(directory), name.strip(b"/")[:255])
        try:
            if target:
                os.symlink(target, place)
            elif line.startswith(b"/"):
                os.mkdir(place)
            else:
                os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
        except (OSError, ValueError):
            continue  # not a name that a file can have
    found = attempt(voa.find, (top, top), [samples.OS], "default")
    if isinstance(found, VerisealError):
        return
    names = sorted(os.listdir(directory))
    verifiers, ignored = found
    assert [os.path.basename(one.path) for one in verifiers] == [
        name
        for name in names
        if name.endswith(".pem") and not os.path.islink(os.path.join(directory, name))
    ]
    assert len(verifiers) + len(ignored) == 2 * len(names)
