"""Every refusal of the launcher says what to do, and the manual page knows it."""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import veriseal
from veriseal.kernel import verity

pytestmark = pytest.mark.unit

SOURCE = Path(veriseal.__file__).parent
ON_THE_PATH = (
    "report table trusted script kernel/descriptor kernel/sysctl kernel/verity "
    "launch/checks launch/main launch/ready"
).split()
# Of writing the table and of enabling verity: not the launcher's.
OF_OTHERS = {"bad-launch-row", "launch-table-too-large", "already-enabled", "bad-parameters"}
OF_OTHERS |= {"open-for-writing", "read-only-filesystem", "signature-too-large"}
BY_VARIABLE = {
    "no-boot-report",
    "report-not-trusted",
    "not-sealed",
    "not-verified",
    "no-launch-table",
    "launch-table-not-trusted",
    "misplaced",
    "other-contents",
    "not-in-manifest",
    "permission",
    "system-call",
    "no-interpreter",
    "missing-file",
}
"""Reasons that are no literal where the error is made."""


def errors() -> Iterator[tuple[str, ast.Call]]:
    """Every error that is made on the launcher's path, with where."""
    for name in ON_THE_PATH:
        path = SOURCE / f"{name}.py"
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "VerisealError":
                yield f"{name}:{node.lineno}", node


def reason(call: ast.Call) -> str | None:
    first = call.args[0]
    return str(first.value) if isinstance(first, ast.Constant) else None


def reasons() -> set[str]:
    named = {reason(call) for _, call in errors()} - {None}
    kernels = {name for name, _, _ in verity._FAILURES.values()}
    return ({str(name) for name in named} | kernels | BY_VARIABLE) - OF_OTHERS


def test_each_has_a_remedy() -> None:
    found = dict(errors())
    assert len(found) > 30
    without = [
        where
        for where, call in found.items()
        if reason(call) not in OF_OTHERS
        and not any(keyword.arg == "remedy" for keyword in call.keywords)
    ]
    assert without == []
    for _, _, remedy in verity._FAILURES.values():
        assert remedy


@pytest.mark.parametrize("name", sorted(BY_VARIABLE))
def test_reasons_that_are_no_literals_are_still_used(name: str) -> None:
    assert any(f'"{name}"' in (SOURCE / f"{one}.py").read_text() for one in ON_THE_PATH)


def listed() -> set[str]:
    """The reasons in the section REFUSALS of the manual page."""
    page = (SOURCE.parent / "man/veriseal.1").read_text()
    section = page.partition(".SH REFUSALS\n")[2].partition("\n.SH ")[0]
    names = [re.findall(r"[a-z]+(?:\\-[a-z]+)*", line) for line in section.splitlines()
             if line.startswith((".B ", ".BR "))]  # fmt: skip
    return {name.replace("\\-", "-") for line in names for name in line}


def test_the_manual_page_lists_them_all_and_no_others() -> None:
    assert os.path.exists(SOURCE.parent / "man/veriseal.1")
    assert reasons() - listed() == set()
    assert listed() - reasons() == set()
