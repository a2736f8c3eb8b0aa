"""Why the closure of a program is not known, or would not be safe: errors of the build.

Each has the path on this machine of the file that it concerns.
"""

import os
from collections.abc import Iterable

from veriseal.errors import VerisealError

MISSING = "library-missing"
NO_INTERPRETER = "interpreter-missing"

_NAME_PROGRAMS = "name the programs that are to run in build.programs"
_OTHER_PATH = "Link it with another search path, or change that with patchelf"


def missing(host: str, name: bytes, looked: Iterable[bytes], program: bytes) -> VerisealError:
    """``host`` needs the library ``name``, which is in none of the places ``looked``."""
    places = ", ".join(map(os.fsdecode, dict.fromkeys(looked)))
    return VerisealError(
        MISSING,
        "a library that it needs is not in the tree",
        path=host,
        expected=f"{os.fsdecode(name)} in {places}",
        found=f"none, for {os.fsdecode(program)}",
        remedy=f"Put it into the tree and run ldconfig -r TREE; or {_NAME_PROGRAMS}",
    )


def no_interpreter(host: str, name: bytes, found: str) -> VerisealError:
    """``found`` is where the program's ELF interpreter ``name`` should be."""
    return VerisealError(
        NO_INTERPRETER,
        "its ELF interpreter is not in the tree",
        path=host,
        expected=os.fsdecode(name),
        found=found,
        remedy=f"Put it into the tree, or {_NAME_PROGRAMS}",
    )


def unknown_loader(host: str, found: str) -> VerisealError:
    """The loader ``found`` is not one whose rules are known."""
    return VerisealError(
        "unknown-loader",
        "which libraries its dynamic loader takes is not known",
        path=host,
        expected="glibc's, of a known architecture, where distributions have it",
        found=found,
        remedy=f"Link it statically, or {_NAME_PROGRAMS}",
    )


def audited(host: str, auditors: Iterable[bytes]) -> VerisealError:
    """The program names ``auditors``, which decide what is loaded: la_objsearch, rtld-audit(7)."""
    return VerisealError(
        "audited",
        "it names auditors, which can give the dynamic loader any library for any other",
        path=host,
        expected="neither DT_AUDIT nor DT_DEPAUDIT",
        found=os.fsdecode(b":".join(auditors)),
        remedy=f"Link it without them, or {_NAME_PROGRAMS}",
    )


def relative(host: str, element: bytes) -> VerisealError:
    """A search path, or the name of a library, is a relative path."""
    return VerisealError(
        "search-path-relative",
        "where it looks for libraries depends on the working directory",
        path=host,
        expected="absolute paths, or $ORIGIN",
        found=os.fsdecode(element) or "an empty element",
        remedy=_OTHER_PATH,
    )


def by_processor(host: str, text: bytes) -> VerisealError:
    """The search path or name ``text`` has $PLATFORM."""
    return VerisealError(
        "search-path-unknown",
        "where it looks for libraries depends on the processor",
        path=host,
        expected="no $PLATFORM",
        found=os.fsdecode(text),
        remedy=_OTHER_PATH,
    )


def by_privilege(host: str, text: bytes, owner: bytes) -> VerisealError:
    """``text`` of the file ``owner`` has $ORIGIN, and the program may gain privilege.

    The loader then passes over it, but for its own directories and in libraries.
    """
    return VerisealError(
        "search-path-unknown",
        "where it looks for libraries depends on whether it gains privilege",
        path=host,
        expected="no $ORIGIN for a program with a set-ID bit or file capabilities",
        found=f"{os.fsdecode(text)} of {os.fsdecode(owner)}",
        remedy="Link it with absolute search paths, or take the privilege from it",
    )


def open_to_others(host: str, path: bytes, weakness: str, searched: bool) -> VerisealError:
    """What is at ``path`` can be replaced; ``searched``: something can be added there."""
    what = "a directory that it searches" if searched else "a file that it needs"
    return VerisealError(
        "search-path-open",
        f"{what} can be replaced in the running system",
        path=host,
        expected="directories in build.exclusive where only root, or who owns /, can write",
        found=f"{os.fsdecode(path)}: {weakness}",
        remedy="Move it, change who may write there (chmod, chown), name it in build.exclusive, or "
        "take it out of the search path (patchelf --set-rpath)",
    )


def stale_cache(host: str, path: bytes) -> VerisealError:
    """ld.so.cache names ``path``: without a word the loader goes on to the default directories."""
    return VerisealError(
        "stale-ld-cache",
        "the cache of the dynamic loader names a library that is not there, or of another kind",
        path=host,
        expected="no names but those of libraries in the tree",
        found=os.fsdecode(path),
        remedy="Make it again with: ldconfig -r TREE",
    )


def no_file(host: str) -> VerisealError:
    """Something else is where a file that configures the loader may be."""
    return VerisealError(
        "not-a-regular-file",
        "what configures the dynamic loader is no file, nor a link to one: nothing would start",
        path=host,
        remedy="Take it out of the tree; ldconfig -r TREE makes a cache",
    )


def comments(host: str, found: str) -> VerisealError:
    """ld.so.preload has ``found``.

    elf/rtld.c of glibc blanks the first comment, and may take what is in others for libraries.
    """
    return VerisealError(
        "bad-ld-preload",
        "the dynamic loader would not read it as it looks",
        path=host,
        expected="names of libraries, without # and NUL bytes",
        found=found,
        remedy="Take comments out of it",
    )
