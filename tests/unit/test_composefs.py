"""The image that a command line names, and which mounts are not that image."""

import errno
import hashlib
import os
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriseal import certificate, policy, signature
from veriseal.boot import cmdline, composefs, verify
from veriseal.digest import SHA256, SHA512, Digest
from veriseal.errors import VerisealError
from veriseal.kernel import keyring, mounts
from veriseal.kernel.mounts import Mount
from veriseal.pattern import Patterns, Rules
from veriseal.tree import check

pytestmark = pytest.mark.unit

D256 = Digest(SHA256, bytes(range(32)))
D512 = Digest(SHA512, bytes(range(64)))
HEX, HEX512 = D256.value.hex(), D512.value.hex()
OTHER = "0" * 64


@pytest.mark.parametrize(
    ("text", "digest"),
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
def test_what_is_named(text: str, digest: Digest) -> None:
    assert cmdline.image(text) == digest
    assert composefs.named(text, "") == (digest, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "root=/dev/vda ro quiet",
        f"xcomposefs={HEX} COMPOSEFS={HEX}",
        f"composefs.digests={HEX}",
        "ostree=/a ostree.prepare-root.composefs=signed",
    ],
)
def test_no_image_is_named(text: str) -> None:
    assert cmdline.image(text) is None
    for image_file in ("", "/images/{digest}", "/images{ostree}/{digest}"):
        with pytest.raises(VerisealError) as raised:
            composefs.named(text, image_file)
        assert raised.value.reason == "no-image-named"
        assert "boot.image_file" in str(raised.value.remedy)


REFUSED = {
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
    f'composefs="{HEX} "': "several-images-named",
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


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused(text: str) -> None:
    for image_file in ("", "/image"):
        with pytest.raises(VerisealError) as raised:
            composefs.named(text, image_file)
        assert raised.value.reason == REFUSED[text]
        assert raised.value.remedy


pieces = st.sampled_from(
    [
        *(f"composefs={HEX}", f"composefs=?{HEX}", f"composefs={OTHER}", "composefs=", "composefs"),
        *(f"composefs.digest=v1-sha256-12:{HEX}", "ostree.prepare-root.composefs=0", HEX, "?"),
        *(" ", "\t", '"', "=", "quiet", "a=b", "\xa0", "\x0b", "--", "\\"),
    ]
)


@given(st.lists(pieces, max_size=12).map("".join))
def test_whatever_is_accepted_every_reader_reads_alike(text: str) -> None:
    try:
        digest = cmdline.image(text)
    except VerisealError as error:
        if error.reason not in REFUSED.values():
            raise
        return
    # As composefs-rs, ostree and a shell script would look for them.
    values = re.findall(r"(?:^|[ \t])\"?composefs(?:\.digest)?=([^\s]*)", text)
    if digest is None:
        assert not values
    else:
        assert digest.value.hex() in text
        for value in values:
            assert value.strip('"').removeprefix("v1-sha256-12:") == digest.value.hex()
    assert not re.search(r"(^|[ \t])\"?ostree\.prepare-root\.composefs=0", text)


@given(st.text(max_size=200))
def test_any_text_names_nothing(text: str) -> None:
    with pytest.raises(VerisealError):
        composefs.named(text, "")


DEPLOYMENT = "/ostree/boot.1/fedora/0123abc/0"


@pytest.mark.parametrize(
    "text",
    [
        f"ostree={DEPLOYMENT}",
        f"root=UUID=1 ostree={DEPLOYMENT} rw",
        f'"ostree={DEPLOYMENT}"',
        f"xostree=/b ostree.other=1 ostree={DEPLOYMENT} ostree-x=/c",
    ],
)
def test_a_deployment(text: str) -> None:
    assert cmdline.deployment(text) == DEPLOYMENT


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no-deployment-named"),
        ("OSTREE=/a xostree=/b", "no-deployment-named"),
        (f"ostree={DEPLOYMENT} ostree={DEPLOYMENT}", "several-deployments-named"),
        (f"ostree={DEPLOYMENT} ostree=/other", "several-deployments-named"),
        (f'ostree={DEPLOYMENT} a="b ostree=/other"', "several-deployments-named"),
        ('a="b ostree=/other c"', "several-deployments-named"),
        ('ostree="/a b"', "several-deployments-named"),
        ("ostree", "bad-deployment-name"),
        ("ostree=", "bad-deployment-name"),
        ("ostree=/", "bad-deployment-name"),
        ("ostree=ostree/boot.1", "bad-deployment-name"),
        ("ostree=/ostree/../etc", "bad-deployment-name"),
        ("ostree=/ostree/..", "bad-deployment-name"),
        ("ostree=/ostree/./a", "bad-deployment-name"),
        ("ostree=//ostree", "bad-deployment-name"),
        ("ostree=/ostree/", "bad-deployment-name"),
        ("ostree=/ostree/\x01", "bad-deployment-name"),
        ("ostree=/ostree/\udcff", "bad-deployment-name"),
    ],
)
def test_what_is_no_deployment(text: str, reason: str) -> None:
    with pytest.raises(VerisealError) as raised:
        cmdline.deployment(text)
    assert raised.value.reason == reason
    assert raised.value.remedy


