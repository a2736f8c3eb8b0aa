"""Work shared among forked processes, results in the order of the tasks.

`multiprocessing` takes longer to import than most runs take; this is what is left of it when
tasks are known beforehand, workers inherit everything by fork, and results are plain values.
Call it before any thread is started.
"""

import contextlib
import marshal
import os
import select
import signal
import struct
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

from veriseal.errors import VerisealError

Task = TypeVar("Task")

_FRAME = struct.Struct("=II")  # task number, bytes that follow
_NUMBER = struct.Struct("=I")


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


def run(
    function: Callable[[Task], Any], tasks: Sequence[Task], workers: int | None = None
) -> Generator[Any, None, None]:
    """``function`` of each task, in the order of ``tasks``, computed by forked processes.

    Results are what `marshal` takes: None, numbers, text, bytes, and tuples, lists and dicts of
    them. ``function`` reports failures as results: an exception that escapes it ends the run.
    With one worker or one task nothing is forked.

    Raises VerisealError (``worker-died``) if a worker ends early.
    """
    count = min(processors() if workers is None else workers, len(tasks))
    if count < 2:
        yield from map(function, tasks)
        return
    # Results that came before those of earlier tasks.
    early: dict[int, Any] = {}
    following = 0
    with contextlib.closing(_unordered(function, tasks, count)) as results:
        for number, result in results:
            early[number] = result
            while following in early:
                yield early.pop(following)
                following += 1


def _unordered(
    function: Callable[[Task], Any], tasks: Sequence[Task], count: int
) -> Generator[tuple[int, Any], None, None]:
    numbers_out, numbers_in = os.pipe()
    workers: dict[int, int] = {}  # the end that results come from: process
    poll = select.poll()
    try:
        for _ in range(count):
            results_out, results_in = os.pipe()
            # An interrupt in between would send the child up the parent's stack.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            process = os.fork()
            if process == 0:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                # The parent's ends must be closed here, or no worker sees the parent go.
                _work(function, tasks, numbers_out, results_in, (numbers_in, results_out, *workers))
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(results_in)
            workers[results_out] = process
            poll.register(results_out, select.POLLIN)
        os.close(numbers_out)
        numbers_out = -1
        yield from _collect(len(tasks), workers, poll, numbers_in)
    except BaseException:
        for process in workers.values():
            os.kill(process, signal.SIGTERM)
        raise
    finally:
        for fd in (numbers_out, numbers_in, *workers):
            if fd >= 0:
                os.close(fd)
        for process in workers.values():
            os.waitpid(process, 0)


def _collect(
    total: int, workers: dict[int, int], poll: select.poll, numbers_in: int
) -> Iterator[tuple[int, Any]]:
    # Two numbers a worker are always waiting; the pipe never fills.
    given = 0
    while given < min(total, 2 * len(workers)):
        os.write(numbers_in, _NUMBER.pack(given))
        given += 1
    received = 0
    while received < total:
        for fd, _ in poll.poll():
            number, size = _FRAME.unpack(_read(fd, _FRAME.size))
            result = marshal.loads(_read(fd, size))  # noqa: S302 from our own child
            received += 1
            if given < total:
                os.write(numbers_in, _NUMBER.pack(given))
                given += 1
            yield number, result


def _work(
    function: Callable[[Task], Any],
    tasks: Sequence[Task],
    numbers_out: int,
    results_in: int,
    foreign: tuple[int, ...],
) -> None:
    """The whole life of a worker; ``foreign`` are descriptors to close. Does not return."""
    status = 1
    try:
        for fd in foreign:
            os.close(fd)
        while number := os.read(numbers_out, _NUMBER.size):
            (index,) = _NUMBER.unpack(number)
            result = marshal.dumps(function(tasks[index]))
            _write(results_in, _FRAME.pack(index, len(result)) + result)
        status = 0
    except BrokenPipeError:
        pass  # the parent is gone, and with it whoever wanted to know
    except Exception as error:
        print(f"veriseal: a worker failed: {type(error).__name__}: {error}", file=sys.stderr)
        sys.stderr.flush()
    finally:
        # Neither the parent's buffers nor its exit handlers are this process's to run.
        os._exit(status)


def _read(fd: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = os.read(fd, size - len(data))
        if not part:
            raise VerisealError(
                "worker-died",
                "a worker process ended before its work was done",
                remedy="Look above and in the kernel log for why, then run the command again",
            )
        data += part
    return bytes(data)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
