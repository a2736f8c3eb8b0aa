"""The seal step as a whole: settings, trust set, kernel, report. Runs once, in the initrd."""

import os
import time
from collections.abc import Callable
from typing import Any

from veriseal import journal, osrelease, policy, report
from veriseal.boot import adopt, floor, gather, seal
from veriseal.boot.gather import Gathered
from veriseal.errors import VerisealError, path_of
from veriseal.report import State

INITRD_RELEASE = "/etc/initrd-release"
"""Present in an initrd only: systemd decides by the same file."""

Say = Callable[[str], None]
"""Called with a line for people after each step."""
Step = Callable[..., None]
"""Called after each step with its MESSAGE_ID, the line, perhaps a priority and fields."""


_MOST_LOGGED = 200
"""Ignored files that the journal gets; a disk can hold any number."""


def dry_run() -> Gathered:
    """What this system would trust in its initrd, or this initrd. Changes nothing.

    Raises VerisealError.
    """
    lowest = floor.read() if os.path.exists(INITRD_RELEASE) else floor.booted()
    return gather.installed(policy.load(), osrelease.read(), lowest)


def run(say: Say, warn: Say) -> dict[str, Any]:
    """Seal this boot. Returns the boot report that was written.

    ``say`` gets a line for people after each step; the journal gets the same as a record.
    ``warn`` gets the few lines that whoever stands before the machine must see.

    Raises VerisealError: ``not-root`` and ``not-initrd`` before anything is touched; all others
    after writing a report that says what failed: then the root must not be switched.
    """
    require_initrd_and_root()
    started = time.monotonic()
    step = stepper(say)
    # What holds until the settings are read.
    state = State(report.FAILED, report.PENDING, "both")
    try:
        settings = policy.load()
        # Before anything is written: the report of an earlier run in this boot is asked.
        earlier = _sealed_earlier() if settings.keyring != "off" else None
        gathered = gather.sealing(settings, osrelease.read(), floor.read())
        _tell(gathered, step, warn)
        result: dict[str, Any] = {"kernel": os.uname().release, "trust": gathered.as_json()}
        if settings.keyring == "off":
            _without_keyring(step)
            state = State(report.OFF, report.PENDING, "manifest")
        else:
            sealed = _seal(gathered, earlier, step)
            result |= {"kernel_keyring": sealed.as_json(), "require_signatures": True}
            state = State(report.SEALED, report.PENDING, settings.require)
        result["seconds"] = round(time.monotonic() - started, 3)
        report.write(state, result)
    except Exception as error:
        failure = as_error(error)
        state.keyring = report.FAILED
        record_failure(journal.SEAL_FAILED, "not sealed", failure, state, {})
        raise failure from error
    if state.keyring == report.SEALED:
        by = "" if sealed.by == seal.OWN else f" by {sealed.by}"
        count = len(sealed.keys)
        step(journal.SEAL_DONE, f"sealed{by} with {count} certificates", journal.NOTICE)
    return result


def stepper(say: Say) -> Step:
    """What tells people and the journal of each step."""

    def step(message_id: str, text: str, priority: int = journal.INFO, **fields: str) -> None:
        say(text)
        journal.send(message_id, priority, text, **fields)

    return step


def _without_keyring(step: Step) -> None:
    step(
        journal.KEYRING_OFF,
        'boot.keyring = "off": the kernel does not check signatures in this boot; '
        "programs are checked by manifest alone",
        journal.WARNING,
    )


def _seal(gathered: Gathered, earlier: seal.Sealed | None, step: Step) -> seal.Sealed:
    if earlier is not None:
        # Keyrings outlive a second start of the agent.
        return seal.check_again(gathered.trust, earlier, step)
    if adopt.is_sealed_by_another():
        return adopt.adopt(gathered.trust, step)
    return seal.seal(gathered.trust, step)


def _tell(gathered: Gathered, step: Step, warn: Say) -> None:
    trust = gathered.trust
    for one in trust.ignored[:_MOST_LOGGED]:
        step(journal.CERTIFICATE_IGNORED, f"ignored {one.path}: {one.why}", journal.WARNING)
    for text in gathered.warnings():
        step(journal.TRUST_WARNING, text, journal.WARNING)
    if gathered.not_used is not None:
        text = "the trust statement is not used, the certificates of the initrd count: "
        step(journal.STATEMENT_NOT_USED, text + gathered.not_used, journal.WARNING)
        warn(text + gathered.not_used)
    elif trust.statement:
        text = f"trust statement version {trust.statement} counts"
        step(journal.STATEMENT_READ, text, journal.NOTICE)
    step(journal.CERTIFICATES_FOUND, f"found {len(trust.releases)} certificates")


def _sealed_earlier() -> seal.Sealed | None:
    """What the agent sealed or took over earlier in this boot, if it did."""
    if not (own := seal.is_sealed()) and not adopt.is_sealed_by_another():
        return None
    try:
        if report.state().keyring != report.SEALED:
            raise VerisealError("not-sealed", "the boot report says that this boot is not sealed")
        return seal.Sealed.from_json(report.read().get("kernel_keyring"))
    except VerisealError as error:
        if not own:
            return None
        raise VerisealError(
            "sealed-by-another",
            "the .fs-verity keyring is sealed already, and not by this agent in this boot",
            found=error,
            remedy="Find what seals it before veriseal-seal.service, and remove it",
        ) from None


def require_initrd_and_root() -> None:
    """Raise VerisealError: who starts a step by hand must not spoil the report of a good boot."""
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


def as_error(error: Exception) -> VerisealError:
    """Whatever happened, as what a report and a person can be told."""
    if isinstance(error, VerisealError):
        return error
    if not isinstance(error, OSError):
        return VerisealError("internal", f"the agent failed: {type(error).__name__}: {error}")
    return VerisealError("system-call", error.strerror or str(error), path=path_of(error))


def record_failure(
    message_id: str, what: str, failure: VerisealError, state: State, body: dict[str, Any]
) -> None:
    """Put ``failure`` into the journal, and into the boot report besides ``body``.

    A failure that ``body`` holds already came first, and is kept.
    """
    journal.send(
        message_id,
        journal.ERROR,
        f"{what}: {failure}",
        reason=failure.reason,
        path=failure.path,
        remedy=failure.remedy,
    )
    try:
        report.write(state, {"failure": failure.as_json(), **body})
    except OSError as error:
        # The launcher refuses without a report, so nothing is lost by its absence.
        journal.send(message_id, journal.ERROR, f"no boot report: {error}")
