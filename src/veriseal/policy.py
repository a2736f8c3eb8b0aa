"""The settings: one table, read from TOML. An unknown key is an error, never a guess."""

import json
import tomllib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from veriseal import pattern, regular
from veriseal.digest import Digest
from veriseal.errors import VerisealError

FILES = ("usr/lib/veriseal/veriseal.toml", "etc/veriseal/veriseal.toml")
"""Below the root of a system. Later files override single keys of earlier ones."""

MAX_SIZE = 1 << 20
"""Bytes of one of them."""

PATHS = tuple(f"/{name}" for name in FILES)

EXCLUSIVE = tuple(
    # Programs, libraries, and all configuration: units, drop-ins, generators, credentials, and
    # what the next initrd is made of. /bin and the like also where / and /usr are not merged.
    "/usr /bin /sbin /lib* /opt /etc "
    # What is found by its name, whatever a damaged directory lists.
    "/etc/ld.so.preload /etc/ld.so.cache /etc/ld.so.conf /etc/fstab /etc/crypttab "
    "/etc/environment /etc/nsswitch.conf /etc/inittab /etc/rc.local /etc/system-update "
    "/etc/systemd/system.conf /etc/systemd/user.conf /etc/systemd/system/default.target "
    "/etc/veriseal/veriseal.toml /etc/voa /etc/dracut.conf /system-update "
    # Where systemd and its parts look below directories that are mutable as a rule.
    "/root/.config/systemd /root/.local/share/systemd /var/lib/systemd/linger "
    "/var/lib/extensions /var/lib/extensions.mutable /var/lib/confexts /var/lib/confexts.mutable "
    "/var/lib/portables /var/lib/machines /var/spool/cron".split()
)
"""Exclusive by default: nothing may be there that the manifest does not list."""


class Policy(NamedTuple):
    """The settings that count. The manual page describes each under its name in the file.

    Attributes:
        previous, next: [trust]: VOA names (``fedora:44``) of the releases whose certificates are
            enrolled beside those of the system's own release: the window.
        context: [trust]: the VOA context directory.
        anchors: [trust]: whether release certificates need an anchor that vouches for them only
            where there is any (``if-present``), or always (``require``).
        dates: [trust]: what the dates of certificates do: ``ignore``, ``warn`` or ``enforce``.
        statement: [trust]: the signed trust statement, a path in the initrd; with
            ``statement_device``, a path on the file system of that device. Empty for none.
        statement_device: [trust]: a block device, such as /dev/disk/by-label/ESP.
        without_statement: [trust]: what counts if the statement cannot be used: nothing
            (``refuse``) or the certificates of the initrd (``built-in``).
        keyring, root, mode, signatures_needed, verity: [boot]: whether the kernel must check
            signatures (``require``) or nothing but the manifest counts (``off``); whether the
            root is a ``tree`` or ``composefs``; whether a finding fails the boot (``enforce``)
            or not (``report``); how many certificates must have signed the manifest; which
            files must have verity: those that the ``manifest`` says, or ``all``.
        images: [boot]: of a composefs root: where the digest files of the images are,
            ``DIRECTORY/HEX/manifest.json``, seen in the initrd. No link leads to them. They are
            signed, so they can as well be on the disk, as for an image that holds its own initrd.
        image_file: [boot]: the file that a composefs root is mounted from, seen in the initrd;
            needed where the mount does not name the image, as with ostree and mount.composefs.
            ``{digest}`` stands for the HEX of the command line's ``composefs=``, ``{ostree}``
            for the path of its ``ostree=``. For bootc
            "/sysroot/sysroot/composefs/images/{digest}"; for ostree, which names no digest,
            "/sysroot/sysroot{ostree}/.ostree.cfs" (neither was tried on a real system).
        require: [launch]: what a program must have: a place in the ``manifest``, a
            ``signature``, or ``both``.
        programs: [build]: patterns of where the programs are whose closures are worked out.
        loads: [program."PATH"]: by the path of a program, patterns of the regular files of the
            tree that it loads while it runs; they and what they need are in its closure, too.
        exclusive, sign, mutable: [build]: patterns, see `pattern`. In the initrd of a composefs
            root exclusive and mutable also say over what something may be mounted: a machine
            with an /etc and a /var of its own has ``mutable = ["/etc", "/var"]``.
    """

    previous: tuple[str, ...] = ()
    next: tuple[str, ...] = ()
    context: str = "default"
    anchors: str = "if-present"
    dates: str = "warn"
    statement: str = ""
    statement_device: str = ""
    without_statement: str = "refuse"
    keyring: str = "require"
    root: str = "tree"
    mode: str = "enforce"
    signatures_needed: int = 1
    verity: str = "manifest"
    images: str = "/usr/lib/veriseal/images"
    image_file: str = ""
    require: str = "both"
    exclusive: tuple[str, ...] = EXCLUSIVE
    sign: tuple[str, ...] = EXCLUSIVE
    mutable: tuple[str, ...] = ()
    revoked: tuple[Digest, ...] = ()
    programs: tuple[str, ...] = ("/",)
    loads: Mapping[str, tuple[str, ...]] = {}


