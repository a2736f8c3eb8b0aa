"""The boot report, /run/veriseal/boot.json: what the agent did, for the launcher and for people.

The launcher believes it only if root alone could have written it, during this boot.
On the launcher's path.
"""

import posix

from veriseal import __version__
from veriseal.errors import VerisealError
from veriseal.trusted import boot_id, open_trusted, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

DIRECTORY = "/run/veriseal"
PATH = f"{DIRECTORY}/boot.json"
SCHEMA = 3
MAX_SIZE = 1 << 22
"""Bytes. A larger report is not ours."""

SEALED, OFF, FAILED = "sealed", "off", "failed"
PENDING, VERIFIED, REPORTED = "pending", "verified", "reported"
_STATE = {
    "keyring": (SEALED, OFF, FAILED),
    "manifest": (PENDING, VERIFIED, REPORTED, FAILED),
    "require": ("both", "manifest", "signature"),
}
_HEAD = ("schema", "boot_id", *_STATE, "release", "revoked")

_END = b"\n}\n"
_RELEASE = '  "release": "'
_REVOKED = '  "revoked": ['
_REMEDY = "Boot with the veriseal agent in the initrd; journalctl -b -t veriseal says more"


class State:
    """What the launcher goes by; the head of the report.

    Attributes:
        keyring: `SEALED`; `OFF`, where the policy does without the kernel's check of
            signatures; `FAILED`.
        manifest: `PENDING` until the tree was checked; `VERIFIED`; `REPORTED`, where there were
            findings and the policy does not enforce; `FAILED`.
        require: what a program must have: ``manifest``, ``signature`` or ``both``.
        release: operating system and version of the manifest, for people; empty before it counts.
        revoked: digests that no file may have, as texts.
    """

    __slots__ = ("keyring", "manifest", "release", "require", "revoked")

    def __init__(
        self,
        keyring: str,
        manifest: str,
        require: str,
        release: str = "",
        revoked: "Sequence[str]" = (),
    ) -> None:
        self.keyring = keyring
        self.manifest = manifest
        self.require = require
        self.release = release
        self.revoked = revoked

    def require_ready(self, path: str) -> None:
        """Raise VerisealError (``not-sealed``, ``not-verified``) unless programs may run."""
        if self.keyring not in (SEALED, OFF):
            raise _not_ready(path, "not-sealed", "this boot is not sealed", self.keyring)
        if self.require != "signature" and self.manifest not in (VERIFIED, REPORTED):
            problem = "the tree was not checked in this boot"
            raise _not_ready(path, "not-verified", problem, self.manifest)


def write(state: State, report: dict[str, object], path: str = PATH) -> None:
    """Replace the report in one step. Keys of the head that ``report`` has are not taken.

    Raises OSError.
    """
    import json

    body = {key: value for key, value in report.items() if key not in _HEAD}
    head = _opening(boot_id()) + "".join(f'  "{key}": "{getattr(state, key)}",\n' for key in _STATE)
    head += _RELEASE + json.dumps(state.release)[1:-1] + '",\n'
    head += _REVOKED + json.dumps(list(state.revoked))[1:-1] + "],\n"
    # The head ends with a comma, so something has to follow.
    text = head + json.dumps({"veriseal": __version__, **body}, indent=2).removeprefix("{\n") + "\n"
    replace(path, [text.encode()])


def read(path: str = PATH) -> dict[str, object]:
    """The report of this boot, whatever it says.

    Raises VerisealError: ``no-boot-report``, ``report-not-trusted`` (owner, mode, type),
    ``report-damaged``, ``report-of-another-boot``.
    """
    report = _parse(_read_trusted(path), path)
    if report.get("boot_id") != boot_id():
        raise VerisealError(
            "report-of-another-boot",
            "the boot report is not of this boot",
            path=path,
            expected=boot_id(),
            found=report.get("boot_id"),
            remedy=_REMEDY,
        )
    return report


def state(path: str = PATH) -> State:
    """The head of this boot's report. Raises VerisealError as `read` does.

    The launcher's way: the head is compared with what the agent writes, line by line, and the
    end must be there; JSON is parsed only to explain a refusal.
    """
    data = _read_trusted(path)
    opening = _opening(boot_id()).encode()
    lines = data[len(opening) :].split(b"\n", len(_STATE) + 2)
    if data.startswith(opening) and data.endswith(_END) and len(lines) == len(_STATE) + 3:
        values = [
            value
            for key, line in zip(_STATE, lines, strict=False)
            for value in _STATE[key]
            if line == f'  "{key}": "{value}",'.encode()
        ]
        release = _between(lines[-3], _RELEASE, '",')
        revoked = _between(lines[-2], _REVOKED, "],")
        if len(values) == len(_STATE) and release is not None and revoked is not None:
            # Digests hold no quotes.
            keyring, manifest, require = values
            return State(keyring, manifest, require, release, revoked.split('"')[1::2])
    read(path)
    raise VerisealError("report-damaged", "its head is not as written", path=path, remedy=_REMEDY)


def _between(line: bytes, before: str, after: str) -> str | None:
    text = line.decode("ascii", "replace")
    if not text.startswith(before) or not text.endswith(after):
        return None
    return text[len(before) : -len(after)]


def _opening(boot: str) -> str:
    return f'{{\n  "schema": {SCHEMA},\n  "boot_id": "{boot}",\n'


def _not_ready(path: str, reason: str, problem: str, found: str) -> VerisealError:
    failure = read(path).get("failure")
    if isinstance(failure, dict):
        found = str(failure.get("problem"))
    return VerisealError(reason, problem, path=path, found=found, remedy=_REMEDY)


def _read_trusted(path: str) -> bytes:
    """The report's bytes, if only root can have written them. Raises VerisealError."""
    fd = open_trusted(
        path,
        "boot report",
        missing="no-boot-report",
        untrusted="report-not-trusted",
        remedy=_REMEDY,
    )
    try:
        return posix.read(fd, min(posix.fstat(fd).st_size, MAX_SIZE) + 1)
    finally:
        posix.close(fd)


def _parse(data: bytes, path: str) -> dict[str, object]:
    import json

    problem = f"larger than {MAX_SIZE} bytes"
    if len(data) <= MAX_SIZE:
        try:
            report = json.loads(data)
        except (ValueError, RecursionError) as error:
            problem = f"not JSON: {error}"
        else:
            if isinstance(report, dict) and report.get("schema") == SCHEMA:
                return report
            problem = f"not schema {SCHEMA}"
    raise VerisealError("report-damaged", problem, path=path, remedy=_REMEDY)
