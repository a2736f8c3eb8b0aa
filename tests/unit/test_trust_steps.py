"""The order of steps: a new key one boot before the files that need it, an old one after them."""

import argparse
import importlib
import itertools
import shlex

import pytest

from veriseal.plan import steps
from veriseal.plan.steps import Situation, Version, Wanted

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
        'dracut --force --kver "$(uname -r)" /boot/initrd.img',
        "systemctl reboot",
        "veriseal enable --release RELEASE /next",
        'chroot /next dracut --force --kver "$(ls /next/usr/lib/modules)" /boot/initrd.img',
        "veriseal trust plan --to /next --tree /next --initrd /next/boot/initrd.img --final",
        "systemctl reboot",
    ]


def test_where_the_root_is_checked_the_new_key_comes_with_a_version_of_it() -> None:
    running = Version("debian:13", "2")
    commands = order(Situation("/", "/next", "default", wanted=WANTED, running=running))
    assert commands[:7] == [
        "install -D -m 644 -t TREE/usr/share/voa/debian:14/image/default/x509 '/next/a b.pem'",
        "veriseal build TREE --os debian:13 --version 2 --key KEY --cert CERT --out RELEASE",
        "install -D -m 644 -t TREE/usr/lib/veriseal/manifest RELEASE/*.dump RELEASE/*.json*",
        "veriseal enable --release RELEASE NEW",
        'chroot NEW dracut --force --kver "$(ls NEW/usr/lib/modules)" /boot/initrd.img',
        "veriseal trust plan --to NEW --tree NEW --initrd NEW/boot/initrd.img --final",
        "systemctl reboot",
    ]
    assert commands[7] == "veriseal enable --release RELEASE /next"


@pytest.mark.parametrize("running", [None, Version("debian:13", "2")])
def test_a_key_that_a_statement_names_comes_with_the_statement(running: Version | None) -> None:
    situation = Situation(
        "/", "/next", "default", wanted=[Wanted("debian:14", None)], statement="/mnt/t.json",
        running=running,
    )  # fmt: skip
    first = steps.order(situation)[0]
    assert "install a trust statement that names the certificate of debian:14" in first.text
    put = "install -m 644 /mnt/t.json /mnt/t.json.*.sig PLACE"
    commands = order(situation)
    assert commands.count(put) == 1
    assert commands.index(put) < commands.index("systemctl reboot")
    assert not any(".pem" in one or "voa" in one for one in commands)


def test_what_was_done_is_not_said_again() -> None:
    done = Situation("/", "/next", "default", ["/boot/i"], to_enable=0, initrd_good=True)
    assert order(done) == [
        "veriseal trust plan --to /next --tree /next --initrd /boot/i --final",
        "systemctl reboot",
    ]


def test_files_get_another_signature_before_a_release_is_dropped() -> None:
    situation = Situation(
        "/", "/", "default", lost=True, dropping=["debian:13"], staged=Version("debian:14", "4")
    )
    first, *others = steps.order(situation)
    assert first.text == (
        "Build a release in which another key signs the files that would lose trust, and that does "
        "not name debian:13 in trust.previous and trust.next"
    )
    assert "--os debian:14 --version 4 " in first.commands[0]
    assert [one.text.split()[0] for one in others] == ["Bring", "Make", "Check,"]


def test_no_other_key_is_told_to_sign_what_is_refused_for_its_digest() -> None:
    revoked = Situation("/", "/", "default", revoked=True, staged=Version("debian:14", "4"))
    first, *others = steps.order(revoked)
    assert first.text.startswith("Build a release without the files whose digest is revoked, or ")
    assert not any("another key" in one.text for one in (first, *others))
    assert [one.text.split()[0] for one in others] == ["Bring", "Make", "Check,"]
    both = steps.order(revoked._replace(lost=True))[0].text
    assert "another key signs the files that would lose trust, and without the files" in both


def test_a_signed_tree_changes_by_a_new_version_only() -> None:
    dropping = Situation("/", "/", "default", dropping=["debian:13"])
    assert steps.order(dropping)[0].text.startswith("Take debian:13 out of trust.previous")
    signed = dropping._replace(staged=Version())
    first = steps.order(signed)[0]
    assert first.text.startswith("Build a release that does not name debian:13")
    assert "--os OS --version VERSION " in first.commands[0]


def test_an_idle_release_is_dropped_last() -> None:
    idle = Situation("/", "/next", "default", to_enable=0, idle=["debian:13"])
    assert steps.order(idle)[-1].commands == ("veriseal trust plan --drop debian:13",)
    for kept in (idle._replace(lost=True), idle._replace(revoked=True)):
        assert not any("--drop" in command for command in order(kept))


def test_what_was_asked_of_another_root_goes_on_about_it() -> None:
    situation = Situation(
        "/mnt/a b", "/mnt/a b", "default", idle=["debian:13"], statement="/mnt/t.json"
    )
    tree = "'/mnt/a b'"
    assert order(situation)[1:] == [
        f"chroot {tree} dracut --force --kver \"$(ls '/mnt/a b/usr/lib/modules')\" "
        "/boot/initrd.img",
        f"veriseal trust plan --root {tree} --to {tree} --tree {tree} "
        "--initrd '/mnt/a b/boot/initrd.img' --statement /mnt/t.json --final",
        "systemctl reboot",
        f"veriseal trust plan --root {tree} --drop debian:13",
    ]


@pytest.mark.parametrize("checked", [False, True])
def test_every_command_is_one_that_the_command_line_takes(checked: bool) -> None:
    version = Version("debian:13", "2") if checked else None
    situation = Situation(
        "/a b", "/next", "default", wanted=WANTED, lost=True, revoked=True, idle=["debian:12"],
        dropping=["debian:13"], statement="/t.json", running=version, staged=version,
    )  # fmt: skip
    for one in (situation, situation._replace(lost=False, revoked=False)):
        calls = [shlex.split(command) for command in order(one)]
        for _, verb, *rest in (words for words in calls if words[0] == "veriseal"):
            name = f"trust_{rest.pop(0)}" if verb == "trust" else verb
            parser = argparse.ArgumentParser(verb, exit_on_error=False, allow_abbrev=False)
            importlib.import_module(f"veriseal.cli.{name}").configure(parser)
            parser.parse_args(rest)


def test_a_statement_is_put_in_place_before_the_reboot() -> None:
    commands = order(Situation("/", "/", "default", statement="/tmp/t.json"))  # noqa: S108
    assert commands[0] == "install -m 644 /tmp/t.json /tmp/t.json.*.sig PLACE"
    assert commands[-1] == "systemctl reboot"
