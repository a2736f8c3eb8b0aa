"""ROTATION.md, read as the steps of whoever follows it."""

import re
from pathlib import Path
from typing import NamedTuple

PATH = Path(__file__).parents[1] / "ROTATION.md"

BUILD, MACHINE = "On the build machine:", "On the machine:"
"""What stands over a block of commands: where they are run."""
DELIVER, REBOOT = "**Deliver**", "**Reboot**"
"""How a paragraph begins that asks for what no command of the guide does."""

PRINTED = "text"
"""Said of a block: lines that the commands above it print, among others."""

_FENCE = re.compile(r"```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)


class GuideError(Exception):
    """The guide is not written as its test reads it."""


class Step(NamedTuple):
    """Something to do.

    Attributes:
        what: `BUILD` or `MACHINE`: run ``text`` there; `PRINTED`; `DELIVER` or `REBOOT`.
        text: the commands, the lines, or the paragraph that asks for it, on one line.
        line: where it is in the guide.
    """

    what: str
    text: str
    line: int


class Section(NamedTuple):
    """A section of the guide, with the steps in the order of the page."""

    title: str
    steps: tuple[Step, ...]


def read() -> list[Section]:
    """The sections of the guide, also those without steps. Raises GuideError."""
    return parse(PATH.read_text())


def parse(text: str) -> list[Section]:
    """As `read`, of ``text``."""
    sections: list[Section] = []
    line = 1
    for part in re.split(r"^(?=## )", text, flags=re.MULTILINE):
        title = part.split("\n", 1)[0].removeprefix("## ")
        sections.append(Section(title, tuple(_steps(part, line))))
        line += part.count("\n")
    return sections


def _steps(part: str, first: int) -> list[Step]:
    steps: list[Step] = []
    end, where = 0, ""
    for fence in _FENCE.finditer(part):
        steps += _paragraphs(part[end : fence.start()], first + part.count("\n", 0, end))
        line = first + part.count("\n", 0, fence.start())
        before = part[end : fence.start()].strip().rsplit("\n\n", 1)[-1]
        if fence["language"] == "sh":
            where = before
            if where not in (BUILD, MACHINE):
                raise GuideError(f"line {line}: nothing says where the block is run: {before!r}")
            steps.append(Step(where, fence["text"], line))
        elif fence["language"] == PRINTED:
            if not steps or steps[-1].what not in (BUILD, MACHINE):
                raise GuideError(f"line {line}: no commands that could have printed this")
            steps.append(Step(PRINTED, fence["text"], line))
        else:
            raise GuideError(f"line {line}: a block that is neither sh nor text")
        end = fence.end()
    steps += _paragraphs(part[end:], first + part.count("\n", 0, end))
    if "```" in _FENCE.sub("", part):
        raise GuideError(f"line {first}: a block without an end in this section")
    return steps


def _paragraphs(text: str, first: int) -> list[Step]:
    steps = []
    for found in re.finditer(r"(?:^.+\n?)+", text, re.MULTILINE):
        paragraph = " ".join(found[0].split())
        # The full stop may be inside the bold type.
        start = paragraph.replace(".**", "**", 1)
        what = next((one for one in (DELIVER, REBOOT) if start.startswith(one)), None)
        if what is not None:
            steps.append(Step(what, paragraph, first + text.count("\n", 0, found.start())))
    return steps
