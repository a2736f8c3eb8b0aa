"""The audit as lines of text."""

import os
from collections.abc import Iterator, Sequence

from veriseal.audit import summary
from veriseal.audit.summary import Row, Summary
from veriseal.errors import printable


def lines(result: Summary, all_files: bool) -> Iterator[str]:
    """What is wrong first, then the counts; with ``all_files`` a line for every file."""
    for problem in result.problems:
        yield f"{problem.reason}: {problem}"
    yield from map(str, result.findings)
    remedies = dict.fromkeys((one.worst.kind, one.worst.remedy) for one in result.findings)
    yield from (printable(f"what to do about {kind}: {remedy}") for kind, remedy in remedies)
    for side in result.sides:
        yield from (printable(f"warning: {side.name}: {text}") for text in side.warnings)
    yield from map(printable, result.notes)
    if all_files:
        yield ""
        yield from _files(result)
    compared = len(result.sides) > 1
    for title, rows in (("signed by", result.releases), ("directory", result.directories)):
        yield ""
        yield from _table(title, [*rows, result.total], compared)
    yield ""
    yield (
        f"not examined: {result.examined.others} links, devices and so on; "
        f"{result.examined.unread} files without verity, whose contents nobody has read"
    )
    for skipped in result.examined.skipped:
        yield printable(f"not examined: {os.fsdecode(skipped.path)}: {skipped.why}")
    yield (
        f"{result.total.files} files, {result.total.needed} needed: "
        f"{len(result.lost)} lost{' under ' + printable(result.sides[-1].name) if compared else ''}"
    )
    yield from map(printable, result.conditions)


def _files(result: Summary) -> Iterator[str]:
    for state, (today, then) in zip(result.examined.files, result.fates, strict=True):
        fates = today.kind if today.kind == then.kind else f"{today.kind} -> {then.kind}"
        about = [
            fates,
            {True: "verity", False: "no verity", None: "verity unknown"}[state.verity],
            "signer: " + summary.release(state),
            *(["needed"] if state.needed else ["listed"] if state.listed else []),
        ]
        yield printable(f"{os.fsdecode(state.path)}: {', '.join(about)}")


def _table(title: str, rows: Sequence[Row], compared: bool) -> Iterator[str]:
    heads = ["files", "verity", "signed", "listed", "needed"]
    heads += ["ok today", "ok then", "lost"] if compared else ["ok", "lost"]
    cells: list[tuple[str, list[str]]] = []
    for row in rows:
        kept = row.kept[0 if compared else 1 :]
        numbers = (row.files, row.verity, row.signed, row.listed, row.needed, *kept, row.lost)
        cells.append((printable(row.name), [str(one) for one in numbers]))
    width = max(len(name) for name, _ in [(title, heads), *cells])
    for name, shown_cells in [(title, heads), *cells]:
        both = zip(heads, shown_cells, strict=True)
        shown = (f"{one:>{max(len(head), 6)}}" for head, one in both)
        yield f"{name:<{width}}  {'  '.join(shown)}"
