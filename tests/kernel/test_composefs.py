"""A composefs root on a real kernel: real images, mounted in every way that matters."""

import errno
import os
import shutil
import stat
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from veriseal import domain, manifest
from veriseal.boot import composefs
from veriseal.digest import SHA512, Digest
from veriseal.errors import VerisealError
from veriseal.kernel import mounts, verity
from veriseal.merkle import Parameters
from veriseal.tree import source

from . import helpers, images
from .helpers import Signer
from .images import Image, mounted, named, on, unmounting

# overlayfs has verity=require from 6.6 on, and lowerdir+ from 6.7 on.
SUPPORTED = helpers.KERNEL_VERSION >= (6, 7)
pytestmark = [pytest.mark.kernel]
needs_verity = pytest.mark.skipif(not SUPPORTED, reason="overlayfs has no verity=require yet")


@pytest.fixture
def root(place: str) -> str:
    """Where images are mounted: a directory in the place, so both file systems serve."""
    path = f"{place}/root"
    os.mkdir(path)
    return path


@pytest.fixture
def make(place: str) -> Callable[..., Image]:
    """Make an image with an object store that it shares with the others."""

    def make_image(name: str, sealed: bool = True, parameters: Parameters | None = None) -> Image:
        return images.make(place, name, sealed, parameters)

    return make_image


def refusal(root: str, digest: Digest, image: str | None = None) -> VerisealError:
    with pytest.raises(VerisealError) as raised:
        composefs.require_mounted(mounts.read(), root, digest, image)
    return raised.value


def accept(root: str, digest: Digest, image: str | None = None) -> None:
    composefs.require_mounted(mounts.read(), root, digest, image)


def test_a_kernel_that_cannot_require_verity_mounts_nothing(
    make: Callable[..., Image], root: str
) -> None:
    image = make("image")
    basedir = f"basedir={image.objects},verity"
    with unmounting(root):
        done = helpers.run(["mount.composefs", "-o", basedir, image.path, root])
        if SUPPORTED:
            accept(root, image.digest, image.path)
        else:
            assert done.status != 0
            assert refusal(root, image.digest, image.path).reason == "not-mounted"


@needs_verity
def test_an_image_is_accepted(make: Callable[..., Image], root: str) -> None:
    image = make("image")
    hexdigits = image.digest.value.hex()
    for options in (f"ro,digest={hexdigits}", f"digest={hexdigits}", "verity"):
        with mounted(image, root, options):
            accept(root, image.digest, image.path)
            assert helpers.read(f"{root}/usr/bin/program") == image.program


@needs_verity
@pytest.mark.parametrize("loop", [False, True], ids=["file", "loop"])
def test_an_image_that_the_mount_names_is_accepted(
    make: Callable[..., Image], root: str, loop: bool
) -> None:
    image = make("image")
    with named(image, root, image.name, loop=loop):
        accept(root, image.digest)
        accept(root, image.digest, image.path)
        assert helpers.read(f"{root}/usr/bin/program") == image.program


@needs_verity
def test_sha512_and_the_older_way_of_naming_layers(make: Callable[..., Image], root: str) -> None:
    image = make("image", parameters=Parameters(algorithm=SHA512))
    with named(image, root, image.name, "lowerdir={lower}::{objects},verity=require"):
        accept(root, image.digest)
        accept(root, image.digest, image.path)
        assert helpers.read(f"{root}/usr/bin/program") == image.program


@needs_verity
def test_without_required_verity(make: Callable[..., Image], root: str) -> None:
    image = make("image")
    with mounted(image, root, "ro"):
        error = refusal(root, image.digest, image.path)
        assert (error.reason, error.found) == ("verity-not-required", "no such option")
    with named(image, root, image.name, "lowerdir+={lower},datadir+={objects},verity=on"):
        error = refusal(root, image.digest, image.path)
        assert (error.reason, error.found) == ("verity-not-required", "verity=on")


@needs_verity
def test_a_name_cannot_forge_an_option(make: Callable[..., Image], root: str, place: str) -> None:
    image = make("image")
    os.rename(image.objects, f"{place}/a b,verity=require")
    moved = image._replace(objects=f"{place}/a b\\,verity=require")
    with mounted(moved, root, "ro"):
        assert helpers.read(f"{root}/usr/bin/program") == image.program
        assert refusal(root, image.digest, image.path).reason == "verity-not-required"
    forged = f"{image.name} ro,verity=require 1 2 - overlay {image.name}"
    layers = "lowerdir+={lower},datadir+=/var"
    with named(image, root, forged, layers):
        assert mounts.at(mounts.read(), root).source == forged
        assert refusal(root, image.digest).reason == "verity-not-required"


