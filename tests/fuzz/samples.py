"""Valid documents of every kind, to be changed by the mutators. The same bytes in each run.

What is signed is signed with the keys in ``data/``, which are here for nothing else: anything that
they vouch for is worth nothing.
"""

import datetime
import functools
import gzip
import itertools
import re
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from veriseal import certificate, closure, manifest, merkle, signature, signers
from veriseal.certificate import Certificate
from veriseal.digest import SHA256, SHA512, Digest
from veriseal.manifest import Attached, Manifest

HERE = Path(__file__).parent
DATA = HERE / "data"
TREE = HERE.parent / "data" / "cs9-x86_64-developer.dump.gz"
"""The tree of a real system, as composefs lists it."""

BOOT_ID = "0f3c8a52-6a3e-4d0c-9f0f-1b6d3d1d5a11"
DIGEST = Digest(SHA256, bytes(range(32)))
OTHER_DIGEST = Digest(SHA256, bytes(range(1, 33)))
LONG_DIGEST = Digest(SHA512, bytes(range(64)))
OS = "fedora:43"


@functools.cache
def tree_list() -> bytes:
    """The start of a real list, and of each other kind of line one."""
    with gzip.open(TREE) as file:
        real = b"".join(itertools.islice(file, 40))
    digest = DIGEST.value.hex().encode()
    # This one was made of a system that had none.
    real = re.sub(rb"(?m)^(\S+ \d+ 100.* -) -", rb"\1 " + digest, real)
    return real + (
        b"/zz 4096 40755 2 0 0 0 -1.999999999 - - - security.selinux=a\\x20b user.x=\n"
        b"/zz/\\x20 3 100644 2 0 0 0 0.0 - a\\nb -\n"
        b"/zz/a 3 100644 2 0 0 0 0.0 ab/cd - %(hex)b\n"
        b"/zz/b 3 @100644 2 0 0 0 0.0 /zz/a - %(hex)b\n"
        b"/zz/c 0 20666 1 0 0 259 0.0 - - -\n"
        b"/zz/d 0 10666 1 0 0 0 0.0 - - -\n"
    ) % {b"hex": digest}


@functools.cache
def closures() -> bytes:
    """The closures of two programs and of one that needs nothing."""
    loader = closure.Member(b"/lib64/ld-linux-x86-64.so.2", DIGEST)
    return closure.serialize(
        {
            b"/usr/bin/ping": (loader, closure.Member(b"/usr/lib/libc.so.6", OTHER_DIGEST)),
            b"/opt/\xff app": (loader, closure.Member(b"/etc/ld.so.preload", None)),
            b"/usr/bin/static": (),
        }
    )


@functools.cache
def signed_by() -> bytes:
    """Who signed the files: two releases, and one of which nothing but the key is known."""
    return signers.serialize(
        [
            signers.Signed(OS, "0" * 64, "CN=Acme release fedora:43"),
            signers.Signed("fedora:42", "a" * 64, "CN=é", (b"/opt/\xff app", b"/usr/bin/ping")),
            signers.Signed("", "b" * 64, "CN=x", (b"/usr/bin/static",)),
        ]
    )


def attached(data: bytes) -> Attached:
    return Attached(merkle.data_digest(data, manifest.PARAMETERS), len(data))


@functools.cache
def statement() -> Manifest:
    """The manifest of a tree."""
    return Manifest(
        OS,
        7,
        1767225600,
        tree=attached(tree_list()),
        closures=attached(closures()),
        signers=attached(signed_by()),
        exclusive=("/usr", "/etc/*.d", "/opt/[a-z]?"),
        mutable=("/var", "/etc/machine-id"),
        signed=("/usr/bin",),
        revoked=(DIGEST, LONG_DIGEST),
    )


def image_statement() -> Manifest:
    """The manifest of a composefs image."""
    return Manifest(OS, 7, 1767225600, image=LONG_DIGEST, revoked=(DIGEST,))


def _key(name: str) -> Any:
    return serialization.load_pem_private_key((DATA / name).read_bytes(), None)


@functools.cache
def rsa_key() -> rsa.RSAPrivateKey:
    key = _key("rsa.key")
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


@functools.cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    key = _key("ec.key")
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


@functools.cache
def pems() -> dict[str, bytes]:
    """Certificates by what they are: ``root``, ``rsa`` that it issued, ``ec``.

    All are signed with the RSA key, for an ECDSA signature is another one each time.
    """
    root = _certificate("Acme root", 1, rsa_key().public_key(), root=True)
    issued = _certificate("Acme release fedora:43", 2, rsa_key().public_key())
    return {
        "root": root,
        "rsa": issued,
        "ec": _certificate("Acme é, release", 3, ec_key().public_key()),
    }


