"""A composefs root: the image that the boot configuration names, and the mount it became.

The image of a tree is one file, so its fs-verity digest stands for the whole tree; overlayfs
then demands of each file's contents the digest that the image holds (``verity=require``).

What was measured (Linux 6.12): once mounted, nothing in the kernel leads from the overlay back
to the image; its erofs is in no mount table. The only names are the mount's source, which the
mounter chooses, and the file that the mounter was given. So `require_mounted` is worth as much
as the mounter in the initrd, which is as trusted as this code, and was told on the command line.

Where the kernel requires built-in signatures (``boot.keyring = "require"``), it opens neither an
image nor an object file that has verity and no signature: the root cannot be mounted, or its files
cannot be read. composefs makes none, so its roots mostly want ``boot.keyring = "off"``.

Source: composefs-rs (composefs-setup-root), ostree (otcore-prepare-root.c), mount.composefs(8),
Documentation/filesystems/overlayfs.rst.
"""

import errno
import hashlib
import os
import re
import stat
from collections.abc import Sequence

from veriseal import policy, signature
from veriseal.boot import cmdline
from veriseal.certificate import Certificate
from veriseal.digest import Digest
from veriseal.errors import VerisealError
from veriseal.kernel import descriptor, files, keyring, mounts, verity
from veriseal.kernel.mounts import Mount
from veriseal.pattern import Rules

SOURCE = "composefs"
"""The source of a composefs mount: alone by mount.composefs and ostree; composefs-rs and bootc
write ``composefs:HEX`` with the digest that they measured."""

RULES = Rules(policy.EXCLUSIVE, ())
"""The default: nothing may be mounted over what is exclusive."""

_ENCODINGS = {"rsa": "pkcs1", "ecdsa": "x962"}
# ENOENT: the algorithm is in no module either.
_CANNOT = (errno.ENOPKG, errno.EOPNOTSUPP, errno.ENOENT, errno.ENOSYS)


_DIGEST, _OSTREE = "{digest}", "{ostree}"


def named(command_line: str, image_file: str) -> tuple[Digest, str | None]:
    """The image that the boot configuration names, and the path of its file if that is known.

    ``image_file`` is the setting: ``{digest}`` in it stands for the digest that the command line
    names, ``{ostree}`` for the deployment. ostree names no digest: then the one that the kernel
    measures of the file counts. It says only which digest file is asked for.

    Raises VerisealError: ``no-image-named``, those of `cmdline`, and those of `measured`.
    """
    digest = cmdline.image(command_line)
    if digest is None and (not image_file or _DIGEST in image_file):
        raise VerisealError(
            "no-image-named",
            "the kernel command line names no composefs image",
            expected="composefs=HEX, or a file in boot.image_file that can be measured",
            found=f"boot.image_file = {image_file}" if image_file else "no boot.image_file",
            remedy="Boot an entry of bootc. For ostree set boot.image_file, such as "
            '"/sysroot/sysroot{ostree}/.ostree.cfs"',
        )
    path = image_file
    if digest is not None:
        path = path.replace(_DIGEST, digest.value.hex())
    if _OSTREE in path:
        path = path.replace(_OSTREE, cmdline.deployment(command_line))
    if digest is None:
        digest = measured(path)
    return digest, path or None


def deployment(directory: str, digest: Digest) -> str:
    """Where the digest file of one of several images lies: ``DIRECTORY/HEX``."""
    return f"{directory}/{digest.value.hex()}"


