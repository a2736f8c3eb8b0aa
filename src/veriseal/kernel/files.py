"""Opening a file without being led astray, and asking which file system it is on."""

import ctypes
import os

EXT4 = 0xEF53
BTRFS = 0x9123683E
F2FS = 0xF2F52010
FUSE = 0x65735546
OVERLAYFS = 0x794C7630
TMPFS = 0x01021994
"""`f_type` as in include/uapi/linux/magic.h. FUSE cannot choose its own: the kernel fills it in."""

WITH_VERITY = {EXT4: "ext4", BTRFS: "btrfs", F2FS: "f2fs"}
"""Where the kernel itself answers for verity. FUSE lets a daemon answer, overlayfs cannot."""

_STATFS_SIZE = 256  # sizeof(struct statfs) is 120 on 64-bit Linux; room to spare

_SYS_OPENAT2 = 437
"""On every architecture: system calls since Linux 5.1 have one number."""
_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 2, 4, 8

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fstatfs.argtypes = (ctypes.c_int, ctypes.c_void_p)
_libc.syscall.restype = ctypes.c_long


def filesystem_type(fd: int) -> int:
    """`f_type` of the file system that ``fd`` is on, see statfs(2). Raises OSError."""
    buffer = ctypes.create_string_buffer(_STATFS_SIZE)
    if _libc.fstatfs(fd, buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF


def open_beneath(directory: int, path: bytes, flags: int) -> int:
    """Open ``path``, relative to ``directory``, through directories alone: openat2(2).

    No symbolic link is followed, not even in the last place, and nothing outside ``directory``
    is reached. Mount points are crossed. The caller closes it. Raises OSError: ELOOP for a link.
    """
    # struct open_how: flags, mode, resolve, 64 bits each.
    resolve = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS
    how = (ctypes.c_uint64 * 3)(flags | os.O_CLOEXEC, 0, resolve)
    fd = _libc.syscall(_SYS_OPENAT2, directory, path, how, ctypes.sizeof(how))
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fsdecode(path))
    return int(fd)


def ext4_complaints(directory: str = "/sys/fs/ext4") -> dict[str, int]:
    """Errors and warnings of each mounted ext4, by the name of its device: ext4(5), sysfs.

    Errors are counted over the life of the file system, warnings since it was mounted.
    """
    counts: dict[str, int] = {}
    try:
        devices = os.listdir(directory)
    except FileNotFoundError:
        return counts
    for device in devices:
        total = 0
        for name in ("errors_count", "warning_count"):
            try:
                with open(f"{directory}/{device}/{name}", "rb") as file:
                    total += int(file.read())
            except FileNotFoundError:
                continue  # /sys/fs/ext4/features, or unmounted just now
        counts[device] = total
    return counts
