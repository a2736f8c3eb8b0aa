"""What every parser owes its caller: a value, or one VerisealError that can be shown."""

import json
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from cryptography.utils import CryptographyDeprecationWarning

from veriseal.errors import VerisealError

Value = TypeVar("Value")
Arguments = ParamSpec("Arguments")

_REASON = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")


def attempt(
    call: Callable[Arguments, Value], *arguments: Arguments.args, **named: Arguments.kwargs
) -> Value | VerisealError:
    """What ``call`` returns, or the error that it raised, which must be one that can be shown.

    Any other exception passes through: it is what a fuzzer is looking for. A warning is one too,
    for it would be printed into the journal of a boot.
    """
    with strict():
        try:
            return call(*arguments, **named)
        except VerisealError as error:
            check_error(error)
            return error


@contextmanager
def strict() -> Iterator[None]:
    """Have warnings raised, but for those that nobody sees."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        # Said of some certificates that are refused right after.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        yield


def check_error(error: VerisealError) -> None:
    """That the error has a stable reason, one printable line of text, and a place in JSON."""
    assert _REASON.fullmatch(error.reason), f"the reason {error.reason!r}"
    text = str(error)
    assert text.isprintable(), f"not one printable line: {text!r}"
    assert error.problem, "no problem"
    fields = error.as_json()
    assert all(isinstance(value, str) for value in fields.values()), fields
    assert json.loads(json.dumps(fields)) == fields
