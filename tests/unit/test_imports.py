"""The direction of imports, and what the launcher may load."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import veriseal

pytestmark = pytest.mark.unit

SOURCE = Path(veriseal.__file__).parent
MODULES = {
    ".".join(("veriseal", *path.relative_to(SOURCE).with_suffix("").parts)): path
    for path in sorted(SOURCE.rglob("*.py"))
}

# What each may import of us. A package stands for all its modules.
ALLOWED = {
    "errors": "",
    "digest": "errors",
    "names": "",
    "closure": "errors digest fields",
    "script": "errors names",
    "trusted": "errors",
    "report": "errors trusted",
    "table": "errors names digest trusted",
    "pem": "errors",
    "journal": "errors",
    "regular": "",
    "osrelease": "errors regular",
    "pattern": "errors",
    "pool": "errors",
    "policy": "errors digest pattern regular",
    "resolve": "",
    "voa": "errors osrelease resolve",
    "fields": "errors digest",
    "signers": "errors fields",
    "dump": "errors digest",
    "merkle": "errors digest",
    "domain": "errors merkle",
    "certificate": "errors pem",
    "chain": "errors certificate",
    "collisions": "errors certificate",
    "signature": "errors digest certificate",
    "manifest": "errors fields digest merkle domain closure pattern certificate signature signers",
    "kernel": "errors names digest",
    "sitepackages": "",
    "tree": "errors digest regular merkle closure signers dump pattern pool voa certificate "
    "signature manifest kernel",
    "trust": "errors fields digest regular merkle domain pem voa policy certificate chain "
    "collisions signature kernel",
    "launch": "errors names digest trusted report table script journal sitepackages kernel",
    "boot": "errors digest regular closure trusted report table journal osrelease pattern policy "
    "voa pem resolve certificate signature signers manifest trust tree kernel",
    "plan": "errors digest report osrelease policy resolve voa pem merkle pattern certificate "
    "signature signers manifest kernel tree trust boot audit",
    "audit": "errors digest merkle pattern certificate signature signers manifest pool kernel "
    "tree trust build",
    "unit": "errors build",
    "build": "errors digest pem merkle domain closure script dump pattern policy osrelease pool "
    "voa certificate chain collisions signature signers manifest trust kernel",
}


def trees() -> Iterator[tuple[str, str, ast.Module]]:
    """Each module: its name, the part of the package it belongs to, its syntax tree."""
    for name, path in MODULES.items():
        yield name, name.split(".")[1], ast.parse(path.read_text())


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere, as a dotted name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            if node.module in MODULES or node.module == "veriseal":
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_imports_point_down() -> None:
    for name, part, tree in trees():
        if part not in ALLOWED:
            assert part in ("__init__", "__main__", "cli"), f"{name} has no place in the order"
            continue
        allowed = {part, "__version__", *ALLOWED[part].split()}
        used = {one.split(".")[1] for one in imported(tree) if one.startswith("veriseal.")}
        assert used <= allowed, f"{name} imports {used - allowed}"


def test_boot_and_launch_never_import_build_or_each_other() -> None:
    for package in ("boot", "launch"):
        assert not {"build", "cli", "boot", "launch"} & set(ALLOWED[package].split())


def test_only_the_kernel_package_has_ctypes_and_fcntl() -> None:
    for name, part, tree in trees():
        if part != "kernel":
            assert not {"ctypes", "fcntl"} & set(imported(tree)), name


def test_only_the_command_line_exits() -> None:
    for name, part, tree in trees():
        if part in ("cli", "__main__"):
            continue
        for node in ast.walk(tree):
            used = ast.unparse(node) if isinstance(node, ast.Attribute | ast.Name) else ""
            assert used not in ("sys.exit", "SystemExit", "exit", "quit"), name


HEAVY = "argparse array asyncio collections cryptography ctypes dataclasses email enum functools "
HEAVY += "importlib.util inspect json keyutils logging os pathlib re shutil signal socket "
HEAVY += "subprocess systemd tempfile threading tomllib traceback typing "
HEAVY += "veriseal.boot veriseal.build veriseal.cli"


def test_the_launcher_loads_little() -> None:
    script = "import sys; sys.path.insert(0, sys.argv[1]); import veriseal.launch.main; "
    script += "print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, os.path.dirname(SOURCE)],
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split()
    assert "veriseal.launch.checks" in loaded
    assert not set(HEAVY.split()) & set(loaded)
