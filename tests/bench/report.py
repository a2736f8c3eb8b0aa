"""What is printed at the end, and what is written to build/bench/report.json."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from .figure import Row

HEAD = ("figure", "ours", "peer", "ratio (min..max)", "goal", "met?")


def table(rows: Sequence[Row], failures: Mapping[str, str]) -> str:
    """The table, the notes below it, and what could not be measured."""
    cells = [HEAD] + [
        (row.figure, row.ours, row.peer, row.shown(), str(row.goal or "-"), row.verdict())
        for row in rows
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEAD))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    for row in rows:
        lines += [f"\n{row.figure}:"] * bool(row.notes)
        lines += [f"    {note}" for note in row.notes]
    lines += [f"\n{name}: could not be measured: {why}" for name, why in failures.items()]
    return "\n".join(lines)


def write(path: Path, rows: Sequence[Row], failures: Mapping[str, str], about: object) -> None:
    """The same for programs, with every single time."""
    figures = [
        {
            **dataclasses.asdict(row),
            "goal": str(row.goal) if row.goal else None,
            "met": not row.goal.missed_by(row.value) if row.goal else None,
        }
        for row in rows
    ]
    report = {"schema": 1, "about": about, "figures": figures, "failures": dict(failures)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
