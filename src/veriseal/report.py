"""The boot report, /run/veriseal/boot.json: what the agent did, for the launcher and for people.

The launcher believes it only if root alone could have written it, during this boot.
On the launcher's path.
"""

import os
import stat

from veriseal.errors import VerisealError

DIRECTORY = "/run/veriseal"
PATH = f"{DIRECTORY}/boot.json"
SCHEMA = 1
MAX_SIZE = 1 << 20
"""Bytes. A larger report is not ours."""

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_REMEDY = "Boot with the veriseal agent in the initrd; journalctl -b -u veriseal-seal says more"


def boot_id() -> str:
    """This boot's random identifier, see random(4)."""
    with open(_BOOT_ID, encoding="utf-8") as file:
        return file.read().strip()


def write(sealed: bool, report: dict[str, object], path: str = PATH) -> None:
    """Replace the report in one step. Raises OSError."""
    import json

    head = _head(sealed).decode()
    text = head + json.dumps(report, indent=2).removeprefix("{") + "\n"
    directory = os.path.dirname(path)
    os.makedirs(directory, exist_ok=True)
    # Every user's launcher reads it, whatever the umask is.
    os.chmod(directory, 0o755)  # noqa: S103
    temporary = f"{path}.{os.getpid()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with open(fd, "w", encoding="utf-8") as file:
        os.fchmod(fd, 0o644)
        file.write(text)
    os.rename(temporary, path)


def read(path: str = PATH) -> dict[str, object]:
    """The report of this boot, sealed or not.

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


def require_sealed(path: str = PATH) -> None:
    """Raise VerisealError unless the report says that this boot is sealed.

    As `read`, and ``not-sealed``. The launcher's way: the head of the report is compared with
    what the agent writes for a sealed boot; JSON is parsed only to explain a refusal.
    """
    data = _read_trusted(path)
    if data.startswith(_head(sealed=True)):
        return
    report = read(path)
    failure = report.get("failure")
    why = failure.get("problem") if isinstance(failure, dict) else "another layout"
    raise VerisealError(
        "not-sealed", "this boot is not sealed", path=path, found=why, remedy=_REMEDY
    )


def _head(sealed: bool) -> bytes:
    """How a report of this boot begins, byte for byte."""
    lines = (
        "{",
        f'  "schema": {SCHEMA},',
        f'  "boot_id": "{boot_id()}",',
        f'  "sealed": {"true" if sealed else "false"},',
    )
    return "\n".join(lines).encode()


def _read_trusted(path: str) -> bytes:
    """The report's bytes, if only root can have written them. Raises VerisealError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise VerisealError(
            "no-boot-report", "there is no boot report", path=path, remedy=_REMEDY
        ) from None
    except OSError as error:
        raise VerisealError(
            "report-not-trusted", f"cannot be opened: {error.strerror}", path=path, remedy=_REMEDY
        ) from None
    try:
        status = os.fstat(fd)
        mode = stat.S_IMODE(status.st_mode)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != 0 or mode & 0o022:
            raise VerisealError(
                "report-not-trusted",
                "others than root could have written the boot report",
                path=path,
                expected="a regular file of uid 0, not writable by others",
                found=f"uid {status.st_uid}, mode {mode:04o}",
                remedy=_REMEDY,
            )
        # On tmpfs a regular file is read whole.
        return os.read(fd, MAX_SIZE + 1)
    finally:
        os.close(fd)


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
