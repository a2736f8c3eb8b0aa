"""The audit as one HTML page that needs nothing else: no script, no picture, no other address."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import jinja2

from veriseal.audit import fate
from veriseal.audit.summary import Finding, Row, Summary
from veriseal.errors import printable

TEMPLATE = "page.html.j2"
_MOST_PATHS = 200
"""Shown of one group; all of them are in the JSON report."""


class Group(NamedTuple):
    """Findings that have the same reason.

    Attributes:
        kind, meaning, why, remedy: of their fate.
        paths: the first of them.
        more: how many are not among ``paths``.
        lost: whether they are about the trust set that is asked about.
        today: the fates today, where they are others.
    """

    kind: str
    meaning: str
    why: str
    remedy: str
    paths: list[str]
    more: int
    lost: bool
    today: str


def render(summary: Summary, made: str) -> bytes:
    """The page, UTF-8; ``made`` says when, for people."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(os.path.dirname(__file__)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Names are bytes that strangers chose: none may turn the text around or break the encoding.
    environment.filters["shown"] = lambda value: printable(str(value))
    environment.filters["share"] = _share
    page = environment.get_template(TEMPLATE).render(
        one=summary,
        made=made,
        groups=groups(summary.findings),
        widest=max((row.files for row in summary.directories), default=1),
        names=[os.fsdecode(skipped.path) for skipped in summary.examined.skipped],
        compared=len(summary.sides) > 1,
    )
    return page.encode()


def groups(findings: Sequence[Finding]) -> list[Group]:
    """The findings by what they say, in their order."""
    found: dict[tuple[fate.Fate, bool, str], list[str]] = {}
    for one in findings:
        lost = one.then.kind != fate.OK
        today = one.today.kind if one.today.kind != one.then.kind else ""
        key = (one.worst, lost, today)
        found.setdefault(key, []).append(os.fsdecode(one.file.path))
    return [
        Group(
            one.kind, fate.KINDS[one.kind], one.why, one.remedy,
            paths[:_MOST_PATHS], max(0, len(paths) - _MOST_PATHS), lost, today,
        )
        for (one, lost, today), paths in found.items()
    ]  # fmt: skip


def _share(row: Row, of: str) -> str:
    """How much of the files of ``row`` are ``of`` something, as CSS has percentages."""
    count = row.kept[-1] if of == "kept" else getattr(row, of)
    whole = row.needed if of in ("kept", "lost") else row.files
    return f"{100 * count / whole:.2f}%" if whole else "0%"
