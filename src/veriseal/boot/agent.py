"""The seal step as a whole: settings, plan, kernel, report. Runs once, in the initrd."""

import os
import time
from collections.abc import Callable
from typing import Any

from veriseal import __version__, journal, osrelease, policy, report
from veriseal.boot import plan, seal
from veriseal.errors import VerisealError

INITRD_RELEASE = "/etc/initrd-release"
"""Present in an initrd only: systemd decides by the same file."""


def make_plan() -> plan.Plan:
    """The certificates this machine would enrol. Changes nothing. Raises VerisealError."""
    return plan.make(policy.load(), osrelease.read())


def run(say: Callable[[str], None]) -> dict[str, Any]:
    """Seal this boot. Returns the boot report that was written.

    ``say`` gets a line for people after each step; the journal gets the same as a record.

    Raises VerisealError: ``not-root`` and ``not-initrd`` before anything is touched; all others
    after writing a report that says what failed: then the root must not be switched.
    """

    def step(message_id: str, text: str, priority: int = journal.INFO) -> None:
        say(text)
        journal.send(message_id, priority, text)

    # Outside the try: who starts this by hand must not spoil the report of a good boot.
    _require_initrd_and_root()
    started = time.monotonic()
    try:
        sealed = _seal(step)
        result = {
            "veriseal": __version__,
            "kernel": os.uname().release,
            "keyring": sealed.as_json(),
            "require_signatures": True,
            "seconds": round(time.monotonic() - started, 3),
        }
        report.write(True, result)
    except Exception as error:
        failure = _as_error(error)
        _record_failure(failure)
        raise failure from error
    step(journal.SEAL_DONE, f"sealed with {len(sealed.keys)} certificates", journal.NOTICE)
    return result


def _seal(step: Callable[..., None]) -> seal.Sealed:
    planned = make_plan()
    for path, why in planned.ignored:
        step(journal.CERTIFICATE_IGNORED, f"ignored {path}: {why}", journal.WARNING)
    step(journal.CERTIFICATES_FOUND, f"found {len(planned.releases)} certificates")
    if seal.is_sealed():
        # Keyrings outlive a second start of the agent.
        return seal.check_again(planned, _sealed_earlier(), step)
    return seal.seal(planned, step)


def _sealed_earlier() -> seal.Sealed:
    try:
        report.require_sealed()
        return seal.Sealed.from_json(report.read().get("keyring"))
    except VerisealError as error:
        raise VerisealError(
            "sealed-by-another",
            "the .fs-verity keyring is sealed already, and not by this agent in this boot",
            found=error,
            remedy="Find what seals it before veriseal-seal.service, and remove it",
        ) from None


def _require_initrd_and_root() -> None:
    if os.geteuid() != 0:
        raise VerisealError("not-root", "only root can fill the .fs-verity keyring")
    if not os.path.exists(INITRD_RELEASE):
        raise VerisealError(
            "not-initrd",
            "this is not an initrd",
            path=INITRD_RELEASE,
            expected="to run before the root file system is mounted",
            remedy="Enable the dracut module veriseal; to look only, use --dry-run",
        )


def _as_error(error: Exception) -> VerisealError:
    if isinstance(error, VerisealError):
        return error
    if not isinstance(error, OSError):
        return VerisealError("internal", f"the agent failed: {type(error).__name__}: {error}")
    where = os.fsdecode(error.filename) if error.filename is not None else None
    return VerisealError("system-call", error.strerror or str(error), path=where)


def _record_failure(failure: VerisealError) -> None:
    journal.send(
        journal.SEAL_FAILED,
        journal.ERROR,
        f"not sealed: {failure}",
        reason=failure.reason,
        path=failure.path,
        remedy=failure.remedy,
    )
    try:
        report.write(False, {"veriseal": __version__, "failure": failure.as_json()})
    except OSError as error:
        # The launcher refuses without a report, so nothing is lost by its absence.
        journal.send(journal.SEAL_FAILED, journal.ERROR, f"no boot report: {error}")
