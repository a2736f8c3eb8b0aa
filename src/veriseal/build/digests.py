"""Digests of many files, and of large ones, on all processors."""

import os
import stat
from collections.abc import Iterator, Sequence
from typing import Any

from veriseal.build import pool
from veriseal.digest import Digest
from veriseal.errors import VerisealError
from veriseal.merkle import Parameters, check_unchanged, combine, file_digest, group_hashes

Failure = VerisealError | OSError

# A file of this many bytes is worth all processors.
_LARGE = 32 * 1024 * 1024
# Bytes of a large file that a worker takes at a time.
_PART = 8 * 1024 * 1024
_LARGEST_BATCH = 64

Plain = tuple[str, Any]


def open_regular(path: str, flags: int = 0) -> tuple[int, int]:
    """Open ``path`` for reading. Returns the descriptor and the size in bytes.

    Never waits for the other end of a FIFO. Raises OSError, and VerisealError
    (``not-a-regular-file``).
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | flags)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise VerisealError("not-a-regular-file", "not a regular file", path=path)
    return fd, status.st_size


def digests(paths: Sequence[str], parameters: Parameters) -> Iterator[tuple[str, Digest | Failure]]:
    """Each of ``paths`` with its digest, or with why it has none, in order."""

    def work(batch: Sequence[str]) -> list[Plain]:
        return [_digest(path, parameters) for path in batch]

    batches = batched(paths)
    for batch, results in zip(batches, pool.run(work, batches), strict=True):
        for path, (kind, value) in zip(batch, results, strict=True):
            if kind == "digest":
                yield path, Digest(parameters.algorithm, value)
            elif kind == "large":
                yield path, _digest_of_large(path, parameters)
            else:
                yield path, failure_from(kind, value)


def shared_digest(fd: int, size: int, parameters: Parameters, path: str | None = None) -> Digest:
    """The digest of the open file ``fd`` of ``size`` bytes, computed by all processors."""
    part = -(-_PART // parameters.group_size) * parameters.group_size
    if size <= max(part, _LARGE):
        return file_digest(fd, size, parameters, path)

    def work(offset: int) -> Plain:
        length = min(part, size - offset)
        try:
            return "hashes", b"".join(group_hashes(fd, offset, length, parameters, path))
        except (OSError, VerisealError) as error:
            return failure_to(error)

    def hashes() -> Iterator[bytes]:
        for kind, value in pool.run(work, range(0, size, part)):
            if kind != "hashes":
                raise failure_from(kind, value)
            yield value

    digest = combine(hashes(), size, parameters)
    check_unchanged(fd, size, path)
    return digest


def batched(paths: Sequence[str]) -> list[Sequence[str]]:
    """``paths`` in pieces small enough to keep all processors busy to the end."""
    size = max(1, min(_LARGEST_BATCH, len(paths) // (4 * pool.processors())))
    return [paths[start : start + size] for start in range(0, len(paths), size)]


def failure_to(error: Failure) -> Plain:
    """``error`` as values that can cross from a worker."""
    if isinstance(error, OSError):
        return "os", (error.errno or 0, error.filename)
    return "refused", (error.reason, error.problem, error.as_json())


def failure_from(kind: str, value: Any) -> Failure:
    """The error that `failure_to` was given."""
    if kind == "os":
        number, name = value
        return OSError(number, os.strerror(number), name)
    reason, problem, rest = value
    details = {k: v for k, v in rest.items() if k not in ("reason", "problem")}
    return VerisealError(reason, problem, **details)


def _digest(path: str, parameters: Parameters) -> Plain:
    try:
        fd, size = open_regular(path)
        try:
            if size > _LARGE:
                return "large", size
            return "digest", file_digest(fd, size, parameters, path).value
        finally:
            os.close(fd)
    except (OSError, VerisealError) as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = path
        return failure_to(error)


def _digest_of_large(path: str, parameters: Parameters) -> Digest | Failure:
    try:
        fd, size = open_regular(path)
        try:
            return shared_digest(fd, size, parameters, path)
        finally:
            os.close(fd)
    except (OSError, VerisealError) as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = path
        return error
