"""Making signers, files and attacks: what the kernel tests share besides fixtures."""

import errno
import importlib
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from systemd import journal

import veriseal.journal
from veriseal import certificate, manifest, merkle, signature
from veriseal.build import keys, pki
from veriseal.certificate import Certificate
from veriseal.cli.main import main
from veriseal.digest import Digest
from veriseal.kernel import keyring, sysctl, verity
from veriseal.merkle import Parameters
from veriseal.signature import PrivateKey

KERNEL_VERSION = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
# Before Linux 6.3 the only block size is that of a page.
BLOCK_SIZES = (1024, 4096) if KERNEL_VERSION >= (6, 3) else (4096,)
PLAIN = Parameters()
VERISEAL = "/usr/bin/veriseal"
VOA = "/etc/voa/debian:13/image/default/x509"
REFUSED = 126
NOT_FOUND = 127
NOBODY = 65534


class Signer(NamedTuple):
    """A release: its private key and certificate, in memory and as files."""

    key: PrivateKey
    certificate: Certificate
    key_path: str
    cert_path: str


class Result(NamedTuple):
    """How a process ended; the status is negative for a signal, as in `subprocess`."""

    status: int
    out: bytes
    err: str


def make_root() -> tuple[PrivateKey, Certificate]:
    """A vendor root."""
    key = keys.generate("ecdsa:p256")
    return key, certificate.load_root(pki.make_root("Acme", key, 3650), "root")


def make_signer(
    directory: str, name: str, key_type: str, root: tuple[PrivateKey, Certificate]
) -> Signer:
    """A release key with its certificate, as `veriseal pki issue` makes them."""
    key = keys.generate(key_type)
    pem = pki.issue(*root, "debian:13", f"Acme {name}", key)
    key_path, cert_path = f"{directory}/{name}.key", f"{directory}/{name}.pem"
    write(key_path, keys.to_pem(key, None), 0o600)
    write(cert_path, pem)
    return Signer(key, certificate.load(pem, cert_path), key_path, cert_path)


def write(path: str, data: bytes, mode: int = 0o644) -> str:
    """A new file, also over an old one that has verity. Gives its path."""
    if os.path.lexists(path):
        os.unlink(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
        os.fchmod(file.fileno(), mode)
    return path


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def enable(path: str, der: bytes = b"", parameters: Parameters = PLAIN) -> Digest:
    """Enable verity with this signature, and give what the kernel then measures."""
    fd = os.open(path, os.O_RDONLY)
    try:
        verity.enable(fd, parameters.algorithm, parameters.block_size, parameters.salt, der, path)
        return verity.measure(fd, path)
    finally:
        os.close(fd)


def tiny_elf(status: int, tag: bytes = b"", size: int = 0) -> bytes:
    """A static x86-64 program that exits with ``status``, or waits forever if that is negative.

    ``tag``, at most seven bytes, goes where the kernel looks at nothing (EI_PAD), so that the
    program can be found on a disk; ``size`` is that of the file.
    """
    # mov eax, exit; mov edi, status; syscall - or mov eax, pause; syscall; and again
    code = b"\xb8\x3c\0\0\0\xbf" + (status & 0xFF).to_bytes(4, "little") + b"\x0f\x05"
    if status < 0:
        code = b"\xb8\x22\0\0\0\x0f\x05\xeb\xf7"
    address, header = 0x400000, 64 + 56
    length = header + len(code)
    ident = b"\x7fELF\x02\x01\x01\0\0" + tag.ljust(7, b"\0")
    elf = struct.pack(
        "<16sHHIQQQIHHHHHH", ident, 2, 62, 1, address + header, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, address, address, length, length, 0x1000)
    return (elf + segment + code).ljust(size, b"\0")


def shows_signature(path: str) -> bool:
    """Whether this kernel has FS_IOC_READ_VERITY_METADATA there: btrfs got it late."""
    return not path.startswith("/btrfs/") or KERNEL_VERSION >= (7, 0)


def install(
    path: str, data: bytes, signer: Signer | None = None, parameters: Parameters = PLAIN
) -> Digest:
    """A program with verity, signed unless there is no ``signer``."""
    write(path, data, 0o755)
    der = b""
    if signer is not None:
        digest = merkle.data_digest(data, parameters)
        der = signature.make(digest, signer.key, signer.certificate)
    return enable(path, der, parameters)


def sign(data: bytes, signer: Signer, parameters: Parameters = PLAIN) -> bytes:
    """A built-in signature of a file that would hold ``data``; see `domain` for other things."""
    return signature.make(merkle.data_digest(data, parameters), signer.key, signer.certificate)


@contextmanager
def enrolled(*signers: Signer) -> Iterator[None]:
    """The certificates are in the open keyring meanwhile, and gone afterwards."""
    ring = keyring.fs_verity_keyring()
    serials = [keyring.add_certificate(signer.certificate.der, ring) for signer in signers]
    try:
        yield
    finally:
        for serial in serials:
            keyring.unlink(serial, ring)


def evict() -> None:
    """Have the kernel forget cached inodes and pages, so that it checks again at the next open."""
    must_run("sync", "-f", "/verity", "/btrfs")
    with open("/proc/sys/vm/drop_caches", "wb", buffering=0) as file:
        file.write(b"3\n")


def set_sysctl(on: bool) -> None:
    """What root can always do: write fs.verity.require_signatures."""
    with open(sysctl.REQUIRE_SIGNATURES, "wb", buffering=0) as file:
        file.write(b"%d\n" % on)


def outcome(call: Callable[[], object]) -> str:
    """The name of the errno that ``call`` fails with, or "accepted"."""
    try:
        call()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error.errno))
    return "accepted"


