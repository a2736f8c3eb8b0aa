"""The settings: one table, read from TOML. An unknown key is an error, never a guess."""

import tomllib
from typing import Any, NamedTuple

from veriseal.errors import VerisealError

PATHS = ("/usr/lib/veriseal/veriseal.toml", "/etc/veriseal/veriseal.toml")
"""Later files override single keys of earlier ones."""


class Policy(NamedTuple):
    """The settings that count.

    Attributes:
        releases: further releases, named as VOA names them (``fedora:44``), whose certificates
            are enrolled besides those of the running one. Fill in the next release before an
            upgrade, keep the previous one until nothing needs it.
        context: the VOA context directory.
    """

    releases: tuple[str, ...] = ()
    context: str = "default"


_TABLE: dict[str, dict[str, type]] = {"trust": {"releases": list, "context": str}}


def load(paths: tuple[str, ...] = PATHS) -> Policy:
    """The settings from ``paths``; those that do not exist are passed over.

    Raises VerisealError ``bad-configuration``.
    """
    policy = Policy()
    for path in paths:
        try:
            with open(path, "rb") as file:
                document = tomllib.load(file)
        except FileNotFoundError:
            continue
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise _bad(path, f"not TOML: {error}") from None
        policy = policy._replace(**_settings(document, path))
    return policy


def _settings(document: dict[str, Any], path: str) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for section, values in document.items():
        known = _TABLE.get(section)
        if known is None or not isinstance(values, dict):
            raise _bad(path, "unknown section", expected=", ".join(_TABLE), found=section)
        for key, value in values.items():
            expected = known.get(key)
            if expected is None:
                raise _bad(path, f"unknown key in [{section}]", ", ".join(known), key)
            if not isinstance(value, expected):
                raise _bad(path, f"{section}.{key}: wrong type", expected.__name__, repr(value))
            for text in value if isinstance(value, list) else [value]:
                _check_component(text, f"{section}.{key}", path)
            settings[key] = tuple(value) if isinstance(value, list) else value
    return settings


def _check_component(text: object, name: str, path: str) -> None:
    # Each becomes one component of a path.
    if (
        not isinstance(text, str)
        or text in ("", ".", "..")
        or "/" in text
        or not text.isprintable()
    ):
        raise _bad(path, f"{name}: not a directory name", "a name without '/'", repr(text))


def _bad(
    path: str, problem: str, expected: str | None = None, found: str | None = None
) -> VerisealError:
    return VerisealError("bad-configuration", problem, path=path, expected=expected, found=found)
