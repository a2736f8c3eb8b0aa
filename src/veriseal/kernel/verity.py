"""The fs-verity ioctls: measure, read the built-in signature, enable.

On the launcher's path. Source: Documentation/filesystems/fsverity.rst and
include/uapi/linux/fsverity.h. All integers are in the machine's byte order. The request numbers
are those of architectures with asm-generic/ioctl.h, such as x86, arm64 and riscv.
"""

import errno
import fcntl
import posix
import struct

from veriseal.digest import MAX_SIGNATURE_SIZE, Algorithm, Digest, algorithm_by_number
from veriseal.errors import VerisealError

_IOC_ENABLE_VERITY = 0x40806685
_IOC_MEASURE_VERITY = 0xC0046686
_IOC_READ_VERITY_METADATA = 0xC0286687
_METADATA_TYPE_SIGNATURE = 3
_LARGEST_DIGEST = 64
_EMPTY_DIGEST = struct.pack("=HH64x", 0, _LARGEST_DIGEST)

# errno of open(), ioctl() or read() on a verity file: reason, problem, remedy.
_FAILURES: dict[int, tuple[str, str, str]] = {
    errno.EPERM: (
        "unsigned",
        "the kernel requires a built-in signature and this verity file has none",
        "Replace it by a copy that is enabled with its signature: veriseal enable",
    ),
    errno.ENOKEY: (
        "not-enrolled",
        "no certificate in the .fs-verity keyring matches the signer of this file",
        "Sign it with a release key whose certificate is enrolled, or enrol that certificate",
    ),
    errno.EKEYREJECTED: (
        "signature-mismatch",
        "the built-in signature is not a signature of this file",
        "Sign this very file again: veriseal sign",
    ),
    errno.EBADMSG: (
        "malformed-signature",
        "the built-in signature is damaged or not PKCS#7",
        "Sign it again: veriseal sign",
    ),
    errno.ENODATA: (
        "no-verity",
        "the file does not have fs-verity enabled",
        "Enable it together with its signature: veriseal enable",
    ),
    errno.ENOTTY: (
        "no-filesystem-support",
        "this type of file system has no fs-verity",
        "Use ext4, btrfs or f2fs",
    ),
    errno.EOPNOTSUPP: (
        "feature-off",
        "fs-verity is switched off on this file system or in this kernel",
        "For ext4: tune2fs -O verity DEVICE, then mount again",
    ),
    errno.EINVAL: (
        "bad-descriptor",
        "the fs-verity descriptor is damaged, or its block size is not for this kernel",
        "Restore the file from a good copy; before Linux 6.3 only blocks of the page size work",
    ),
    errno.EUCLEAN: (
        "corrupt",
        "the file system's record of the fs-verity metadata is damaged",
        "Restore the file from a good copy and check the file system",
    ),
    errno.EIO: (
        "corrupt",
        "the contents do not match the file's digest, or the disk cannot be read",
        "Restore the file from a good copy and look at the kernel log",
    ),
    errno.ETXTBSY: (
        "open-for-writing",
        "the file is open for writing",
        "Close it everywhere (fuser -v FILE shows who has it), then try again",
    ),
    errno.EROFS: (
        "read-only-filesystem",
        "the file system is mounted read-only",
        "Enable verity before it is made read-only, or remount it writable",
    ),
    errno.EACCES: (
        "permission",
        "no permission to do this to the file",
        "Enabling needs write permission, measuring needs read permission",
    ),
    errno.ENOPKG: (
        "unsupported-signature",
        "the kernel lacks an algorithm that the built-in signature uses",
        "Sign with RSA or ECDSA and SHA-256 or SHA-512",
    ),
    errno.EMSGSIZE: (
        "signature-too-large",
        "the kernel takes no signature of this size",
        f"A built-in signature has at most {MAX_SIGNATURE_SIZE} bytes",
    ),
}


def failure(error: OSError, path: str | None) -> VerisealError:
    """What ``error``, from a system call on a verity file, means for its reader."""
    reason, problem, remedy = _FAILURES.get(
        error.errno or 0,
        ("system-call", posix.strerror(error.errno or 0), "See the kernel log: dmesg"),
    )
    return VerisealError(reason, problem, path=path, remedy=remedy)


def measure(fd: int, path: str | None = None) -> Digest:
    """The digest the kernel enforces for ``fd`` (FS_IOC_MEASURE_VERITY), in constant time.

    The answer is worth as much as the file system that gives it: FUSE can answer anything, so
    the caller checks the file system first.

    Raises VerisealError: ``no-verity``, ``no-filesystem-support``, ``feature-off`` and others.
    """
    try:
        return measured_digest(measure_raw(fd))
    except OSError as error:
        raise failure(error, path) from None


