"""The #! line: what the kernel would start, or a refusal where it and we might disagree.

The cases are those of fs/binfmt_script.c and its history.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriseal.errors import VerisealError
from veriseal.script import HEADER_SIZE, interpreter

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("line", "name", "argument"),
    [
        (b"#!/bin/sh\n", "/bin/sh", None),
        (b"#!/bin/sh", "/bin/sh", None),
        (b"#! /bin/sh\n", "/bin/sh", None),
        (b"#!\t \t/bin/sh\n", "/bin/sh", None),
        (b"#!/bin/sh -e\n", "/bin/sh", b"-e"),
        (b"#!/bin/sh  -e  \t\n", "/bin/sh", b"-e"),
        (b"#!/bin/sh\t-e\n", "/bin/sh", b"-e"),
        # All that follows is one argument.
        (b"#!/bin/sh -e -u\n", "/bin/sh", b"-e -u"),
        (b"#!/bin/sh \n", "/bin/sh", None),
        # Only a newline ends the line; a carriage return is part of the name.
        (b"#!/bin/sh\r\n", "/bin/sh\r", None),
        (b"#!/bin/sh -e\r\n", "/bin/sh", b"-e\r"),
        (b"#!/bin/\xff\n", "/bin/\udcff", None),
        (b"#!/bin/sh\n\0binary", "/bin/sh", None),
        (b"#!/" + b"x" * 253 + b"\n", None, None),
        (b"#!/" + b"x" * 252 + b"\n", "/" + "x" * 252, None),
    ],
)
def test_the_interpreter_and_its_one_argument(
    line: bytes, name: str | None, argument: bytes | None
) -> None:
    header = line[:HEADER_SIZE]
    if name is None:
        with pytest.raises(VerisealError) as caught:
            interpreter(header, "/script")
        assert "longer than" in str(caught.value)
    else:
        assert interpreter(header, "/script") == (name, argument)


def test_an_elf_program_has_none() -> None:
    assert interpreter(b"\x7fELF\x02\x01\x01", "/program") is None


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"", "unknown-format"),
        (b"#", "unknown-format"),
        (b" #!/bin/sh\n", "unknown-format"),
        (b"\xef\xbb\xbf#!/bin/sh\n", "unknown-format"),
        (b"\x7fEL", "unknown-format"),
        (b"MZ", "unknown-format"),
        (b"#!", "bad-interpreter"),
        (b"#!\n", "bad-interpreter"),
        (b"#! \t\n/bin/sh\n", "bad-interpreter"),
        (b"#!sh\n", "bad-interpreter"),
        (b"#!./sh\n", "bad-interpreter"),
        (b"#!/bin/sh\0 -e\n", "bad-interpreter"),
        (b"#!/bin/sh\0", "bad-interpreter"),
        (b"#!/bin/sh " + b"x" * 300, "bad-interpreter"),
        (b"#!/usr/bin/env sh\n", "interpreter-by-path"),
        (b"#!/usr/bin/env -S sh -e\n", "interpreter-by-path"),
        (b"#!/opt/env\n", "interpreter-by-path"),
    ],
)
def test_what_is_refused(header: bytes, reason: str) -> None:
    with pytest.raises(VerisealError) as caught:
        interpreter(header[:HEADER_SIZE], "/script")
    assert caught.value.reason == reason
    assert caught.value.path == "/script"
    assert caught.value.remedy is not None


@given(st.binary(max_size=HEADER_SIZE))
def test_any_header_gives_an_absolute_interpreter_or_a_refusal(header: bytes) -> None:
    for data in (header, (b"#!" + header)[:HEADER_SIZE]):
        try:
            found = interpreter(data, "/script")
        except VerisealError:
            continue
        assert found is None or found[0].startswith("/")
