"""A build machine and a kiosk, both in this guest, for the steps of ROTATION.md.

The build machine is the guest itself. The kiosk's root is the tree that it booted last, mounted
from a disk with verity; the guest's programs are mounted over directories that the tree declares
mutable. So a small tree is enough, and every file of it is measured, opened and refused by the
kernel as on a real machine.

Three things stand in for what takes too long in emulation:

- `veriseal` is forked from a process that has imported it, see `quick`.
- `chroot TREE dracut` sees TREE laid over the guest, for the tree has no dracut of its own.
- `dracut` runs the module veriseal alone, the real one, and leaves out what the agent is made of.
  The real dracut takes a minute: tests/chroot runs it, and the appliances are booted by it.

A reboot puts into the keyring what `veriseal boot seal --dry-run` says in the unpacked initrd, and
does not seal it: a keyring can be sealed once in a boot.
"""

import glob
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from tests.guide import BUILD, DELIVER, MACHINE, PRINTED, REBOOT, Section, Step
from veriseal import certificate
from veriseal.certificate import Certificate
from veriseal.kernel import keyring

from . import helpers, quick
from .helpers import Result

VENDOR = "/srv/kiosk"
"""What the build machine has, by the names that the guide uses."""
DISK = "/verity/rotation"
"""The kiosk's disk: trees, the ESP, what was delivered."""
ESP = f"{DISK}/esp"
"""The file system that the kiosk finds by the label ESP."""
HELD = "/run/rotation"
"""The scripts that stand in for programs, mount points, the shells' variables."""
BY_LABEL = "/dev/disk/by-label/ESP"
APP, TOOL = "/opt/kiosk/bin/app", "/opt/kiosk/bin/tool"

_PROGRAMS = (
    "usr/bin",
    "usr/sbin",
    "usr/lib64",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/python3",
    "usr/lib/python3.13",
    "usr/lib/dracut",
    "usr/lib/veriseal/veriseal",
)
"""Directories of the guest that the kiosk gets its programs from."""
_MOUNT_POINTS = ("boot", "dev", "mnt", "proc", "run", "sys", "tmp", "var")
_SETTINGS = f"""\
[build]
mutable = [{", ".join(f'"/{path}"' for path in (*_PROGRAMS, *_MOUNT_POINTS))}]
"""

_DRACUT = """\
#!/bin/bash
# In place of dracut: the module veriseal alone, without the agent's programs.
set -u
for image; do :; done
initdir=$(mktemp -d)
moddir=/usr/lib/dracut/modules.d/90veriseal
systemdsystemunitdir=/usr/lib/systemd/system
systemdsystemconfdir=/etc/systemd/system

inst_simple() {
    local to=$initdir${2-$1}
    mkdir -p "${to%/*}" && cp -L "$1" "$to"
}
inst_multiple() {
    local file
    for file in $*; do
        case $file in
            /*) [[ ! -e $file ]] || inst_simple "$file" || return ;;
        esac
    done
}
ln_r() {
    ln -s "$1" "$initdir$2"
}
dfatal() {
    echo "dracut: $*" >&2
}
python3() {
    : # what the agent's programs need
}

. "$moddir/module-setup.sh"
install
: >"$initdir/etc/initrd-release"
cd "$initdir" && find . | cpio --quiet -o -H newc >"$image"
"""
_CHROOT = f"""\
#!/bin/sh
# In place of chroot: the tree, or the unpacked initrd, with the guest's programs below it.
set -eu
exec unshare --mount sh -euc '
    root={HELD}/root
    top=$1
    shift
    mount -t overlay -o "ro,lowerdir=$top:/" overlay "$root"
    for dir in proc dev sys; do mount --rbind "/$dir" "$root/$dir"; done
    for dir in run tmp var; do mount -t tmpfs tmpfs "$root/$dir"; done
    mkdir -p "$root/var/tmp" "$root/run/veriseal-trust"
    if [ -e "$top/etc/initrd-release" ]; then
        mount --bind {ESP} "$root/run/veriseal-trust"
    else
        mount --bind "$top/boot" "$root/boot"
    fi
    mount --bind {HELD}/bin/veriseal "$root/usr/bin/veriseal"
    mount --bind {HELD}/bin/dracut "$root/usr/bin/dracut"
    exec /usr/sbin/chroot "$root" "$@"
' sh "$@"
"""
_INSTALLER = f"""
mount --bind {HELD}/bin/veriseal /usr/bin/veriseal
mount --rbind {DISK}/mnt /mnt
mount --bind "$2" /mnt/next
shift 2
exec "$@"
"""
_KIOSK = f"""
root={HELD}/root
mount --bind "$1" "$root"
for dir in {" ".join(_PROGRAMS)}; do mount --bind "/$dir" "$root/$dir"; done
mount --bind {HELD}/bin/veriseal "$root/usr/bin/veriseal"
for dir in proc dev sys; do mount --rbind "/$dir" "$root/$dir"; done
for dir in run tmp; do mount -t tmpfs tmpfs "$root/$dir"; done
mkdir "$root{HELD}"
mount --bind {HELD} "$root{HELD}"
mount --rbind {DISK}/mnt "$root/mnt"
mount --bind "$2" "$root/mnt/next"
mount --bind {ESP} "$root/boot/efi"
shift 2
exec /usr/sbin/chroot "$root" "$@"
"""