def measure_raw(fd: int) -> bytes:
    """As `measure`, for many files: ``struct fsverity_digest`` as `raw_digest` makes it.

    Raises OSError: ENODATA without verity, ENOTTY or EOPNOTSUPP where there can be none.
    """
    buffer = bytearray(_EMPTY_DIGEST)
    fcntl.ioctl(fd, _IOC_MEASURE_VERITY, buffer)
    return bytes(buffer)


def raw_digest(digest: Digest) -> bytes:
    """What `measure_raw` gives for a file with ``digest``: u16 algorithm, u16 size, 64 bytes."""
    head = struct.pack("=HH", digest.algorithm.number, digest.algorithm.size)
    return head + digest.value.ljust(_LARGEST_DIGEST, b"\0")


def measured_digest(raw: bytes) -> Digest:
    """What a result of `measure_raw` says. Raises VerisealError for an unknown algorithm."""
    number, size = struct.unpack_from("=HH", raw)
    return Digest(algorithm_by_number(number), raw[4 : 4 + size])


def require_signature(fd: int, path: str | None = None) -> None:
    """Return only if a built-in signature is stored with ``fd`` (FS_IOC_READ_VERITY_METADATA).

    Its presence is not implied by the sysctl: an inode opened before the sysctl was set stays
    readable without one. Whether it is good is what the kernel checked at open.

    Raises VerisealError: ``unsigned`` if there is none, ``no-verity`` and others;
    ``signature-unreadable`` where the kernel measures but does not show the signature.
    """
    _read_signature(fd, path, 0, 0)


def read_signature(fd: int, path: str | None = None) -> bytes:
    """The built-in signature stored with ``fd``, DER PKCS#7.

    Raises VerisealError as `require_signature` does.
    """
    import array  # imports collections, for which the launcher has no time

    buffer = array.array("B", bytes(MAX_SIGNATURE_SIZE))
    address, length = buffer.buffer_info()
    return buffer[: _read_signature(fd, path, address, length)].tobytes()


def _read_signature(fd: int, path: str | None, address: int, length: int) -> int:
    """Copy at most ``length`` bytes of the signature to ``address``; the number of bytes."""
    argument = struct.pack("=QQQQQ", _METADATA_TYPE_SIGNATURE, 0, length, address, 0)
    try:
        return int(fcntl.ioctl(fd, _IOC_READ_VERITY_METADATA, bytearray(argument)))
    except OSError as error:
        if error.errno == errno.ENODATA:
            # Both "no verity" and "no signature" are ENODATA here: ask once more.
            measure(fd, path)
            raise VerisealError(
                "unsigned",
                "the file has fs-verity but no built-in signature",
                path=path,
                remedy="Replace it by a copy that is enabled with its signature: veriseal enable",
            ) from None
        if error.errno == errno.ENOTTY:
            # Verity is there, the newer of the two ioctls is not: btrfs, for many versions.
            measure(fd, path)
            raise VerisealError(
                "signature-unreadable",
                "this kernel cannot show the built-in signature of a file on this file system",
                path=path,
                remedy="Keep it on ext4, or boot a newer kernel: on btrfs Linux 7.3 can, 6.12 not",
            ) from None
        raise failure(error, path) from None


def enable(
    fd: int,
    algorithm: Algorithm,
    block_size: int,
    salt: bytes = b"",
    signature: bytes = b"",
    path: str | None = None,
) -> None:
    """Enable verity on ``fd``, opened read-only, for good (FS_IOC_ENABLE_VERITY).

    ``block_size`` in bytes, a power of two. ``signature`` is DER PKCS#7; the kernel checks it
    against the keyring before anything is changed. The file is then read once and can never be
    written again.

    Raises VerisealError: ``not-enrolled``, ``signature-mismatch``, ``open-for-writing``,
    ``feature-off``, ``already-enabled`` and others.
    """
    import array

    salt_buffer = array.array("B", salt)
    signature_buffer = array.array("B", signature)
    argument = struct.pack(
        "=IIIIQIIQ88x",
        1,
        algorithm.number,
        block_size,
        len(salt),
        salt_buffer.buffer_info()[0] if salt else 0,
        len(signature),
        0,
        signature_buffer.buffer_info()[0] if signature else 0,
    )
    try:
        # A mutable argument makes CPython drop its lock during the call, which reads the file.
        fcntl.ioctl(fd, _IOC_ENABLE_VERITY, bytearray(argument))
    except OSError as error:
        if error.errno == errno.EEXIST:
            raise VerisealError("already-enabled", "verity is already enabled", path=path) from None
        if error.errno == errno.EINVAL:
            raise VerisealError(
                "bad-parameters",
                "the kernel takes no such block size or salt on this file system",
                path=path,
                found=f"block size {block_size}, salt of {len(salt)} bytes",
                remedy="Use a power of two from 1024 to the page size; before Linux 6.3, "
                "the page size alone. A salt has at most 32 bytes",
            ) from None
        raise failure(error, path) from None