def run(
    argv: Sequence[str | bytes],
    *,
    env: Mapping[bytes, bytes] | None = None,
    stdin: bytes = b"",
    pass_fds: Sequence[int] = (),
    cwd: str | None = None,
    prepare: Callable[[], None] | None = None,
    timeout: float = 60,
) -> Result:
    """Run a program to its end, which must come in time. ``prepare`` runs in the new process."""
    done = subprocess.run(
        list(argv),
        input=stdin,
        capture_output=True,
        check=False,
        cwd=cwd,
        env=env,
        pass_fds=pass_fds,
        preexec_fn=prepare,
        timeout=timeout,
    )
    return Result(done.returncode, done.stdout, done.stderr.decode(errors="surrogateescape"))


def must_bytes(*argv: str) -> bytes:
    """Run a tool that must succeed; its output, and on failure its words."""
    done = run(argv)
    assert done.status == 0, f"{' '.join(argv)}: status {done.status}: {done.out!r} {done.err}"
    return done.out


def must_run(*argv: str) -> str:
    """As `must_bytes`, for text."""
    return must_bytes(*argv).decode()


def records(message_id: str, since: float = 0.0, **fields: str) -> list[dict[str, object]]:
    """The journal's records of this kind and with these fields, waited for a little.

    ``since`` is in seconds since 1970: an earlier test may have left one like it.
    """
    deadline = time.monotonic() + 10
    while True:
        with journal.Reader() as reader:
            reader.this_boot()
            reader.add_match(MESSAGE_ID=message_id, **fields)
            reader.seek_realtime(since)
            found = list(reader)
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def launch(path: str, *arguments: str | bytes, **options: Any) -> Result:
    """`veriseal exec`, the real one."""
    return run([VERISEAL, "exec", path, *arguments], **options)


def launch_refused(
    path: str, reason: str, digest: Digest | None = None, prefix: Sequence[str] = ()
) -> str:
    """The launcher refuses ``path`` for this reason, on one line and in the journal."""
    done = run([*prefix, VERISEAL, "exec", path])
    assert (done.status, done.out) == (REFUSED, b""), done
    shown = str(digest) if digest is not None else "not measured"
    assert done.err.startswith(f"veriseal exec: refused {path} [{reason}, digest {shown}]: ")
    assert done.err.count("\n") == 1
    assert done.err.endswith("\n")
    record = records(veriseal.journal.EXEC_REFUSED, VERISEAL_PATH=path, VERISEAL_REASON=reason)[-1]
    assert f"veriseal exec: {record['MESSAGE']}\n" == done.err
    assert record.get("VERISEAL_DIGEST") == (str(digest) if digest is not None else None)
    assert str(record["VERISEAL_REMEDY"]) in done.err
    return done.err


def check_launch(path: str, digest: Digest, status: int = 0) -> None:
    """The launcher runs a good program, wherever this kernel shows its signature."""
    if shows_signature(path):
        done = launch(path)
        assert (done.status, done.err) == (status, "")
    else:
        launch_refused(path, "signature-unreadable", digest)


