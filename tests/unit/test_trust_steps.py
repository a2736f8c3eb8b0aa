"""The order of steps: a new key one boot before the files that need it, an old one after them."""

import itertools

import pytest

from veriseal.plan import steps
from veriseal.plan.steps import Situation, Wanted

pytestmark = pytest.mark.unit


WANTED = [Wanted("debian:14", "/next/a b.pem")]


def order(situation: Situation) -> list[str]:
    """The commands, in order."""
    return list(itertools.chain.from_iterable(one.commands for one in steps.order(situation)))


def test_nothing_to_do() -> None:
    assert steps.order(Situation("/", "/", "default")) == []


def test_a_new_key_is_enrolled_before_its_files_are_enabled() -> None:
    commands = order(Situation("/", "/next", "default", wanted=WANTED, to_enable=3))
    assert commands == [
        "install -D -m 644 -t /etc/voa/debian:14/image/default/x509 '/next/a b.pem'",
        "dracut --force",
        "systemctl reboot",
        "veriseal enable --release RELEASE /next",
        "chroot /next dracut --force",
        "veriseal trust plan --to /next --tree /next --initrd INITRD",
        "systemctl reboot",
    ]


def test_where_the_root_is_checked_the_new_key_comes_with_a_version_of_it() -> None:
    commands = order(Situation("/", "/next", "default", wanted=WANTED, checked=True))
    assert commands[:5] == [
        "install -D -m 644 -t TREE/usr/share/voa/debian:14/image/default/x509 '/next/a b.pem'",
        "veriseal build TREE --key KEY --cert CERT --out RELEASE",
        "veriseal enable --release RELEASE /",
        "dracut --force",
        "systemctl reboot",
    ]


@pytest.mark.parametrize("checked", [False, True])
def test_a_key_that_a_statement_names_comes_with_the_statement(checked: bool) -> None:
    situation = Situation(
        "/", "/next", "default", wanted=[Wanted("debian:14", None)], statement="/mnt/t.json",
        checked=checked,
    )  # fmt: skip
    first = steps.order(situation)[0]
    assert "install a trust statement that names the certificate of debian:14" in first.text
    put = "install -m 644 /mnt/t.json /mnt/t.json.*.sig PLACE"
    assert first.commands[-1] == put
    assert order(situation).count(put) == 1
    assert not any(".pem" in one or "voa" in one for one in order(situation))


def test_what_was_done_is_not_said_again() -> None:
    done = Situation("/", "/next", "default", ["/boot/i"], to_enable=0, initrd_good=True)
    assert order(done) == [
        "veriseal trust plan --to /next --tree /next --initrd /boot/i",
        "systemctl reboot",
    ]


def test_files_get_another_signature_before_a_release_is_dropped() -> None:
    texts = [
        one.text
        for one in steps.order(Situation("/", "/", "default", lost=True, dropping=["debian:13"]))
    ]
    assert texts[0].startswith("Build a release in which another key signs")
    assert texts[1].startswith("Install it beside the old one")
    assert texts[2].startswith("Take debian:13 out of trust.previous")
    assert texts[3] == "Make the new initrd"


def test_an_idle_release_is_dropped_last() -> None:
    last = steps.order(Situation("/", "/next", "default", to_enable=0, idle=["debian:13"]))[-1]
    assert last.commands == ("veriseal trust plan --drop debian:13",)
    kept = Situation("/", "/next", "default", lost=True, idle=["debian:13"])
    assert not any("--drop" in command for command in order(kept))


def test_a_statement_is_put_in_place_before_the_reboot() -> None:
    commands = order(Situation("/", "/", "default", statement="/tmp/t.json"))  # noqa: S108
    assert commands[0] == "install -m 644 /tmp/t.json /tmp/t.json.*.sig PLACE"
    assert commands[-1] == "systemctl reboot"