class Boot(NamedTuple):
    """A boot of the kiosk.

    Attributes:
        tree: what it booted.
        enrolled: the build machine's names of the certificates that its initrd enrols.
    """

    tree: str
    enrolled: tuple[str, ...]


class World:
    """Follows the guide.

    Attributes:
        said: each step of the section that ran commands, with what they printed on both streams.
        boots: the boots of the kiosk in this section; the first is where it begins.
    """

    def __init__(self) -> None:
        self.said: list[tuple[Step, str]] = []
        self.boots: list[Boot] = []
        self._trees = 0
        self._first: Boot | None = None
        self._staged: str | None = None

    def start_again(self, saved: str) -> None:
        """The kiosk boots its first tree, and the build machine has what is in ``saved``."""
        for name in os.listdir(VENDOR):
            helpers.remove(f"{VENDOR}/{name}")
        shutil.copytree(saved, VENDOR, symlinks=True, dirs_exist_ok=True)
        self._first = self._first or self.boots[0]
        self.boots = [self._first]
        shutil.copy(f"{saved}/tree/boot/initrd.img", f"{self._first.tree}/boot/initrd.img")
        found = _certificates().values()
        _set_keyring([one for one in found if _name(one) in self._first.enrolled])
        self._staged = None

    def follow(self, section: Section) -> None:
        """Do every step of ``section``; each must succeed."""
        self.said = []
        for where in (BUILD, MACHINE):
            helpers.write(_variables(where), b"")
        for step in section.steps:
            if step.what == DELIVER:
                self._deliver(step)
            elif step.what == REBOOT:
                self.reboot()
            elif step.what == PRINTED:
                _require_printed(step, self.said[-1][1])
            else:
                done = self.run(step.what, step.text)
                said = done.out.decode() + done.err
                assert done.status == 0, f"line {step.line}:\n{step.text}\n{said}"
                self.said.append((step, said))

    def heard(self, command: str) -> str:
        """What the one step printed that has ``command``."""
        (said,) = [said for step, said in self.said if command in step.text]
        return said

    def run(self, where: str, commands: str) -> Result:
        """Run ``commands`` in one of the two places."""
        # Variables last for the section, as in a shell that stays open.
        kept = _variables(where)
        argv = ["sh", "-ec", f". {kept}\nset -eua\n{commands}\nexport -p >{kept}\n"]
        if where == MACHINE:
            view, top = (_KIOSK, self.boots[-1].tree) if self.boots else (_INSTALLER, "/")
            staged = self._staged or f"{DISK}/mnt/next"
            argv = ["unshare", "--mount", "sh", "-euc", view, "sh", top, staged, *argv]
        else:
            argv = ["env", f"PATH={HELD}/bin:{os.environ['PATH']}", *argv]
        done = helpers.run(argv, timeout=180)
        assert "Traceback" not in done.err
        return done

    def _deliver(self, step: Step) -> None:
        """Bring over what the paragraph says: by default the tree and the release."""
        variables = helpers.must_run("sh", "-c", f'. {_variables(BUILD)}; echo "$TREE $RELEASE"')
        tree, release = variables.split()
        if "open keyring" in step.text:
            _set_keyring([])
            self.boots.clear()
        if step.text.startswith("**Deliver** the initrd"):
            shutil.copy(f"{tree}/boot/initrd.img", f"{DISK}/mnt/initrd.img")
            return
        if "statement" in step.text:
            for path in glob.glob(f"{VENDOR}/trust.json*"):
                shutil.copy(path, f"{DISK}/mnt/")
        if step.text.startswith("**Deliver** the statement"):
            return
        self._trees += 1
        self._staged = f"{DISK}/tree-{self._trees}"
        helpers.must_run("cp", "-a", "--reflink=never", tree, self._staged)
        shutil.rmtree(f"{DISK}/mnt/release", ignore_errors=True)
        shutil.copytree(release, f"{DISK}/mnt/release")

    def reboot(self) -> None:
        """Boot what was delivered since the last time; without that, the same tree."""
        tree = self._staged or self.boots[-1].tree
        self._staged = None
        with initrd(f"{tree}/boot/initrd.img") as unpacked:
            done = helpers.run([f"{HELD}/bin/chroot", unpacked, *SEAL], timeout=60)
            assert done.status == 0, done
        certificates = _certificates()
        found = [certificates[one["fingerprint"]] for one in json.loads(done.out)["enrol"]]
        _set_keyring(found)
        names = sorted(map(_name, found))
        self.boots.append(Boot(tree, tuple(names)))

    def stage(self, tree: str) -> None:
        """What is at /mnt/next, without delivering it."""
        self._staged = tree

    def forget(self) -> None:
        """Nothing is enrolled any more."""
        _set_keyring([])

    def opens(self, path: str, boot: int = -1) -> str:
        """What comes of opening ``path`` of the tree of a boot, in the latest: an errno's name."""
        helpers.evict()
        return helpers.outcome(lambda: os.close(os.open(self.boots[boot].tree + path, os.O_RDONLY)))


