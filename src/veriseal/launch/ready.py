"""May programs run in this boot at all? The first two checks of `checks`."""

from veriseal import report
from veriseal.errors import VerisealError
from veriseal.kernel import sysctl


def require_ready_system() -> report.State:
    """Raise VerisealError unless programs may run in this boot. Returns what they must have."""
    try:
        state = report.state()
    except FileNotFoundError as error:  # of the boot id: a missing report is a refusal of its own
        raise VerisealError(
            "no-proc-sys",
            "it cannot be seen which boot this is",
            path=error.filename,
            remedy="Start it with /proc mounted, and without ProcSubset=pid",
        ) from None
    state.require_ready(report.PATH)
    if state.keyring == report.SEALED:
        _require_sysctl()
    elif state.require == "signature":
        raise VerisealError(
            "nothing-required",
            "neither signatures nor the manifest count in this boot",
            path=report.PATH,
            remedy='Set launch.require = "manifest" where boot.keyring is "off", and boot again',
        )
    return state


def _require_sysctl() -> None:
    if not sysctl.read_require_signatures():
        raise VerisealError(
            "sysctl-off",
            "signatures are no longer required, though this boot was sealed",
            path=sysctl.REQUIRE_SIGNATURES,
            expected="1",
            found="0",
            remedy="Somebody with root wrote it: find out who, then boot again",
        )
