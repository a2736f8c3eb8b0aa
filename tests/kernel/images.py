"""Composefs images of small trees, and the ways to mount them."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from veriseal import merkle
from veriseal.digest import Digest
from veriseal.merkle import Parameters

from . import helpers
from .helpers import Signer


class Image(NamedTuple):
    """An image of a small tree; ``program`` are the contents of its usr/bin/program."""

    path: str
    objects: str
    digest: Digest
    program: bytes

    @property
    def name(self) -> str:
        return f"composefs:{self.digest.value.hex()}"


def make(
    place: str,
    name: str,
    sealed: bool = True,
    parameters: Parameters | None = None,
    signer: Signer | None = None,
) -> Image:
    """Make the image ``place``/``name``; all of one place share an object store.

    ``sealed`` is whether the image has verity. Where the kernel requires signatures, image and
    objects have those of ``signer``.
    """
    source, path, objects = f"{place}/{name}.d", f"{place}/{name}", f"{place}/objects"
    program = os.urandom(100_000)
    os.makedirs(objects, exist_ok=True)
    helpers.write(f"{source}/usr/bin/program", program, 0o755)
    helpers.write(f"{source}/etc/small", name.encode())
    for directory in ("sysroot", "var"):
        os.mkdir(f"{source}/{directory}")
    store = f"--digest-store={objects}"
    printed = helpers.must_run("mkcomposefs", store, "--print-digest", source, path)
    shutil.rmtree(source)
    digest = Digest.parse(f"sha256:{printed.strip()}")
    if signer is not None:
        # mkcomposefs could not enable it without a signature, and does not mind.
        helpers.enable(_object(objects, program), helpers.sign(program, signer))
    if sealed:
        der = b"" if signer is None else helpers.sign(helpers.read(path), signer)
        measured = helpers.enable(path, der, parameters or helpers.PLAIN)
        assert parameters is not None or measured == digest
        digest = measured
    return Image(path, objects, digest, program)


def _object(objects: str, data: bytes) -> str:
    name = merkle.data_digest(data, helpers.PLAIN).value.hex()
    return f"{objects}/{name[:2]}/{name[2:]}"


@contextmanager
def mounted(image: Image, root: str, options: str = "") -> Iterator[None]:
    """By mount.composefs, as ostree does it: the source is a bare ``composefs``."""
    basedir = f"basedir={image.objects}"
    more = f",{options}" if options else ""
    with unmounting(root):
        helpers.must_run("mount.composefs", "-o", f"{basedir}{more}", image.path, root)
        yield


@contextmanager
def named(
    image: Image, root: str, source: str, options: str = "", loop: bool = False
) -> Iterator[None]:
    """As composefs-rs does it: the source names the digest."""
    lower = f"{root}.lower"
    os.makedirs(lower, exist_ok=True)
    options = options or f"lowerdir+={lower},datadir+={image.objects},verity=require"
    options = options.format(lower=lower, objects=image.objects)
    with unmounting(lower):
        helpers.must_run(
            "mount", "-t", "erofs", "-o", "ro,loop" if loop else "ro", image.path, lower
        )
        with unmounting(root):
            how = f"ro,metacopy=on,redirect_dir=on,{options}"
            helpers.must_run("mount", "-t", "overlay", source, "-o", how, root)
            yield


@contextmanager
def unmounting(point: str) -> Iterator[None]:
    try:
        yield
    finally:
        while os.path.ismount(point):
            helpers.must_run("umount", point)


@contextmanager
def on(point: str, *words: str) -> Iterator[None]:
    """Something mounted over a directory."""
    helpers.must_run("mount", *words, point)
    try:
        yield
    finally:
        helpers.must_run("umount", point)
