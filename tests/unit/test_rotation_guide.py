"""ROTATION.md as its test in the guest reads it: no command of it is left out."""

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest

from tests import guide
from tests.guide import BUILD, DELIVER, MACHINE, PRINTED, REBOOT, GuideError
from veriseal.cli.main import VERBS

pytestmark = pytest.mark.unit

TEXT = guide.PATH.read_text()
SECTIONS = guide.read()
STEPS = [step for section in SECTIONS for step in section.steps]


def test_every_block_is_a_step_of_a_section() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    assert len(blocks) > 25
    assert [step.text for step in STEPS if step.what in (BUILD, MACHINE)] == blocks
    # Nothing else looks like commands: no indented block, no other language.
    printed = [step for step in STEPS if step.what == PRINTED]
    assert TEXT.count("```") == 2 * (len(blocks) + len(printed))
    outside = re.sub(r"^```\w+\n.*?^```$", "", TEXT, flags=re.DOTALL | re.MULTILINE)
    assert not re.search(r"^( {4}|\t)", outside, re.MULTILINE)


def test_a_line_says_where_each_step_is() -> None:
    lines = TEXT.splitlines()
    for step in STEPS:
        first = lines[step.line - 1]
        assert first in ("```sh", "```text") or first.startswith(("**Deliver", "**Reboot")), step


def test_every_section_with_steps_is_followed_by_the_test_in_the_guest() -> None:
    source = (Path(__file__).parents[1] / "kernel" / "test_rotation_guide.py").read_text()
    for section in SECTIONS:
        assert (f'"{section.title}"' in source) == bool(section.steps), section.title


def test_what_is_delivered_is_enabled_and_planned_before_the_reboot() -> None:
    for section in SECTIONS:
        staged = False
        planned = True
        for step in section.steps:
            if step.what == DELIVER:
                staged, planned = True, False
            elif step.what == MACHINE:
                planned = planned or "veriseal trust plan" in step.text
            elif step.what == REBOOT:
                assert planned, f"line {step.line}: nobody has asked the plan"
                staged = False
        assert not staged or planned, section.title


def test_a_plan_before_a_reboot_is_of_a_tree_that_is_enabled() -> None:
    """Without --final a tree that nobody has enabled ends with exit status 0."""
    plans = 0
    for step in STEPS:
        for words in _calls(step.text):
            if words[:2] != ["trust", "plan"]:
                continue
            plans += 1
            assert step.what == MACHINE
            if words[words.index("--tree") + 1] == "/":
                continue
            assert "--final" in words, f"line {step.line}"
            before = step.text.partition("veriseal trust plan")[0]
            assert "veriseal enable --release" in before, f"line {step.line}"
    assert plans > 14


def test_what_a_lost_root_leaves_behind_is_what_lint_accepts() -> None:
    """A certificate that no anchor vouches for any more is taken out."""
    (section,) = [one for one in SECTIONS if one.title.startswith("8.")]
    last = [step for step in section.steps if step.what == BUILD][-1]
    printed = section.steps[section.steps.index(last) + 1]
    assert "veriseal trust lint" in last.text.partition("veriseal build")[0]
    assert (printed.what, printed.text.splitlines()[-1]) == (PRINTED, "0 errors, 0 warnings")


def test_every_call_is_one_that_the_command_line_takes() -> None:
    calls = [call for step in STEPS for call in _calls(step.text)]
    assert len(calls) > 60
    for words in calls:
        _parse(words)


def test_a_guide_that_is_not_written_so_is_refused() -> None:
    good = f"## One\n\n{BUILD}\n\n```sh\ntrue\n```\n"
    assert [step.text for step in guide.parse(good)[1].steps] == ["true\n"]
    for bad in (
        good.replace(BUILD, "Somewhere:"),
        good.replace("```sh", "```"),
        good.replace("```sh", "```console"),
        good.replace("```sh", "```text"),
        good.removesuffix("```\n"),
    ):
        with pytest.raises(GuideError):
            guide.parse(bad)


def _calls(script: str) -> list[list[str]]:
    """The words of each call of veriseal, with variables as they are written."""
    script = script.replace("\\\n", " ")
    found = []
    for text in re.findall(r"(?:^|\$\()\s*veriseal ([^\n|)]*)", script, re.MULTILINE):
        found.append(shlex.split(text))
    return found


def _parse(words: list[str]) -> None:
    verb, *rest = words
    assert verb in VERBS
    module = importlib.import_module(f"veriseal.cli.{verb}")
    if verb == "trust":
        module = importlib.import_module(f"veriseal.cli.trust_{rest.pop(0)}")
    parser = argparse.ArgumentParser(verb, exit_on_error=False, allow_abbrev=False)
    module.configure(parser)
    parser.parse_args(rest)
