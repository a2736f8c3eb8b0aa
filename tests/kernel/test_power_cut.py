"""A power cut while `veriseal enable` works: it resumes, and the tree then verifies.

Ext4 is told to stop at once (EXT4_IOC_SHUTDOWN without flushing its journal): what did not reach
the disk until then never does, as xfstests does it. The next mount replays the journal. Not on
btrfs: not every kernel that is tested has such a call for it.
"""

import fcntl
import json
import os
import random
import re
import shutil
import signal
import struct
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from veriseal import manifest
from veriseal.build import walk
from veriseal.kernel import verity

from . import helpers
from .helpers import Release, Signer

pytestmark = pytest.mark.kernel

RUNS = 20
SEED = 20
SMALL, LARGE = 40, 3
"""How many files the tree has besides those of `helpers.make_tree`."""
LARGE_SIZE = 1 << 19

_EXT4_IOC_SHUTDOWN = 0x8004587D
"""_IOR('X', 125, __u32), fs/ext4/ext4.h."""
_NOLOGFLUSH = 2
"""EXT4_GOING_FLAGS_NOLOGFLUSH: neither data nor journal are written any more."""


def make_tree(top: str) -> None:
    helpers.make_tree(top)
    for number in range(SMALL):
        data = b"%d\n" % number * (1 + number * 211 % 5000)
        helpers.write(f"{top}/usr/lib/small/{number:02}", data)
    for number in range(LARGE):
        # Some come before the small ones, in the order of names, and some after.
        directory = f"{top}/usr/lib/{'large' if number % 2 else 'zlarge'}"
        helpers.write(f"{directory}/large-{number}", b"%07d\n" % number * (LARGE_SIZE // 8))


@pytest.fixture(scope="module")
def release(rsa: Signer) -> Iterator[Release]:
    directory = "/verity/test-power-cut"
    yield helpers.build(directory, rsa, make=make_tree)
    shutil.rmtree(directory)


class Disk(NamedTuple):
    """An image with the release on it, not enabled yet, and where it is mounted."""

    image: str
    point: str

    @property
    def tree(self) -> str:
        return f"{self.point}/tree"

    def mount(self) -> None:
        # With a commit every second some of the work reaches the disk by itself.
        helpers.must_run("mount", "-o", "loop,commit=1", self.image, self.point)

    def unmount(self) -> None:
        helpers.must_run("umount", self.point)


@pytest.fixture(scope="module")
def fresh(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Disk:
    """The disk as every run begins with it."""
    directory = tmp_path_factory.mktemp("power-cut")
    disk = Disk(f"{directory}/fresh", f"{directory}/mount")
    os.mkdir(disk.point)
    helpers.must_run("mkfs.ext4", "-q", "-O", "verity", "-b", "4096", disk.image, "48M")
    disk.mount()
    helpers.must_run("cp", "-a", release.tree, disk.tree)
    helpers.put_manifest(release, disk.tree)
    disk.unmount()
    return disk


@pytest.fixture
def disk(fresh: Disk) -> Iterator[Disk]:
    copy = fresh._replace(image=f"{fresh.image}-copy")
    helpers.must_run("cp", "--sparse=always", fresh.image, copy.image)
    copy.mount()
    yield copy
    if os.path.ismount(copy.point):
        copy.unmount()
    os.unlink(copy.image)


def has_verity(path: str) -> bool:
    fd = os.open(path, os.O_RDONLY)
    try:
        outcome = helpers.outcome(lambda: verity.measure_raw(fd))
    finally:
        os.close(fd)
    assert outcome in ("accepted", "ENODATA"), outcome
    return outcome == "accepted"


def shut_down(point: str) -> None:
    fd = os.open(point, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(fd, _EXT4_IOC_SHUTDOWN, struct.pack("=I", _NOLOGFLUSH))
    finally:
        os.close(fd)


def wait_for(path: str, process: int) -> None:
    """Wait until ``path`` has verity; ``process`` must still be at work then."""
    deadline = time.monotonic() + 60
    while not has_verity(path):
        assert os.waitpid(process, os.WNOHANG) == (0, 0), "it was over before the cut"
        assert time.monotonic() < deadline
        time.sleep(0.002)


class Cut(NamedTuple):
    """When the power goes: what is enabled by then, and then some; what was synced before."""

    synced: int
    reached: int
    delay: float


def cuts(count: int) -> list[Cut]:
    """Spread over the ``count`` files that get verity, and the same whenever this is run."""
    chance = random.Random(SEED)  # noqa: S311 nothing is secret here
    step = (count - 6) / RUNS
    made = []
    for number in range(RUNS):
        reached = 1 + int(step * (number + chance.random()))
        made.append(Cut(chance.randrange(reached), reached, chance.random() * 0.02))
    return made


def enable_and_cut(disk: Disk, signatures: str, paths: list[str], cut: Cut) -> None:
    process = helpers.start_command("enable", signatures, disk.tree)
    try:
        wait_for(paths[cut.synced], process)
        # Meanwhile others are under way, as when the kernel writes of its own accord.
        syncing = threading.Thread(target=os.sync)
        syncing.start()
        wait_for(paths[cut.reached], process)
        time.sleep(cut.delay)
        shut_down(disk.point)
    finally:
        end(process)
    syncing.join()
    disk.unmount()


def end(group: int) -> None:
    """Kill a group of processes, and wait until all of them are gone."""
    os.killpg(group, signal.SIGKILL)
    os.waitpid(group, 0)
    deadline = time.monotonic() + 20
    while helpers.outcome(lambda: os.killpg(group, 0)) != "ESRCH":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def signed_files(tree: str) -> list[str]:
    """The files that get verity, in the order of `veriseal enable`; each once."""
    found = walk.find([f"{tree}/{name}" for name in ("etc/systemd", "opt", "usr")])
    return [path for path in found.inside if f"/{manifest.DIRECTORY}/" not in path]


ENABLED_BY_THEN: list[int] = []
"""In each run, how many files had verity after the cut."""
COUNT = SMALL + LARGE + len(helpers.PROGRAMS) + 7 + 1
"""Of the files that get verity: with those of `helpers.make_tree`, but for a hard link."""


@pytest.mark.parametrize("cut", cuts(COUNT), ids=lambda cut: f"{cut.synced}-{cut.reached}")
def test_after_a_power_cut_it_resumes(disk: Disk, release: Release, rsa: Signer, cut: Cut) -> None:
    paths = signed_files(disk.tree)
    assert len(paths) == COUNT
    signatures = f"--signatures={release.out}/signatures"
    with helpers.enrolled(rsa):
        enable_and_cut(disk, signatures, paths, cut)
        disk.mount()
        done = sum(map(has_verity, paths))
        ENABLED_BY_THEN.append(done)
        again = helpers.command("enable", signatures, disk.tree)
        assert again.status == 0, again
        # The hard link is a name more.
        counts = re.match(r"(\d+) enabled, (\d+) already, 0 failed", again.err)
        assert counts is not None, again
        assert (int(counts[1]), int(counts[2])) == (COUNT - done, done + 1)
        disk.unmount()
        helpers.must_run("fsck.ext4", "-fn", disk.image)
        disk.mount()
        words = ("--cert", rsa.cert_path, "--os=debian:13")
        report = json.loads(helpers.must_command("verify", "--json", *words, disk.tree))
        assert report["findings"] == []
        assert report["measured"] == COUNT + 1


def test_the_power_was_cut_in_the_middle() -> None:
    middle = [done for done in ENABLED_BY_THEN if 0 < done < COUNT]
    assert len(middle) >= len(ENABLED_BY_THEN) * 3 // 4 > 0, ENABLED_BY_THEN
    assert len(set(middle)) > len(middle) // 2, ENABLED_BY_THEN
