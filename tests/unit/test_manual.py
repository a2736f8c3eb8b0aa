"""The manual page: every option, and every name that the checks of trust print."""

import argparse
import ast
import importlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import veriseal
from veriseal.audit import fate
from veriseal.cli.main import VERBS
from veriseal.cli.trust import STEPS

pytestmark = pytest.mark.unit

SOURCE = Path(veriseal.__file__).parent
PAGE = (SOURCE.parent / "man/veriseal.1").read_text()
NAME = re.compile(r"[a-z]+(-[a-z]+)*")

PRINTING = [*SOURCE.glob("trust/*.py"), *SOURCE.glob("plan/*.py")]
"""Where findings are made."""
ASKED = [
    SOURCE / f"{name}.py"
    for name in (
        *("policy", "voa", "osrelease", "certificate", "pem", "chain", "collisions", "manifest"),
        *("signers", "closure", "tree/source", "tree/listed", "audit/expected", "boot/floor"),
        *("boot/initrd", "boot/gather"),
    )
]
"""Whose errors become findings."""
NO_FINDINGS = {"other-trust", "report-damaged"}
"""Of the boot that goes on alone."""


def constants(path: Path) -> dict[str, str]:
    """The texts that a module has names for."""
    return {
        target.id: node.value.value
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


MODEL = constants(SOURCE / "trust/model.py")


def arguments(path: Path, function: str, position: int, keyword: str) -> Iterator[ast.expr]:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        if getattr(node.func, "id", getattr(node.func, "attr", None)) == function:
            yield from node.args[position : position + 1]
            yield from (one.value for one in node.keywords if one.arg == keyword)


def texts(path: Path, expressions: Iterable[ast.expr]) -> Iterator[str]:
    """Those of ``expressions`` that are literals or constants; the others are of errors."""
    here = constants(path)
    for one in expressions:
        if isinstance(one, ast.Constant):
            yield str(one.value)
        elif isinstance(one, ast.Name) and one.id in here:
            yield here[one.id]
        elif isinstance(one, ast.Attribute) and one.attr in MODEL:
            yield MODEL[one.attr]


def findings() -> set[str]:
    return {
        name
        for path in PRINTING
        for name in texts(path, arguments(path, "Finding", 1, "name"))
    }  # fmt: skip


def errors() -> set[str]:
    return {
        name
        for path in (*PRINTING, *ASKED)
        for name in texts(path, arguments(path, "VerisealError", 0, "reason"))
    }


def reasons() -> set[str]:
    """Of `Ignored`, and those that a module of the plan has a name for."""
    parts = {"PREVIOUS", "CURRENT", "NEXT", "BUILT_IN", "STATEMENT"}
    found = {text for name, text in MODEL.items() if name not in parts}
    for path in SOURCE.glob("plan/*.py"):
        found |= {text for text in constants(path).values() if NAME.fullmatch(text) and "-" in text}
    return found | set(fate.KINDS) - {fate.OK}


def section(title: str, kind: str = "SH", text: str = PAGE) -> str:
    found = re.split(rf"^\.{kind} {re.escape(title)}\n", text, flags=re.MULTILINE)
    assert len(found) == 2, title
    return re.split(rf"^\.(SH|{kind}) ", found[1], flags=re.MULTILINE)[0]


def headed(text: str) -> set[str]:
    """What the paragraphs of ``text`` are about: the words of their heads, without escapes."""
    heads = re.findall(r"^\.TP\n\.[A-Z]+ (.*)$", text, flags=re.MULTILINE)
    return {
        word
        for head in heads
        for word in re.findall(r"-*[a-z]+(?:-[a-z]+)*", head.replace("\\-", "-"))
    }


def test_each_name_of_a_finding_is_explained() -> None:
    explained = headed(section("TRUST FINDINGS")) | headed(section("TRUST STATEMENT"))
    explained |= headed(section("AUDIT"))
    by_options = {"own-release", "not-in-window"}
    for name in by_options:
        assert name.replace("-", r"\-") in section("PLAN")
    names = findings() | errors() | reasons() | {"no-certificates", "no-anchor"}
    assert len(names) > 70
    assert names - explained - by_options - NO_FINDINGS == set()


def options() -> Iterator[tuple[str, str]]:
    """Each verb or step with each of its long options; `exec` has no parser."""
    names = {verb: verb for verb in VERBS if verb not in ("exec", "trust")}
    names |= {f"trust {step}": f"trust_{step}" for step in STEPS}
    for name, module in names.items():
        parser = argparse.ArgumentParser()
        importlib.import_module(f"veriseal.cli.{module}").configure(parser)
        yield from below(name, parser)


def below(name: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for step, other in action.choices.items():
                yield from below(f"{name} {step}", other)
        else:
            long = (one for one in action.option_strings if one.startswith("--"))
            yield from ((name, one) for one in long if one != "--help")


OWN = {
    "trust statement": "TRUST STATEMENT",
    "trust lint": "LINT",
    "trust plan": "PLAN",
    "audit": "AUDIT",
    "wrap": "WRAP",
    "exec": "EXEC",
}
"""Verbs with a section of their own."""


def options_of(name: str) -> set[str]:
    """The long options that the page lists for a verb."""
    if name in OWN:
        return headed(section(OWN[name]))
    text = section("OPTIONS")
    titles = re.findall(r"^\.SS (.*)$", text, flags=re.MULTILINE)
    about = [one for one in titles if name in re.split(r", |: ", one)]
    assert about, name
    return {word for one in about for word in headed(section(one, "SS", text))}


def test_each_option_is_explained() -> None:
    missing = [f"{name} {option}" for name, option in options() if option not in options_of(name)]
    assert missing == []


def test_no_option_is_explained_that_there_is_not() -> None:
    known: dict[str, set[str]] = {}
    for name, option in options():
        known.setdefault(name, set()).add(option)
    for name, there in known.items():
        # Those two share their paragraphs with others, which say whose they are.
        if name not in ("boot verify", "pki root"):
            assert {one for one in options_of(name) if one.startswith("--")} <= there, name


def test_the_launchers_options_are_explained() -> None:
    program = (SOURCE / "launch/main.py").read_text()
    for option in ("--explain", "--argv0"):
        assert f'"{option}"' in program
        assert option.replace("-", r"\-") in section("EXEC")
