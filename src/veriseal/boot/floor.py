"""The floor: the lowest version of the manifest that an initrd accepts.

Building an initrd records the newest version that the machine knows; a rollback to an older
manifest, validly signed once, is then refused until that release's own initrd is booted.
"""

import json
import os

from veriseal import manifest as statement
from veriseal import osrelease, policy, report, voa
from veriseal.boot import plan
from veriseal.errors import VerisealError
from veriseal.tree import source

PATH = "/usr/lib/veriseal/floor.json"
"""In an initrd. The dracut module writes it."""
SCHEMA = 1
MAX_SIZE = 4096
"""Bytes."""


def read(path: str = PATH) -> int:
    """The floor that this initrd carries. Raises VerisealError ``no-floor``, ``bad-floor``."""
    try:
        with open(path, "rb") as file:
            document = json.loads(file.read(MAX_SIZE))
    except FileNotFoundError:
        raise VerisealError(
            "no-floor",
            "the initrd does not say which version of the manifest is the lowest",
            path=path,
            remedy="Rebuild the initrd with the dracut module veriseal",
        ) from None
    except (ValueError, RecursionError) as error:
        raise _bad(path, f"not JSON: {error}") from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise _bad(path, f"not schema {SCHEMA}")
    version = document.get("version")
    if type(version) is not int or version < 0 or set(document) != {"schema", "version"}:
        raise _bad(path, "not a version")
    return version


def serialize(version: int) -> str:
    """The file that `read` reads."""
    return json.dumps({"schema": SCHEMA, "version": version})


def newest(root: str = "/") -> int:
    """The newest version that this machine knows: installed below ``root``, or booted.

    0 if there is no manifest yet, as while an image is built.

    Raises VerisealError: an installed manifest that does not pass would fail the next boot too.
    """
    known = _booted()
    if not os.path.lexists(os.path.join(root, statement.DIRECTORY)):
        return known
    settings, os_release = policy.load(), osrelease.read()
    planned = plan.make(settings, os_release)
    trust = source.Trust(
        planned.releases,
        settings.signatures_needed,
        voa.os_identifiers(os_release),
        known,
    )
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    shown = os.path.join(root, statement.DIRECTORY)
    directory = source.open_directory(top, statement.DIRECTORY, shown)
    return source.load(directory, shown, trust).manifest.version


def _booted() -> int:
    """The newest version that this boot knows, or 0 if it was not by the agent.

    Raises VerisealError: a report that cannot be read may hide a rollback.
    """
    try:
        booted = report.read()
    except VerisealError as error:
        if error.reason == "no-boot-report":
            return 0
        raise
    tree = booted.get("tree")
    version = tree.get("version") if isinstance(tree, dict) else 0
    known = [one for one in (booted.get("floor"), version) if type(one) is int]
    return max([0, *known])


def _bad(path: str, problem: str) -> VerisealError:
    return VerisealError(
        "bad-floor", problem, path=path, remedy="Rebuild the initrd with the dracut module veriseal"
    )
