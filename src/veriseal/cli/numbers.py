"""Numbers on the command line."""

import os
import time

from veriseal.errors import UsageError
from veriseal.fields import MAX_NUMBER


def number(name: str, text: str, least: int) -> int:
    """The whole number ``text``, the value of the option ``name``. Raises UsageError."""
    # Python makes no number of thousands of digits.
    digits = text.isascii() and text.isdigit() and len(text) <= len(str(MAX_NUMBER))
    if not digits or not least <= int(text) <= MAX_NUMBER:
        raise UsageError(f"{name}: not a number from {least} to {MAX_NUMBER}: {text}")
    return int(text)


def created(given: str | None) -> int:
    """Seconds since 1970: the value of ``--created``, SOURCE_DATE_EPOCH, or else now."""
    if given is not None:
        return number("--created", given, 0)
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    return int(time.time()) if epoch is None else number("SOURCE_DATE_EPOCH", epoch, 0)
