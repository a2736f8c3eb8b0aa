"""Files laid over an initrd: the kernel unpacks one archive after the other."""

from __future__ import annotations

from pathlib import Path

from tests.guest.store import command, remove

Overlay = dict[str, bytes | Path]
"""Files by their path in the initrd; a Path is a symbolic link to it."""


def read(top: Path) -> Overlay:
    """What lies below a directory."""
    found: Overlay = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        if path.is_symlink():
            found[name] = path.readlink()
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def data(files: Overlay, name: str) -> bytes:
    """The contents of a file that is no link."""
    found = files[name]
    if isinstance(found, Path):
        raise TypeError(f"{name} is a link")
    return found


def archive(files: Overlay, path: Path) -> Path:
    """Write them to ``path``, as cpio(1) does."""
    top = path.with_suffix(".files")
    remove(top)
    for name, data in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(data, Path):
            (top / name).symlink_to(data)
        else:
            (top / name).write_bytes(data)
    command(["sh", "-euc", f"cd '{top}' && find . | cpio --quiet -o -H newc -R 0:0 >'{path}'"])
    remove(top)
    return path
