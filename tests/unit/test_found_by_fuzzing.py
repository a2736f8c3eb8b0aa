"""Defects that random input has found, each by its name; see tests/fuzz."""

import base64
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from veriseal import certificate, collisions, osrelease, policy, script, signature, voa
from veriseal.boot import cmdline, seal
from veriseal.build import keys
from veriseal.digest import SHA256, Digest
from veriseal.errors import VerisealError
from veriseal.kernel import keyring, mounts
from veriseal.pattern import Patterns
from veriseal.unit import syntax

pytestmark = pytest.mark.unit


def refused(call: Callable[[], object], reason: str) -> VerisealError:
    with pytest.raises(VerisealError) as caught:
        call()
    assert caught.value.reason == reason
    assert str(caught.value).isprintable()
    return caught.value


@pytest.mark.parametrize("number", ["9" * 5000, "0x" + "f" * 5000, "[0x" + "f" * 5000 + "]"])
def test_a_setting_with_more_digits_than_python_converts(number: str) -> None:
    data = f"[boot]\nsignatures_needed = {number}\n".encode()
    refused(lambda: policy.parse(data, "veriseal.toml"), "bad-configuration")


@pytest.mark.parametrize("serial", ["ffffffff", "80000000", "10000000000", "-5", "0x000001"])
def test_a_forged_line_with_a_serial_that_no_key_has(serial: str) -> None:
    line = f"{serial} I------     1 perm 1f0b0000     0     0 keyring   .fs-verity: empty\n"
    assert keyring.parse_proc_keys_line(line, "keyring", ".fs-verity") is None


def test_a_unit_of_a_hundred_thousand_continued_lines_is_read_quickly() -> None:
    started = time.process_time()
    (found,) = syntax.parse(b"[Service]\nExecStart=a" + b"\\\n" * 250_000 + b"b\n", "unit")
    assert found.value == "a" + " " * 250_000 + "b"
    assert time.process_time() - started < 1


def test_mounts_that_go_round_in_a_circle() -> None:
    line = b"%d %d 0:2 / / rw - overlay x rw\n"
    lines = [line % ids for ids in ((1, 0), (2, 1), (1, 2))]
    refused(lambda: mounts.at(mounts.parse(lines), "/"), "bad-mountinfo")


def test_a_command_line_of_one_long_word_is_read_quickly() -> None:
    started = time.process_time()
    assert cmdline.image("a" * 2_000_000) is None
    assert cmdline.image('"' + "a " * 1_000_000) is None
    assert time.process_time() - started < 5


@pytest.mark.parametrize("tag", [6, 83])
def test_a_name_in_a_certificate_of_a_type_that_is_no_string(
    certify: Callable[..., bytes], rsa_key: Any, tag: int
) -> None:
    text = certify(rsa_key, subject="Acme")
    der = base64.b64decode(b"".join(text.splitlines()[1:-1]))
    der = der.replace(b"\x0c\x04Acme", bytes((tag,)) + b"\x04Acme")
    block = b"-----BEGIN CERTIFICATE-----\n%b-----END CERTIFICATE-----\n"
    data = block % base64.encodebytes(der)
    refused(lambda: certificate.load(data, "x.pem"), "malformed-certificate")


def test_a_subject_with_a_newline_forges_no_second_line(
    certify: Callable[..., bytes], rsa_key: Any
) -> None:
    found = certificate.load(certify(rsa_key, subject="Acme\nsealed"), "x.pem")
    other = certificate.load(certify(rsa_key, subject="Other"), "a\nb.pem")
    refused(lambda: collisions.check([other, found]), "certificate-collision")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ID=..\n", "bad-os-release"),
        ("ID=.\n", "bad-os-release"),
        ("ID=/run/voa\n", "bad-os-release"),
        ("ID=fedora\nVERSION_ID=43/../..\n", "bad-os-release"),
        ("ID=fed\0ora\n", "bad-os-release"),
        ("ID='fed\x1bora'\n", "bad-os-release"),
    ],
)
def test_an_os_release_that_leads_out_of_the_directory_of_certificates(
    text: str, reason: str
) -> None:
    refused(lambda: voa.os_identifiers(osrelease.parse(text, "os-release")), reason)


@pytest.mark.parametrize(
    ("line", "argument"),
    [
        (b"#!/bin/sh ", b""),
        (b"#!/bin/sh -e \t", b"-e \t"),
        (b"#!/bin/sh \n", None),
        # Here the kernel's buffer is full.
        (b"#!/bin/sh".ljust(254), b""),
        (b"#!/bin/sh".ljust(255), None),
    ],
)
def test_blanks_at_the_end_of_a_hash_bang_line_without_newline(
    line: bytes, argument: bytes | None
) -> None:
    assert script.interpreter(line, "/script") == ("/bin/sh", argument)


def test_a_signature_with_a_bit_string_that_lacks_its_first_byte(
    certify: Callable[..., bytes], rsa_key: Any
) -> None:
    signer = certificate.load(certify(rsa_key), "x.pem")
    der = signature.make(Digest(SHA256, bytes(32)), rsa_key, signer)
    sha256 = bytes.fromhex("0609608648016503040201")
    assert sha256 + b"\5\0" in der
    # An algorithm that nobody knows, with parameters of any type.
    changed = der.replace(sha256 + b"\5\0", sha256[:-1] + b"\x65\3\0")
    refused(lambda: signature.inspect(changed), "malformed-signature")


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")])
def test_a_boot_report_with_a_serial_that_is_no_number(number: float) -> None:
    data = {"serial": number, "permissions": "0x0", "keys": []}
    refused(lambda: seal.Sealed.from_json(data), "report-damaged")


def test_a_private_key_that_is_a_byte_too_long(
    tmp_path: Path, ec_key: Any, key_pem: Callable[[Any], bytes]
) -> None:
    der = base64.b64decode(b"".join(key_pem(ec_key).splitlines()[1:-1]))
    assert (der[2], der[28], der[30], der[35]) == (0x87, 0x6D, 0x6B, 0x20)
    longer = bytearray(der)
    for at in (2, 28, 30, 35):
        longer[at] += 1
    longer.insert(36, 1)
    path = tmp_path / "key"
    block = b"-----BEGIN PRIVATE KEY-----\n%b-----END PRIVATE KEY-----\n"
    path.write_bytes(block % base64.encodebytes(longer))
    refused(lambda: keys.load(os.fspath(path), lambda: None), "not-a-key")


def test_a_pattern_of_many_names_is_read_quickly() -> None:
    started = time.process_time()
    deep = Patterns(["/a" * 20000])
    assert deep.lead_below(b"/a/a")
    assert not deep.lead_below(b"/b")
    long = Patterns(["/" + "a" * 500000])
    assert not long.cover(b"/a")
    assert time.process_time() - started < 5


def test_a_pattern_of_many_stars_is_matched_quickly() -> None:
    started = time.process_time()
    for text in ("/" + "*a" * 60 + "*b", "/" + "*" * 100 + "b", "/" + "*?" * 60 + "[b]"):
        assert not Patterns([text]).cover(b"/" + b"a" * 255)
    assert Patterns(["/*ab*ab*c"]).cover(b"/xabyaabzabc")
    assert time.process_time() - started < 5


@pytest.mark.parametrize("text", ["/[+--b]", "/[[:a:]]", "/[a&&b]", "/[a||b]", "/[a~~b]"])
def test_a_pattern_that_re_warns_of(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Patterns([text])
