"""Targets that are text, and pure."""

import io
import os

from tests.fuzz import oracles, workplace
from tests.fuzz.contract import attempt
from veriseal import closure, dump, osrelease, voa
from veriseal import manifest as statement
from veriseal import policy as settings
from veriseal import script as hash_bang
from veriseal import signers as signed_by
from veriseal.boot import cmdline
from veriseal.digest import Digest
from veriseal.errors import VerisealError
from veriseal.launch.environment import clean
from veriseal.pattern import Patterns, Rules


def tree_list(data: bytes) -> None:
    """What is accepted means the same once it is written again, and is then a fixed point."""
    entries = attempt(_entries, data)
    if isinstance(entries, VerisealError):
        return
    written = [dump.line(entry) for entry in entries]
    assert list(dump.parse(written)) == entries
    assert [dump.line(entry) for entry in dump.parse(data.splitlines(True))] == written
    paths = [entry.path for entry in entries]
    assert len(set(paths)) == len(paths)
    assert sorted(paths, key=lambda path: path.split(b"/")) == paths


def _entries(data: bytes) -> list[dump.Entry]:
    return list(dump.parse(io.BytesIO(data), "tree.dump"))


def manifest(data: bytes) -> None:
    """What is accepted can be written, and read again as the same; its patterns work."""
    found = attempt(statement.parse, data, "manifest.json")
    if isinstance(found, VerisealError):
        return
    written = statement.serialize(found)
    again = statement.parse(written, "manifest.json")
    assert statement.serialize(again) == written
    assert again._replace(parameters=found.parameters) == found
    assert (found.tree is None) == (found.closures is None) != (found.image is None)
    assert (found.tree is None) == (found.signers is None)
    rules = statement.rules(found)
    for path in (b"/", b"/usr/bin/x", b"/etc/\xff/a.d", b"/opt/a\n"):
        rules.kind(path)
        rules.must_be_searched(path)
    assert rules.kind(b"/" + statement.DIRECTORY.encode()) is not None


def closures(data: bytes) -> None:
    found = attempt(closure.parse, data, "closures.json")
    if isinstance(found, VerisealError):
        return
    written = attempt(closure.serialize, found)
    if isinstance(written, VerisealError):
        assert written.reason == "too-large"
        return
    assert closure.parse(written, "closures.json") == found
    for name, members in found.items():
        for path in (name, *(member.path for member in members)):
            assert path.startswith(b"/")
            assert b"\0" not in path


def signers(data: bytes) -> None:
    """Every path has one signer, and the first is that of all others."""
    found = attempt(signed_by.parse, data, "signers.json")
    if isinstance(found, VerisealError):
        return
    written = signed_by.serialize(found.entries)
    assert signed_by.parse(written, "signers.json").entries == found.entries
    first = found.entries[0]
    assert found.of(b"/") == first or any(b"/" in one.paths for one in found.entries)
    for one in found.entries:
        assert bool(one.paths) == (one is not first)
        for path in one.paths:
            assert found.of(path) == one
            assert path.startswith(b"/")
            assert b"\0" not in path


def policy(data: bytes) -> None:
    """A policy that is accepted names only what can be used as it is meant."""
    parsed = attempt(settings.parse, data, "veriseal.toml")
    made = attempt(settings.load, (workplace.put("veriseal.toml", data),))
    if isinstance(parsed, VerisealError):
        assert isinstance(made, VerisealError)
        return
    assert isinstance(made, VerisealError) or made == settings.make(parsed)
    if isinstance(made, VerisealError):
        return
    Rules(made.exclusive, made.mutable)
    assert set(settings.EXCLUSIVE) <= set(made.exclusive)
    for name in (*made.previous, *made.next, made.context):
        assert os.path.basename(name) == name not in ("", ".", "..")
    assert 1 <= made.signatures_needed <= 64
    for digest in made.revoked:
        assert Digest.parse(str(digest)) == digest


def os_release(data: bytes) -> None:
    """The names are single components of a path, for they become one."""
    path = workplace.put("os-release", data)
    found = attempt(osrelease.read, (path,))
    if isinstance(found, VerisealError):
        return
    names = attempt(voa.os_identifiers, found)
    if isinstance(names, VerisealError):
        return
    for name in names:
        assert os.path.basename(name) == name not in ("", ".", "..")
        assert voa.is_os_name(name)
    assert all(names[at + 1].startswith(f"{names[at]}:") for at in range(len(names) - 1))


def patterns(data: bytes) -> None:
    """``data``: patterns, each on a line, an empty line, a path. Compared with glob(7)."""
    text, _, path = data.partition(b"\n\n")
    given = text.decode("utf-8", "surrogateescape").split("\n")
    found = attempt(Patterns, given)
    if isinstance(found, VerisealError) or not path.startswith(b"/") or b"//" in path:
        return
    path = path.rstrip(b"/") or b"/"
    expected = [oracles.matches(one, path) for one in given]
    assert found.cover(path) == any(expected), (given, path)
    assert (found.depth(path) > 0) == any(expected)
    below = found.lead_below(path)
    assert below or not found.lead_below(path + b"/x") or found.cover(path) or path == b"/"


def script(data: bytes) -> None:
    """What we take from the line is what the kernel takes from it."""
    header = data[: hash_bang.HEADER_SIZE]
    found = attempt(hash_bang.interpreter, header, "/script")
    if isinstance(found, VerisealError):
        return
    if found is None:
        assert header.startswith(b"\x7fELF")
        return
    name, argument = found
    assert name.startswith("/")
    assert (os.fsencode(name), argument) == oracles.script(header)


def command_line(data: bytes) -> None:
    """Where an image or a deployment is accepted, the kernel reads no other one."""
    raw = data.replace(b"\0", b"")
    text = raw.decode("utf-8", "surrogateescape")
    image = attempt(cmdline.image, text)
    if not isinstance(image, VerisealError):
        named = [v for n, v in oracles.parameters(raw) if n in (b"composefs", b"composefs.digest")]
        if image is None:
            assert not named
        else:
            assert len(named) == 1
            assert (named[0] or b"").endswith(image.value.hex().encode())
            assert not (named[0] or b"").startswith(b"?")
    place = attempt(cmdline.deployment, text)
    if not isinstance(place, VerisealError):
        assert [value for name, value in oracles.parameters(raw) if name == b"ostree"] == [
            place.encode()
        ]
        assert place.startswith("/")
        assert not {"..", ".", ""} & set(place.split("/")[1:])


def environment(data: bytes) -> None:
    """Nothing that is passed on redirects a loader; nothing is invented; names can be shown."""
    kept, removed = clean(data)
    entries = data.split(b"\0")
    for name, value in kept.items():
        assert name + b"=" + value in entries
        assert not name.startswith((b"LD_", b"MALLOC_", b"BASH_FUNC_", b"LUA_PATH_"))
        assert name not in (b"GLIBC_TUNABLES", b"PYTHONPATH", b"ENV", b"BASH_ENV", b"PERL5LIB")
    names = {entry.partition(b"=")[0] for entry in entries if entry[:1] != b"=" and b"=" in entry}
    hidden = {name.encode("utf-8", "surrogateescape") for name in removed}
    assert len(names) == len(kept) + len({name for name in names if name not in kept})
    assert len(removed) >= len(hidden)
    assert clean(b"\0".join(name + b"=" + value for name, value in kept.items())) == (kept, [])
