"""Variables that have the loader, the C library or an interpreter run or load something else.

Each is first seen to act without the launcher.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from .row import (
    A2,
    A3,
    BIN,
    RUNS_AS_USER,
    STRANGER,
    USER,
    VERISEAL,
    Row,
    call,
    proved,
    seen,
)
from .system import UNIT, kiosk_runs

ENVIRONMENT = "launcher: environment"
EVIL = "evil code in"


def variable(
    name: str, value: str, *command: str, acts: str, **others: str
) -> Callable[[], tuple[str, str]]:
    """An attempt with the variable set, on a program that obeys it: then ``acts`` is printed."""

    def attempt() -> tuple[str, str]:
        environment = {**os.environ, **others, name: value}
        direct = call(*command, environment=environment, who=USER)
        proved(acts in direct.out, direct)
        ended = call(VERISEAL, "exec", *command, environment=environment, who=USER)
        # A library that is preloaded runs in the caller's own process, as whatever is theirs does.
        own_process = f"{EVIL} {os.path.realpath('/usr/bin/python3')}\n"
        return seen(ended._replace(out=ended.out.replace(own_process, "")))

    return attempt


def _row(
    name: str, value: str, expected: str, *command: str, acts: str, done: str, **others: str
) -> Row:
    attempt = variable(name, value, *command, acts=acts, **others)
    return Row(name, A2, done, expected, ENVIRONMENT, attempt)


def _loader(name: str, value: str, command: str, expected: str, done: str) -> Row:
    path = f"{BIN}/{command}"
    acts = f"{EVIL} {path}"
    return _row(name, value, expected, path, "once", acts=acts, done=done)


def _printed(name: str, value: str, done: str) -> Row:
    """No program of the appliance obeys it: that it does not arrive is all that can be seen."""

    def attempt() -> tuple[str, str]:
        path = f"{BIN}/probe"
        environment = {name: value, "ARRIVES": "1"}
        direct = call(path, "environment", environment=environment, who=USER)
        proved(f"{name}={value}" in direct.out, direct)
        return seen(call(VERISEAL, "exec", path, "environment", environment=environment, who=USER))

    return Row(name, A2, done, "0 ARRIVES=1", ENVIRONMENT, attempt)


def of_the_manager() -> tuple[str, str]:
    """LD_PRELOAD for every service that is started from now on: the kiosk's and a plain one."""
    call("systemctl", "set-environment", f"LD_PRELOAD={STRANGER}/evil.so")
    try:
        direct = call("systemd-run", "--quiet", "--wait", "--pipe", f"{BIN}/program")
        proved(f"{EVIL} {BIN}/program" in direct.out, direct)
        call("systemctl", "restart", UNIT)
    finally:
        call("systemctl", "unset-environment", "LD_PRELOAD")
    state, said = kiosk_runs()
    call("journalctl", "--sync")
    journal = call("journalctl", "--boot", "--unit", UNIT, "--output=cat").out
    return f"{state}, {'evil' if EVIL in journal else 'not evil'}", said


APP_AS_USER = "0 other greet app: up as uid 65534"
LIBRARY = "it names a stranger's library"

ROWS = (
    _loader("LD_PRELOAD", f"{STRANGER}/evil.so", "program", RUNS_AS_USER, LIBRARY),
    _loader("LD_AUDIT", f"{STRANGER}/evil.so", "program", RUNS_AS_USER, LIBRARY),
    _loader(
        "LD_LIBRARY_PATH",
        f"{STRANGER}/lib",
        "app",
        APP_AS_USER,
        "it names a directory with a stranger's libgreet",
    ),
    _row(
        "GCONV_PATH",
        f"{STRANGER}/gconv",
        "1",
        *("/usr/bin/iconv", "-f", "EVIL", "-t", "UTF-8"),
        acts=f"{EVIL} /usr/bin/iconv",
        done="it names a directory with a stranger's character converter; `iconv` is launched",
    ),
    _row(
        "LOCPATH",
        f"{STRANGER}/locale",
        "0 ANSI_X3.4-1968",
        *("/usr/bin/locale", "charmap"),
        acts="UTF-8",
        done="it names a directory with a stranger's locale; `locale charmap` is launched",
        LC_ALL="evil",
    ),
    _row(
        "MALLOC_PERTURB_",
        "90",
        "0 memory 00",
        *(f"{BIN}/probe", "memory"),
        acts="memory a5",
        done="it fills fresh memory",
    ),
    _row(
        "GLIBC_TUNABLES",
        "glibc.malloc.perturb=90",
        "0 memory 00",
        *(f"{BIN}/probe", "memory"),
        acts="memory a5",
        done="it fills fresh memory",
    ),
    _row(
        "BASH_ENV",
        f"{STRANGER}/bash_env",
        "0 bash-script: up",
        f"{BIN}/bash-script",
        acts=f"{EVIL} bash",
        done="it names a stranger's file; a signed script for bash is launched",
    ),
    _row(
        "BASH_FUNC_echo%%",
        f"() {{ builtin echo {EVIL} bash; }}",
        "0 bash-script: up",
        f"{BIN}/bash-script",
        acts=f"{EVIL} bash",
        done="a function replaces a command of a signed script for bash",
    ),
    _row(
        "PERL5LIB",
        f"{STRANGER}/perl",
        "0 perl-script: up",
        f"{BIN}/perl-script",
        acts=f"{EVIL} perl",
        done="it names a directory with a stranger's `strict.pm`; a signed script is launched",
    ),
    _row(
        "PERL5OPT",
        f"-I{STRANGER}/perl",
        "0 perl-script: up",
        f"{BIN}/perl-script",
        acts=f"{EVIL} perl",
        done="it names the same directory as an option",
    ),
    _row(
        "PYTHONPATH",
        STRANGER,
        "0 python-script: up",
        f"{BIN}/python-script",
        acts=f"{EVIL} python",
        done="it names a directory with a stranger's `sitecustomize.py`",
    ),
    Row(
        "LD_PRELOAD of the service manager",
        A3,
        "`systemctl set-environment`, and the kiosk's unit is started again",
        f"active {BIN}/kiosk, not evil",
        "units: UnsetEnvironment",
        of_the_manager,
    ),
    _printed("NODE_OPTIONS", "--require=/opt/stranger/evil.js", "it names a stranger's module"),
    _printed("JAVA_TOOL_OPTIONS", "-javaagent:/opt/stranger/evil.jar", "it names an agent"),
)