def test_the_file_of_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def measured(path: str) -> Digest:
        asked.append(path)
        return D512

    monkeypatch.setattr(composefs, "measured", measured)
    # The command line's word counts, and nothing is measured for it.
    by_digest = f"composefs={HEX} ostree={DEPLOYMENT}"
    assert composefs.named(by_digest, "/x/{digest}") == (D256, f"/x/{HEX}")
    path = f"/x{DEPLOYMENT}/{HEX}"
    assert composefs.named(by_digest, "/x{ostree}/{digest}") == (D256, path)
    assert composefs.named(by_digest, "/x") == (D256, "/x")
    assert asked == []
    cfs = "/sysroot/sysroot{ostree}/.ostree.cfs"
    path = f"/sysroot/sysroot{DEPLOYMENT}/.ostree.cfs"
    assert composefs.named(f"ostree={DEPLOYMENT}", cfs) == (D512, path)
    assert composefs.named("ostree=/{digest}", cfs)[1] == "/sysroot/sysroot/{digest}/.ostree.cfs"
    assert composefs.named("quiet", "/x") == (D512, "/x")
    assert asked == [path, "/sysroot/sysroot/{digest}/.ostree.cfs", "/x"]
    for text in ("quiet", "ostree=/a ostree=/b", "ostree=../a"):
        with pytest.raises(VerisealError, match="deployment"):
            composefs.named(text, cfs)
    with pytest.raises(VerisealError, match="optional"):
        composefs.named(f"ostree={DEPLOYMENT} composefs=?{HEX}", cfs)
    assert len(asked) == 3


def test_the_file_of_an_image_must_be_measurable() -> None:
    for path, reason in (("/nowhere/x", "not-found"), ("/proc/mounts", "no-filesystem-support")):
        with pytest.raises(VerisealError) as raised:
            composefs.named("quiet", path)
        assert (raised.value.reason, raised.value.path) == (reason, path)


def test_where_a_digest_file_lies() -> None:
    assert composefs.deployment("/boot/veriseal", D256) == f"/boot/veriseal/{HEX}"


ROOT = Mount(1, 1, 1, "/", "/", ("rw",), "rootfs", "none", ("rw",))
GOOD = Mount(
    *(2, 1, 2, "/", "/sysroot", ("ro", "relatime"), "overlay", f"composefs:{HEX}"),
    ("ro", "lowerdir+=/tmp/x", "datadir+=/objects", "metacopy=on", "verity=require"),
)


def other(point: str, parent: int = 2) -> Mount:
    return Mount(9, parent, 9, "/", point, ("rw",), "tmpfs", "tmpfs", ("rw",))


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


def hidden(point: str, exclusive: tuple[str, ...], *mutable: str) -> bool:
    """Whether a mount at ``point`` in the root is refused."""
    table = [ROOT, GOOD, other(f"/sysroot{point}")]
    assert composefs.mounted_inside(table, "/sysroot") == [point]
    found = None
    try:
        composefs.require_mounted(table, "/sysroot", D256, None, Rules(exclusive, mutable))
    except VerisealError as error:
        found = error
    if found is None:
        return False
    assert (found.reason, found.path) == ("hidden-by-mount", f"/sysroot{point}")
    assert f"name {point} in build.mutable" in str(found.remedy)
    return True


USUAL = ("/usr", "/bin", "/lib*", "/etc/systemd", "/etc/rc?.d", "/etc/ld.so.*")
EXTENSIONS = "/var/lib/extensions"
EXCLUSIVE_POINTS = (
    *("/usr", "/usr/bin", "/usr/lib/x/y", "/bin", "/lib64", "/lib/modules"),
    *("/etc", "/etc/systemd", "/etc/systemd/system", "/etc/rc3.d", "/etc/ld.so.preload"),
    *("/var", "/var/lib", EXTENSIONS),
)


@pytest.mark.parametrize("point", EXCLUSIVE_POINTS)
def test_a_mount_over_what_is_exclusive(point: str) -> None:
    exclusive = (*USUAL, EXTENSIONS)
    assert hidden(point, policy.EXCLUSIVE)
    assert hidden(point, exclusive)
    assert hidden(point, exclusive, "/srv", f"{point}2", f"{point}/below", f"{point}/*")
    assert not hidden(point, exclusive, point)
    assert not hidden(point, exclusive, "/")
    assert not hidden(point, exclusive, "/*")


@pytest.mark.parametrize(
    "point", ["/usr2", "/sysroot", "/home", "/var", "/etc/machine-id", "/etc/system", "/run"]
)
def test_a_mount_beside_what_is_exclusive(point: str) -> None:
    assert not hidden(point, USUAL)
    assert hidden(point, (*USUAL, "/*"))
    assert hidden(point, ("/",))