@needs_verity
def test_the_tool_takes_an_image_without_verity_and_we_do_not(
    make: Callable[..., Image], root: str
) -> None:
    image = make("image", sealed=False)
    with mounted(image, root, "ro,verity"):
        assert refusal(root, image.digest, image.path).reason == "no-verity"
        assert refusal(root, image.digest).reason == "image-unknown"


@needs_verity
def test_another_image(make: Callable[..., Image], root: str) -> None:
    image, other = make("image"), make("other")
    with mounted(other, root, f"ro,digest={other.digest.value.hex()}"):
        error = refusal(root, image.digest, other.path)
        assert (error.reason, error.expected) == ("other-image", str(image.digest))
        assert error.found == str(other.digest)
        # Genuine, but not what is mounted.
        assert refusal(root, image.digest, image.path).reason == "image-not-in-use"
    with named(other, root, other.name):
        assert refusal(root, image.digest).reason == "other-image"
    with named(other, root, image.name):
        assert refusal(root, image.digest, other.path).reason == "other-image"
        assert refusal(root, image.digest, image.path).reason == "image-not-in-use"


@needs_verity
def test_the_path_of_the_image_swapped(make: Callable[..., Image], root: str) -> None:
    image, other = make("image"), make("other")
    os.rename(image.path, f"{image.path}.away")
    os.rename(other.path, image.path)
    with mounted(image, root, "ro,verity"):
        error = refusal(root, image.digest, image.path)
        assert (error.reason, error.found) == ("other-image", str(other.digest))
    os.unlink(image.path)
    os.symlink(f"{image.path}.away", image.path)
    with mounted(image, root, "ro,verity"):
        accept(root, image.digest, image.path)


@needs_verity
def test_a_copy_of_the_image_in_its_place(make: Callable[..., Image], root: str) -> None:
    image = make("image")
    with mounted(image, root, "ro,verity"):
        accept(root, image.digest, image.path)
        os.rename(image.path, f"{image.path}.away")
        shutil.copyfile(f"{image.path}.away", image.path)
        assert refusal(root, image.digest, image.path).reason == "no-verity"
        assert helpers.enable(image.path) == image.digest
        assert refusal(root, image.digest, image.path).reason == "image-not-in-use"


@needs_verity
def test_an_image_that_cannot_be_measured(make: Callable[..., Image], root: str) -> None:
    image = make("image")
    with mounted(image, root, "ro,verity"):
        shutil.copyfile(image.path, "/run/image")
        for path in ("/run/image", f"{root}/usr/bin/program", root, "/dev/null"):
            assert refusal(root, image.digest, path).reason == "no-filesystem-support", path
        missing = refusal(root, image.digest, f"{image.path}.none")
        assert (missing.reason, missing.path) == ("not-found", f"{image.path}.none")
        os.mkfifo(f"{image.path}.fifo")
        os.mknod(f"{image.path}.device", stat.S_IFCHR, os.makedev(1, 3))
        os.symlink(f"{image.path}.fifo", f"{image.path}.link")
        for kind in ("fifo", "device", "link"):
            found = refusal(root, image.digest, f"{image.path}.{kind}")
            assert found.reason == "not-a-regular-file", kind
        os.symlink(f"{image.path}.loop", f"{image.path}.loop")
        assert refusal(root, image.digest, f"{image.path}.loop").reason == "system-call"


@needs_verity
def test_two_deployments_at_once(make: Callable[..., Image], root: str) -> None:
    made = [make("first"), make("second")]
    roots = [f"{root}/{number}" for number in range(2)]
    with ExitStack() as stack:
        for image, point in zip(made, roots, strict=True):
            os.mkdir(point)
            stack.enter_context(mounted(image, point, f"ro,digest={image.digest.value.hex()}"))
        for image, point in zip(made, roots, strict=True):
            accept(point, image.digest, image.path)
            assert helpers.read(f"{point}/usr/bin/program") == image.program
        assert refusal(roots[0], made[1].digest, made[0].path).reason == "other-image"


@needs_verity
def test_a_digest_file_for_each_deployment(
    make: Callable[..., Image], root: str, place: str, rsa: Signer
) -> None:
    made = [make("first"), make("second")]
    for version, image in enumerate(made, 1):
        directory = composefs.deployment(f"{place}/images", image.digest)
        statement = manifest.Manifest("debian:13", version, 0, image=image.digest)
        data = manifest.serialize(statement)
        helpers.write(f"{directory}/{manifest.NAME}", data)
        der = helpers.sign(data, rsa, domain.MANIFEST)
        helpers.write(f"{directory}/{manifest.NAME}.x.sig", der)
    trust = source.Trust([(None, rsa.certificate)], 1, ["debian:13"], 1)
    for image in made:
        cmdline = f"ro composefs={image.digest.value.hex()}"
        named_digest, _ = composefs.named(cmdline, "")
        shown = composefs.deployment(f"{place}/images", named_digest)
        fd = os.open(shown, os.O_RDONLY)
        release = source.load(fd, shown, trust)
        os.close(fd)
        assert release.manifest.image == named_digest == image.digest
        for one in release.signatures:
            composefs.kernel_agrees(one.signer, release.digest, one.der)
        with named(image, root, image.name):
            accept(root, named_digest, image.path)
            assert helpers.read(f"{root}/usr/bin/program") == image.program


