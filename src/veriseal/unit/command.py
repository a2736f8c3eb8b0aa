"""Command lines of units, and the launcher in front of them. Pure.

Sources: systemd.service(5), COMMAND LINES; config_parse_exec() in src/core/load-fragment.c.
"""

import os
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from veriseal.errors import VerisealError
from veriseal.unit import syntax
from veriseal.unit.syntax import Assignment

LAUNCHER = "/usr/bin/veriseal"
VERB = "exec"

SEPARATOR, ESCAPED_SEMICOLON = ";", "\\;"
"""A word that ends a command, and the one that stands for it as an argument."""

_ABSOLUTE_SPECIFIERS = "CEfhLSstTVyY"
"""Those of systemd.unit(5) that stand for an absolute path."""
_MOST_PATH, _MOST_NAME = 4095, 255
"""Bytes: PATH_MAX with its NUL, NAME_MAX."""
_UNESCAPED = re.compile(r"(?<!%)(?:%%)*%[IJPf]")
_UNSAFE = "\"'\\\x7f"
"""What systemd refuses in the path of a program, besides control characters."""


class Command(NamedTuple):
    """One command: a value can hold several.

    Attributes:
        prefixes: in the order in which they were written, without ``@``.
        program: path or name, as it was written but without quotes and escapes.
        argv0: the word after an ``@`` command, as written; None without ``@``.
        rest: the arguments, as written.
        at: the assignment that it comes from.
    """

    prefixes: str
    program: str
    argv0: str | None
    rest: str
    at: Assignment

    @property
    def wrapped(self) -> bool:
        """Whether the launcher is in front of it already."""
        first = next(iter(self.rest.split(None, 1)), "")
        return self.program == LAUNCHER and first == VERB


def effective(assignments: list[Assignment], key: str) -> list[Assignment]:
    """The values of a list setting of [Service]: an empty one resets the list."""
    values: list[Assignment] = []
    for one in assignments:
        if one.section == "Service" and one.key == key:
            values = [*values, one] if one.value else []
    return values


def parse(at: Assignment) -> Iterator[Command]:
    """The commands of one Exec setting.

    Raises VerisealError ``bad-command``, for all that systemd would not take either, and for what
    the launcher cannot be put in front of.
    """
    try:
        words = list(syntax.split(at.value))
    except ValueError as error:
        raise _bad(at, str(error)) from None
    while words:
        count = next((n for n, word in enumerate(words) if word.text == SEPARATOR), len(words))
        if count:
            yield _command(at, words[:count])
        words = words[count + 1 :]


def _command(at: Assignment, words: list[syntax.Word]) -> Command:
    try:
        first = syntax.unquote(words[0].text)
    except ValueError as error:
        raise _bad(at, str(error), words[0].text) from None
    prefixes, program = _prefixes(first)
    argv0 = None
    if "@" in prefixes:
        if len(words) < 2:
            raise _bad(at, "after @ the name for the program is missing")
        argv0 = words[1].text
        _require_one_word(at, prefixes, argv0)
    _require_program(at, prefixes, program)
    arguments = words[2 if argv0 is not None else 1 :]
    rest = at.value[arguments[0].start : arguments[-1].end] if arguments else ""
    return Command(prefixes.replace("@", ""), program, argv0, rest, at)


def _require_one_word(at: Assignment, prefixes: str, argv0: str) -> None:
    """Raise if ``argv0`` can expand to any number of words, as $NAME does and ${NAME} does not."""
    try:
        text = "" if argv0 == ESCAPED_SEMICOLON else syntax.unquote(argv0)
    except ValueError as error:
        raise _bad(at, str(error), argv0) from None
    if ":" not in prefixes and text[:1] == "$" and text[1:2] not in ("{", "$"):
        problem = "the name after @ is a variable that can stand for several words"
        raise _bad(at, problem, argv0, "Write it as ${NAME}, which stands for one")


def _prefixes(word: str) -> tuple[str, str]:
    """Which characters at the start of ``word`` are prefixes, and the rest of it."""
    taken = ""
    for character in word:
        once = character in "-@:" and character not in taken
        # One of these counts; the second "!" makes it "!!".
        who = character in "+!" and not set("+!") & set(taken)
        second = character == "!" and taken.count("!") == 1 and "+" not in taken
        if not (once or who or second):
            break
        taken += character
    return taken, word[len(taken) :]


def _require_program(at: Assignment, prefixes: str, program: str) -> None:
    """Raise unless systemd would take ``program``, and the launcher would get the same."""
    if program.startswith("|"):
        remedy = "Name the program itself, or write the shell into the line"
        raise _bad(at, "its prefix | runs it by a shell of the user's", program, remedy)
    if not program:
        raise _bad(at, "there is no program in it")
    if program[0] in "-@:+!":
        raise _bad(at, "its prefixes do not go together", prefixes + program)
    if any(c in _UNSAFE or c < " " for c in program):
        raise _bad(at, "characters that systemd takes in no path of a program", program)
    if len(os.fsencode(program)) > (_MOST_PATH if "/" in program else _MOST_NAME):
        raise _bad(at, "the path of the program is too long", program)
    if "$" in program and ":" not in prefixes:
        problem = "a $ in the path of the program would be expanded in an argument"
        raise _bad(at, problem, program, "Rename the program, or start it with the prefix :")
    if ":" not in prefixes and _UNESCAPED.search(program):
        problem = "an instance may stand for a $ there, which would be expanded in an argument"
        raise _bad(at, problem, program, "Start it with the prefix :")
    if program.endswith("/"):
        raise _bad(at, "the program is a directory", program)
    if program.startswith("%") and program[1:2] in tuple(_ABSOLUTE_SPECIFIERS):
        return
    if not program.startswith("/") and ("/" in program or "%" in program):
        problem = "neither an absolute path nor the name of a program"
        raise _bad(at, problem, program, "Write the whole path of the program")
    if program in (".", ".."):
        raise _bad(at, "the program is a directory", program)


def wrap(command: Command, find: Callable[[str, Assignment], str]) -> str:
    """The value of an ExecStart= line that starts ``command`` through the launcher.

    ``find`` gives the absolute path of a program that is only named.
    """
    words = [command.prefixes + LAUNCHER]
    if command.wrapped:
        if command.argv0 is not None:
            words = [f"@{words[0]}", command.argv0]
        return " ".join((*words, command.rest))
    program = command.program
    if not program.startswith(("/", "%")):
        program = find(program, command.at)
    words.append(VERB)
    if command.argv0 is not None:
        words += ["--argv0", command.argv0]
    words.append(f'"{program}"' if " " in program else program)
    if command.rest:
        words.append(command.rest)
    return " ".join(words)


def _bad(
    at: Assignment, problem: str, found: str | None = None, remedy: str | None = None
) -> VerisealError:
    return VerisealError(
        "bad-command",
        f"line {at.line}: {at.key}=: {problem}",
        path=at.path,
        found=at.value if found is None else found,
        remedy=remedy or "systemd-analyze verify shows what systemd makes of it",
    )
