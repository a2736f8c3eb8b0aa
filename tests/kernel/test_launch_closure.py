"""The closure: a program runs with the files of the release, or not at all.

The program ends with the status that its library has, so that it shows which one was loaded.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from veriseal import report, table, trusted
from veriseal.digest import Digest
from veriseal.kernel import verity
from veriseal.report import State

from . import helpers
from .conftest import AS_NOBODY, Sealed
from .helpers import Result, Signer, launch
from .test_launch_table import stated

pytestmark = pytest.mark.kernel

PLACE = "/verity/closure"
APP, SCRIPT, LIBRARY = f"{PLACE}/app", f"{PLACE}/script", f"{PLACE}/plain.so"
LIB = f"{PLACE}/lib"
LOADER, LIBC, LINK = f"{PLACE}/ld.so", f"{LIB}/libc.so.6", f"{LIB}/libstatus.so.1"
NEW, OLD = f"{LIB}/libstatus.so.1.1", f"{PLACE}/aside/libstatus.so.1.0"
PRELOAD = "/etc/ld.so.preload"
GOOD, BAD = 7, 55
RELEASE = "debian:13 version 7"


class Made:
    """The release, as the boot check left it: digests by path, closures by program."""

    def __init__(self, rows: dict[str, Digest]) -> None:
        self.rows = rows
        needs = {path: verity.raw_digest(rows[path]) for path in (LOADER, LIBC)}
        needs |= {LINK: verity.raw_digest(rows[NEW]), PRELOAD: table.ABSENT}
        self.closures = {APP: needs, SCRIPT: {}}

    def write(self) -> None:
        table.write(
            [(os.fsencode(path), digest) for path, digest in self.rows.items()],
            {
                os.fsencode(program): [(os.fsencode(path), raw) for path, raw in needs.items()]
                for program, needs in self.closures.items()
            },
            trusted.boot_id(),
        )


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The contents of each file."""
    source = os.path.join(os.path.dirname(__file__), "data")
    out = str(tmp_path_factory.mktemp("closure"))
    shared = ("gcc", "-shared", "-fPIC", "-Wl,-soname,libstatus.so.1", f"{source}/status.c")
    for status in (GOOD, BAD):
        helpers.must_run(*shared, f"-DSTATUS={status}", "-o", f"{out}/{status}")
    helpers.must_run(
        "gcc", f"{source}/needy.c", f"{out}/{GOOD}", "-o", f"{out}/app",
        f"-Wl,--dynamic-linker={LOADER}", f"-Wl,--enable-new-dtags,-rpath,{LIB}",
    )  # fmt: skip
    return {
        APP: helpers.read(f"{out}/app"),
        SCRIPT: f"#!{APP} -x\n".encode(),
        LOADER: helpers.read("/lib64/ld-linux-x86-64.so.2"),
        LIBC: helpers.read("/lib/x86_64-linux-gnu/libc.so.6"),
        LIBRARY: helpers.read(f"{out}/{GOOD}") + b"\0",
        NEW: helpers.read(f"{out}/{GOOD}"),
        OLD: helpers.read(f"{out}/{BAD}"),
    }


@contextmanager
def booted(state: State, made: Made) -> Iterator[None]:
    with stated(state):
        made.write()
        yield
        os.unlink(table.PATH)


@pytest.fixture
def made(sealed: Sealed, rsa: Signer, compiled: dict[str, bytes]) -> Iterator[Made]:
    """A boot that is sealed and checked. ``OLD`` is signed, and of no release."""
    rows = {path: helpers.install(path, data, rsa) for path, data in compiled.items()}
    os.symlink(os.path.basename(NEW), LINK)
    del rows[OLD]
    release = Made(rows)
    with booted(State("sealed", "verified", "both", RELEASE), release):
        yield release
    shutil.rmtree(PLACE)


def refused(reason: str, *words: str, program: str = APP) -> str:
    done = launch(program)
    assert (done.status, done.out) == (helpers.REFUSED, b""), done
    assert f"refused {program} [{reason}, digest sha256:" in done.err, done.err
    assert done.err.count("\n") == 1
    for word in words:
        assert word in done.err, done.err
    return done.err


