"""What a plan is asked, and what it answers."""

from collections.abc import Mapping
from typing import NamedTuple

from veriseal import manifest as statement
from veriseal.digest import Digest
from veriseal.plan.changes import Changes
from veriseal.plan.lost import Lost
from veriseal.plan.ondisk import NOT_ENABLED
from veriseal.plan.steps import Step
from veriseal.trust import finding
from veriseal.trust.finding import WARNING, Finding
from veriseal.trust.model import TrustSet


class Question(NamedTuple):
    """What is asked.

    Attributes:
        root: the system now.
        to: a root whose settings and certificates would count, in place of ``root``; or the
            directory of an unpacked initrd.
        tree: that the next boot would enter; None for ``to``, or else ``root``.
        initrd: files, in the boot loader's order: what is in them counts, in place of ``to``.
        without_tree: whether no tree has been built yet.
        final: whether the tree is entered as it is: what is not enabled yet is an error. So it is
            without this for the running root.
        image: the composefs image that the boot entry names, if it is known.
        statement: a file: the trust statement in place of the one that the settings name.
        drop: releases that would leave the window.
        revoked: certificates that would be revoked: the SHA-256 of each, and how it was named.
        digests: that would be revoked.
    """

    root: str = "/"
    to: str | None = None
    tree: str | None = None
    initrd: tuple[str, ...] = ()
    statement: str | None = None
    drop: tuple[str, ...] = ()
    revoked: Mapping[str, str] = {}
    digests: tuple[Digest, ...] = ()
    without_tree: bool = False
    final: bool = False
    image: Digest | None = None


class Plan(NamedTuple):
    """The answer.

    Attributes:
        now, then: what counts, and would count; None if nothing would, a finding says why.
        changes: between the two.
        manifest: of the tree, if the next boot would take it.
        lost: needed files that would lose trust.
        findings: everything; with an error among them the boot, or something needed, is refused.
        steps: in the order that is safe.
        unpacked: where the initrd was for the while, as paths of files in it begin.
        not_compared: what nobody has looked at; None without a tree.
    """

    now: TrustSet | None
    then: TrustSet | None
    changes: Changes
    manifest: statement.Manifest | None
    lost: list[Lost]
    findings: list[Finding]
    steps: list[Step]
    unpacked: str | None = None
    not_compared: str | None = None

    @property
    def refused(self) -> bool:
        """Whether the next boot, or a file that is needed, would be refused."""
        return finding.failed(self.findings)

    @property
    def to_enable(self) -> bool:
        """Whether something would be refused that is not, if its files are enabled by then."""
        return any(one.name == NOT_ENABLED and one.level == WARNING for one in self.findings)
