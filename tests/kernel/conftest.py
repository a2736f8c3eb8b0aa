"""The order of the tests, and what they share.

A keyring can be sealed once in a boot. So the tests that need it open come first; then everything
is prepared that cannot be made later; then `sealed` seals it with the real agent; then come the
tests of the sealed system. A test says where it belongs by using the fixture `sealed` or not.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import pytest

from veriseal import merkle, policy, report, signature
from veriseal.boot import agent, floor, seal
from veriseal.boot.floor import Floor
from veriseal.cli.main import main
from veriseal.digest import Digest
from veriseal.kernel import keyring, sysctl

from . import helpers
from .helpers import Result, Signer

FILESYSTEMS = {"ext4": "/verity", "btrfs": "/btrfs"}
AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
RELEASE_KEYS = {
    "rsa2048": "rsa:2048",
    "rsa3072": "rsa:3072",
    "rsa4096": "rsa:4096",
    "p256": "ecdsa:p256",
    "p384": "ecdsa:p384",
}
# Debian built its kernels without CONFIG_CRYPTO_ECDSA before 6.12: those take ECDSA certificates
# into the keyring, and then refuse every signature by them.
USABLE_KEYS = [
    name for name in RELEASE_KEYS if helpers.KERNEL_VERSION >= (6, 12) or name.startswith("rsa")
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_stage)


def _stage(item: pytest.Item) -> int:
    names = getattr(item, "fixturenames", ())
    # The large file is made in the background, and there is time for that until the end.
    return ("sealed" in names) + ("one_gib" in names)


@pytest.fixture(scope="session", autouse=True)
def in_the_guest() -> None:
    """These tests fill and seal the keyring of the kernel they run on, for good."""
    assert os.environ.get("VERISEAL_GUEST") == "1", "run these with: make kernel"
    assert os.geteuid() == 0


@pytest.fixture(autouse=True)
def keyring_state(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test finds and leaves the keyring as its place in the order says."""
    if "sealed" in request.fixturenames:
        request.getfixturevalue("sealed")
        assert seal.is_sealed()
        yield
        assert seal.is_sealed()
        assert sysctl.read_require_signatures()
    else:
        _require_open()
        yield
        _require_open()


def _require_open() -> None:
    assert not seal.is_sealed(), "a test that needs the open keyring ran after the seal"
    assert keyring.contents(keyring.fs_verity_keyring()) == []
    assert not sysctl.read_require_signatures()


