"""Settings of a unit under which the launcher cannot do its work. Pure.

The launcher reads the boot report and the launch table, asks /proc, and is itself a Python program
that executes a descriptor. Source: systemd.exec(5).
"""

import posixpath
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from veriseal.errors import VerisealError
from veriseal.unit import command, filters, syntax
from veriseal.unit.syntax import Assignment

_SEEN = (
    *("/run/veriseal", "/proc/sys", "/etc/ld.so.cache"),
    *(command.LAUNCHER, "/usr/bin/python3", "/usr/lib"),
)
"""What the launcher must see as it is outside."""
_EXECUTED = (command.LAUNCHER, "/usr/bin/python3", "/usr/lib")

_OTHER_ROOT = (
    "the program would have another root directory, where paths, boot report and launcher differ",
    "Use ProtectSystem=, ReadOnlyPaths= or InaccessiblePaths= in its place",
)
_LABEL = (
    "it would be given to the launcher's interpreter and not to the program",
    "Have the policy choose it by the path of the program",
)
_NEVER = {
    "RootDirectory": _OTHER_ROOT,
    "RootImage": _OTHER_ROOT,
    "RootMStack": _OTHER_ROOT,
    "ExtensionImages": (
        "the programs would come from an overlay, where the kernel does not answer for verity",
        "Install what the extension holds into the tree before veriseal build",
    ),
    "SELinuxContext": _LABEL,
    "AppArmorProfile": _LABEL,
    "SmackProcessLabel": _LABEL,
}
_NEVER["ExtensionDirectories"] = _NEVER["ExtensionImages"]

_HIDING = ("InaccessiblePaths", "InaccessibleDirectories", "TemporaryFileSystem")
_BINDING = ("BindPaths", "BindReadOnlyPaths", "MountImages")


class _Place(NamedTuple):
    """A path that a setting changes: either hidden, or what is at ``source`` is bound there."""

    path: str
    source: str | None
    at: Assignment


def check(assignments: Sequence[Assignment]) -> None:
    """Raise VerisealError ``unit-cannot-be-wrapped`` if the launcher could not work in the unit.

    Only what the unit says is looked at, and no specifier is expanded.
    """
    settings = list(assignments)
    for key, (problem, remedy) in _NEVER.items():
        values = command.effective(settings, key)
        if values and values[-1].value not in ("/", "-"):
            raise _refused(values[-1], problem, remedy)
    subset = command.effective(settings, "ProcSubset")
    if subset and subset[-1].value == "pid":
        problem = "the launcher reads /proc/sys"
        raise _refused(subset[-1], problem, "Say ProcSubset=all; ProtectProc=invisible may stay")
    _require_visible(settings)
    _require_executable(settings)
    missing = filters.missing(command.effective(settings, "SystemCallFilter"))
    if missing is not None:
        at, names = missing
        problem = f"the launcher and its interpreter need {', '.join(names)}"
        raise _refused(at, problem, "Allow these, or say SystemCallFilter=@system-service")


def _require_visible(settings: list[Assignment]) -> None:
    places = [place for key in _HIDING for place in _hidden(command.effective(settings, key))]
    places += [place for key in _BINDING for place in _bound(command.effective(settings, key))]
    for wanted in _SEEN:
        # The longest path counts, for it is mounted last; of two the binding.
        over = [place for place in places if _covers(place.path, wanted)]
        over.sort(key=lambda place: (len(place.path), place.source is not None))
        if over and over[-1].source != over[-1].path:
            problem = f"it takes {wanted} from the launcher"
            remedy = f"Leave it out, or say BindReadOnlyPaths={wanted}"
            raise _refused(over[-1].at, problem, remedy)


def _require_executable(settings: list[Assignment]) -> None:
    forbidden = list(_hidden(command.effective(settings, "NoExecPaths")))
    allowed = list(_hidden(command.effective(settings, "ExecPaths")))
    for wanted in _EXECUTED:
        no = [place for place in forbidden if _covers(place.path, wanted)]
        yes = [place for place in allowed if _covers(place.path, wanted)]
        longest = max((len(place.path) for place in yes), default=-1)
        for place in no:
            if len(place.path) > longest:
                problem = f"the launcher and its interpreter are executed from {wanted}"
                raise _refused(place.at, problem, "Say ExecPaths=/usr, besides the program")


def _covers(path: str, wanted: str) -> bool:
    return path == "/" or wanted == path or wanted.startswith(f"{path}/")


def _hidden(values: list[Assignment]) -> Iterator[_Place]:
    for at, word in _words(values):
        yield _Place(_path(word.partition(":")[0]), None, at)


def _bound(values: list[Assignment]) -> Iterator[_Place]:
    for at, word in _words(values):
        source, _, rest = word.partition(":")
        destination = rest.partition(":")[0] or source
        yield _Place(_path(destination), _path(source), at)


def _words(values: list[Assignment]) -> Iterator[tuple[Assignment, str]]:
    for at in values:
        try:
            for word in syntax.split(at.value):
                yield at, syntax.unquote(word.text)
        except ValueError as error:
            raise _refused(at, str(error), "Write it without quotes and escapes") from None


def _path(word: str) -> str:
    # "-" passes over what is not there, "+" starts at RootDirectory=.
    return posixpath.normpath("/" + word.lstrip("-+").lstrip("/"))


def _refused(at: Assignment, problem: str, remedy: str) -> VerisealError:
    return VerisealError(
        "unit-cannot-be-wrapped",
        f"line {at.line}: {at.key}={at.value}: {problem}",
        path=at.path,
        remedy=remedy,
    )
