"""The table: every parser of bytes from outside, with samples and what must hold for any input.

A target's ``run`` takes any bytes. It returns if the parser keeps to `contract` and if what it
accepted has the properties that are written here; otherwise it raises. It is to be called between
`workplace.enter` and the end of the process, for some parsers read files.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tests.fuzz import (
    binaries,
    releases,
    samples,
    signatures,
    state,
    statements,
    system,
    texts,
    units,
)
from tests.fuzz.mutate import Mutator, edit_bytes, edit_der, edit_json, edit_lines, edit_pem
from veriseal import manifest


class Target(NamedTuple):
    """One row.

    Attributes:
        name: for the command line and for directories.
        run: what is called with each input.
        covers: the functions that it tries, as ``module.function`` below ``veriseal``.
        seeds: makes valid documents.
        mutators: changes that suit the format; `edit_bytes` is always among them.
        tokens: words of the language, for the mutators.
        below: parsers in Python below ours, of which a fuzzer is to see the way as well.
        runs: how often the fixed budget calls it: about a second.
    """

    name: str
    run: Callable[[bytes], None]
    covers: str
    seeds: Callable[[], list[bytes]]
    mutators: tuple[Mutator, ...] = ()
    tokens: Sequence[bytes] = ()
    below: str = ""
    runs: int = 3000

    def all_mutators(self) -> tuple[Mutator, ...]:
        return (edit_bytes, *self.mutators)


def _words(text: str) -> list[bytes]:
    return [word.encode() for word in text.split()]


_HEX = samples.DIGEST.value.hex().encode()
_NUMBERS = [b"9" * 5000, b"1e999", b"-0", b"18446744073709551616"]
_ESCAPES = _words(r"\x00 \x2e \x2f \x5c \\ \n \x \777 \134 \040 ")
_POLICY = _words("[boot] [trust] [build] [launch] = true 1 inf nan 1979-05-27 {} [] [[a]] a.b")
_NAMES = _words(
    "composefs= composefs.digest= ostree= ostree.prepare_root.composefs= ? v1-sha512-12:"
)
_OPTIONS = _words("verity=require upperdir=/x lowerdir=/a:/b lowerdir+=/c ro rw idmapped - overlay")
_FORBIDDEN = _words("LD_ LD_PRELOAD= PYTHONPATH= BASH_FUNC_x%%= LUA_PATH_5_4= MALLOC_X=1 ENV=")
_DER = [bytes.fromhex(one) for one in ("0500", "3000", "3080", "0201ff", "020100", "a000", "1f81")]
_WILD = _words("* ** ? [ ] [! [^ [a-z] [] [z-a] [[:a:]] [a--z] [&&b] [~~] [||] . .. /")
_EXEC = _words(
    r"- @ : + ! !! | ; \; $A ${A} $$ %% %i %h/x \x41 \101 \u00e9 \U00110000 ' app /opt/app"
)
_SETTINGS = _words(
    "[Service] [Unit] ExecStart= RootDirectory=/x ProcSubset=pid TemporaryFileSystem=/usr:ro "
    "SystemCallFilter=~@process BindPaths=/a:/run ExecPaths=/usr NoExecPaths=/ ExecSearchPath=/opt"
)

TARGETS = (
    Target(
        "tree-list",
        texts.tree_list,
        "dump.reader.parse dump.fields.read",
        lambda: [samples.tree_list(), b"/ 4096 40755 2 0 0 0 0.0 - - -\n"],
        (edit_lines,),
        [*_ESCAPES, *_NUMBERS, b"@100644", b"120777", b"-", b"0.0", b"-1.5", _HEX, b"a=b"],
    ),
    Target(
        "manifest",
        texts.manifest,
        "manifest.parse fields.load digest.Digest.parse digest.Digest.parse_exact",
        lambda: [
            manifest.serialize(samples.statement()),
            manifest.serialize(samples.image_statement()),
        ],
        (edit_json,),
        [*_NUMBERS, *_WILD, b"sha256:" + _HEX, b"image", b"tree"],
    ),
    Target(
        "closures",
        texts.closures,
        "closure.parse",
        lambda: [samples.closures()],
        (edit_json,),
        [*_NUMBERS, b"sha256:" + _HEX, b"/" + b"a" * 4096],
    ),
    Target(
        "signers",
        texts.signers,
        "signers.parse",
        lambda: [samples.signed_by()],
        (edit_json,),
        [*_NUMBERS, b"0" * 64, b"/" + b"a" * 4096],
    ),
    Target(
        "policy",
        texts.policy,
        "policy.parse policy.load",
        lambda: [samples.POLICY, b'[boot]\nkeyring = "off"\n'],
        (edit_lines,),
        [*_NUMBERS, *_POLICY, *_WILD, b"0x" + b"f" * 5000, b'"""', b"'''"],
        below="tomllib",
        runs=2000,
    ),
    Target(
        "os-release",
        texts.os_release,
        "osrelease.parse osrelease.read voa.os_identifiers",
        lambda: [samples.OS_RELEASE],
        (edit_lines,),
        _words("ID= ID=.. ID=a/b VERSION_ID= VARIANT_ID= # \\ ' \" $"),
        runs=600,
    ),
    Target(
        "patterns",
        texts.patterns,
        "",
        lambda: [samples.PATTERNS, b"/\n\n/a", b"/a" + b"*a" * 30 + b"\n\n/" + b"a" * 255],
        (edit_lines,),
        _WILD,
        runs=800,
    ),
    Target(
        "script",
        texts.script,
        "script.interpreter",
        lambda: [samples.SCRIPT, b"#!/bin/sh\n", b"#!/" + b"x" * 252 + b"\n", b"\x7fELF\2\1\1"],
        (),
        _words("#! #!/bin/sh /usr/bin/env -S -c /"),
    ),
    Target(
        "command-line",
        texts.command_line,
        "",
        lambda: [samples.CMDLINE, samples.OSTREE_CMDLINE, samples.VERSIONED_CMDLINE],
        (edit_lines,),
        [*_NAMES, _HEX, samples.LONG_DIGEST.value.hex().encode(), b'"', b' "', b'="'],
        runs=500,
    ),
    Target(
        "environment",
        texts.environment,
        "launch.environment.clean",
        lambda: [samples.ENVIRONMENT],
        (),
        _FORBIDDEN,
    ),
    Target(
        "certificate",
        signatures.certificates,
        "certificate.load certificate.load_root pem.one_certificate",
        lambda: list(samples.pems().values()),
        (edit_pem, edit_pem, edit_lines),
        [*_DER, b"-----BEGIN CERTIFICATE-----", b"-----BEGIN PRIVATE KEY-----"],
    ),
    Target(
        "signature",
        signatures.signature,
        "signature.inspect signature.verify",
        lambda: [samples.rsa_signature(), samples.ec_signature()],
        (edit_der, edit_der),
        _DER,
        below="asn1crypto",
        runs=1000,
    ),
    Target(
        "private-key",
        signatures.private_key,
        "build.keys.load build.files.read",
        lambda: [(samples.DATA / name).read_bytes() for name in ("rsa.key", "ec.key")],
        (edit_pem,),
        [*_DER, b"ENCRYPTED ", b"RSA ", b"EC "],
        runs=1000,
    ),
    Target(
        "release",
        releases.release,
        "tree.source.load tree.listed.read",
        releases.seeds,
        (releases.edit,),
        [*_NUMBERS, b"sha256:" + _HEX],
        runs=600,
    ),
    Target(
        "trust-statement",
        statements.statement,
        "trust.statement.parse trust.statement.load trust.beside.read",
        statements.seeds,
        (statements.edit,),
        [*_NUMBERS, b"sha256:" + _HEX, _HEX, b"-----BEGIN CERTIFICATE-----"],
        runs=600,
    ),
    Target(
        "report",
        state.report,
        "report.read report.state boot.seal.Sealed.from_json",
        state.report_seeds,
        (edit_json, edit_lines),
        [*_NUMBERS, b"Infinity", b'"sealed"', b'"failed"', b'"verified"', b'"both"'],
    ),
    Target(
        "launch-table",
        state.table,
        "",
        state.table_seeds,
        (),
        [],
    ),
    Target(
        "floor",
        state.floor,
        "boot.floor.read",
        lambda: [b'{"schema": 2, "version": 7, "created": 9, "statement": 3}'],
        (edit_json,),
        _NUMBERS,
    ),
    Target(
        "proc-keys",
        system.proc_keys,
        "kernel.keyring.parse_proc_keys_line",
        lambda: [samples.PROC_KEYS],
        (edit_lines,),
        [b".fs-verity: empty", b"keyring   ", b"fffffffff", b"-1", b"f" * 5000, b"     0     0 "],
    ),
    Target(
        "mounts",
        system.mounts,
        "kernel.mounts.parse kernel.mounts.read",
        lambda: [samples.MOUNTINFO],
        (edit_lines, edit_lines),
        [*_OPTIONS, *_ESCAPES, *_NUMBERS, b"27", b"/"],
    ),
    Target(
        "certificate-names",
        system.certificate_names,
        "trust.load.load",
        lambda: [
            b"0a.pem\n0b.pem -> /dev/null\n4e.pem -> /usr/share/voa/fedora:43/image/default/x509"
            b"/e.pem\n6e.pem\n6d.txt\n0/dir.pem\n2a.pem\n",
            b"1root.pem\n6a.pem\n0root.pem\n3root.pem\n7x.pem -> /dev/null\n",
        ],
        (edit_lines,),
        _words(
            ".pem /dev/null -> / .pem/ 0a.pem 1root.pem 3x.pem 6e.pem "
            "/usr/share/voa/fedora:43/image/default/x509/a.pem ../ /etc/voa"
        ),
        runs=300,
    ),
    Target(
        "unit",
        units.unit,
        "unit.syntax.parse unit.command.parse",
        lambda: list(units.SEEDS),
        (edit_lines, edit_lines),
        [*_EXEC, *_SETTINGS, b"\\\n", b"\n\n", b"=\n"],
        runs=800,
    ),
    Target(
        "elf",
        binaries.elf,
        "build.elf.read",
        binaries.elf_seeds,
        below="elftools",
        runs=2000,
    ),
    Target(
        "ld-cache",
        binaries.cache,
        "build.ldcache.parse",
        binaries.cache_seeds,
    ),
)

BY_NAME = {target.name: target for target in TARGETS}
