"""What each program of a release needs before it runs: signed at build, loaded at boot. Pure.

The closure of a program is every file that the kernel and the dynamic loader take into its
process before its first instruction, and what it is declared to load later. JSON:

    format, schema
    files     [path, digest or null], each once; null: nothing may be there
    programs  path: the positions of its members in files, from 0
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from veriseal.digest import Digest
from veriseal.errors import VerisealError
from veriseal.fields import absolute

NAME = "closures.json"
"""The file, beside the manifest, which has its digest and size."""
FORMAT = "veriseal-closures"
SCHEMA = 1
MAX_SIZE = 1 << 26
"""Bytes of the file."""
MAX_MEMBERS = 4096
"""Of one program."""

_KEYS = {"format", "schema", "files", "programs"}


class Member(NamedTuple):
    """A file that a program needs.

    Attributes:
        path: absolute, as the kernel or the dynamic loader opens it; links may be on the way.
        digest: that it must have; None if nothing may be there, as for /etc/ld.so.preload.
    """

    path: bytes
    digest: Digest | None


Closures = dict[bytes, tuple[Member, ...]]
"""By the path of the program. What is not in it is no program."""


def serialize(closures: Mapping[bytes, Sequence[Member]]) -> bytes:
    """The file; the same closures give the same bytes. Raises VerisealError ``too-large``."""
    files = sorted({member for members in closures.values() for member in members}, key=_order)
    positions = {member: position for position, member in enumerate(files)}
    document = {
        "format": FORMAT,
        "schema": SCHEMA,
        "files": [
            [os.fsdecode(path), None if digest is None else str(digest)] for path, digest in files
        ],
        "programs": {
            os.fsdecode(path): [positions[member] for member in closures[path]]
            for path in sorted(closures)
        },
    }
    data = (json.dumps(document, separators=(",", ":")) + "\n").encode()
    most = max(map(len, closures.values()), default=0)
    if len(data) > MAX_SIZE or most > MAX_MEMBERS:
        raise VerisealError(
            "too-large",
            "the closures are too large to be read again",
            expected=f"at most {MAX_SIZE} bytes, {MAX_MEMBERS} files a program",
            found=f"{len(data)} bytes, {most} files",
            remedy="Name the programs that are started in build.programs, and less in loads",
        )
    return data


def parse(data: bytes, path: str) -> Closures:
    """The closures in ``data``, the contents of ``path``. Raises VerisealError ``bad-closures``."""
    if len(data) > MAX_SIZE:
        raise _bad(path, "too large", f"at most {MAX_SIZE} bytes", f"{len(data)} bytes")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _bad(path, f"not JSON: {error}") from None
    if not isinstance(document, dict) or set(document) != _KEYS:
        raise _bad(path, "not these keys", ", ".join(sorted(_KEYS)))
    head = (document["format"], document["schema"])
    if head != (FORMAT, SCHEMA) or type(head[1]) is not int:
        raise _bad(path, "not closures of a known format", f"{FORMAT} {SCHEMA}", f"{head}")
    files, programs = document["files"], document["programs"]
    if not isinstance(files, list) or not isinstance(programs, dict):
        raise _bad(path, "files is a list, programs an object")
    members = [_member(one, path) for one in files]
    return {_path(name, path): _members(name, members, programs[name], path) for name in programs}


def _order(member: Member) -> tuple[bytes, str]:
    return member.path, str(member.digest)


def _member(value: Any, path: str) -> Member:
    if not isinstance(value, list) or len(value) != 2:
        raise _bad(path, "not a file with its digest", found=repr(value)[:200])
    name, text = value
    if text is None:
        return Member(_path(name, path), None)
    if not isinstance(text, str):
        raise _bad(path, "not a digest", found=repr(text)[:200])
    try:
        return Member(_path(name, path), Digest.parse_exact(text))
    except VerisealError as error:
        raise _bad(path, error.problem, error.expected, error.found) from None


def _members(name: str, files: Sequence[Member], value: Any, path: str) -> tuple[Member, ...]:
    if not isinstance(value, list) or len(value) > MAX_MEMBERS or not _below(value, len(files)):
        wanted = f"a list of at most {MAX_MEMBERS} numbers below {len(files)}"
        raise _bad(path, f"the files of {name}", wanted, repr(value)[:200])
    return tuple(files[position] for position in value)


def _below(value: Iterable[object], limit: int) -> bool:
    # bool is an int, and is not meant.
    return all(type(one) is int and 0 <= one < limit for one in value)


def _path(value: Any, path: str) -> bytes:
    name = absolute(value)
    if name is None:
        raise _bad(path, "not an absolute path that a file can have", found=repr(value)[:200])
    return name


def _bad(path: str, problem: str, expected: object = None, found: object = None) -> VerisealError:
    return VerisealError(
        "bad-closures",
        problem,
        path=path,
        expected=expected,
        found=found,
        remedy="Make it again with: veriseal build",
    )
