"""`veriseal enable`: verity with its signature, resumable, and refusals that say why."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from veriseal import merkle
from veriseal.digest import SHA512
from veriseal.errors import VerisealError
from veriseal.kernel import verity
from veriseal.merkle import Parameters

from . import helpers
from .conftest import RELEASE_KEYS, USABLE_KEYS
from .helpers import Result, Signer

pytestmark = pytest.mark.kernel

Cli = Callable[..., Result]


def check_stored_signature(path: str, wanted: bytes) -> None:
    """The kernel has this very signature for the file, as far as it can show it."""
    fd = os.open(path, os.O_RDONLY)
    try:
        if helpers.shows_signature(path):
            assert verity.read_signature(fd, path) == wanted
        else:
            with pytest.raises(VerisealError) as caught:
                verity.read_signature(fd, path)
            assert caught.value.reason == "signature-unreadable"
    finally:
        os.close(fd)


def has_verity(path: str) -> bool:
    fd = os.open(path, os.O_RDONLY)
    try:
        verity.measure(fd, path)
    except VerisealError as error:
        return error.reason != "no-verity"
    else:
        return True
    finally:
        os.close(fd)


@pytest.mark.parametrize("parameters", [helpers.PLAIN, Parameters(SHA512)], ids=["256", "512"])
@pytest.mark.parametrize("name", RELEASE_KEYS)
def test_every_kind_of_release_key_that_the_kernel_knows_is_taken(
    place: str, signers: dict[str, Signer], name: str, parameters: Parameters
) -> None:
    program = helpers.read("/usr/bin/true")
    with helpers.enrolled(signers[name]):
        if name in USABLE_KEYS:
            helpers.install(f"{place}/program", program, signers[name], parameters)
            assert helpers.run([f"{place}/program"]).status == 0
        else:
            with pytest.raises(VerisealError) as caught:
                helpers.install(f"{place}/program", program, signers[name], parameters)
            assert caught.value.reason == "signature-mismatch"


def test_sign_then_enable_with_the_command_line(place: str, rsa: Signer, cli: Cli) -> None:
    program = helpers.write(f"{place}/program", b"contents")
    digest = merkle.data_digest(b"contents", helpers.PLAIN)
    assert cli("sign", "--key", rsa.key_path, "--cert", rsa.cert_path, program).status == 0
    with helpers.enrolled(rsa):
        done = cli("enable", "--json", program)
    assert done.status == 0
    assert done.err == "1 enabled, 0 already, 0 failed\n"
    report = json.loads(done.out)
    assert report["files"] == [{"path": program, "state": "enabled", "digest": str(digest)}]
    check_stored_signature(program, helpers.read(f"{program}.sig"))


def test_the_time_of_a_change_stays_what_it_was(place: str, rsa: Signer, cli: Cli) -> None:
    program = helpers.write(f"{place}/program", b"contents")
    helpers.write(f"{program}.sig", helpers.sign(b"contents", rsa))
    changed = 1_500_000_000_987_654_321
    os.utime(program, ns=(changed, changed))
    with helpers.enrolled(rsa):
        assert cli("enable", program).status == 0
    assert os.stat(program).st_mtime_ns == changed


def test_a_second_run_says_that_it_is_done_already(place: str, rsa: Signer, cli: Cli) -> None:
    for number in range(3):
        helpers.write(f"{place}/{number}", b"%d" % number)
        helpers.write(f"{place}/{number}.sig", helpers.sign(b"%d" % number, rsa))
    with helpers.enrolled(rsa):
        assert cli("enable", place).err == "3 enabled, 0 already, 0 failed\n"
        again = cli("enable", place)
    assert again.status == 0
    assert again.err == "0 enabled, 3 already, 0 failed\n"


def test_another_digest_than_the_wanted_one_names_both(place: str, rsa: Signer, cli: Cli) -> None:
    path = f"{place}/program"
    salted = Parameters(salt=b"other")
    measured = helpers.install(path, b"contents", parameters=salted)
    helpers.write(f"{path}.sig", helpers.sign(b"contents", rsa))
    done = cli("enable", path)
    assert done.status == 1
    assert str(measured) in done.err
    assert str(merkle.data_digest(b"contents", helpers.PLAIN)) in done.err


def test_an_enabled_file_without_its_signature_is_not_counted_as_done(
    place: str, rsa: Signer, cli: Cli
) -> None:
    path = f"{place}/program"
    helpers.install(path, b"contents")
    helpers.write(f"{path}.sig", helpers.sign(b"contents", rsa))
    done = cli("enable", path)
    if helpers.shows_signature(path):
        assert done.status == 1
        assert "A signature cannot be added later" in done.err
    else:
        # Nobody can tell; the kernel will refuse the file once signatures are required.
        assert done.err == "0 enabled, 1 already, 0 failed\n"


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_signatures_of_other_tools_are_accepted(
    place: str, rsa: Signer, cli: Cli, algorithm: str
) -> None:
    path = helpers.write(f"{place}/program", b"contents")
    sign = ["fsverity", "sign", path, f"{place}/theirs.sig", f"--hash-alg={algorithm}"]
    helpers.must_run(*sign, f"--key={rsa.key_path}", f"--cert={rsa.cert_path}")
    with helpers.enrolled(rsa):
        options = ("--signature", f"{place}/theirs.sig", "--hash-alg", algorithm)
        assert cli("enable", path, *options).status == 0
    check_stored_signature(path, helpers.read(f"{place}/theirs.sig"))
    if helpers.shows_signature(path):
        dumped = helpers.must_bytes("fsverity", "dump_metadata", "signature", path)
        assert dumped == helpers.read(f"{place}/theirs.sig")
    # And the other way round: what they sign is what we sign.
    ours = f"{place}/ours.sig"
    credentials = ("--key", rsa.key_path, "--cert", rsa.cert_path, "--hash-alg", algorithm)
    assert cli("sign", path, "--out", ours, *credentials).status == 0
    assert helpers.read(ours) == helpers.read(f"{place}/theirs.sig")


def test_a_signature_of_openssl_that_names_the_key_identifier_is_accepted(
    place: str, rsa: Signer, cli: Cli
) -> None:
    path = helpers.write(f"{place}/program", b"contents")
    formatted = merkle.data_digest(b"contents", helpers.PLAIN).formatted()
    helpers.write(f"{place}/formatted", formatted)
    helpers.must_run(
        *("openssl", "cms", "-sign", "-binary", "-noattr", "-nocerts", "-keyid", "-md", "sha256"),
        *("-signer", rsa.cert_path, "-inkey", rsa.key_path, "-in", f"{place}/formatted"),
        *("-outform", "DER", "-out", f"{path}.sig"),
    )
    with helpers.enrolled(rsa):
        done = cli("enable", "--cert", rsa.cert_path, path)
    assert done.err == "1 enabled, 0 already, 0 failed\n"


def signed_tree(place: str, rsa: Signer, count: int) -> list[str]:
    paths = []
    for number in range(count):
        data = b"%d" % number * 40000
        paths.append(helpers.write(f"{place}/tree/{number:03}", data))
        helpers.write(f"{paths[-1]}.sig", helpers.sign(data, rsa))
    return paths


# Not on btrfs: a process killed while it enables verity can make Linux 6.1 give up the whole file
# system ("failed to start transaction in verity rollback", then forced read-only).
@pytest.mark.parametrize("place", ["ext4"], indirect=True)
def test_killed_in_the_middle_it_can_be_run_again(place: str, rsa: Signer, cli: Cli) -> None:
    paths = signed_tree(place, rsa, 60)
    with helpers.enrolled(rsa):
        process = subprocess.Popen(
            [helpers.VERISEAL, "enable", f"{place}/tree"], start_new_session=True
        )
        while not has_verity(paths[10]):
            assert process.poll() is None, "it was over before it could be killed"
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        done = [path for path in paths if has_verity(path)]
        assert 0 < len(done) < len(paths)
        # Nothing is left half done: what has verity has its signature too.
        for path in done:
            check_stored_signature(path, helpers.read(f"{path}.sig"))
        again = cli("enable", f"{place}/tree")
        assert again.status == 0
        assert again.err == f"{60 - len(done)} enabled, {len(done)} already, 0 failed\n"


def system_time(pid: int) -> float:
    """Seconds that a process has spent in the kernel."""
    fields = helpers.read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return int(fields[12]) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("place", ["ext4"], indirect=True)
def test_killed_in_the_middle_of_one_file_it_leaves_that_file_as_it_was(
    place: str, rsa: Signer, cli: Cli
) -> None:
    path = helpers.write(f"{place}/large", b"head")
    os.truncate(path, 64 << 20)
    process = subprocess.Popen(["fsverity", "enable", path])
    while system_time(process.pid) < 0.8:
        assert process.poll() is None, "it was over before it could be killed"
    # While the kernel builds the tree nobody can open the file for writing.
    assert helpers.outcome(lambda: os.open(path, os.O_WRONLY)) == "ETXTBSY"
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not has_verity(path)
    os.truncate(path, 4)
    helpers.write(f"{path}.sig", helpers.sign(b"head", rsa))
    with helpers.enrolled(rsa):
        assert cli("enable", path).status == 0


@pytest.fixture
def ext4_without_verity(tmp_path: str) -> Iterator[str]:
    """A mounted ext4 that was made without the feature."""
    mount = f"{tmp_path}/mount"
    os.mkdir(mount)
    helpers.must_run("mkfs.ext4", "-q", "-O", "^verity", f"{tmp_path}/image", "8M")
    helpers.must_run("mount", "-o", "loop", f"{tmp_path}/image", mount)
    yield mount
    helpers.must_run("umount", mount)


def refused(cli: Cli, path: str, reason: str, *options: str) -> str:
    """The message of a refusal; stdout says the same and nothing more."""
    done = cli("enable", "--json", path, *options)
    assert done.status == 1
    files = json.loads(done.out)["files"]
    assert [entry["error"]["reason"] for entry in files] == [reason]
    assert path in done.err
    assert "0 enabled" in done.err
    return done.err


def test_refused_on_ext4_without_the_feature(
    ext4_without_verity: str, rsa: Signer, cli: Cli
) -> None:
    path = helpers.write(f"{ext4_without_verity}/f", b"x")
    helpers.write(f"{path}.sig", helpers.sign(b"x", rsa))
    assert "tune2fs -O verity" in refused(cli, path, "feature-off")


def test_refused_on_tmpfs(rsa: Signer, cli: Cli) -> None:
    path = helpers.write("/run/enable-test/f", b"x")
    helpers.write(f"{path}.sig", helpers.sign(b"x", rsa))
    assert "ext4" in refused(cli, path, "no-filesystem-support")


def test_refused_while_the_file_is_open_for_writing(place: str, rsa: Signer, cli: Cli) -> None:
    path = helpers.write(f"{place}/f", b"x")
    helpers.write(f"{path}.sig", helpers.sign(b"x", rsa))
    with helpers.enrolled(rsa):
        with open(path, "ab"):
            assert "fuser" in refused(cli, path, "open-for-writing")
        assert not has_verity(path)
        assert cli("enable", path).status == 0


def test_refused_with_an_empty_keyring_or_another_certificate(
    place: str, rsa: Signer, stranger: Signer, cli: Cli
) -> None:
    path = helpers.write(f"{place}/f", b"x")
    helpers.write(f"{path}.sig", helpers.sign(b"x", rsa))
    refused(cli, path, "not-enrolled")
    with helpers.enrolled(stranger):
        refused(cli, path, "not-enrolled")
    assert not has_verity(path)


def test_refused_with_the_signature_of_another_file(place: str, rsa: Signer, cli: Cli) -> None:
    path = helpers.write(f"{place}/f", b"x")
    helpers.write(f"{path}.sig", helpers.sign(b"y", rsa))
    with helpers.enrolled(rsa):
        # By the kernel, and before it is asked at all.
        refused(cli, path, "signature-mismatch")
        refused(cli, path, "signature-mismatch", "--cert", rsa.cert_path)
    assert not has_verity(path)


@pytest.mark.parametrize("damage", ["", "not DER", "cut", "trailing"])
def test_refused_with_a_malformed_signature(place: str, rsa: Signer, cli: Cli, damage: str) -> None:
    der = helpers.sign(b"x", rsa)
    broken = {"cut": der[:-1], "trailing": der + b"\0"}.get(damage, damage.encode())
    path = helpers.write(f"{place}/f", b"x")
    helpers.write(f"{path}.sig", broken)
    with helpers.enrolled(rsa):
        refused(cli, path, "malformed-signature")
    assert not has_verity(path)


def test_refused_without_any_signature(place: str, cli: Cli) -> None:
    path = helpers.write(f"{place}/f", b"x")
    assert "veriseal sign" in refused(cli, path, "no-signature")
    assert not has_verity(path)


def test_a_symbolic_link_is_not_followed(place: str, rsa: Signer, cli: Cli) -> None:
    target = helpers.write(f"{place}/f", b"x")
    os.symlink(target, f"{place}/link")
    helpers.write(f"{place}/link.sig", helpers.sign(b"x", rsa))
    refused(cli, f"{place}/link", "symbolic-link")
    assert not has_verity(target)


def test_a_fifo_is_refused_and_never_waited_for(place: str, cli: Cli) -> None:
    os.mkfifo(f"{place}/fifo")
    refused(cli, f"{place}/fifo", "not-a-regular-file")


def test_in_a_tree_each_failure_is_named_and_the_rest_is_done(
    place: str, rsa: Signer, cli: Cli
) -> None:
    tree = f"{place}/tree"
    for name, data in (("good", b"good"), ("sub/good", b"more"), ("bad", b"bad")):
        helpers.write(f"{tree}/{name}", data)
        helpers.write(f"{tree}/{name}.sig", helpers.sign(data.replace(b"bad", b"x"), rsa))
    helpers.write(f"{tree}/plain", b"without a signature")
    os.mkfifo(f"{tree}/fifo")
    os.symlink("good", f"{tree}/link")
    with helpers.enrolled(rsa):
        done = cli("enable", "--json", tree)
    assert done.status == 1
    assert "2 enabled, 0 already, 1 failed, 1 without a signature" in done.err
    states = {
        os.path.relpath(entry["path"], tree): entry.get("state") or entry["error"]["reason"]
        for entry in json.loads(done.out)["files"]
    }
    expected = {"good": "enabled", "sub/good": "enabled", "bad": "signature-mismatch"}
    assert states == {**expected, "plain": "without-signature"}
    assert not has_verity(f"{tree}/bad")
    assert not has_verity(f"{tree}/plain")
