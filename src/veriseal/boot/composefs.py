"""A composefs root: the image that the boot configuration names, and the mount it became.

The image of a tree is one file, so its fs-verity digest stands for the whole tree; overlayfs
then demands of each file's contents the digest that the image holds (``verity=require``).

What was measured (Linux 6.12): once mounted, nothing in the kernel leads from the overlay back
to the image; its erofs is in no mount table. The only names are the mount's source, which the
mounter chooses, and the file that the mounter was given. So `require_mounted` is worth as much
as the mounter in the initrd, which is as trusted as this code, and was told on the command line.

Source: composefs-rs (cmdline.rs, composefs-setup-root), ostree (otcore-prepare-root.c),
mount.composefs(8), Documentation/filesystems/overlayfs.rst.
"""

import errno
import hashlib
import os
import re
import stat
from collections.abc import Sequence

from veriseal import signature
from veriseal.certificate import Certificate
from veriseal.digest import SHA256, SHA512, Digest
from veriseal.errors import VerisealError
from veriseal.kernel import files, keyring, mounts, verity
from veriseal.kernel.mounts import Mount

SOURCE = "composefs"
"""The source of a composefs mount: alone by mount.composefs and ostree; composefs-rs and bootc
write ``composefs:HEX`` with the digest that they measured."""

_NAMES = ("composefs", "composefs.digest")
_OSTREE = "ostree.prepare-root.composefs"
_SPACES = " \t\n\v\f\r"
_HEX = "[0-9a-f]{64}|[0-9a-f]{128}"
# composefs.digest= may say which format, hash and block size (its logarithm) are meant.
_VALUE = re.compile(rf"(?:v[0-9]-(sha256|sha512)-12:)?({_HEX})")

_ENCODINGS = {"rsa": "pkcs1", "ecdsa": "x962"}
# ENOENT: the algorithm is in no module either.
_CANNOT = (errno.ENOPKG, errno.EOPNOTSUPP, errno.ENOENT, errno.ENOSYS)


def named_on_command_line(cmdline: str) -> Digest:
    """The image that the kernel command line names, as bootc and composefs-rs write it.

    That is ``composefs=HEX`` or ``composefs.digest=v1-sha512-12:HEX``: 64 digits are SHA-256,
    128 are SHA-512. Exactly one such word. Double quotes count as they do for the kernel
    (lib/cmdline.c); but what a reader that knows no quotes would see may only say the same.

    Raises VerisealError: ``no-image-named``, ``several-images-named``, ``bad-image-name``,
    ``verity-optional``, ``checks-switched-off``.
    """
    words = [_parameter(word) for word in _words(cmdline)]
    plain = [_bare(word) for word in re.split(f"[{_SPACES}]", cmdline) if "=" in word]
    for name, value in (*words, *plain):
        _require_strict(name, value)
    named = [value for name, value in words if name in _NAMES]
    hidden = {value for name, value in plain if name in _NAMES} - set(named)
    if not named and not hidden:
        raise VerisealError(
            "no-image-named",
            "the kernel command line names no composefs image",
            expected="composefs=HEX",
            remedy='Boot an entry of bootc, or set boot.root = "tree"',
        )
    digests = [_digest(value) for value in named]
    if len(digests) != 1 or hidden:
        raise VerisealError(
            "several-images-named",
            "the kernel command line must name one composefs image",
            found=", ".join([*named, *sorted(hidden)]),
            remedy="Leave one composefs= word, that of the image which has a digest file",
        )
    return digests[0]


def deployment(directory: str, digest: Digest) -> str:
    """Where the digest file of one of several images lies: ``DIRECTORY/HEX``."""
    return f"{directory}/{digest.value.hex()}"


