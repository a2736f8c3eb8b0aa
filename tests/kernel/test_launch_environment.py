"""A2: variables that make the loader or an interpreter run other code never reach the program.

Each attack is first seen to work without the launcher. With it, the evil code does not run, the
program does, and the journal names the variable.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from veriseal import journal

from . import helpers
from .conftest import MARK, Sealed
from .helpers import Signer

pytestmark = pytest.mark.kernel

DIRECTORY = "/verity/environment"
EVIL = "/run/evil"
PATH = b"/usr/bin:/bin"


class Attack(NamedTuple):
    """A variable, its value, and a program with arguments that obeys it."""

    variable: str
    value: str
    argv: tuple[str, ...]


PYTHON_MARK = f"import os; os.close(os.open({MARK!r}, os.O_CREAT | os.O_WRONLY))\n"
FUNCTION = f"() {{ :>{MARK}; }}"

ATTACKS = {
    attack.variable: attack
    for attack in (
        Attack("LD_PRELOAD", "{tools}/evil/libgreet.so", ("victim",)),
        Attack("LD_LIBRARY_PATH", "{tools}/evil", ("victim",)),
        Attack("LD_AUDIT", "{tools}/evil/libgreet.so", ("victim",)),
        Attack("PYTHONPATH", EVIL, ("script.py",)),
        Attack("PYTHONSTARTUP", f"{EVIL}/sitecustomize.py", ("python3", "-i")),
        Attack("BASH_ENV", f"{EVIL}/profile", ("script.bash",)),
        Attack("BASH_FUNC_true%%", FUNCTION, ("script.bash",)),
    )
}


@pytest.fixture(scope="module")
def programs(sealed: Sealed, rsa: Signer, tools: str) -> None:
    """Signed programs that obey, and what an attacker would have them run."""
    for name, source in (
        ("victim", f"{tools}/victim"),
        ("python3", os.path.realpath("/usr/bin/python3")),
        ("bash", "/usr/bin/bash"),
    ):
        helpers.install(f"{DIRECTORY}/{name}", helpers.read(source), rsa)
    helpers.install(f"{DIRECTORY}/script.py", f"#!{DIRECTORY}/python3\npass\n".encode(), rsa)
    helpers.install(f"{DIRECTORY}/script.bash", f"#!{DIRECTORY}/bash\ntrue\n".encode(), rsa)
    helpers.write(f"{EVIL}/sitecustomize.py", PYTHON_MARK.encode())
    helpers.write(f"{EVIL}/profile", f":>{MARK}\n".encode())


@pytest.fixture
def unmarked() -> Iterator[None]:
    """There is no mark before and none is left behind."""
    assert not os.path.exists(MARK)
    yield
    if os.path.exists(MARK):
        os.unlink(MARK)


@pytest.mark.parametrize("variable", ATTACKS)
def test_evil_code_never_runs(programs: None, unmarked: None, tools: str, variable: str) -> None:
    attack = ATTACKS[variable]
    path = f"{DIRECTORY}/{attack.argv[0]}"
    value = attack.value.replace("{tools}", tools)
    environment = {b"PATH": PATH, variable.encode(): value.encode()}

    assert helpers.run([path, *attack.argv[1:]], env=environment).status == 0
    assert os.path.exists(MARK), "the attack does not work at all"
    os.unlink(MARK)

    done = helpers.launch(path, *attack.argv[1:], env=environment)
    assert done.status == 0, done.err
    assert not os.path.exists(MARK)
    record = helpers.records(journal.EXEC_ENVIRONMENT, VERISEAL_PATH=path)[-1]
    assert record["VERISEAL_VARIABLES"] == variable
    assert str(record["VERISEAL_DIGEST"]).startswith("sha256:")


def test_each_removed_variable_is_named_and_all_others_arrive(programs: None, rsa: Signer) -> None:
    path = f"{DIRECTORY}/cat"
    helpers.install(path, helpers.read("/usr/bin/cat"), rsa)
    good = {b"A": b"1", b"EMPTY": b"", b"LANG": b"C.UTF-8", b"X": b"a=b\n\xff\xfe", b"LD": b"x"}
    bad = {b"LD_BIND_NOW": b"1", b"PERL5OPT": b"-Mevil", b"GCONV_PATH": b"/e", b"ENV": b"/e"}
    done = helpers.launch(path, "/proc/self/environ", env={**good, **bad})
    assert done.out == b"".join(name + b"=" + value + b"\0" for name, value in good.items())
    record = helpers.records(journal.EXEC_ENVIRONMENT, VERISEAL_PATH=path)[-1]
    assert record["VERISEAL_VARIABLES"] == "LD_BIND_NOW PERL5OPT GCONV_PATH ENV"


@pytest.mark.parametrize(
    "environment",
    [{}, {b"LC_ALL": b"C"}, {b"LANG": b"xx_YY"}, {b"LC_CTYPE": b"POSIX"}],
    ids=["none", "C", "unknown", "POSIX"],
)
def test_no_variable_is_added_whatever_the_locale(
    programs: None, rsa: Signer, environment: dict[bytes, bytes]
) -> None:
    path = f"{DIRECTORY}/locale-cat"
    if not os.path.exists(path):
        helpers.install(path, helpers.read("/usr/bin/cat"), rsa)
    expected = b"".join(name + b"=" + value + b"\0" for name, value in environment.items())
    assert helpers.run([path, "/proc/self/environ"], env=environment).out == expected
    assert helpers.launch(path, "/proc/self/environ", env=environment).out == expected
