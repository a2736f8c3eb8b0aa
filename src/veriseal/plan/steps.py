"""The order in which a change of trust is safe, as commands. Pure.

Two facts give the order. A key that is not enrolled in this boot cannot be used before the next,
for its keyring is sealed: so a new certificate comes one boot before the files that need it. A
file whose signer is not enrolled cannot be opened: so an old one goes one boot after them.
"""

import os
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


class Version(NamedTuple):
    """What the next version of a release is built as; by the reader's NAMES if that is unknown."""

    os: str = "OS"
    number: str = "VERSION"


class Situation(NamedTuple):
    """What decides about the order.

    Attributes:
        root: the system that runs.
        tree: the tree that the next boot is to enter; ``root`` itself if nothing is staged.
        context: the VOA context.
        initrd: the files that were looked at, if any were.
        wanted: certificates that the tree needs and that are not enrolled today.
        lost: whether needed files would lose trust with their signer.
        revoked: whether files would be refused for their digest, whoever signs them.
        to_enable: how many files of the tree still lack verity or their signature; None if
            nobody has looked.
        initrd_good: whether an initrd was looked at and would boot the tree.
        dropping: releases that are to leave the window.
        idle: releases of trust.previous that no needed file was signed by.
        statement: a new trust statement, if there is one.
        running, staged: what comes after the manifest of ``root``, and of ``tree``; None where
            there is none. With one nothing may change that is not built and signed as a version.
    """

    root: str
    tree: str
    context: str
    initrd: Sequence[str] = ()
    wanted: Sequence[Wanted] = ()
    lost: bool = False
    revoked: bool = False
    to_enable: int | None = None
    initrd_good: bool = False
    dropping: Sequence[str] = ()
    idle: Sequence[str] = ()
    statement: str | None = None
    running: Version | None = None
    staged: Version | None = None


_TREE, _NEW = "TREE", "NEW"
"""A tree where it is built, and where it was brought on the machine."""
_INITRD = "boot/initrd.img"


def order(now: Situation) -> list[Step]:
    """The steps from here to the state that was planned; empty if nothing is left to do."""
    steps = _announce(now) if now.wanted else []
    wishes = _wishes(now)
    place = now.tree
    if wishes:
        # A verity file keeps its signature, so nothing can be enabled in place.
        place = _NEW if now.tree == now.root else now.tree
        steps.append(
            Step(f"Build a release {', and '.join(wishes)}", _build(now.staged or Version()))
        )
        steps.append(_bring(place))
    elif now.tree != now.root and now.to_enable != 0:
        text = "Stage the tree, and enable its files while this boot's keys can be used"
        steps.append(Step(text, (_enable(now.tree),)))
    elif now.dropping and now.staged is None:
        steps.append(Step(f"Take {', '.join(now.dropping)} out of trust.previous and trust.next"))
    if now.statement and not any(one.path is None for one in now.wanted):
        text = "Put the trust statement and its signatures where trust.statement says"
        steps.append(Step(text, (_install_statement(now),)))
    changed = bool(wishes or now.dropping or now.statement)
    made = bool(wishes) or (now.tree != now.root or changed) and not now.initrd_good
    if made:
        steps.append(Step("Make the new initrd, as the boot loader names it", (_dracut(place),)))
    if steps or now.tree != now.root:
        steps.append(_reboot(now, place, () if made else now.initrd))
    idle = [one for one in now.idle if one not in now.dropping]
    if idle and not now.lost and not now.revoked:
        # By then that tree is the system that runs.
        system = () if now.root == "/" else ("--root", now.tree)
        dropped = [word for one in idle for word in ("--drop", one)]
        steps.append(
            Step(
                f"Once that is running, drop {', '.join(idle)}: no needed file has its signature",
                (shlex.join(("veriseal", "trust", "plan", *system, *dropped)),),
            )
        )
    return steps


