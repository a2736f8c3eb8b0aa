"""Reading a small regular file that nobody has verified, without waiting or filling memory.

In a tree that is not this system's own a FIFO or a sparse file can be where a small file belongs.
"""

import errno
import os
import stat


def read(path: str, limit: int, flags: int = 0) -> bytes:
    """The contents of the regular file ``path``: at most ``limit`` bytes.

    ``flags`` are more of open(2), such as O_NOFOLLOW. Raises OSError: EINVAL for another kind of
    file, EFBIG for a larger one.
    """
    # O_NONBLOCK: opening a FIFO would wait for somebody who writes to it.
    flags |= os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    fd = os.open(path, flags)
    try:
        data = contents(fd, limit)
    finally:
        os.close(fd)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit} bytes", path)
    return data


def contents(fd: int, limit: int, path: str | None = None) -> bytes:
    """The contents of the open regular file ``fd``, or its first ``limit`` + 1 bytes.

    ``path`` is for the error alone. Raises OSError, EINVAL for another kind of file.
    """
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", path)
    parts = []
    left = limit + 1
    while left and (part := os.read(fd, left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
