"""Digests of many files, and of large ones, on all processors; and what is done with each."""

import contextlib
import os
import stat
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

from veriseal import pool
from veriseal.digest import Digest
from veriseal.errors import VerisealError, path_of
from veriseal.merkle import Parameters, check_unchanged, combine, file_digest, group_hashes

# A file of this many bytes is worth all processors.
_LARGE = 32 * 1024 * 1024
# Bytes of a large file that a worker takes at a time.
_PART = 8 * 1024 * 1024
_LARGEST_BATCH = 64

Compute = Callable[[int, int], Digest]
"""The digest of an open file: descriptor, size in bytes."""

Act = Callable[[str, Compute], Any]
"""Does its work on one path with a `Compute`; its result is what `marshal` takes."""

OnPart = Callable[[int, int], None]
"""Told how far a large file is: bytes done, bytes in all."""

_Outcome = tuple[str, Any]


class _TooLargeError(Exception):
    """Not for one worker."""


def digests(
    paths: Sequence[str], parameters: Parameters, on_part: OnPart | None = None
) -> Iterator[tuple[str, Digest | VerisealError]]:
    """Each of ``paths`` with its digest, or with why it has none, in order."""

    def act(path: str, compute: Compute) -> bytes:
        return digest_of(path, compute).value

    for path, value in each(paths, parameters, act, on_part):
        if isinstance(value, VerisealError):
            yield path, value
        else:
            yield path, Digest(parameters.algorithm, value)


def digest_of(path: str, compute: Compute) -> Digest:
    """The digest of the regular file ``path``. Raises OSError, VerisealError."""
    fd, size = open_regular(path)
    try:
        return compute(fd, size)
    finally:
        os.close(fd)


def each(
    paths: Sequence[str], parameters: Parameters, act: Act, on_part: OnPart | None = None
) -> Generator[tuple[str, Any | VerisealError], None, None]:
    """Call ``act`` on each of ``paths``. Yields each with its result or its error, in order.

    ``act`` runs in a worker process. It is called once more, here, when a file is so large that
    all processors share it: it must compute the digest before it changes anything.
    """

    def small(path: str) -> Compute:
        def compute(fd: int, size: int) -> Digest:
            if size > _LARGE:
                raise _TooLargeError
            return file_digest(fd, size, parameters, path)

        return compute

    def work(batch: Sequence[str]) -> list[_Outcome]:
        return [_outcome(act, path, small(path)) for path in batch]

    def alone(path: str) -> _Outcome:
        def compute(fd: int, size: int) -> Digest:
            return shared_digest(fd, size, parameters, path, on_part)

        return _outcome(act, path, compute)

    batches = _batched(paths)
    # Closed at once, also when the caller stops early: its workers end with it.
    with contextlib.closing(pool.run(work, batches)) as results:
        for batch, outcomes in zip(batches, results, strict=True):
            for path, outcome in zip(batch, outcomes, strict=True):
                kind, value = alone(path) if outcome[0] == "large" else outcome
                yield path, value if kind == "done" else _error_from(value)


def shared_digest(
    fd: int,
    size: int,
    parameters: Parameters,
    path: str | None = None,
    on_part: OnPart | None = None,
) -> Digest:
    """The digest of the open file ``fd`` of ``size`` bytes, computed by all processors.

    Raises OSError, and VerisealError (``changed-while-read``).
    """
    part = -(-_PART // parameters.group_size) * parameters.group_size
    if size <= max(part, _LARGE):
        return file_digest(fd, size, parameters, path)

    def work(offset: int) -> _Outcome:
        length = min(part, size - offset)
        try:
            return "done", b"".join(group_hashes(fd, offset, length, parameters, path))
        except (OSError, VerisealError) as error:
            return "failed", _error_to(error, path)

    def hashes() -> Iterator[bytes]:
        offsets = range(0, size, part)
        for offset, (kind, value) in zip(offsets, pool.run(work, offsets), strict=True):
            if kind != "done":
                raise _error_from(value)
            yield value
            if on_part is not None:
                on_part(min(offset + part, size), size)

    digest = combine(hashes(), size, parameters)
    check_unchanged(fd, size, path)
    return digest


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


def _outcome(act: Act, path: str, compute: Compute) -> _Outcome:
    try:
        return "done", act(path, compute)
    except _TooLargeError:
        return "large", None
    except (OSError, VerisealError) as error:
        return "failed", _error_to(error, path)


def _batched(paths: Sequence[str]) -> list[Sequence[str]]:
    """``paths`` in pieces small enough to keep all processors busy to the end."""
    size = max(1, min(_LARGEST_BATCH, len(paths) // (4 * pool.processors())))
    return [paths[start : start + size] for start in range(0, len(paths), size)]


def _error_to(error: OSError | VerisealError, path: str | None) -> dict[str, str]:
    """``error`` as values that can cross from a worker."""
    if isinstance(error, OSError):
        where = path_of(error) or path
        error = VerisealError("system-call", error.strerror or str(error), path=where)
    return error.as_json()


def _error_from(details: dict[str, Any]) -> VerisealError:
    return VerisealError(**details)