def require_mounted(
    mountinfo: Sequence[Mount],
    root: str,
    digest: Digest,
    image: str | None = None,
    directories: Sequence[str] = ("/usr",),
) -> None:
    """Raise VerisealError unless the mount at ``root`` is the image ``digest``, verity required.

    It must be a read-only overlay of one image and data-only layers, whole, without upper
    directory, ``verity=require``; and nothing may be mounted in it where it would hide part of
    ``directories`` (absolute, as seen inside). What is mounted elsewhere in it is not covered by
    the image: see `not_covered`.

    That the image is ``digest`` is shown by the source ``composefs:HEX``: a name, as good as
    the mounter that set it; composefs-rs measures first, unless the command line has the ``?``
    that `named_on_command_line` refuses. ``image`` is the path of the file that the mounter was
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
    _require_unhidden(mountinfo, mount, directories)
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


def not_covered(mountinfo: Sequence[Mount], root: str) -> list[Mount]:
    """What is mounted inside ``root``: the image says nothing of it. Raises as `mounts.at`."""
    return mounts.beneath(mountinfo, mounts.at(mountinfo, root))


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


def _words(cmdline: str) -> list[str]:
    """The words of a kernel command line, with their quotes."""
    words = [""]
    quoted = False
    for character in cmdline:
        quoted ^= character == '"'
        if character in _SPACES and not quoted:
            words.append("")
        else:
            words[-1] += character
    return [word for word in words if word]


def _parameter(word: str) -> tuple[str, str]:
    """Name and value without their quotes, as next_arg() of the kernel has them."""
    if word.startswith('"'):
        word = word[1:].removesuffix('"')
    name, _, value = word.partition("=")
    if value.startswith('"'):
        value = value[1:].removesuffix('"')
    return name, value


def _bare(word: str) -> tuple[str, str]:
    """Name and value as a reader sees them that splits at every space."""
    name, _, value = word.partition("=")
    return name.strip('"'), value.strip('"')


def _require_strict(name: str, value: str) -> None:
    if name in _NAMES and value.startswith("?"):
        raise VerisealError(
            "verity-optional",
            "the kernel command line makes verity optional",
            expected=f"{name}=HEX",
            found=f"{name}={value}",
            remedy="Install without --allow-missing-verity, on a file system with fs-verity",
        )
    # Every other value, also "verity" and "1", switches ostree's signatures off.
    if name.replace("_", "-") == _OSTREE and value != "signed":
        raise VerisealError(
            "checks-switched-off",
            "the kernel command line switches ostree's checks off",
            expected=f"{_OSTREE}=signed, or no such word",
            found=f"{name}={value}",
            remedy="Take it out, and set it in prepare-root.conf of the initrd",
        )


def _digest(value: str) -> Digest:
    match = _VALUE.fullmatch(value)
    if match is not None:
        algorithm = SHA256 if len(match[2]) == 2 * SHA256.size else SHA512
        if match[1] in (None, algorithm.name):
            return Digest(algorithm, bytes.fromhex(match[2]))
    raise VerisealError(
        "bad-image-name",
        "the kernel command line names a composefs image by what is no digest",
        expected="64 or 128 hexadecimal digits",
        found=value,
        remedy="mkcomposefs --print-digest shows the digest of an image",
    )


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


def _require_unhidden(mountinfo: Sequence[Mount], top: Mount, directories: Sequence[str]) -> None:
    for mount in mounts.beneath(mountinfo, top):
        inside = f"/{mount.point.removeprefix(top.point).lstrip('/')}/"
        for directory in directories:
            wanted = f"{directory.rstrip('/')}/"
            if inside.startswith(wanted) or wanted.startswith(inside):
                raise _refused(
                    mount, "hidden-by-mount", f"it hides part of {directory}", mount.source
                )


def _require_image(path: str, digest: Digest) -> None:
    location = files.open_location(path)
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
        fd = files.reopen(location)
    except OSError as error:
        raise verity.failure(error, path) from None
    finally:
        os.close(location)
    try:
        measured = verity.measure(fd, path)
        in_use = measured == digest and mounts.held_open(fd)
    except OSError as error:
        raise VerisealError(
            "system-call", f"cannot be tested for being in use: {error.strerror}", path=path
        ) from None
    finally:
        os.close(fd)
    if not in_use:
        same = measured == digest
        raise VerisealError(
            "image-not-in-use" if same else "other-image",
            "the root was not mounted from this image" if same else "it has another digest",
            path=path,
            expected=digest,
            found=measured,
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