SEAL = ("veriseal", "boot", "seal", "--dry-run", "--json")


@contextmanager
def initrd(path: str) -> Iterator[str]:
    """An initrd that is not compressed, unpacked."""
    with tempfile.TemporaryDirectory(dir=HELD) as work:
        helpers.must_run("cpio", "--quiet", "-id", "-D", work, "-F", path)
        yield work


def _require_printed(step: Step, said: str) -> None:
    """Each line of ``step`` is one of what was ``said``; blanks apart, and up to an ellipsis."""
    printed = [" ".join(line.split()) for line in said.splitlines()]
    for line in step.text.splitlines():
        start, left_out, _ = " ".join(line.split()).partition("…")
        found = [one for one in printed if one.startswith(start.rstrip())]
        assert found if left_out else start in printed, f"line {step.line}: {line!r} not in {said}"


def _variables(where: str) -> str:
    return f"{HELD}/{'build' if where == BUILD else 'machine'}.sh"


def _certificates() -> dict[str, Certificate]:
    """Of releases, all that the build machine has, by fingerprint."""
    found = {}
    for path in glob.glob(f"{VENDOR}/*/*.pem"):
        if not os.path.basename(path).startswith("root"):
            one = certificate.load(helpers.read(path), path)
            found[one.fingerprint] = one
    return found


def _name(one: Certificate) -> str:
    return os.path.relpath(one.path, VENDOR)


def _set_keyring(certificates: list[Certificate]) -> None:
    ring = keyring.fs_verity_keyring()
    for serial in keyring.contents(ring):
        keyring.unlink(serial, ring)
    for one in certificates:
        keyring.add_certificate(one.der, ring)


def set_up() -> None:
    """The build machine, with the trees of two releases, and an empty disk."""
    for directory in (f"{HELD}/root", f"{HELD}/bin", ESP, f"{DISK}/mnt/next", VENDOR):
        os.makedirs(directory)
    helpers.write(f"{DISK}/esp.img", b"")
    os.truncate(f"{DISK}/esp.img", 4 << 20)
    helpers.must_run("mke2fs", "-q", "-L", "ESP", f"{DISK}/esp.img")
    helpers.must_run("mount", "-o", "loop", f"{DISK}/esp.img", ESP)
    device = helpers.must_run("findmnt", "--noheadings", "--output=SOURCE", ESP).strip()
    if not os.path.exists(BY_LABEL):
        os.makedirs(os.path.dirname(BY_LABEL), exist_ok=True)
        os.symlink(device, BY_LABEL)
    # No tree may be on the file system that it is laid over.
    os.makedirs(f"{DISK}/vendor")
    helpers.must_run("mount", "--bind", f"{DISK}/vendor", VENDOR)
    helpers.write(f"{HELD}/bin/dracut", _DRACUT.encode(), 0o755)
    helpers.write(f"{HELD}/bin/chroot", _CHROOT.encode(), 0o755)
    helpers.write(f"{HELD}/bin/veriseal", quick.CLIENT.encode(), 0o755)
    make_tree(f"{VENDOR}/tree", "13")
    make_tree(f"{VENDOR}/tree-14", "14")
    for number in (1, 2):
        helpers.write(f"{VENDOR}/image-{number}/etc/number", b"%d" % number)


def make_tree(top: str, version: str) -> None:
    """A small system of that release of Debian."""
    for path in (*_PROGRAMS, *_MOUNT_POINTS, "boot/efi", "usr/share"):
        os.makedirs(f"{top}/{path}", exist_ok=True)
    os.makedirs(f"{top}/usr/lib/modules/{os.uname().release}")
    for name in ("bin", "sbin", "lib", "lib64"):
        os.symlink(f"usr/{name}", f"{top}/{name}")
    release = f'ID=debian\nVERSION_ID="{version}"\n'
    helpers.write(f"{top}/usr/lib/os-release", release.encode())
    helpers.write(f"{top}/etc/veriseal/veriseal.toml", _SETTINGS.encode())
    os.symlink("../usr/lib/os-release", f"{top}/etc/os-release")
    helpers.write(top + APP, helpers.tiny_elf(int(version)), 0o755)
    helpers.write(top + TOOL, helpers.tiny_elf(42), 0o755)


def tear_down() -> None:
    """As if nothing had been."""
    _set_keyring([])
    helpers.must_run("umount", VENDOR, ESP)
    if os.path.lexists(BY_LABEL):
        os.unlink(BY_LABEL)
    for directory in (HELD, DISK, VENDOR):
        shutil.rmtree(directory)
