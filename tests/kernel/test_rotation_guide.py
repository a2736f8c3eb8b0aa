"""ROTATION.md: every block of it is run, section by section, and then something must be true."""

import json
import os
import shutil
from collections.abc import Iterator

import pytest

from tests import guide
from tests.guide import BUILD, MACHINE

from . import quick, rotation
from .rotation import APP, DISK, TOOL, VENDOR, World

pytestmark = pytest.mark.kernel

GUIDE = {section.title: section for section in guide.read()}
FIRST = "1. The first release"
SAVED = f"{DISK}/saved"


@pytest.fixture(scope="module")
def first() -> Iterator[World]:
    """The world at the end of the first section."""
    rotation.set_up()
    world = World()
    try:
        with quick.server():
            world.follow(GUIDE[FIRST])
            shutil.copytree(VENDOR, SAVED, symlinks=True)
            world.forget()
            yield world
    finally:
        rotation.tear_down()


@pytest.fixture
def world(first: World) -> Iterator[World]:
    """The same, for another section to follow."""
    first.start_again(SAVED)
    yield first
    first.forget()


def test_the_first_release(world: World) -> None:
    assert world.boots[-1].enrolled == ("keys/13.pem",)
    assert world.opens(APP) == "accepted"
    world.forget()
    assert world.opens(APP) == "ENOKEY"


def upgrade(world: World) -> None:
    _, announced, moved, dropped = world.boots
    assert announced.enrolled == moved.enrolled == ("keys/13.pem", "keys/14.pem")
    assert dropped.enrolled == ("keys/14.pem",)
    assert TOOL in world.heard("--drop debian:13")
    assert [world.opens(path) for path in (APP, TOOL)] == ["accepted", "accepted"]
    # The tool had kept the signature that debian:13 made; the program is new in debian:14.
    assert [world.opens(path, 2) for path in (APP, TOOL)] == ["accepted", "ENOKEY"]
    assert world.opens(APP, 0) == "ENOKEY"


def slots(world: World) -> None:
    old, new = world.boots
    assert new.enrolled == ("keys/13.pem",)
    assert [world.opens(APP, one) for one in (0, 1)] == ["accepted", "accepted"]
    # Slot A by the initrd of slot B.
    world.stage(old.tree)
    plan = "veriseal trust plan --to / --tree /mnt/next --initrd /boot/initrd.img"
    mixed = world.run(MACHINE, plan)
    assert mixed.status == 1
    assert "rolled-back" in mixed.out.decode() + mixed.err
    with rotation.initrd(f"{VENDOR}/tree/boot/initrd.img") as unpacked:
        images = os.listdir(f"{unpacked}/usr/lib/veriseal/images")
    assert sorted(images) == sorted(os.listdir(f"{VENDOR}/images"))
    assert len(images) == 2


def stolen_key(world: World) -> None:
    _, announced, masked = world.boots
    assert announced.enrolled == ("keys/13.pem", "keys/13b.pem")
    assert masked.enrolled == ("keys/13b.pem",)
    assert "masked by" in world.heard("trust show")
    assert [world.opens(APP, one) for one in range(3)] == ["ENOKEY", "ENOKEY", "accepted"]
    # A copy by another name does not help.
    place = f"{VENDOR}/tree/usr/share/voa/debian:13/image/default/x509"
    shutil.copy(f"{place}/13.pem", f"{place}/copy.pem")
    shown = world.run(BUILD, 'veriseal trust show --root "$TREE" --json').out
    assert [one["path"] for one in json.loads(shown)["releases"]] == [f"{place}/13b.pem"]


def revoked_digest(world: World) -> None:
    old, new = world.boots
    assert not os.path.exists(new.tree + TOOL)
    # The old tool in the place of the program: the kernel opens it, for its signature is good.
    os.unlink(new.tree + APP)
    shutil.copy2(old.tree + TOOL, new.tree + APP)
    signatures = f"{VENDOR}/release-1/signatures"
    enabled = world.run(BUILD, f"veriseal enable --signatures {signatures} {new.tree}{APP}")
    assert enabled.status == 0, enabled
    assert world.opens(APP) == "accepted"
    done = world.run(MACHINE, "veriseal verify / --os debian:13 --at-least 2")
    assert done.status == 1
    assert f"revoked: {APP}" in done.out.decode()


def statement(world: World) -> None:
    _, ready = world.boots
    assert ready.enrolled == ("keys/13.pem",)
    revoked = [said for step, said in world.said if "not installed" in step.text]
    assert len(revoked) == 1
    assert TOOL in revoked[0]
    # Whoever boots all the same has the new key alone.
    world.reboot()
    assert world.boots[-1].enrolled == ("keys/13b.pem",)
    assert world.opens(APP) == "ENOKEY"


def lost_key(world: World) -> None:
    first, patched, last = world.boots
    assert patched.tree == first.tree
    assert patched.enrolled == last.enrolled == ("keys/13.pem", "keys/13b.pem")
    assert [world.opens(path) for path in (APP, TOOL)] == ["accepted", "accepted"]


def lost_root(world: World) -> None:
    _, both, last = world.boots
    assert both.enrolled == ("keys/13.pem", "keys/13b.pem")
    assert last.enrolled == ("keys/13b.pem",)
    assert "not-vouched" in world.said[-2][1]
    assert [world.opens(APP, one) for one in range(3)] == ["ENOKEY", "ENOKEY", "accepted"]


def own_key(world: World) -> None:
    (mine,) = world.boots
    assert mine.enrolled == ("keys/13.pem", "my-keys/me.pem")
    motd = "/etc/motd"
    assert [world.opens(path) for path in (APP, TOOL, motd)] == ["accepted"] * 3
    world.forget()
    assert [world.opens(path) for path in (APP, TOOL, motd)] == ["ENOKEY"] * 3


CHECKS = {
    "2. From one release to the next": upgrade,
    "3. Images and two slots": slots,
    "4. A key was stolen": stolen_key,
    "5. A program must never run again": revoked_digest,
    "6. Revoke by trust statement": statement,
    "7. The release key is lost": lost_key,
    "8. The root is lost": lost_root,
    "9. Your own key": own_key,
}
"""What must be true at the end of each section."""


@pytest.mark.parametrize("title", [one for one in GUIDE if GUIDE[one].steps and one != FIRST])
def test_section(title: str, world: World) -> None:
    world.follow(GUIDE[title])
    CHECKS[title](world)
