"""The guest's parts, built once: a Debian tree, kernels, initrds and disk images.

Everything lies in build/guest under a name with a hash of what it was made from.
"""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path
from typing import NamedTuple

from . import mirror, packages
from .store import BUILD, REPO, GuestError, built, command, made, say

FILES = Path(__file__).parent / "files"
SUITE = "trixie"

# The tree serves the test guest and the appliances of the boot tests.
PACKAGES = (
    *("systemd", "systemd-sysv", "udev", "dbus", "dracut", "kmod", "util-linux", "procps"),
    *("python3", "python3-cryptography", "python3-keyutils", "python3-systemd"),
    *("python3-asn1crypto", "python3-pyelftools", "python3-tqdm", "python3-jinja2"),
    *("python3-pytest", "python3-hypothesis"),
    *("fsverity", "keyutils", "openssl", "rpm", "attr", "zstd", "xz-utils", "cpio", "strace"),
    *("e2fsprogs", "btrfs-progs", "iproute2", "less"),
    # For hostile files: a preloaded library, a FUSE file system that answers ioctls.
    *("gcc", "libc6-dev", "fuse3", "libfuse3-dev", "python3-fusepy", "pkgconf"),
)
# Not in Debian 13, but its packages of Debian's newest suite install there as they are.
COMPOSEFS = ("composefs", "sid", r"libcomposefs\d+")
# Nobody reads manuals in the guest; without them the image is a third smaller.
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")

# The cloud flavour has fs-verity with built-in signatures and few drivers, so it starts faster.
FLAVOUR = "linux-image-cloud-amd64"
KERNEL_PARTS = r"linux-(?:image|modules|base|binary)-[^ ,]+"
KERNELS = {"debian13": "trixie", "debian12": "bookworm", "backports": "trixie-backports"}
DEFAULT_KERNEL = "debian13"
REQUIRED = (
    "FS_VERITY",
    "FS_VERITY_BUILTIN_SIGNATURES",
    "EXT4_FS",
    "BTRFS_FS",
    "OVERLAY_FS",
    "FUSE_FS",
    "VIRTIO_BLK",
    "VIRTIO_PCI",
    "VIRTIO_CONSOLE",
)
# What must be there before the root file system is.
INITRD_MODULES = ("virtio_pci", "virtio_blk", "ext4")


class Kernel(NamedTuple):
    """A kernel with its modules, as unpacked in build/guest."""

    name: str
    release: str
    image: Path
    config: Path
    modules: Path


class Guest(NamedTuple):
    """What a test guest is started from."""

    kernel: Kernel
    initrd: Path
    image: Path
    verity: Path
    btrfs: Path