def _announce(now: Situation) -> list[Step]:
    """The next certificate, an initrd with it, and a boot that enrols it."""
    names = ", ".join(dict.fromkeys(one.os for one in now.wanted))
    checked = now.running is not None
    top = f"{_TREE}/usr/share/voa" if checked else os.path.join(now.root, "etc/voa")
    commands = [
        shlex.join(("install", "-D", "-m", "644", "-t",
                    f"{top}/{one.os}/image/{now.context}/x509", one.path))
        for one in now.wanted
        if one.path is not None
    ]  # fmt: skip
    stated = len(commands) < len(now.wanted)
    if stated:
        text = (
            "Announce the next key: install a trust statement that names the certificate of "
            f"{names}, which the settings have in trust.next"
        )
    elif checked:
        text = (
            f"Announce the next key: a version of the running release that has its certificate, "
            f"names {names} in trust.next, and is signed with the old key"
        )
    else:
        text = (
            "Announce the next key: put its certificate where the initrd takes it from, and name "
            f"{names} in trust.next"
        )
    put = (_install_statement(now),) if stated else ()
    why = "the sealed keyring takes no key before"
    if now.running is None:
        return [
            Step(text, (*commands, *put)),
            Step("Make the initrd of the running system again", (_dracut(now.root),)),
            Step(f"Reboot: {why}", ("systemctl reboot",)),
        ]
    return [
        Step(text, (*commands, *_build(now.running))),
        _bring(_NEW, *put),
        Step("Make its initrd, as the boot loader names it", (_dracut(_NEW),)),
        _reboot(now, _NEW, (), f": {why}"),
    ]


def _wishes(now: Situation) -> list[str]:
    """What a release has to be that is to be built in place of the tree."""
    wishes = []
    if now.lost:
        wishes.append("in which another key signs the files that would lose trust")
    if now.revoked:
        wishes.append(
            "without the files whose digest is revoked, or with fixed ones in their place: another "
            "signature does not help them"
        )
    if now.dropping and (now.staged is not None or wishes):
        names = ", ".join(now.dropping)
        wishes.append(f"that does not name {names} in trust.previous and trust.next")
    return wishes


def _build(version: Version) -> tuple[str, ...]:
    """Build the tree, and install its manifest."""
    about = shlex.join(("--os", version.os, "--version", version.number))
    return (
        f"veriseal build {_TREE} {about} --key KEY --cert CERT --out RELEASE",
        f"install -D -m 644 -t {_TREE}/usr/lib/veriseal/manifest RELEASE/*.dump RELEASE/*.json*",
    )


def _bring(place: str, *more: str) -> Step:
    text = (
        f"Bring {_TREE} as {place}, and RELEASE, to the machine, as new files, and enable them "
        "while this boot's keys can be used"
    )
    return Step(text, (_enable(place), *more))


def _enable(place: str) -> str:
    return shlex.join(("veriseal", "enable", "--release", "RELEASE", place))


def _dracut(place: str) -> str:
    if place == "/":
        return f'dracut --force --kver "$(uname -r)" /{_INITRD}'
    modules = shlex.quote(os.path.join(place, "usr/lib/modules"))
    return f'chroot {shlex.quote(place)} dracut --force --kver "$(ls {modules})" /{_INITRD}'


def _reboot(now: Situation, place: str, initrd: Sequence[str], why: str = "") -> Step:
    """What every reboot begins with: by then ``place`` is enabled, and has its initrd."""
    words = ["veriseal", "trust", "plan"]
    if now.root != "/":
        words += ["--root", now.root]
    words += ["--to", place, "--tree", place]
    for one in initrd or (os.path.join(place, _INITRD),):
        words += ["--initrd", one]
    if now.statement is not None and now.root != "/":
        # Its device is that of another machine.
        words += ["--statement", now.statement]
    commands = (shlex.join((*words, "--final")), "systemctl reboot")
    return Step(f"Check, and reboot if nothing is refused{why}", commands)


def _install_statement(now: Situation) -> str:
    name = "STATEMENT" if now.statement is None else shlex.quote(now.statement)
    return f"install -m 644 {name} {name}.*.sig PLACE"