def start_command(*arguments: str) -> int:
    """Start ``veriseal ARGUMENTS`` in a process group of its own; gives its process.

    A fork saves two seconds of imports, and what it leaves open is gone with it.
    """
    for module in ("boot.verify", *(f"cli.{verb}" for verb in ("boot", "enable", "verify"))):
        importlib.import_module(f"veriseal.{module}")
    process = os.fork()
    if process == 0:
        status = 1
        try:
            os.setsid()
            status = main(list(arguments))
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return process


def command(*arguments: str) -> Result:
    """Run ``veriseal ARGUMENTS`` in a forked process to its end."""
    shown = sys.stdout, sys.stderr
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        sys.stdout, sys.stderr = out, err
        try:
            process = start_command(*arguments)
        finally:
            sys.stdout, sys.stderr = shown
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        # Both processes share the position in the file.
        out.seek(0)
        err.seek(0)
        done = Result(status, out.read().encode(), err.read())
    assert "Traceback" not in done.err
    return done


def must_command(*arguments: str) -> bytes:
    """As `command`, for what must succeed; its output."""
    done = command(*arguments)
    assert done.status == 0, done
    return done.out


class Release(NamedTuple):
    """A tree as it was before `veriseal build`, and what that wrote."""

    tree: str
    out: str


PING, POWEROFF, SHELL = (f"/opt/kiosk/bin/{name}" for name in ("ping", "poweroff", "sh"))
PROGRAMS = {PING: 11, POWEROFF: 22, SHELL: 33}
"""The programs of `make_tree`, each with the status that it ends with."""
NOT_EXCLUSIVE = "/srv/motd"
"""A file of `make_tree` that is listed, and in a place where others may be too: has no verity."""
BUILD_SETTINGS = b"""\
[build]
exclusive = ["/opt/kiosk"]
mutable = ["/etc/machine-id", "/var"]
"""


def make_tree(top: str) -> None:
    """A small system: programs, what is not signed, what is not checked, mount points."""
    for path, status in PROGRAMS.items():
        write(top + path, tiny_elf(status, size=1000 * status), 0o755)
    os.link(top + SHELL, top + "/opt/kiosk/bin/zsh")
    for size in (0, 5, 64, 65, 4096, 4097, 300_000):
        write(f"{top}/usr/lib/sizes/{size}", b"%7d" % size * (size // 7) + b"x" * (size % 7))
    os.symlink("usr/lib", f"{top}/lib")
    write(top + NOT_EXCLUSIVE, b"read and hashed\n" * 10)
    write(f"{top}/etc/machine-id", b"0123456789abcdef0123456789abcdef\n")
    write(f"{top}/etc/systemd/system/kiosk.service", b"[Service]\nExecStart=/opt/kiosk/bin/ping\n")
    for name in ("boot", "var", "usr/lib/veriseal"):
        os.mkdir(f"{top}/{name}")


def build(
    directory: str, signer: Signer, *options: str, make: Callable[[str], None] = make_tree
) -> Release:
    """A release of the tree that ``make`` makes, in the new ``directory``, by `veriseal build`."""
    made = Release(f"{directory}/tree", f"{directory}/out")
    os.makedirs(made.tree)
    make(made.tree)
    settings = write(f"{directory}/veriseal.toml", BUILD_SETTINGS)
    words = ("--os=debian:13", "--version=7", "--created=1", f"--config={settings}")
    by = (f"--key={signer.key_path}", f"--cert={signer.cert_path}")
    must_command("build", made.tree, f"--out={made.out}", *words, *by, *options)
    return made


def install_tree(release: Release, top: str, *options: str) -> str:
    """The release as it is installed: copied to ``top``, with its manifest, and enabled.

    ``options`` are those of `veriseal enable`. Gives ``top``.
    """
    must_run("cp", "-a", "--reflink=never", release.tree, top)
    put_manifest(release, top)
    must_command("enable", *(options or (f"--signatures={release.out}/signatures",)), top)
    return top


def put_manifest(release: Release, top: str) -> str:
    """Install the manifest of ``release`` in the tree ``top``; gives its directory."""
    place = f"{top}/{manifest.DIRECTORY}"
    os.mkdir(place)
    for name in os.listdir(release.out):
        if os.path.isfile(f"{release.out}/{name}"):
            shutil.copy(f"{release.out}/{name}", place)
    return place


def remove(path: str) -> None:
    """Whatever is at ``path`` is gone; if it is a link, only the link."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


@contextmanager
def mounted(source: str, point: str, *options: str) -> Iterator[str]:
    """``source`` is mounted at ``point`` meanwhile."""
    must_run("mount", *options, source, point)
    try:
        yield point
    finally:
        must_run("umount", point)