def debian() -> Path:
    """The unpacked Debian tree, without a kernel. Not to be written to: see `tree`."""

    def make(part: Path, scratch: Path) -> None:
        name, suite, parts = COMPOSEFS
        fetched = mirror.download(name, suite, scratch / "apt", parts)
        say(f"building the Debian {SUITE} tree (about a minute)")
        skip = [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
        command([
            "mmdebstrap", "--quiet", "--mode=root", "--format=directory", "--variant=minbase",
            f"--include={','.join(PACKAGES)}", "--aptopt=Acquire::Languages \"none\"",
            "--aptopt=APT::Install-Recommends \"false\"", *skip, SUITE, part, mirror.source(SUITE),
        ])  # fmt: skip
        # dpkg refuses them if this suite ever lacks what they need.
        omit = [f"--path-exclude={pattern}" for pattern in LEFT_OUT]
        command(["dpkg", f"--root={part}", *omit, "--install", *fetched])

    if platform.machine() != "x86_64":
        raise GuestError(f"the guest is an x86-64 machine, this one is {platform.machine()}")
    if os.geteuid() != 0:
        raise GuestError("the guest's root file system can only be built as root")
    packages.install(["guest"])
    return built("root", [SUITE, PACKAGES, COMPOSEFS, LEFT_OUT], make)


def kernel(name: str = DEFAULT_KERNEL) -> Kernel:
    """A kernel of Debian: `debian13`, `debian12` or `backports`."""
    if name not in KERNELS:
        raise GuestError(f"no kernel is called {name!r}; there are {', '.join(KERNELS)}")
    suite = KERNELS[name]

    def make(part: Path, scratch: Path) -> None:
        say(f"fetching the {name} kernel ({FLAVOUR} of {suite})")
        files = scratch / "files"
        mirror.extract(mirror.download(FLAVOUR, suite, scratch / "apt", KERNEL_PARTS), files)
        # Debian 12 has its modules in /lib, Debian 13 in /usr/lib.
        found = [*files.glob("usr/lib/modules/*"), *files.glob("lib/modules/*")][0]
        release = found.name
        # Compressed modules would be unpacked in the guest, where that is slow.
        compressed = list(found.rglob("*.ko.xz"))
        if compressed:
            command(["xz", "--decompress", "--threads=0", *compressed])
        shutil.copytree(found, part / "usr" / "lib" / "modules" / release, symlinks=True)
        # From 7.x on the image and its configuration lie with the modules, not in /boot.
        (part / "boot").mkdir()
        for what in ("vmlinuz", "config"):
            place = files / "boot" / f"{what}-{release}"
            place = place if place.exists() else found / what
            shutil.copy2(place, part / "boot" / f"{what}-{release}")
        (part / "boot" / "vmlinuz").symlink_to(f"vmlinuz-{release}")
        (part / "lib").symlink_to("usr/lib")
        (part / "release").write_text(release)
        _check_config(part / "boot" / f"config-{release}")
        command(["depmod", "-b", part, release])

    packages.install(["guest"])
    place = built(f"kernel-{name}", [FLAVOUR, suite], make)
    release = (place / "release").read_text()
    boot = place / "boot"
    return Kernel(
        name, release, boot / "vmlinuz", boot / f"config-{release}",
        place / "usr" / "lib" / "modules" / release,
    )  # fmt: skip


def tree(dest: Path, name: str = DEFAULT_KERNEL) -> Kernel:
    """Copy a fresh Debian tree with a kernel, its modules and /boot/vmlinuz to `dest`."""
    chosen = kernel(name)
    base = debian()
    if dest.exists():
        raise GuestError(f"{dest} exists already: the tree goes to a new directory")
    dest.parent.mkdir(parents=True, exist_ok=True)
    command(["cp", "-a", "--reflink=auto", base, dest])
    command(["cp", "-a", chosen.image.parent, dest])
    modules = dest / "usr" / "lib" / "modules"
    modules.mkdir(exist_ok=True)
    command(["cp", "-a", "--reflink=auto", chosen.modules, modules])
    return chosen


def trim(tree: Path) -> None:
    """Take out of a copy of the tree what only takes time at boot."""
    command(["sh", FILES / "trim", tree])


def ext4(image: Path, size: str, content: Path | None = None) -> None:
    """Make an ext4 file system that can hold verity files, from a tree or empty."""
    # Tables written now are not written by the guest in the background.
    options = ["-E", "lazy_itable_init=0,lazy_journal_init=0", "-O", "verity"]
    source = ["-d", str(content)] if content else []
    command(["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", *options, *source, image, size])


def btrfs(image: Path, size: str) -> None:
    """Make an empty btrfs."""
    command(["truncate", "-s", size, image])
    command(["mkfs.btrfs", "--quiet", image])


def guest(name: str = DEFAULT_KERNEL) -> Guest:
    """Everything that the test guest is started from, built where it is missing."""
    chosen = kernel(name)
    release = chosen.release

    def make_image(part: Path, scratch: Path) -> None:
        say(f"making the test guest's disk for {release}")
        tree(scratch, name)
        command(["cp", "-a", "--no-preserve=ownership", f"{FILES}/root/.", scratch])
        trim(scratch)
        command(["sh", FILES / "prepare", scratch])
        ext4(part, "4G", scratch)

    def make_initrd(part: Path, scratch: Path) -> None:
        _initrd(chosen, scratch)
        pack = 'cd "$1" && find . | cpio --quiet -o -H newc -R 0:0 >"$2"'
        command(["sh", "-euc", pack, "sh", scratch, part])

    before = len(made)
    init = (FILES / "init").read_text()
    overlay = {
        str(path.relative_to(FILES)): path.read_text()
        for path in (FILES / "trim", FILES / "prepare", *sorted((FILES / "root").rglob("*")))
        if path.is_file()
    }
    parts = Guest(
        chosen,
        built(f"initrd-{name}", [release, INITRD_MODULES, init], make_initrd),
        built(f"image-{name}", [debian().name, release, overlay], make_image),
        built("verity", "ext4 512M", lambda part, _: ext4(part, "512M")),
        built("btrfs", "btrfs 512M", lambda part, _: btrfs(part, "512M")),
    )
    if len(made) == before:
        say(f"reusing what was built in {BUILD.relative_to(REPO)}")
    return parts


def _check_config(config: Path) -> None:
    text = config.read_text()
    lacking = [o for o in REQUIRED if f"CONFIG_{o}=y" not in text and f"CONFIG_{o}=m" not in text]
    if lacking:
        raise GuestError(
            f"the kernel of {config} lacks {', '.join(lacking)}: choose another "
            "FLAVOUR in tests/guest/root.py"
        )


def _initrd(chosen: Kernel, work: Path) -> None:
    """A busybox and a few modules: the test guest tests no initrd, so it takes the fastest."""
    for directory in ("bin", "dev", "proc", "sys", "root", "modules"):
        (work / directory).mkdir(parents=True)
    busybox = shutil.which("busybox")
    if busybox is None:
        raise GuestError("busybox: command not found; `make setup` installs it")
    shutil.copy2(busybox, work / "bin" / "busybox")
    shutil.copy2(FILES / "init", work / "init")
    (work / "init").chmod(0o755)
    base = chosen.modules.parents[3]
    order: list[Path] = []
    for module in INITRD_MODULES:
        shown = command(["modprobe", "-d", base, "-S", chosen.release, "--show-depends", module])
        for line in shown.splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "insmod" and Path(rest.split()[0]) not in order:
                order.append(Path(rest.split()[0]))
    for number, path in enumerate(order):
        shutil.copy2(path, work / "modules" / f"{number:02}-{path.name}")