def require_mounted(
    mountinfo: Sequence[Mount],
    root: str,
    digest: Digest,
    image: str | None = None,
    rules: Rules = RULES,
) -> None:
    """Raise VerisealError unless the mount at ``root`` is the image ``digest``, verity required.

    It must be a read-only overlay of one image and data-only layers, whole, without upper
    directory, ``verity=require``. A mount inside it that covers or lies in what ``rules`` call
    exclusive is refused, unless they call its mount point mutable: of whatever is mounted in it
    the image says nothing, see `mounted_inside`.

    That the image is ``digest`` is shown by the source ``composefs:HEX``: a name, as good as
    the mounter that set it; composefs-rs measures first, unless the command line has the ``?``
    that `cmdline.image` refuses. ``image`` is the path of the file that the mounter was
    told to mount. It is measured, and must be in use: that shows which file it is, as long as
    the mounter is honest. A mount with the bare source ``composefs`` needs it, for its mounter
    may have checked nothing: ``mount.composefs -o verity`` takes an image without verity.

    Reasons: ``not-mounted``, ``not-composefs``, ``verity-not-required``, ``root-writable``,
    ``other-layers``, ``part-of-image``, ``hidden-by-mount``, ``other-image``,
    ``image-unknown``, ``not-found``, ``not-a-regular-file``, ``image-not-in-use``, and those
    of `verity.measure`.
    """
    mount = mounts.at(mountinfo, root)
    _require_overlay(mount)
    _require_unhidden(mountinfo, mount, rules)
    kind, _, hexdigits = mount.source.partition(":")
    if kind != SOURCE:
        raise _refused(mount, "not-composefs", "its source is not composefs", mount.source)
    if mount.source != SOURCE and hexdigits != digest.value.hex():
        raise VerisealError(
            "other-image",
            "another image is mounted",
            path=mount.point,
            expected=digest.value.hex(),
            found=hexdigits,
            remedy=_BOOT_ANOTHER,
        )
    if image is not None:
        _require_image(image, digest)
    elif mount.source == SOURCE:
        raise VerisealError(
            "image-unknown",
            "the mount does not say which image it is",
            path=mount.point,
            expected=f"{SOURCE}:{digest.value.hex()}",
            found=mount.source,
            remedy="Name the image file in the configuration, so that it can be measured",
        )


def mounted_inside(mountinfo: Sequence[Mount], root: str) -> list[str]:
    """The mount points inside the mount at ``root``, as seen in it. Raises as `mounts.at`."""
    top = mounts.at(mountinfo, root)
    return [_inside(top, mount) for mount in mounts.beneath(mountinfo, top)]


def measured(path: str) -> Digest:
    """The fs-verity digest of an image file, as the kernel enforces it.

    Raises VerisealError: ``not-found``, ``not-a-regular-file``, ``no-filesystem-support``, and
    those of `verity.measure`.
    """
    fd = _open_image(path)
    try:
        return verity.measure(fd, path)
    finally:
        os.close(fd)


def kernel_agrees(certificate: Certificate, digest: Digest, der: bytes) -> None:
    """Raise VerisealError unless the kernel too takes ``der`` as a signature of ``digest``.

    ``der`` is a detached signature as `signature.inspect` takes it, and was verified with
    ``certificate`` already. The certificate is added to this process's own keyring for it: the
    enrolled key can be used by nobody once the keyring is sealed. Nothing is written to disk.

    Reasons: ``malformed-signature``; ``kernel-disagrees``; ``kernel-cannot-verify``.
    """
    info = signature.inspect(der)
    hashed = hashlib.new(info.digest_algorithm, digest.formatted()).digest()
    how = f"enc={_ENCODINGS[info.signature_algorithm]} hash={info.digest_algorithm}"
    try:
        key = keyring.add_certificate(certificate.der)
    except OSError as error:
        raise _kernel_cannot(certificate, error) from None
    try:
        keyring.pkey_verify(key, how, hashed, info.raw)
    except OSError as error:
        if error.errno in _CANNOT:
            raise _kernel_cannot(certificate, error) from None
        raise VerisealError(
            "kernel-disagrees",
            "the kernel refuses a signature that was accepted before",
            path=certificate.path,
            expected=f"a signature of {digest} by {certificate.subject}",
            found=errno.errorcode.get(error.errno or 0, str(error.errno)),
            remedy="One of the two is wrong: trust neither, and report it",
        ) from None
    finally:
        keyring.unlink(key, keyring.PROCESS_KEYRING)


_BOOT_ANOTHER = "Boot an entry whose image has a digest file, or sign one for this image"


