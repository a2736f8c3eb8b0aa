"""Which certificates the kernel's keyring has, as the boot report says."""

from typing import Any

from veriseal import report
from veriseal.errors import VerisealError


def enrolled() -> frozenset[str] | None:
    """SHA-256 of the certificates that this boot enrolled; None if no agent enrolled any.

    Raises VerisealError for a report that is there and cannot be believed.
    """
    try:
        said: Any = report.read().get("kernel_keyring")
    except VerisealError as error:
        if error.reason == "no-boot-report":
            return None
        raise
    keys = said.get("keys") if isinstance(said, dict) else None
    if not isinstance(keys, list):
        return None
    return frozenset(str(key.get("fingerprint")) for key in keys if isinstance(key, dict))
