"""What the launcher runs."""

import os

import pytest

from veriseal import journal, merkle
from veriseal.digest import algorithm
from veriseal.merkle import Parameters

from . import helpers
from .conftest import USABLE_KEYS, Program, Sealed
from .helpers import Signer, check_launch, launch

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("block_size", helpers.BLOCK_SIZES)
@pytest.mark.parametrize("name", ["sha256", "sha512"])
@pytest.mark.parametrize("kind", [kind for kind in USABLE_KEYS if kind in ("rsa2048", "p256")])
def test_rsa_and_ecdsa_with_every_hash_and_block_size(
    sealed: Sealed,
    signers: dict[str, Signer],
    place: str,
    kind: str,
    name: str,
    block_size: int,
) -> None:
    parameters = Parameters(algorithm(name), block_size)
    program = helpers.tiny_elf(7, size=200000)
    digest = helpers.install(f"{place}/program", program, signers[kind], parameters)
    check_launch(f"{place}/program", digest, 7)


@pytest.mark.parametrize("kind", USABLE_KEYS)
def test_every_usable_release_key(sealed: Sealed, signers: dict[str, Signer], kind: str) -> None:
    path = f"/verity/keys/{kind}"
    digest = helpers.install(path, helpers.tiny_elf(0), signers[kind])
    helpers.evict()
    check_launch(path, digest)


def test_an_empty_file_has_a_digest_and_a_signature_but_is_no_program(
    sealed: Sealed, rsa: Signer, place: str
) -> None:
    digest = helpers.install(f"{place}/empty", b"", rsa)
    assert digest == merkle.data_digest(b"", helpers.PLAIN)
    helpers.evict()
    assert helpers.read(f"{place}/empty") == b""
    reason = "unknown-format" if helpers.shows_signature(place) else "signature-unreadable"
    helpers.launch_refused(f"{place}/empty", reason, digest)


def test_a_file_of_one_gib(sealed: Sealed, one_gib: Program) -> None:
    assert os.stat(one_gib.path).st_size == 1 << 30
    helpers.evict()
    check_launch(one_gib.path, one_gib.digest, 42)


def test_through_a_symbolic_link(sealed: Sealed, rsa: Signer) -> None:
    helpers.install("/verity/link/program", helpers.tiny_elf(5), rsa)
    os.symlink("program", "/verity/link/link")
    assert launch("/verity/link/link").status == 5


def test_a_signed_script_with_a_signed_interpreter(sealed: Sealed, rsa: Signer) -> None:
    directory = "/verity/script"
    helpers.install(f"{directory}/dash", helpers.read("/usr/bin/dash"), rsa)
    script = f'#!{directory}/dash -e\nprintf "%s|" "$@"\ncase $- in *e*) exit 9 ;; esac\n'
    helpers.install(f"{directory}/script", script.encode(), rsa)
    done = launch(f"{directory}/script", "one", "two words", "")
    assert (done.status, done.out, done.err) == (9, b"one|two words||", "")


UNPRIVILEGED = ("DynamicUser=yes", "NoNewPrivileges=yes", "ProtectSystem=strict", "PrivateTmp=yes")


def test_as_an_unprivileged_user_with_no_new_privileges(sealed: Sealed, rsa: Signer) -> None:
    program = "/verity/unprivileged/cat"
    helpers.install(program, helpers.read("/usr/bin/cat"), rsa)
    properties = [word for one in UNPRIVILEGED for word in ("-p", one)]
    wrapper = ["systemd-run", "--quiet", "--pipe", "--wait", *properties]
    done = helpers.run([*wrapper, helpers.VERISEAL, "exec", program, "/proc/self/status"])
    assert done.status == 0, done.err
    fields = dict(line.split(":\t", 1) for line in done.out.decode().splitlines() if ":\t" in line)
    assert fields["NoNewPrivs"] == "1"
    assert int(fields["Uid"].split()[0]) > 60000
    assert int(fields["CapEff"], 16) == 0


def test_the_journal_explains_our_records(sealed: Sealed) -> None:
    helpers.must_run("journalctl", "--update-catalog")
    match = f"MESSAGE_ID={journal.SEAL_DONE}"
    shown = helpers.must_run("journalctl", "-b", "-x", "-n", "1", match)
    assert "Defined-By: veriseal" in shown
