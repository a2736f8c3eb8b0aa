"""Work shared among processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from veriseal import pool
from veriseal.build import digests as many
from veriseal.digest import SHA512, Digest
from veriseal.errors import VerisealError
from veriseal.merkle import Parameters, data_digest

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_are_in_order(workers: int) -> None:
    assert list(pool.run(lambda n: [n, n * n], range(500), workers)) == [
        [n, n * n] for n in range(500)
    ]


def test_large_results_do_not_block() -> None:
    results = list(pool.run(lambda n: bytes([n]) * 1_000_000, range(6), 3))
    assert [(len(one), one[0]) for one in results] == [(1_000_000, n) for n in range(6)]


def test_no_tasks() -> None:
    assert list(pool.run(lambda n: n, [], 4)) == []


def test_a_worker_that_dies_is_an_error_not_a_gap() -> None:
    def work(number: int) -> int:
        if number == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    with pytest.raises(VerisealError) as caught:
        list(pool.run(work, range(100), 2))
    assert caught.value.reason == "worker-died"
    assert no_children()


def test_a_worker_that_fails_is_an_error() -> None:
    def work(number: int) -> int:
        raise RuntimeError

    with pytest.raises(VerisealError):
        list(pool.run(work, range(100), 2))
    assert no_children()


def test_stopping_early_leaves_no_process() -> None:
    results: Iterator[int] = pool.run(lambda n: n, range(10_000), 2)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert no_children()


def no_children() -> bool:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return True
    return False


def test_workers_do_not_outlive_a_killed_parent() -> None:
    program = (
        "import os, sys, time\n"
        "from veriseal.build import pool\n"
        "def work(n):\n"
        "    time.sleep(0.05)\n"
        "    return os.getpid()\n"
        "for pid in pool.run(work, range(1000), 2):\n"
        "    print(pid, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        parent.kill()
        # The workers hold the other end of this pipe: it ends when the last of them has.
        parent.communicate(timeout=30)


def test_digests_of_small_and_large_files(tmp_path: Path) -> None:
    contents = {f"{n}": os.urandom(n * 1000) for n in range(100)}
    contents["large"] = os.urandom(33 << 20)
    contents["large too"] = bytes((33 << 20) + 1)
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    parameters = Parameters(SHA512, 1024, b"salt")
    paths = [str(tmp_path / name) for name in contents]
    found = list(many.digests(paths, parameters))
    assert found == [
        (path, data_digest(data, parameters))
        for path, data in zip(paths, contents.values(), strict=True)
    ]


def test_errors_of_actions_name_the_path(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x")

    def act(path: str, compute: many.Compute) -> None:
        many.digest_of(path, compute)
        raise VerisealError("why", "so", path=path, expected=1, found=2, remedy="do")

    ((name, error),) = many.each([str(path)], Parameters(), act)
    assert name == str(path)
    assert isinstance(error, VerisealError)
    assert error.as_json() == {
        "reason": "why",
        "problem": "so",
        "path": str(path),
        "expected": "1",
        "found": "2",
        "remedy": "do",
    }


def test_large_file_that_shrinks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(40 << 20))
    fd = os.open(path, os.O_RDONLY)
    os.truncate(path, 20 << 20)
    try:
        with pytest.raises(VerisealError) as caught:
            many.shared_digest(fd, 40 << 20, Parameters(), str(path))
    finally:
        os.close(fd)
    assert caught.value.reason == "changed-while-read"
    assert isinstance(data_digest(b"", Parameters()), Digest)
