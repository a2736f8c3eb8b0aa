"""The floor: the lowest version of the manifest, and of the trust statement, for an initrd.

Building an initrd records the newest versions that the machine knows; a rollback to an older
manifest, validly signed once, is then refused until that release's own initrd is booted. The time
that is recorded beside them is the earliest that it can be, whatever the clock says.
"""

import json
import os
from typing import Any, NamedTuple

from veriseal import regular, report
from veriseal.errors import VerisealError

PATH = "/usr/lib/veriseal/floor.json"
"""In an initrd. `veriseal boot install` writes it."""
SCHEMA = 2
MAX_SIZE = 4096
"""Bytes."""


class Floor(NamedTuple):
    """What must not sink.

    Attributes:
        version: of the manifest.
        created: when the newest manifest was, seconds since 1970.
        statement: version of the trust statement; 0 without one.
    """

    version: int = 0
    created: int = 0
    statement: int = 0

    def raised(self, other: "Floor") -> "Floor":
        """The higher of both, one by one."""
        return Floor(*(max(pair) for pair in zip(self, other, strict=True)))


def read(path: str = PATH) -> Floor:
    """The floor that this initrd carries. Raises VerisealError ``no-floor``, ``bad-floor``."""
    try:
        document = json.loads(regular.read(path, MAX_SIZE, os.O_NOFOLLOW))
    except FileNotFoundError:
        raise VerisealError(
            "no-floor",
            "the initrd does not say which version of the manifest is the lowest",
            path=path,
            remedy="Rebuild the initrd with the dracut module veriseal",
        ) from None
    except OSError as error:
        raise _bad(path, f"cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise _bad(path, f"not JSON: {error}") from None
    if not isinstance(document, dict) or document.pop("schema", None) != SCHEMA:
        raise _bad(path, f"not schema {SCHEMA}")
    if set(document) != set(Floor._fields):
        raise _bad(path, f"not {', '.join(Floor._fields)}")
    if not all(type(one) is int and one >= 0 for one in document.values()):
        raise _bad(path, "not a number")
    return Floor(**document)


def serialize(floor: Floor) -> str:
    """The file that `read` reads."""
    return json.dumps({"schema": SCHEMA, **floor._asdict()})


def booted() -> Floor:
    """The newest that this boot knows, or nothing if it was not by the agent.

    Raises VerisealError: a report that cannot be read may hide a rollback.
    """
    try:
        report_now = report.read()
    except VerisealError as error:
        if error.reason == "no-boot-report":
            return Floor()
        raise
    carried, tree, trust = (_numbers(report_now.get(name)) for name in ("floor", "tree", "trust"))
    floor = Floor(**{name: carried.get(name, 0) for name in Floor._fields})
    return floor.raised(
        Floor(tree.get("version", 0), tree.get("created", 0), trust.get("statement", 0))
    )


def _numbers(value: Any) -> dict[str, int]:
    if type(value) is int:
        return {"version": value}  # as a report said it before there were statements
    items = value.items() if isinstance(value, dict) else ()
    return {name: one for name, one in items if type(one) is int and one >= 0}


def _bad(path: str, problem: str) -> VerisealError:
    return VerisealError(
        "bad-floor", problem, path=path, remedy="Rebuild the initrd with the dracut module veriseal"
    )
