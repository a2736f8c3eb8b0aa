"""The order in which a change of trust is safe, as commands. Pure.

Two facts give the order. A key that is not enrolled in this boot cannot be used before the next,
for its keyring is sealed: so a new certificate comes one boot before the files that need it. A
file whose signer is not enrolled cannot be opened: so an old one goes one boot after them.
"""

import shlex
from collections.abc import Sequence
from typing import NamedTuple


class Wanted(NamedTuple):
    """A certificate that is to be announced: of which release, and a file that holds it.

    None stands for one that a trust statement holds.
    """

    os: str
    path: str | None


class Step(NamedTuple):
    """What to do, and the commands for it; NAMES in capitals are the reader's."""

    text: str
    commands: tuple[str, ...] = ()


class Situation(NamedTuple):
    """What decides about the order.

    Attributes:
        root: the system that runs.
        tree: the tree that the next boot is to enter; ``root`` itself if nothing is staged.
        context: the VOA context.
        initrd: the files that were looked at, if any were.
        wanted: certificates that the tree needs and that are not enrolled today.
        lost: whether needed files would lose trust.
        to_enable: how many files of the tree still lack verity or their signature; None if
            nobody has looked.
        initrd_good: whether an initrd was looked at and would boot the tree.
        dropping: releases that are to leave the window.
        idle: releases of trust.previous that no needed file was signed by.
        statement: a new trust statement, if there is one.
        checked: whether ``root`` has a manifest: then nothing may change there that is not built
            and signed as a new version.
    """

    root: str
    tree: str
    context: str
    initrd: Sequence[str] = ()
    wanted: Sequence[Wanted] = ()
    lost: bool = False
    to_enable: int | None = None
    initrd_good: bool = False
    dropping: Sequence[str] = ()
    idle: Sequence[str] = ()
    statement: str | None = None
    checked: bool = False


def order(now: Situation) -> list[Step]:
    """The steps from here to the state that was planned; empty if nothing is left to do."""
    steps: list[Step] = []
    if now.wanted:
        steps += _announce(now)
    if now.lost:
        steps += _resign(now)
    elif now.tree != now.root and now.to_enable != 0:
        command = f"veriseal enable --release RELEASE {shlex.quote(now.tree)}"
        steps.append(
            Step(
                "Stage the tree, and enable its files while this boot's keys can be used",
                (command,),
            )  # fmt: skip
        )
    changed = bool(now.dropping or now.statement or now.lost)
    if now.dropping:
        names = ", ".join(now.dropping)
        text = f"Take {names} out of trust.previous and trust.next"
        steps.append(Step(text + (", in a version to build and install" if now.checked else "")))
    if now.statement and not any(one.path is None for one in now.wanted):
        text = "Put the trust statement and its signatures where trust.statement says"
        steps.append(Step(text, (_install_statement(now),)))
    if (now.tree != now.root or changed) and not now.initrd_good:
        inside = "" if now.tree == "/" else f"chroot {shlex.quote(now.tree)} "
        steps.append(Step("Make the new initrd", (f"{inside}dracut --force",)))
    if steps or now.tree != now.root:
        tree = shlex.quote(now.tree)
        initrds = [f"--initrd {shlex.quote(one)}" for one in now.initrd] or ["--initrd INITRD"]
        check = f"veriseal trust plan --to {tree} --tree {tree} {' '.join(initrds)}"
        steps.append(Step("Check, and reboot if nothing is refused", (check, "systemctl reboot")))
    idle = [one for one in now.idle if one not in now.dropping]
    if idle and not now.lost:
        dropped = " ".join(f"--drop {shlex.quote(one)}" for one in idle)
        steps.append(
            Step(
                f"Once that is running, drop {', '.join(idle)}: no needed file has its signature",
                (f"veriseal trust plan {dropped}",),
            )
        )
    return steps


def _announce(now: Situation) -> list[Step]:
    """The next certificate, an initrd with it, and a boot that enrols it."""
    names = ", ".join(dict.fromkeys(one.os for one in now.wanted))
    top = "TREE/usr/share/voa" if now.checked else "/etc/voa"
    commands = [
        f"install -D -m 644 -t {shlex.quote(f'{top}/{one.os}/image/{now.context}/x509')} "
        f"{shlex.quote(one.path)}"
        for one in now.wanted
        if one.path is not None
    ]
    stated = len(commands) < len(now.wanted)
    if now.checked:
        text = (
            f"Announce the next key: a version of the running release that has its certificate, "
            f"names {names} in trust.next, and is signed with the old key"
        )
        commands.append("veriseal build TREE --key KEY --cert CERT --out RELEASE")
        commands.append(f"veriseal enable --release RELEASE {shlex.quote(now.root)}")
    else:
        text = (
            "Announce the next key: put its certificate where the initrd takes it from, and name "
            f"{names} in trust.next"
        )
    if stated:
        text = (
            "Announce the next key: install a trust statement that names the certificate of "
            f"{names}, which the settings have in trust.next"
        )
        commands.append(_install_statement(now))
    return [
        Step(text, tuple(commands)),
        Step("Make the initrd of the running system again", ("dracut --force",)),
        Step("Reboot: the sealed keyring takes no key before", ("systemctl reboot",)),
    ]


def _install_statement(now: Situation) -> str:
    name = "STATEMENT" if now.statement is None else shlex.quote(now.statement)
    return f"install -m 644 {name} {name}.*.sig PLACE"


def _resign(now: Situation) -> list[Step]:
    """New files in place of those that would lose trust: a verity file keeps its signature."""
    return [
        Step(
            "Build a release in which another key signs the files that would lose trust",
            ("veriseal build TREE --key KEY --cert CERT --out RELEASE",),
        ),
        Step(
            "Install it beside the old one, as new files, and enable them",
            (f"veriseal enable --release RELEASE {shlex.quote(now.tree)}",),
        ),
    ]