def _require_overlay(mount: Mount) -> None:
    options = [option.partition("=") for option in mount.super_options]
    values = {name: value for name, _, value in options}
    if mount.filesystem != "overlay":
        raise _refused(mount, "not-composefs", "not an overlay mount", mount.filesystem)
    if [value for name, _, value in options if name == "verity"] != ["require"]:
        found = f"verity={values['verity']}" if "verity" in values else "no such option"
        raise _refused(mount, "verity-not-required", "files may lack verity", found)
    if {"upperdir", "workdir"} & set(values) or "ro" not in values:
        found = f"upperdir={values['upperdir']}" if "upperdir" in values else "no ro"
        raise _refused(mount, "root-writable", "the root is not read-only", found)
    if mount.root != "/" or "idmapped" in mount.options:
        found = mount.root if mount.root != "/" else "idmapped"
        raise _refused(mount, "part-of-image", "the image is not shown as it is", found)
    # A second layer that is not data-only would add files that no digest vouches for.
    lowest = [(name, value) for name, _, value in options if name in ("lowerdir", "lowerdir+")]
    if len(lowest) != 1 or lowest[0][0] == "lowerdir" and _several_layers(lowest[0][1]):
        found = ", ".join(value for _, value in lowest)
        raise _refused(mount, "other-layers", "more than an image is shown", found)


def _several_layers(lowerdir: str) -> bool:
    """Whether layers other than data-only ones, which come after two colons, are in a list."""
    escapes_removed = re.sub(r"\\.", "", lowerdir)
    return ":" in escapes_removed.partition("::")[0]


def _inside(top: Mount, mount: Mount) -> str:
    return f"/{mount.point.removeprefix(top.point).lstrip('/')}"


def _require_unhidden(mountinfo: Sequence[Mount], top: Mount, rules: Rules) -> None:
    for mount in mounts.beneath(mountinfo, top):
        point = _inside(top, mount)
        path = os.fsencode(point)
        hides = rules.exclusive.cover(path) or rules.exclusive.lead_below(path)
        if hides and not rules.mutable.cover(path):
            raise VerisealError(
                "hidden-by-mount",
                "something is mounted over what only the image may say",
                path=mount.point,
                expected="no mount there",
                found=f"{mount.filesystem}, {mount.source}",
                remedy=f"If that is to be so, name {point} in build.mutable of the initrd's "
                "configuration: then nothing in it is checked",
            )


def _open_image(path: str) -> int:
    location = descriptor.open_location(path)
    try:
        # Others could have any ioctl answered as they like; a device could do anything.
        if files.filesystem_type(location) not in files.WITH_VERITY:
            raise VerisealError(
                "no-filesystem-support",
                "the image is on a file system whose word on verity does not count",
                path=path,
                expected=", ".join(files.WITH_VERITY.values()),
            )
        if not stat.S_ISREG(os.fstat(location).st_mode):
            raise VerisealError("not-a-regular-file", "not an image file", path=path)
        return descriptor.reopen(location)
    except OSError as error:
        raise verity.failure(error, path) from None
    finally:
        os.close(location)


def _require_image(path: str, digest: Digest) -> None:
    fd = _open_image(path)
    try:
        found = verity.measure(fd, path)
        in_use = found == digest and mounts.held_open(fd)
    except OSError as error:
        raise VerisealError(
            "system-call", f"cannot be tested for being in use: {error.strerror}", path=path
        ) from None
    finally:
        os.close(fd)
    if not in_use:
        same = found == digest
        raise VerisealError(
            "image-not-in-use" if same else "other-image",
            "the root was not mounted from this image" if same else "it has another digest",
            path=path,
            expected=digest,
            found=found,
            remedy="Name the file that the initrd mounts" if same else _BOOT_ANOTHER,
        )


def _refused(mount: Mount, reason: str, problem: str, found: str) -> VerisealError:
    return VerisealError(
        reason,
        problem,
        path=mount.point,
        expected="a read-only overlay of one composefs image with verity=require",
        found=found,
        remedy="Mount it with composefs-setup-root, or mount.composefs -o ro,digest=HEX",
    )


def _kernel_cannot(certificate: Certificate, error: OSError) -> VerisealError:
    option = "CONFIG_CRYPTO_RSA" if certificate.key.startswith("RSA") else "CONFIG_CRYPTO_ECDSA"
    return VerisealError(
        "kernel-cannot-verify",
        f"the kernel cannot verify signatures by this certificate: {error.strerror}",
        path=certificate.path,
        expected=f"CONFIG_ASYMMETRIC_KEY_TYPE=y and {option}=y",
        found=f"{error.filename}: {errno.errorcode.get(error.errno or 0, str(error.errno))}",
        remedy="Boot a kernel that has the options, or sign with RSA",
    )
