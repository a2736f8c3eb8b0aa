"""The image that a command line names, and which mounts are not that image."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriseal.boot import composefs
from veriseal.digest import SHA256, SHA512, Digest
from veriseal.errors import VerisealError
from veriseal.kernel import mounts
from veriseal.kernel.mounts import Mount

pytestmark = pytest.mark.unit

D256 = Digest(SHA256, bytes(range(32)))
D512 = Digest(SHA512, bytes(range(64)))
HEX, HEX512 = D256.value.hex(), D512.value.hex()
OTHER = "0" * 64


@pytest.mark.parametrize(
    ("cmdline", "digest"),
    [
        (f"composefs={HEX}", D256),
        (f"composefs={HEX512}", D512),
        (f"root=UUID=1 ro  composefs={HEX}\tquiet\n", D256),
        (f"composefs.digest=v1-sha256-12:{HEX}", D256),
        (f"rw composefs.digest=v2-sha512-12:{HEX512}", D512),
        (f"composefs.digest={HEX}", D256),
        (f'"composefs={HEX}"', D256),
        (f'composefs="{HEX}"', D256),
        (f'dyndbg="file a.c +p" composefs={HEX}', D256),
        (f'a="b  composefs={HEX} " composefs={HEX}', D256),
        (f"ostree.prepare-root.composefs=signed composefs={HEX}", D256),
        (f"composefs={HEX} xcomposefs={OTHER} composefs_x={OTHER} composefs.other=1", D256),
        # What comes after it is for init; the mounter does not know that either.
        (f"-- composefs={HEX}", D256),
    ],
)
def test_what_is_named(cmdline: str, digest: Digest) -> None:
    assert composefs.named_on_command_line(cmdline) == digest


REFUSED = {
    "": "no-image-named",
    "root=/dev/vda ro quiet": "no-image-named",
    f"xcomposefs={HEX} COMPOSEFS={HEX}": "no-image-named",
    f"composefs.digests={HEX}": "no-image-named",
    f"composefs={HEX} composefs={HEX}": "several-images-named",
    f"composefs={HEX} composefs={OTHER}": "several-images-named",
    f"composefs.digest=v1-sha256-12:{HEX} composefs={OTHER}": "several-images-named",
    f'composefs={HEX} a="b composefs={OTHER}"': "several-images-named",
    f'a="b composefs={HEX} c"': "several-images-named",
    f'composefs={HEX} "composefs={OTHER}"': "several-images-named",
    f"composefs={HEX}\vcomposefs={OTHER}": "several-images-named",
    f"composefs=?{HEX}": "verity-optional",
    f'composefs="?{HEX}"': "verity-optional",
    f'"composefs=?{HEX}"': "verity-optional",
    f"composefs.digest=?v1-sha256-12:{HEX}": "verity-optional",
    f"composefs={HEX} composefs=?{HEX}": "verity-optional",
    f"composefs={HEX} composefs.digest=?{HEX}": "verity-optional",
    f'composefs={HEX} a="b composefs=?{HEX} c"': "verity-optional",
    "composefs": "bad-image-name",
    "composefs=": "bad-image-name",
    f"composefs={HEX[:-1]}": "bad-image-name",
    f"composefs={HEX}0": "bad-image-name",
    f"composefs={HEX[:-1]}g": "bad-image-name",
    f"composefs={HEX.upper()}": "bad-image-name",
    f"composefs=sha256:{HEX}": "bad-image-name",
    f"composefs=../{HEX}": "bad-image-name",
    f"composefs={HEX}\xa0x": "bad-image-name",
    f"composefs={HEX}\u0663": "bad-image-name",
    f'composefs="{HEX} "': "bad-image-name",
    f"composefs==?{HEX}": "bad-image-name",
    f"composefs.digest=v1-sha512-12:{HEX}": "bad-image-name",
    f"composefs.digest=v1-sha256-16:{HEX}": "bad-image-name",
    f"composefs.digest=v1-md5-12:{HEX}": "bad-image-name",
    **{
        f"composefs={HEX} ostree.prepare-root.composefs{value}": "checks-switched-off"
        for value in ("=0", "=no", "=maybe", "=yes", "=1", "=verity", "=", "=Signed", "")
    },
    f'composefs={HEX} "ostree.prepare-root.composefs=0"': "checks-switched-off",
    # ostree knows no quotes.
    f'composefs={HEX} a="b ostree.prepare-root.composefs=0 c"': "checks-switched-off",
    f"ostree.prepare_root.composefs=0 composefs={HEX}": "checks-switched-off",
    f"ostree.prepare-root.composefs=signed ostree.prepare-root.composefs=0 composefs={HEX}": (
        "checks-switched-off"
    ),
}


@pytest.mark.parametrize("cmdline", REFUSED)
def test_what_is_refused(cmdline: str) -> None:
    with pytest.raises(VerisealError) as raised:
        composefs.named_on_command_line(cmdline)
    assert raised.value.reason == REFUSED[cmdline]
    assert raised.value.remedy


pieces = st.sampled_from(
    [
        *(f"composefs={HEX}", f"composefs=?{HEX}", f"composefs={OTHER}", "composefs=", "composefs"),
        *(f"composefs.digest=v1-sha256-12:{HEX}", "ostree.prepare-root.composefs=0", HEX, "?"),
        *(" ", "\t", '"', "=", "quiet", "a=b", "\xa0", "\x0b", "--", "\\"),
    ]
)


@given(st.lists(pieces, max_size=12).map("".join))
def test_whatever_is_accepted_every_reader_reads_alike(cmdline: str) -> None:
    try:
        digest = composefs.named_on_command_line(cmdline)
    except VerisealError as error:
        if error.reason not in REFUSED.values():
            raise
        return
    assert digest in (D256, Digest(SHA256, bytes.fromhex(OTHER)))
    # As composefs-rs, ostree and a shell script would look for them.
    for value in re.findall(r"(?:^|[ \"\t])composefs(?:\.digest)?=([^\s]*)", cmdline):
        assert value.strip('"').removeprefix("v1-sha256-12:") == digest.value.hex()
    assert not re.search(r"(^|[ \"\t])ostree\.prepare-root\.composefs=0", cmdline)


@given(st.text(max_size=200))
def test_any_text_is_refused(cmdline: str) -> None:
    with pytest.raises(VerisealError):
        composefs.named_on_command_line(cmdline)


def test_where_a_digest_file_lies() -> None:
    assert composefs.deployment("/boot/veriseal", D256) == f"/boot/veriseal/{HEX}"


ROOT = Mount(1, 1, "/", "/", ("rw",), "rootfs", "none", ("rw",))
GOOD = Mount(
    *(2, 1, "/", "/sysroot", ("ro", "relatime"), "overlay", f"composefs:{HEX}"),
    ("ro", "lowerdir+=/tmp/x", "datadir+=/objects", "metacopy=on", "verity=require"),
)


def other(point: str, parent: int = 2) -> Mount:
    return Mount(9, parent, "/", point, ("rw",), "tmpfs", "tmpfs", ("rw",))


def options(*changed: str) -> Mount:
    return GOOD._replace(super_options=changed)


def test_what_is_required_of_a_mount() -> None:
    composefs.require_mounted([ROOT, GOOD], "/sysroot", D256)
    composefs.require_mounted([ROOT, GOOD._replace(options=("rw",))], "/sysroot", D256)
    legacy = options("ro", r"lowerdir=/tmp/a\:b::/objects::/more", "verity=require")
    composefs.require_mounted([ROOT, legacy], "/sysroot", D256)


BAD = {
    "fstype": (GOOD._replace(filesystem="fuse.overlay"), "not-composefs"),
    "plain": (GOOD._replace(filesystem="ext4"), "not-composefs"),
    "source": (GOOD._replace(source=f"composefs2:{HEX}"), "not-composefs"),
    "no source": (GOOD._replace(source=""), "not-composefs"),
    "another digest": (GOOD._replace(source=f"composefs:{OTHER}"), "other-image"),
    "longer digest": (GOOD._replace(source=f"composefs:{HEX}0"), "other-image"),
    "two digests": (GOOD._replace(source=f"composefs:{OTHER}:{HEX}"), "other-image"),
    "empty digest": (GOOD._replace(source="composefs:"), "other-image"),
    "optional digest": (GOOD._replace(source=f"composefs:?{HEX}"), "other-image"),
    "bare": (GOOD._replace(source="composefs"), "image-unknown"),
    "verity on": (options("ro", "lowerdir+=/x", "verity=on"), "verity-not-required"),
    "verity off": (options("ro", "lowerdir+=/x", "verity=off"), "verity-not-required"),
    "no verity": (options("ro", "lowerdir+=/x"), "verity-not-required"),
    "verity twice": (
        options("ro", "lowerdir+=/x", "verity=require", "verity=off"),
        "verity-not-required",
    ),
    "verity in a path": (options("ro", "lowerdir+=/x,verity=require"), "verity-not-required"),
    "mount option": (
        options("ro", "lowerdir+=/x")._replace(options=("ro", "verity=require")),
        "verity-not-required",
    ),
    "writable": (options("rw", "lowerdir+=/x", "verity=require"), "root-writable"),
    "upper": (
        options("ro", "lowerdir+=/x", "upperdir=/u", "verity=require"),
        "root-writable",
    ),
    "work": (options("ro", "lowerdir+=/x", "workdir=/w", "verity=require"), "root-writable"),
    "two layers": (
        options("ro", "lowerdir+=/x", "lowerdir+=/y", "verity=require"),
        "other-layers",
    ),
    "two old layers": (options("ro", "lowerdir=/x:/y::/z", "verity=require"), "other-layers"),
    "objects as a layer": (options("ro", "lowerdir=/x:/y", "verity=require"), "other-layers"),
    "escaped backslash": (
        options("ro", r"lowerdir=/x\\:/y::/z", "verity=require"),
        "other-layers",
    ),
    "no layer": (options("ro", "verity=require"), "other-layers"),
    "subdirectory": (GOOD._replace(root="/usr"), "part-of-image"),
    "idmapped": (GOOD._replace(options=("ro", "idmapped")), "part-of-image"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_a_mount_is_refused_for(name: str) -> None:
    mount, reason = BAD[name]
    with pytest.raises(VerisealError) as raised:
        composefs.require_mounted([ROOT, mount], "/sysroot", D256)
    assert (raised.value.reason, raised.value.path) == (reason, "/sysroot")
    assert raised.value.remedy


def test_the_digest_must_be_that_of_the_same_algorithm() -> None:
    with pytest.raises(VerisealError, match=HEX512):
        composefs.require_mounted([ROOT, GOOD], "/sysroot", D512)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ([ROOT], "not-mounted"),
        ([ROOT, GOOD._replace(point="/sysroot/usr")], "not-mounted"),
        ([ROOT, GOOD, other("/sysroot")], "not-composefs"),
        ([ROOT, GOOD, other("/", 1)], "not-mounted"),
        ([ROOT, GOOD, other("/sysroot/usr")], "hidden-by-mount"),
        ([ROOT, GOOD, other("/sysroot/usr/lib/x")], "hidden-by-mount"),
    ],
)
def test_other_mounts_are_looked_at(table: list[Mount], reason: str) -> None:
    with pytest.raises(VerisealError) as raised:
        composefs.require_mounted(table, "/sysroot", D256)
    assert raised.value.reason == reason


def test_which_directories_must_not_be_hidden() -> None:
    for point in ("/sysroot/var", "/sysroot/usr2", "/sysroot/etc"):
        composefs.require_mounted([ROOT, GOOD, other(point)], "/sysroot", D256)
        assert composefs.not_covered([ROOT, GOOD, other(point)], "/sysroot") == [other(point)]
    for point in ("/sysroot/etc", "/sysroot/etc/systemd", "/sysroot/etc/systemd/system/x"):
        with pytest.raises(VerisealError) as raised:
            composefs.require_mounted(
                [ROOT, GOOD, other(point)], "/sysroot", D256, None, ["/etc/systemd/system"]
            )
        assert (raised.value.reason, raised.value.path) == ("hidden-by-mount", point)


def test_a_file_that_is_no_image_on_a_file_system_with_verity(tmp_path: object) -> None:
    for path in ("/proc/self/maps", f"{tmp_path}/none"):
        with pytest.raises(VerisealError) as raised:
            composefs.require_mounted([ROOT, GOOD], "/sysroot", D256, path)
        assert raised.value.reason in ("no-filesystem-support", "not-found")
        assert raised.value.path == path


def test_a_real_table_with_no_composefs_in_it() -> None:
    with pytest.raises(VerisealError):
        composefs.require_mounted(mounts.read(), "/", D256)