@needs_verity
def test_writable_layers(make: Callable[..., Image], root: str, place: str) -> None:
    image = make("image")
    for directory in ("upper", "work"):
        os.mkdir(f"{place}/{directory}")
    layers = f"verity,upperdir={place}/upper,workdir={place}/work"
    for options in (layers, f"ro,{layers}"):
        with mounted(image, root, options):
            error = refusal(root, image.digest, image.path)
            assert (error.reason, error.found) == ("root-writable", f"upperdir={place}/upper")


@needs_verity
def test_another_layer_would_add_files(make: Callable[..., Image], root: str, place: str) -> None:
    image = make("image")
    helpers.write(f"{place}/evil/usr/bin/evil", b"evil", 0o755)
    for layers in (
        f"lowerdir+={{lower}},lowerdir+={place}/evil,datadir+={{objects}}",
        f"lowerdir={place}/evil:{{lower}}::{{objects}}",
    ):
        with named(image, root, image.name, f"{layers},verity=require"):
            # The kernel shows it, for it has no digest to compare.
            assert helpers.read(f"{root}/usr/bin/evil") == b"evil"
            assert refusal(root, image.digest, image.path).reason == "other-layers"


@needs_verity
def test_mounts_on_top_and_inside(make: Callable[..., Image], root: str) -> None:
    image = make("image")
    with mounted(image, root, "ro,verity"):
        with on(root, "-t", "tmpfs", "tmpfs"):
            error = refusal(root, image.digest, image.path)
            assert (error.reason, error.found) == ("not-composefs", "tmpfs")
        with on(root, "--bind", f"{root}/usr"):
            error = refusal(root, image.digest, image.path)
            assert (error.reason, error.found) == ("part-of-image", "/usr")
        for point in (f"{root}/usr", f"{root}/usr/bin", f"{root}/etc", f"{root}/var"):
            with on(point, "-t", "tmpfs", "tmpfs"):
                error = refusal(root, image.digest, image.path)
                assert (error.reason, error.path) == ("hidden-by-mount", point)
        with on(f"{root}/sysroot", "-t", "tmpfs", "tmpfs"):
            accept(root, image.digest, image.path)
            assert composefs.mounted_inside(mounts.read(), root) == ["/sysroot"]
        assert composefs.mounted_inside(mounts.read(), root) == []
        assert refusal(f"{root}/usr", image.digest, image.path).reason == "not-mounted"
    assert refusal(root, image.digest, image.path).reason == "not-mounted"


@needs_verity
def test_nothing_can_be_measured_through_it(make: Callable[..., Image], root: str) -> None:
    image = make("image")
    with mounted(image, root, "ro,verity"):
        fd = os.open(f"{root}/usr/bin/program", os.O_RDONLY)
        with pytest.raises(VerisealError) as raised:
            verity.measure(fd)
        os.close(fd)
        assert raised.value.reason == "no-filesystem-support"


@needs_verity
def test_a_changed_object_cannot_be_read(make: Callable[..., Image], root: str) -> None:
    image = make("image")
    (stored,) = [
        os.path.join(directory, name)
        for directory, _, names in os.walk(image.objects)
        for name in names
    ]

    def reading() -> str:
        with mounted(image, root, "ro,verity"):
            return helpers.outcome(lambda: helpers.read(f"{root}/usr/bin/program"))

    assert reading() != "EIO"
    helpers.write(stored, image.program)
    assert reading() == "EIO"
    helpers.write(stored, image.program + b"!")
    helpers.enable(stored)
    assert reading() == "EIO"


def test_whether_a_file_is_held_open(place: str) -> None:
    path = helpers.write(f"{place}/file", b"contents")
    fd = os.open(path, os.O_RDONLY)
    assert not mounts.held_open(fd)
    helpers.enable(path)
    assert not mounts.held_open(fd)
    other = os.open(path, os.O_RDONLY)
    assert mounts.held_open(fd)
    os.close(other)
    assert not mounts.held_open(fd)
    os.close(fd)
    null = os.open("/dev/null", os.O_RDONLY)
    with pytest.raises(OSError, match="nvalid") as raised:
        mounts.held_open(null)
    os.close(null)
    assert raised.value.errno == errno.EINVAL
