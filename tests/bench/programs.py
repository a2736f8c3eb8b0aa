"""Programs with many libraries, and with large ones, compiled for the guest.

Whatever the kernel and the dynamic loader open for them is on one disk, so that all of it can be
signed verity files: they have their interpreter, RUNPATH and libc there.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.guest import root
from tests.guest.store import command

from . import host

MOUNT = "/mnt"
"""Where the disk is in the guest, and its tree while the guest's compiler runs."""
COUNTS = (0, 10, 50, 200)
"""Of libraries, besides that of C: ``bin/with-10`` needs 10."""
SMALL, LARGE = 1_000_000, 500_000_000
"""Bytes of ``bin/small`` and ``bin/large``, and of what ``bin/needs-small`` and
``bin/needs-large`` need."""

_FILES = Path(__file__).parent / "files"
_FROM_C = ("ld-linux-x86-64.so.2", "libc.so.6")
# The mounts are gone with the namespace, and the tree is not to be written to.
_IN_TREE = """
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount --bind "$2" "$1$3"
exec chroot "$1" "$3/compile" "$3" "$4"
"""


def make(top: Path) -> None:
    """Leave the programs in ``top``/bin, what they load in ``top``/lib and ``top``/etc."""
    tree = root.debian()
    for name in ("bin", "lib", "etc"):
        (top / name).mkdir(parents=True)
    for name in _FROM_C:
        shutil.copy(tree / "usr/lib/x86_64-linux-gnu" / name, top / "lib")
    shutil.copy(tree / "etc/ld.so.cache", top / "etc")
    made = [Path(shutil.copy(_FILES / name, top)) for name in ("compile", "library.c", "native.c")]
    for count in (1, *COUNTS):
        made.append(top / f"with-{count}.c")
        made[-1].write_text(_source(count))
    words = (tree, top, MOUNT, str(max(COUNTS)))
    command(["unshare", "--mount", "sh", "-euc", _IN_TREE, "sh", *words])
    for path in made:
        path.unlink()
    # Whatever follows an ELF file's segments is not mapped, but it is measured and signed.
    for name, size in (("small", SMALL), ("large", LARGE)):
        program = top / "bin" / name
        host.write_random(program, size, start=(top / "bin/with-0").read_bytes())
        program.chmod(0o755)
        library = top / "lib" / f"lib{name}.so"
        host.write_random(library, size, start=library.read_bytes())


def _source(count: int) -> str:
    """A program that succeeds if each of its libraries gives its number."""
    calls = [f"library_{number}()" for number in range(count)]
    declared = "".join(f"int {call[:-1]}void);\n" for call in calls)
    total = " + ".join(calls) or "0"
    return f"{declared}int main(void) {{ return {total} != {sum(range(count))}; }}\n"
