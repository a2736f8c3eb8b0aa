"""Targets: what the kernel shows, where others have a say in it; and the names of files."""

import os
import shutil
import stat

from tests.fuzz import samples, workplace
from tests.fuzz.contract import attempt
from veriseal import policy, voa
from veriseal.boot import composefs
from veriseal.errors import VerisealError
from veriseal.kernel import keyring
from veriseal.kernel import mounts as table
from veriseal.trust import load


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


CONTENTS = {b"a": "rsa", b"e": "ec", b"r": "root"}


def certificate_names(data: bytes) -> None:
    """What counts is a certificate of ours in a file of its own name; the rest has a reason.

    ``data``: on each line ``LNAME``, ``LNAME -> TARGET``, or ``L/NAME`` of a directory. L is a
    digit for the load path, even for releases and odd for anchors. NAME says what is in it.
    """
    root = os.path.join(workplace.directory(), "system")
    shutil.rmtree(root, ignore_errors=True)
    places = [
        f"{root}{load_path}/{samples.OS}/{purpose}/default/{voa.TECHNOLOGY}"
        for load_path in voa.LOAD_PATHS
        for purpose in (voa.PURPOSE, voa.ANCHOR_PURPOSE)
    ]
    for place in places:
        os.makedirs(place)
    for line in data.split(b"\n")[:16]:
        name, _, target = line[1:].partition(b" -> ")
        directory = os.fsencode(places[line[0] % len(places) if line else 0])
        at = os.path.join(directory, name.replace(b"/", b"")[:255])
        try:
            if target:
                os.symlink(target, at)
            elif name.startswith(b"/"):
                os.mkdir(at)
            else:
                held = CONTENTS.get(name[:1])
                with open(at, "xb") as file:
                    file.write(samples.pems()[held] if held else data)
        except (OSError, ValueError):
            continue  # not a name that a file can have
    _names(root, places)
    _trust(root, places)


def _names(root: str, places: list[str]) -> None:
    for at, purpose in enumerate((voa.PURPOSE, voa.ANCHOR_PURPOSE)):
        there = [f"{place}/{name}" for place in places[at::2] for name in os.listdir(place)]
        masked = {
            os.path.basename(path)
            for path in there
            if os.path.islink(path) and os.readlink(path) == "/dev/null"
        }
        found = attempt(voa.find, voa.LOAD_PATHS, [samples.OS], purpose, "default", root)
        if isinstance(found, VerisealError):
            raise found
        verifiers, ignored = found
        paths = [one.path for one in verifiers] + [one.path for one in ignored]
        assert sorted(paths) == sorted(there)
        for one in verifiers:
            name = os.path.basename(one.path)
            assert name not in masked
            assert name.endswith(".pem")
            assert name == os.path.basename(one.target)
            assert os.path.dirname(one.target) in places
            assert stat.S_ISREG(os.lstat(one.target).st_mode)
            # The system's own idea of where an absolute link leads is that of this root.
            assert os.path.islink(one.path) or one.path == one.target


def _trust(root: str, places: list[str]) -> None:
    os_release = {"ID": "fedora", "VERSION_ID": "43"}
    settings = policy.Policy()
    trust = attempt(load.load, settings, os_release, root=root, at=samples.statement().created)
    if isinstance(trust, VerisealError):
        return
    known = [samples.signer("rsa").fingerprint, samples.signer("ec").fingerprint]
    counting = [one.certificate.fingerprint for one in trust.releases]
    assert counting
    assert len(counting) == len(set(counting))
    assert set(counting) <= set(known)
    anchored = any(
        name.endswith(".pem")
        for place in places[1::2]
        for name in os.listdir(place)
        if voa.EPHEMERAL not in place
    )
    for one in trust.releases:
        assert anchored == (one.anchor is not None)
        assert f"{root}{voa.EPHEMERAL}" not in one.certificate.path
    paths = [one.certificate.path for one in trust.releases]
    paths += [one.certificate.path for one in trust.anchors]
    paths += [one.path for one in trust.ignored]
    every = [f"{place}/{name}" for place in places for name in os.listdir(place)]
    assert sorted(paths) == sorted(every)