def _certificate(subject: str, serial: int, key: Any, root: bool = False) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Acme root")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    chosen = [False] * 9
    chosen[5 if root else 0] = True
    chosen[6] = root
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=3650))
        .add_extension(x509.BasicConstraints(root, None), critical=True)
        .add_extension(x509.KeyUsage(*chosen), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
    if not root:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
        builder = builder.add_extension(usage, critical=False)
    made = builder.sign(rsa_key(), hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM)


@functools.cache
def root() -> Certificate:
    return certificate.load_root(pems()["root"], "root.pem")


@functools.cache
def signer(kind: str) -> Certificate:
    """The certificate of the ``rsa`` or the ``ec`` key."""
    return certificate.load(pems()[kind], f"{kind}.pem")


@functools.cache
def rsa_signature() -> bytes:
    """Of `DIGEST`."""
    return signature.make(DIGEST, rsa_key(), signer("rsa"))


@functools.cache
def ec_signature() -> bytes:
    """Of `DIGEST`. From a file: each one that is made is another."""
    return (DATA / "ec.sig").read_bytes()


def signed(data: bytes) -> bytes:
    """A signature, by the RSA key, of a manifest."""
    digest = manifest.digest(data)
    return signature.make(digest, rsa_key(), signer("rsa"))


PROC_KEYS = b"""\
02c90c8c I--Q---     2 perm 1f3f0000     0 65534 keyring   _uid.0: empty
0918451d I------     1 perm 1f0b0000     0     0 keyring   .builtin_trusted_keys: 2
13e6dfbd I------     1 perm 08030000     0     0 keyring   .fs-verity: empty
1de7a24d I--Q---     1 perm 0c030000  1000 65534 user      \xff: 2
24d71cd5 I--Q---     1 3d perm 1f3f0000     0     0 asymmetri Acme: 00ff: X509.rsa ab []
"""

MOUNTINFO = b"""\
1 1 0:2 / / rw - rootfs rootfs rw
27 1 0:41 / / ro,relatime - overlay composefs:%(hex)b ro,lowerdir+=/a,datadir+=/b,verity=require
28 27 0:21 / /proc rw,nosuid shared:5 - proc proc rw
29 27 8:1 /deploy/var /var rw,relatime shared:2 master:1 - ext4 /dev/sda1 rw
30 29 0:44 / /var/a\\040b\\012c rw - tmpfs \\134x\\011y rw,size=4k,mode=755
31 27 0:45 / /usr/lib ro - tmpfs none ro
""" % {b"hex": LONG_DIGEST.value.hex().encode()}

OS_RELEASE = b"""\
# os-release
NAME="Fedora Linux"
ID=fedora
VERSION_ID="43"
VARIANT_ID='kiosk'
IMAGE_ID=acme\\ kiosk
IMAGE_VERSION="7.1\\"$"
HOME_URL="https://example.org/"

"""

POLICY = b"""\
[trust]
next = ["fedora:44"]
context = "default"
[boot]
keyring = "require"
root = "composefs"
mode = "report"
signatures_needed = 2
verity = "all"
images = "/usr/lib/veriseal/images"
image_file = "/sysroot/composefs/images/{digest}"
[launch]
require = "both"
[build]
exclusive = ["/srv/*/bin", "/[a-z]?"]
sign = ["/usr"]
mutable = ["/var"]
revoked = ["%b"]
""" % str(DIGEST).encode()

CMDLINE = b'root=UUID=0 quiet x="a b" "y=c d" composefs=%b rw' % DIGEST.value.hex().encode()
OSTREE_CMDLINE = b"ro ostree=/ostree/boot.1/os/ab12/0 ostree.prepare-root.composefs=signed"
VERSIONED_CMDLINE = b"composefs.digest=v1-sha512-12:%b" % LONG_DIGEST.value.hex().encode()

ENVIRONMENT = b"HOME=/root\0LD_PRELOAD=/x.so\0A=b=c\0A=d\0BASH_FUNC_f%%=() { :; }\0PATH=/bin\0"

PATTERNS = b"/usr\n/etc/*.d\n/opt/[!a-c]*[x]?\n/a*b*c\n\n/etc/systemd.d/x"

SCRIPT = b"#! /usr/bin/perl -w -T \necho\n"
