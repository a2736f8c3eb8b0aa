"""What somebody with the disk does to the tree, while the machine is off.

Done with debugfs, as an attacker would: no kernel is asked, so verity files can be moved, linked
and given other owners like any others.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.boot.layout import BIN, MANIFEST, OTHER, RELEASED, SIGNATURES, STRAY
from tests.guest.store import GuestError
from veriseal import merkle
from veriseal.digest import SHA256

Change = Callable[[Path], None]

_FSCK_CORRECTED = 1

_JSON = f"/{MANIFEST}/manifest.json"


def commands(*lines: str) -> Change:
    """A change by commands of debugfs(8)."""
    return lambda image: debugfs(image, *lines)


def debugfs(image: Path, *lines: str) -> None:
    """Run the commands. Raises GuestError at the first complaint: it exits with 0 all the same."""
    done = subprocess.run(
        ["debugfs", "-w", "-f", "/dev/stdin", image],
        input="".join(f"{line}\n" for line in lines).encode(),
        capture_output=True,
        check=True,
    )
    said = done.stderr.decode().splitlines()
    if complaints := [line for line in said if not line.startswith("debugfs 1.")]:
        raise GuestError(f"debugfs {lines}: {complaints}")


def apply(changes: Iterable[Change], image: Path) -> None:
    """Make the changes, and a file system of it that nothing is wrong with."""
    for change in changes:
        change(image)
    done = subprocess.run(["e2fsck", "-fy", image], capture_output=True, check=False)
    if done.returncode & ~_FSCK_CORRECTED:
        raise GuestError(f"e2fsck: {done.stdout.decode()}")


def read(image: Path, path: str) -> bytes:
    """The contents of a file on the image."""
    done = subprocess.run(
        ["debugfs", "-R", f'cat "{path}"', image], capture_output=True, check=True
    )
    return done.stdout


def inode(image: Path, path: str) -> str:
    """A file by its number, as debugfs takes it wherever it takes a path."""
    shown = subprocess.run(
        ["debugfs", "-R", f'stat "{path}"', image], capture_output=True, check=True
    ).stdout.decode()
    return f"<{int(shown.split('Inode:')[1].split()[0])}>"


def write(image: Path, path: str, data: bytes, mode: int = 0o100644) -> None:
    """A new file, root's. One that is there is removed first."""
    source = image.with_suffix(".data")
    source.write_bytes(data)
    source.chmod(0o600)
    _remove(image, path)
    directory, _, name = path.rpartition("/")
    # What it writes to is a name in its working directory, never a path.
    debugfs(image, f"cd {directory}", f"write {source} {name}", f"sif {path} mode 0{mode:o}",
            f"sif {path} uid 0", f"sif {path} gid 0")  # fmt: skip
    source.unlink()


def directory(image: Path, path: str) -> None:
    """A directory, unless it is there."""
    shown = subprocess.run(
        ["debugfs", "-R", f"stat {path}", image], capture_output=True, check=True
    ).stdout
    if b"Inode:" not in shown:
        debugfs(image, f"mkdir {path}")


def builtin_signature(image: Path, path: str) -> bytes:
    """The signature of a file on the image."""
    digest = merkle.data_digest(read(image, f"/{path}"), merkle.Parameters(SHA256))
    place = SIGNATURES if path.startswith(STRAY) else f"{RELEASED}/signatures"
    return read(image, f"/{place}/{digest.value.hex()}.sig")


def _remove(image: Path, path: str) -> None:
    # It may be there or not.
    subprocess.run(["debugfs", "-w", "-R", f"rm {path}", image], capture_output=True, check=True)


def writing(path: str, data: str | bytes) -> Change:
    """A file added or replaced."""
    raw = data.encode() if isinstance(data, str) else data
    return lambda image: write(image, path, raw)


def placed(source: str, path: str) -> Change:
    """Another file of the disk, by a hard link, in the place of the one at ``path``."""

    def change(image: Path) -> None:
        debugfs(image, f"unlink {path}", f"ln {inode(image, source)} {path}")

    return change


def swapped(one: str, two: str) -> Change:
    """Two files exchange their places."""

    def change(image: Path) -> None:
        first, second = inode(image, one), inode(image, two)
        debugfs(image, f"unlink {one}", f"unlink {two}", f"ln {second} {one}", f"ln {first} {two}")

    return change


def renamed(old: str, new: str) -> Change:
    """A file gets another name."""

    def change(image: Path) -> None:
        number = inode(image, old)
        debugfs(image, f"unlink {old}", f"ln {number} {new}")

    return change


def copied(path: str) -> Change:
    """A copy in place of the file: the same contents, mode and owner, and no verity."""
    return lambda image: write(image, path, read(image, path), 0o100755)


def linked(path: str, target: str) -> Change:
    """The directory goes elsewhere, and a link leads to it."""

    def change(image: Path) -> None:
        number = inode(image, path)
        debugfs(image, f"unlink {path}", f"ln {number} {target}", f"symlink {path} {target}")

    return change


def added(directory: str, name: str, text: str) -> Change:
    """A new directory with a file in it."""

    def change(image: Path) -> None:
        debugfs(image, f"mkdir {directory}")
        write(image, f"{directory}/{name}", text.encode(), 0o100755)

    return change


def _signature_name(image: Path) -> str:
    listed = subprocess.run(
        ["debugfs", "-R", f"ls -p /{RELEASED}", image], capture_output=True, check=True
    ).stdout.decode()
    names = [line.split("/")[5] for line in listed.splitlines() if line.count("/") > 5]
    (name,) = [name for name in names if name.endswith(".sig")]
    return name


def own_signature(image: Path) -> bytes:
    """The manifest's signature, as it was built."""
    return read(image, f"/{RELEASED}/{_signature_name(image)}")


def strangers_signature(image: Path) -> bytes:
    """A stranger's signature of the manifest."""
    return read(image, f"/{OTHER}/strangers/signature")


def signature(name: str, make: Callable[[Path], bytes]) -> Change:
    """A file with this in its name in place of the manifest's own signature, or beside others."""

    def change(image: Path) -> None:
        _remove(image, f"/{MANIFEST}/{_signature_name(image)}")
        write(image, f"{_JSON}.{name}.sig", make(image))

    return change


def manifest(name: str) -> Change:
    """One of the other signed manifests in place of the right one, with its signature."""

    def change(image: Path) -> None:
        write(image, _JSON, read(image, f"/{OTHER}/{name}/manifest.json"))
        own = f"/{MANIFEST}/{_signature_name(image)}"
        write(image, own, read(image, f"/{OTHER}/{name}/signature"))

    return change


def script_as_manifest(image: Path) -> None:
    """A signed script where the manifest should be: the same key, the same kind of signature."""
    path = f"{BIN}/script"
    write(image, f"/{MANIFEST}/{_signature_name(image)}", builtin_signature(image, path))
    write(image, _JSON, read(image, f"/{path}"))


def edited(image: Path) -> None:
    """The manifest, no longer saying that anything is exclusive."""
    write(image, _JSON, read(image, _JSON).replace(b'"/usr"', b'"/usx"'))


def without_last_line(name: str) -> Change:
    """A file beside the manifest, cut at a line."""

    def change(image: Path) -> None:
        path = f"/{MANIFEST}/{name}"
        lines = read(image, path).splitlines(keepends=True)
        write(image, path, b"".join(lines[:-1]))

    return change


def closures_edited(image: Path) -> None:
    """The closures, in which no program needs the kiosk's library."""
    path = f"/{MANIFEST}/closures.json"
    write(image, path, read(image, path).replace(b"libgreet.so.1", b"libgreet.so.2"))