def test_patterns_decide_what_is_hidden() -> None:
    assert hidden("/opt/a/bin", ("/opt/*/bin",))
    assert hidden("/opt/a", ("/opt/*/bin",))
    assert hidden("/opt", ("/opt/*/bin",))
    assert not hidden("/opt/a/lib", ("/opt/*/bin",))
    assert not hidden("/etc/systemd/system", USUAL, "/etc")
    assert not hidden("/etc", USUAL, "/e?c")
    assert hidden("/etc", USUAL, "/etc/[a-z]*")


def test_one_named_mount_excuses_no_other() -> None:
    etc, usr = other("/sysroot/etc"), other("/sysroot/usr")._replace(id=10)
    rules = Rules(policy.EXCLUSIVE, ("/etc",))
    composefs.require_mounted([ROOT, GOOD, etc], "/sysroot", D256, None, rules)
    # Mounted in what may change, but over what may not.
    inner = usr._replace(parent=9)
    for table in ([ROOT, GOOD, etc, usr], [ROOT, GOOD, etc, inner]):
        with pytest.raises(VerisealError) as raised:
            composefs.require_mounted(table, "/sysroot", D256, None, rules)
        assert raised.value.path == "/sysroot/usr"


def test_mounts_in_a_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = GOOD._replace(filesystem="ext4")
    beside = other("/sysroot2/usr", 1)._replace(id=8)
    # A name that begins alike, and one that another mount hides.
    below = other("/sysroot/usr", 1)._replace(id=7)
    usr, weird = other("/sysroot/usr"), other("/sysroot/a\udcff")._replace(id=10)
    monkeypatch.setattr(mounts, "read", lambda: [ROOT, tree, beside, below, usr, weird])
    nothing = Patterns(())

    def below_sysroot(*directories: bytes, root: str = "/sysroot") -> tuple[list[str], list[str]]:
        listed = {b"/", b"/usr", b"/usr/bin", *directories}
        seen = check.Result([], 0, 0, 0, 0, 0, 0, [], set(), listed)
        return verify.mounted_below(root, seen, nothing)

    assert below_sysroot(b"/a\xff") == (["/usr"], ["/a\udcff"])
    assert below_sysroot(b"/a\xff/b") == (["/usr", "/a\udcff"], [])
    for other_root in ("/sysroot/usr/bin", "/sysroot3"):
        with pytest.raises(VerisealError, match="nothing is mounted"):
            below_sysroot(root=other_root)


@pytest.fixture
def signed(rsa_key: Any, certify: Any) -> tuple[certificate.Certificate, bytes]:
    """A certificate, and a good signature of `D256` by it."""
    cert = certificate.load(certify(rsa_key), "cert")
    return cert, signature.make(D256, rsa_key, cert)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EKEYREJECTED, "kernel-disagrees"),
        (errno.EBADMSG, "kernel-disagrees"),
        (errno.EINVAL, "kernel-disagrees"),
        (errno.EACCES, "kernel-disagrees"),
        (errno.ENOPKG, "kernel-cannot-verify"),
        (errno.EOPNOTSUPP, "kernel-cannot-verify"),
        (0, None),
    ],
)
def test_what_the_kernel_says_counts(
    signed: Any, monkeypatch: pytest.MonkeyPatch, number: int, reason: str | None
) -> None:
    cert, der = signed
    left, asked = [], []

    def pkey_verify(key: int, how: str, hashed: bytes, raw: bytes) -> None:
        asked.append((key, how, hashed, raw))
        if number:
            raise OSError(number, os.strerror(number), "keyctl pkey_verify")

    monkeypatch.setattr(keyring, "add_certificate", lambda der: 17 if der == cert.der else 0)
    monkeypatch.setattr(keyring, "unlink", lambda *key: left.append(key))
    monkeypatch.setattr(keyring, "pkey_verify", pkey_verify)
    if reason is None:
        composefs.kernel_agrees(cert, D256, der)
    else:
        with pytest.raises(VerisealError) as raised:
            composefs.kernel_agrees(cert, D256, der)
        assert raised.value.reason == reason
        assert errno.errorcode[number] in str(raised.value.found)
    hashed = hashlib.sha256(D256.formatted()).digest()
    assert asked == [(17, "enc=pkcs1 hash=sha256", hashed, signature.inspect(der).raw)]
    assert left == [(17, keyring.PROCESS_KEYRING)]


def test_a_kernel_without_keyrings(signed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def add_certificate(der: bytes) -> int:
        raise OSError(errno.ENODEV, "No such device", "keyctl add")

    monkeypatch.setattr(keyring, "add_certificate", add_certificate)
    with pytest.raises(VerisealError) as raised:
        composefs.kernel_agrees(signed[0], D256, signed[1])
    assert raised.value.reason == "kernel-cannot-verify"


def test_a_file_that_is_no_image_on_a_file_system_with_verity(tmp_path: object) -> None:
    for path in ("/proc/self/maps", f"{tmp_path}/none"):
        with pytest.raises(VerisealError) as raised:
            composefs.require_mounted([ROOT, GOOD], "/sysroot", D256, path)
        assert raised.value.reason in ("no-filesystem-support", "not-found")
        assert raised.value.path == path


def test_a_real_table_with_no_composefs_in_it() -> None:
    with pytest.raises(VerisealError):
        composefs.require_mounted(mounts.read(), "/", D256)