def load(paths: tuple[str, ...] = PATHS) -> Policy:
    """The settings from ``paths``; those that do not exist are passed over.

    Raises VerisealError ``bad-configuration``.
    """
    settings, sources = _merged(paths)
    return make(settings, sources)


def sources(paths: tuple[str, ...] = PATHS) -> dict[str, str]:
    """The file of ``paths`` that has the last word, by the name of each setting in a file.

    Raises VerisealError ``bad-configuration``.
    """
    return _merged(paths)[1]


def _merged(paths: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, str]]:
    settings: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for path in paths:
        try:
            data = regular.read(path, MAX_SIZE)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _bad(path, f"cannot be read: {error.strerror}") from None
        parsed = parse(data, path)
        merge(settings, parsed)
        sources |= dict.fromkeys(parsed, path)
    return settings, sources


def parse(data: bytes, path: str) -> dict[str, Any]:
    """The settings in one file, by the names of `Policy`. Raises VerisealError."""
    try:
        document = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise _bad(path, f"not TOML: {error}") from None
    settings: dict[str, Any] = {}
    for section, values in document.items():
        if section not in _TABLE:
            problem = "unknown section" if isinstance(values, dict) else "a key in no section"
            raise _bad(path, problem, ", ".join(f"[{one}]" for one in _TABLE), section)
        if not isinstance(values, dict):
            raise _bad(path, f"{section} is a section", f"[{section}]", _shown(values))
        if section == _BY_PATH:
            settings["loads"] = _loads(values, path)
        else:
            settings |= _section(section, _TABLE[section], values, path)
    return settings


def merge(settings: dict[str, Any], later: dict[str, Any]) -> None:
    """Let the settings of a later file override single keys of ``settings``."""
    loads = {**settings.get("loads", {}), **later.get("loads", {})}
    settings |= later
    if loads:
        settings["loads"] = loads


def make(settings: dict[str, Any], sources: Mapping[str, str] = MappingProxyType({})) -> Policy:
    """The policy of merged `parse` results, which come from `sources`.

    Raises VerisealError ``bad-configuration``.
    """
    settings = dict(settings)
    if "exclusive" in settings:
        settings["exclusive"] = (*EXCLUSIVE, *settings["exclusive"])
        settings.setdefault("sign", settings["exclusive"])
    policy = Policy(**settings)
    if policy.keyring == "off" and policy.require == "signature":
        raise VerisealError(
            "bad-configuration",
            'boot.keyring = "off" and launch.require = "signature" leave nothing to check',
            path=sources.get("require"),
            remedy='Say launch.require = "manifest", or boot.keyring = "require"',
        )
    return policy


def _section(
    name: str, known: dict[str, Callable[[object], Any]], values: dict[str, Any], path: str
) -> dict[str, Any]:
    settings = {}
    for key, value in values.items():
        check = known.get(key)
        if check is None:
            raise _bad(path, f"unknown key in [{name}]", ", ".join(known), key)
        try:
            settings[key] = check(value)
        except _WrongValueError as error:
            found = _shown(value) if error.found is None else error.found
            raise _bad(path, f"{name}.{key}: wrong value", error.expected, found) from None
    return settings