def test_a_program_with_the_files_of_the_release(made: Made) -> None:
    for done in (launch(APP), helpers.run([*AS_NOBODY, helpers.VERISEAL, "exec", APP])):
        assert (done.status, done.err) == (GOOD, "")


def test_a_script_with_the_closure_of_its_interpreter(made: Made) -> None:
    assert launch(SCRIPT).status == GOOD


def replace(path: str, by: str) -> None:
    os.unlink(path)
    os.link(by, path)


def unlink(path: str) -> Callable[[], object]:
    return lambda: os.unlink(path)


def fifo() -> None:
    os.unlink(NEW)
    os.mkfifo(NEW)


def directory() -> None:
    os.unlink(NEW)
    os.mkdir(NEW)


def device() -> None:
    os.unlink(NEW)
    os.mknod(NEW, 0o644 | 0o020000, os.makedev(1, 5))


def loop() -> None:
    os.unlink(LINK)
    os.symlink(os.path.basename(LINK), LINK)


def copied() -> None:
    data = helpers.read(NEW)
    helpers.write(NEW, data)


def linked_to_the_older() -> None:
    os.unlink(LINK)
    os.symlink(OLD, LINK)


CHANGES: dict[str, tuple[Callable[[], object], str, str]] = {
    "another of the release": (lambda: replace(NEW, LIBC), "misplaced", LINK),
    "an older one": (lambda: replace(NEW, OLD), "other-contents", LINK),
    "its link to an older one": (linked_to_the_older, "other-contents", LINK),
    "its loader": (lambda: replace(LOADER, OLD), "other-contents", LOADER),
    "a copy without verity": (copied, "no-verity", LINK),
    "no library": (unlink(NEW), "missing-file", LINK),
    "no link": (unlink(LINK), "missing-file", LINK),
    "no loader": (unlink(LOADER), "missing-file", LOADER),
    "a fifo": (fifo, "not-a-regular-file", LINK),
    "a directory": (directory, "not-a-regular-file", LINK),
    "a device": (device, "not-a-regular-file", LINK),
    "a loop of links": (loop, "system-call", LINK),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_of_its_closure_that_was_changed(made: Made, name: str) -> None:
    change, reason, path = CHANGES[name]
    change()
    said = refused(reason, f"{APP} [", f"it needs a file that is refused: {path}: ")
    assert not said.rstrip().endswith(")"), "a remedy is the last word"


def test_the_interpreter_of_a_script_with_a_changed_library(made: Made) -> None:
    replace(NEW, OLD)
    words = (f"its interpreter is refused: {APP}: it needs a file that is refused: {LINK}: ",)
    refused("other-contents", *words, program=SCRIPT)


def test_without_the_launcher_the_older_library_is_loaded(made: Made) -> None:
    replace(NEW, OLD)
    assert helpers.run([APP]).status == BAD


def test_what_must_not_be_there(made: Made) -> None:
    for make in (lambda: helpers.write(PRELOAD, b""), lambda: os.symlink("nowhere", PRELOAD)):
        make()
        try:
            refused("must-be-absent", PRELOAD)
        finally:
            os.unlink(PRELOAD)
    assert launch(APP).status == GOOD


def test_a_library_on_another_file_system(made: Made) -> None:
    helpers.write("/run/libstatus", helpers.read(NEW))
    helpers.must_run("mount", "--bind", "/run/libstatus", NEW)
    try:
        refused("unknown-filesystem", LINK, "tmpfs")
    finally:
        helpers.must_run("umount", NEW)


def test_a_file_that_the_boot_check_did_not_accept(made: Made) -> None:
    made.closures[APP][LINK] = table.REFUSED
    made.write()
    refused("not-accepted", LINK, "journalctl")


def test_a_file_of_the_release_that_is_no_program(made: Made) -> None:
    refused("not-a-program", "build.programs", program=LIBRARY)


@pytest.mark.parametrize("path", [APP, NEW, SCRIPT])
def test_a_revoked_digest(made: Made, path: str) -> None:
    digest = made.rows[path]
    with stated(State("sealed", "verified", "both", RELEASE, [str(digest)])):
        program = SCRIPT if path == SCRIPT else APP
        refused("revoked", str(digest), program=program)


def test_revoked_where_only_signatures_count(made: Made) -> None:
    with stated(State("sealed", "verified", "signature", RELEASE, [str(made.rows[APP])])):
        refused("revoked")
    with stated(State("sealed", "verified", "signature", RELEASE)):
        assert launch(APP).status == GOOD


def test_a_refusal_names_the_release(made: Made) -> None:
    replace(APP, OLD)
    refused("other-contents", f"not the contents that {RELEASE} has here")


def test_a_program_for_another_machine(made: Made, rsa: Signer) -> None:
    elf = bytearray(helpers.tiny_elf(0))
    elf[18] = 183
    made.rows[f"{PLACE}/arm"] = helpers.install(f"{PLACE}/arm", bytes(elf), rsa)
    made.closures[f"{PLACE}/arm"] = {}
    made.write()
    refused("other-architecture", "one for x86_64", program=f"{PLACE}/arm")


def test_its_own_name(made: Made) -> None:
    assert launch(APP, "x").out == f"{APP}\n".encode()
    done = helpers.run([helpers.VERISEAL, "exec", "--argv0", "other name", "--", APP, "x"])
    assert (done.status, done.out) == (GOOD, b"other name\n")


@pytest.mark.parametrize(
    "words",
    [[], ["--argv0"], ["--argv0", "x"], ["--argv0", "", APP], ["--unknown", APP], ["--explain"]],
)
def test_wrong_usage(made: Made, words: list[str]) -> None:
    done = helpers.run([helpers.VERISEAL, "exec", *words])
    assert (done.status, done.out) == (2, b"")
    assert "usage: veriseal exec" in done.err


# Explained


def explained(path: str, *options: str) -> Result:
    done = helpers.run([helpers.VERISEAL, "explain", *options, path])
    assert done.err == ""
    return done


def explanation(path: str) -> dict[str, Any]:
    (found,) = json.loads(explained(path, "--json").out)["files"]
    return dict(found)


def test_what_was_checked_is_told_and_nothing_started(made: Made) -> None:
    done = explained(APP)
    assert done.status == 0
    for path in (APP, LOADER, LIBC, LINK, PRELOAD, report.PATH):
        assert path in done.out.decode()
    assert done.out.endswith(f"{APP} would be started\n".encode())
    told = helpers.run([helpers.VERISEAL, "exec", "--explain", APP, "x"])
    assert (told.status, told.out, told.err) == (0, done.out, "")


def test_every_refused_file_is_named(made: Made) -> None:
    replace(NEW, OLD)
    replace(LOADER, OLD)
    found = explanation(APP)
    assert found["starts"] is False
    assert [one["reason"] for one in found["refused"]] == ["other-contents"] * 2
    assert found["error"]["remedy"]
    done = helpers.run([helpers.VERISEAL, "exec", "--explain", APP])
    assert done.status == helpers.REFUSED
    assert done.out == explained(APP).out


def test_of_a_library_who_needs_it(made: Made) -> None:
    found = explanation(NEW)
    assert found["error"]["reason"] == "not-a-program"
    assert found["needed_by"] == [APP]


def test_a_missing_program_is_explained(made: Made) -> None:
    assert explanation(f"{PLACE}/none")["error"]["reason"] == "not-found"
    assert helpers.run([helpers.VERISEAL, "exec", "--explain", "app"]).status == helpers.NOT_FOUND


def test_variables_that_would_be_taken_out(made: Made) -> None:
    done = helpers.run([helpers.VERISEAL, "explain", "--json", APP], env={b"LD_BIND_NOW": b"1"})
    (found,) = json.loads(done.out)["files"]
    assert found["variables"] == ["LD_BIND_NOW"]