@pytest.fixture(params=list(FILESYSTEMS))
def place(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty directory on a file system with verity; the test runs on each."""
    directory = f"{FILESYSTEMS[request.param]}/test"
    shutil.rmtree(directory, ignore_errors=True)
    os.mkdir(directory)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def signers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Signer]:
    """One release of every kind of key, and a stranger that the agent never enrols."""
    directory = str(tmp_path_factory.mktemp("keys"))
    root = helpers.make_root()
    kinds = {**RELEASE_KEYS, "stranger": "rsa:2048"}
    return {name: helpers.make_signer(directory, name, kind, root) for name, kind in kinds.items()}


@pytest.fixture(scope="session")
def rsa(signers: dict[str, Signer]) -> Signer:
    """The release that most tests use."""
    return signers["rsa2048"]


@pytest.fixture(scope="session")
def stranger(signers: dict[str, Signer]) -> Signer:
    return signers["stranger"]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run ``veriseal ARGS`` in this process, which saves two seconds of imports."""

    def call(*arguments: str) -> Result:
        capfd.readouterr()
        try:
            status = main(list(arguments))
        except SystemExit as end:  # argparse
            status = int(end.code or 0)
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Result(status, out.encode(), err)

    return call


@pytest.fixture
def initrd() -> Iterator[str]:
    """What the agent takes for an initrd, with an empty directory of certificates, and a floor."""
    helpers.write(agent.INITRD_RELEASE, b"")
    helpers.write(floor.PATH, floor.serialize(Floor()).encode())
    shutil.rmtree("/etc/voa", ignore_errors=True)
    os.makedirs(helpers.VOA)
    yield helpers.VOA
    shutil.rmtree("/etc/voa")
    for path in (agent.INITRD_RELEASE, floor.PATH):
        with suppress(FileNotFoundError):
            os.unlink(path)


MARK = "/run/veriseal-mark"


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A directory with what is compiled from data/."""
    source = os.path.join(os.path.dirname(__file__), "data")
    out = str(tmp_path_factory.mktemp("tools"))
    os.mkdir(f"{out}/evil")
    shared = ("-shared", "-fPIC", "-Wl,-soname,libgreet.so")
    flags = helpers.must_run("pkg-config", "--cflags", "--libs", "fuse3").split()
    commands = [
        (*shared, f'-DMARK="{MARK}"', "-o", f"{out}/evil/libgreet.so", f"{source}/marker.c"),
        (*shared, "-o", "/usr/local/lib/libgreet.so", f"{source}/greet.c"),
        ("-o", f"{out}/hostile_fuse", f"{source}/hostile_fuse.c", *flags),
    ]
    running = [subprocess.Popen(["gcc", "-Wall", "-Werror", *words]) for words in commands]
    assert [process.wait() for process in running] == [0, 0, 0]
    helpers.must_run("ldconfig")
    library = ("-L/usr/local/lib", "-lgreet")
    helpers.must_run("gcc", "-o", f"{out}/victim", f"{source}/victim.c", *library)
    return out


class Prepared(NamedTuple):
    """Files of one file system that can only be made while the keyring is open."""

    stranger: str
    stranger_digest: Digest
    unsigned: str
    unsigned_digest: Digest
    kept_open: str
    kept_open_digest: Digest


@pytest.fixture(scope="session")
def prepared(stranger: Signer) -> Iterator[dict[str, Prepared]]:
    """Everything that needs the open keyring, by name of file system."""
    program = helpers.read("/usr/bin/true")
    made = {}
    fds = []
    with helpers.enrolled(stranger):
        for name, mount in FILESYSTEMS.items():
            directory = f"{mount}/prepared"
            paths = [f"{directory}/{kind}" for kind in ("stranger", "unsigned", "kept-open")]
            digests = [
                helpers.install(paths[0], program, stranger),
                helpers.install(paths[1], program),
                helpers.install(paths[2], program),
            ]
            fds.append(os.open(paths[2], os.O_RDONLY))
            made[name] = Prepared(paths[0], digests[0], paths[1], digests[1], paths[2], digests[2])
    yield made
    for fd in fds:
        os.close(fd)


# On the root file system, lest every `evict` waits for it.
LARGE = "/var/lib/one-gib/program"


class Program(NamedTuple):
    path: str
    digest: Digest


class Sealed(NamedTuple):
    """What the agent left behind, when it began and ended (seconds of the system's clock)."""

    report: dict[str, Any]
    output: Result
    since: float
    until: float
    large: subprocess.Popen[bytes] | None
    """Switches verity on for `LARGE`."""


def start_large(signer: Signer) -> subprocess.Popen[bytes]:
    """The kernel hashes 1 GiB for a minute: meanwhile other tests run."""
    helpers.write(LARGE, helpers.tiny_elf(42), 0o755)
    os.truncate(LARGE, 1 << 30)
    group = helpers.PLAIN.group_size
    fd = os.open(LARGE, os.O_RDONLY)
    first, hole = merkle.group_hashes(fd, 0, 2 * group, helpers.PLAIN)
    os.close(fd)
    # But for its beginning it is one hole, and all groups of a hole are alike.
    hashes = [first, *[hole] * ((1 << 30) // group - 1)]
    digest = merkle.combine(hashes, 1 << 30, helpers.PLAIN)
    der = signature.make(digest, signer.key, signer.certificate)
    helpers.write(f"{LARGE}.sig", der)
    return subprocess.Popen(["fsverity", "enable", LARGE, f"--signature={LARGE}.sig"])


@pytest.fixture(scope="session")
def sealed(
    request: pytest.FixtureRequest, signers: dict[str, Signer], prepared: dict[str, Prepared]
) -> Iterator[Sealed]:
    """The real agent sealed this boot with the certificates of all releases."""
    _require_open()
    helpers.write(agent.INITRD_RELEASE, b"")
    helpers.write(floor.PATH, floor.serialize(Floor()).encode())
    shutil.rmtree("/etc/voa", ignore_errors=True)
    for name in RELEASE_KEYS:
        helpers.write(f"{helpers.VOA}/{name}.pem", helpers.read(signers[name].cert_path))
    # What the agent must pass over, and say so.
    helpers.write(f"{helpers.VOA}/README", b"not a certificate\n")
    os.symlink("/dev/null", f"{helpers.VOA}/revoked.pem")
    # There is no manifest of this guest; test_launch_table.py is about that.
    helpers.write(policy.PATHS[-1], b'[launch]\nrequire = "signature"\n')
    since = time.time()
    done = helpers.run([helpers.VERISEAL, "boot", "seal"])
    until = time.time()
    assert done.status == 0, done.err
    helpers.evict()
    wanted = any("one_gib" in getattr(item, "fixturenames", ()) for item in request.session.items)
    large = start_large(signers["rsa2048"]) if wanted else None
    yield Sealed(json.loads(helpers.read(report.PATH)), done, since, until, large)
    if large is not None:
        large.kill()
        large.wait()


@pytest.fixture(scope="session")
def one_gib(sealed: Sealed) -> Program:
    """A signed program of 1 GiB; it ends with status 42."""
    assert sealed.large is not None
    assert sealed.large.wait(300) == 0
    return Program(LARGE, Digest.parse(helpers.must_run("fsverity", "measure", LARGE).split()[0]))
