"""The libraries of a program, and what leads the dynamic loader to them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from .row import (
    A1,
    A3,
    BIN,
    LIB,
    RUNS_APP,
    STRANGER,
    STRAY,
    Row,
    call,
    launch,
    launching,
    proved,
    replaced,
)

APP = f"{BIN}/app"
GREET = f"{LIB}/libgreet.so.1"
CLOSURE = "launcher: closure"
PRELOAD = "/etc/ld.so.preload"
CACHE = "/etc/ld.so.cache"
ADDED_CONF = "/etc/ld.so.conf.d/00-stranger.conf"
EVIL = "evil code in"


def in_place_of_greet(by: str | None, says: str) -> Callable[[], tuple[str, str]]:
    """An attempt with another library in the place of libgreet, which is first seen to act."""

    def attempt() -> tuple[str, str]:
        with replaced(GREET, by):
            direct = call(APP, "once")
            proved(says in direct.out + direct.err, direct)
            return launch(APP, "once")

    return attempt


def cache_changed() -> tuple[str, str]:
    """Replace the loader's cache by one that knows no library."""
    empty = "/run/empty-cache"
    with open("/run/empty.conf", "wb"):
        pass
    call("ldconfig", "-X", "-C", empty, "-f", "/run/empty.conf")
    with open(empty, "rb") as file:
        data = file.read()
    with _other_file(CACHE, data):
        return launch(APP, "once")


def preload_added() -> tuple[str, str]:
    """Have the loader take a stranger's library into every program."""
    with _added(PRELOAD, f"{STRANGER}/evil.so\n"):
        direct = call(APP, "once")
        proved(f"{EVIL} {APP}" in direct.out, direct)
        return launch(APP, "once")


def conf_added() -> tuple[str, str]:
    """Name a directory for the loader's cache, which is not made again."""
    with _added(ADDED_CONF, f"{STRANGER}/lib\n"):
        return launch(APP, "once")


@contextlib.contextmanager
def _added(path: str, text: str) -> Iterator[None]:
    with open(path, "x", encoding="utf-8") as file:
        file.write(text)
    try:
        yield
    finally:
        os.unlink(path)


@contextlib.contextmanager
def _other_file(path: str, data: bytes) -> Iterator[None]:
    """The file at ``path`` is another one; its own has verity and cannot be written."""
    os.rename(path, f"{path}.aside")
    try:
        with open(path, "wb") as file:
            file.write(data)
        yield
    finally:
        os.rename(f"{path}.aside", path)


def _library(name: str, done: str, expected: str, by: str | None, says: str) -> Row:
    return Row(name, A3, done, f"126 {expected}", CLOSURE, in_place_of_greet(by, says))


ROWS = (
    _library(
        "library swapped with another",
        "another signed library of the release is linked over one of the program",
        "misplaced",
        f"{LIB}/libother.so.1",
        "other app: up",
    ),
    _library(
        "library of an earlier release",
        "an earlier version of a library, with the release's signature, is linked over it",
        "other-contents",
        f"{STRAY}/old-libgreet.so.1",
        "other old app: up",
    ),
    _library(
        "library without verity",
        "a stranger's library is linked over one of the program",
        "no-verity",
        f"{STRAY}/plain-libgreet.so.1",
        "other plain app: up",
    ),
    _library(
        "library signed by a stranger",
        "a library with verity and a stranger's signature is linked over one of the program",
        "not-enrolled",
        f"{STRAY}/strange-libgreet.so.1",
        "cannot open shared object file",
    ),
    _library(
        "library missing",
        "a library of the program is taken away",
        "missing-file",
        None,
        "cannot open shared object file",
    ),
    Row(
        "first page of a library changed on the disk",
        A1,
        "one bit of a library's first page is changed on the disk",
        "126 corrupt",
        CLOSURE,
        launching("app-of-changed"),
    ),
    Row(
        "ld.so.cache replaced",
        A3,
        "`ldconfig` writes another cache over the release's",
        "126 no-verity",
        CLOSURE,
        cache_changed,
    ),
    Row(
        "ld.so.preload added at run time",
        A3,
        "`/etc/ld.so.preload` names a stranger's library",
        "126 must-be-absent",
        CLOSURE,
        preload_added,
    ),
    Row(
        "ld.so.conf.d changed at run time",
        A3,
        "a file there names a directory, and the cache stays as it is",
        RUNS_APP,
        "launcher: closure: the loader reads the cache alone",
        conf_added,
    ),
)