def _loads(programs: dict[str, Any], path: str) -> dict[str, tuple[str, ...]]:
    found = {}
    for program, values in programs.items():
        if not program.startswith("/") or not isinstance(values, dict):
            wanted = f'[{_BY_PATH}."/PATH/OF/A/PROGRAM"]'
            raise _bad(path, f"unknown section in [{_BY_PATH}]", wanted, program)
        name = f'{_BY_PATH}."{program}"'
        found[program] = _section(name, _TABLE[_BY_PATH], values, path).get("loads", ())
    return found


class _WrongValueError(Exception):
    """``expected`` as in `VerisealError`; ``found`` is the part that is wrong, None for all."""

    def __init__(self, expected: str, found: str | None = None) -> None:
        super().__init__(expected)
        self.expected = expected
        self.found = found


def _part(error: VerisealError) -> _WrongValueError:
    """Of a list, one that is wrong."""
    found = None if error.found is None else _shown(error.found)
    return _WrongValueError(error.expected or error.problem, found)


def _one_of(*choices: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            raise _WrongValueError(" or ".join(f'"{choice}"' for choice in choices))
        return value

    return check


def _count(value: object) -> int:
    if type(value) is not int or not 1 <= value <= 64:
        raise _WrongValueError("a number from 1 to 64")
    return value


def _component(value: object) -> str:
    # It becomes one component of a path.
    if (
        not isinstance(value, str)
        or value in ("", ".", "..")
        or "/" in value
        or not value.isprintable()
    ):
        raise _WrongValueError("a name without '/'")
    return value


def _components(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _WrongValueError("a list of names without '/'")
    for one in value:
        try:
            _component(one)
        except _WrongValueError as error:
            raise _WrongValueError(error.expected, _shown(one)) from None
    return tuple(value)


def _path(value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise _WrongValueError("an absolute path")
    return value


def _path_or_none(value: object) -> str:
    return "" if value == "" else _path(value)


def _patterns(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise _WrongValueError("a list of absolute paths")
    try:
        return pattern.Patterns(value).texts
    except VerisealError as error:
        raise _part(error) from None


def _digests(value: object) -> tuple[Digest, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise _WrongValueError("a list of digests")
    try:
        return tuple(Digest.parse(one) for one in value)
    except VerisealError as error:
        raise _part(error) from None


_TABLE: dict[str, dict[str, Callable[[object], Any]]] = {
    "trust": {
        "previous": _components,
        "next": _components,
        "context": _component,
        "anchors": _one_of("if-present", "require"),
        "dates": _one_of("ignore", "warn", "enforce"),
        "statement": _path_or_none,
        "statement_device": _path_or_none,
        "without_statement": _one_of("refuse", "built-in"),
    },
    "boot": {
        "keyring": _one_of("require", "off"),
        "root": _one_of("tree", "composefs"),
        "mode": _one_of("enforce", "report"),
        "signatures_needed": _count,
        "verity": _one_of("manifest", "all"),
        "images": _path,
        "image_file": _path_or_none,
    },
    "launch": {"require": _one_of("both", "manifest", "signature")},
    "build": {
        "exclusive": _patterns,
        "sign": _patterns,
        "mutable": _patterns,
        "revoked": _digests,
        "programs": _patterns,
    },
    "program": {"loads": _patterns},
}
_BY_PATH = "program"
"""The section with one of its own for each program."""


def _shown(value: object) -> str:
    """As in the file, but for dates, for which JSON has no form."""
    try:
        return json.dumps(value, default=str, ensure_ascii=False)
    except RecursionError:
        return "something too deeply nested"
    except ValueError:  # sys.get_int_max_str_digits
        return "a number with too many digits"


def _bad(
    path: str, problem: str, expected: str | None = None, found: str | None = None
) -> VerisealError:
    return VerisealError("bad-configuration", problem, path=path, expected=expected, found=found)
