"""A directory that lies: who has the disk hides a file from every listing, not from its name.

The last entry of an ext4 directory's index is pointed elsewhere. A listing then ends early, and a
look-up by name falls back to reading every block, and finds the file.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from veriseal import manifest, merkle
from veriseal.tree import check
from veriseal.tree.source import Release

from . import helpers

pytestmark = pytest.mark.kernel

BLOCK = 4096
FILES = 120
LONG = "x" * 30
# struct dx_root, fs/ext4/namei.c: after the two dot entries and dx_root_info come limit and count,
# and the first entry's block; then entries of a hash and a block.
ENTRIES = 0x20


class Disk(NamedTuple):
    """A mounted file system, the name that it hides, and a list of the tree without it."""

    mount: str
    hidden: str
    tree_list: bytes


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    image, mount = f"{tmp_path}/image", f"{tmp_path}/mount"
    os.mkdir(mount)
    helpers.must_run("truncate", "-s", "32M", image)
    # Whoever has the disk can also take away the checksums of its metadata.
    features = "dir_index,^64bit,^metadata_csum"
    helpers.must_run("mkfs.ext4", "-q", "-b", str(BLOCK), "-O", features, image)
    helpers.must_run("mount", "-o", "loop", image, mount)
    os.makedirs(f"{mount}/usr")
    for number in range(FILES):
        Path(f"{mount}/usr/{number:03}-{LONG}").write_text(f"{number}")
    helpers.must_run("umount", mount)
    hidden = _hide(image)
    helpers.must_run("mount", "-o", "loop,ro", image, mount)
    yield Disk(mount, hidden, _listed(mount, hidden))
    helpers.must_run("umount", mount)


def _hide(image: str) -> str:
    """Damage the index of /usr; a name in the block that it no longer leads to."""
    blocks = [int(one) for one in helpers.must_run("debugfs", "-R", "blocks /usr", image).split()]
    with open(image, "r+b") as file:
        file.seek(blocks[0] * BLOCK)
        root = file.read(BLOCK)
        _limit, count = struct.unpack_from("<HH", root, ENTRIES)
        assert count > 1, "the directory has no index of several blocks"
        at = ENTRIES + 8 * (count - 1) + 4
        (last,) = struct.unpack_from("<I", root, at)
        file.seek(blocks[last] * BLOCK)
        leaf = file.read(BLOCK)
        file.seek(blocks[0] * BLOCK + at)
        file.write(struct.pack("<I", 0))
    # struct ext4_dir_entry_2: inode, length of the record, length of the name, type.
    _inode, _length, size, _type = struct.unpack_from("<IHBB", leaf)
    return leaf[8 : 8 + size].decode()


def _listed(top: str, hidden: str) -> bytes:
    """The tree list, by hand: what lies cannot be asked."""
    lines = [b"/ 0 40755 4 0 0 0 0.0 - - -\n", b"/usr 0 40755 2 0 0 0 0.0 - - -\n"]
    for number in range(FILES):
        name = f"{number:03}-{LONG}"
        text = f"{number}"
        line = f"/usr/{name} {len(text)} 100644 1 0 0 0 0.0 - {text} -\n"
        if name != hidden:
            lines.append(line.encode())
    return b"".join(lines)


def test_a_file_that_no_listing_shows(disk: Disk) -> None:
    digest = merkle.data_digest(disk.tree_list, manifest.PARAMETERS)
    tree = manifest.Attached(digest, len(disk.tree_list))
    statement = manifest.Manifest("debian:13", 1, 0, tree, exclusive=("/usr",))
    release = Release(statement, disk.tree_list, b"", b"", digest, [], [], "manifest.json")
    root = os.open(disk.mount, os.O_RDONLY | os.O_DIRECTORY)
    result = check.check(root, release, False)
    os.close(root)
    assert os.path.exists(f"{disk.mount}/usr/{disk.hidden}")
    found = {(one.kind, one.path.decode()) for one in result.findings}
    # Either the listing shows it after all, or the kernel complained.
    assert found & {("added", f"/usr/{disk.hidden}"), ("corrupt", "/")}, found
    assert found <= {("added", f"/usr/{disk.hidden}"), ("corrupt", "/")}
