"""The closures that the build works out are what the dynamic loader takes.

Programs of this Debian are listed by the loader itself. Others are linked for one rule each, in a
tree of their own; then they are started, and it is looked at what is mapped into their processes.
"""

import os
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pytest

from veriseal import policy
from veriseal.build import closures, scan
from veriseal.build.closures import Wanted
from veriseal.build.model import Model
from veriseal.closure import Closures
from veriseal.digest import SHA256, Digest
from veriseal.errors import VerisealError
from veriseal.pattern import Patterns, Rules

pytestmark = pytest.mark.kernel

LOADER = "/lib64/ld-linux-x86-64.so.2"
OF_THE_LOADER = ("/etc/ld.so.cache", "/etc/ld.so.preload")
SAMPLE = 150
_LISTED = re.compile(r"\t(?:.* => )?(/.*) \(0x[0-9a-f]+\)")
VARIANTS = ("", "glibc-hwcaps/x86-64-v2/", "glibc-hwcaps/x86-64-v3/")
_VARIANT = re.compile(r"/glibc-hwcaps/[^/]+")


def build(
    tree: str, programs: Sequence[str] = ("/",), mutable: Sequence[str] = ()
) -> tuple[Closures, list[VerisealError]]:
    rules = Rules(policy.EXCLUSIVE, (*mutable, "/proc"))
    found = scan.scan(tree, rules)
    assert found.errors == []
    # Which digests they have does not matter here.
    digests = dict.fromkeys(found.nodes, Digest(SHA256, bytes(32)))
    wanted = Wanted(Patterns(programs), Patterns(policy.EXCLUSIVE), {})
    built = closures.build(Model(found, rules), digests, wanted)
    return built.closures, built.errors


def files(made: Closures, program: str) -> list[str]:
    """The ELF files in the closure of ``program``."""
    names = [os.fsdecode(member.path) for member in made[os.fsencode(program)]]
    return [name for name in names if name not in OF_THE_LOADER]


def listed(program: str, *chroot: str) -> list[str]:
    """What the loader itself says that it would load."""
    command = [*chroot, LOADER, "--list", program]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [match[1] for line in out.splitlines() if (match := _LISTED.fullmatch(line))]


def test_programs_of_this_system() -> None:
    others = {f"/{name}" for name in os.listdir("/")} - {"/usr", "/etc"}
    mutable = sorted(name for name in others if not os.path.islink(name))
    made, errors = build("/", mutable=mutable)
    assert errors == []
    dynamic = sorted(os.fsdecode(name) for name, members in made.items() if members)
    assert len(dynamic) > 300
    for program in dynamic[:: max(1, len(dynamic) // SAMPLE)]:
        ours = files(made, program)
        assert ours[0] == LOADER
        assert ours[1:] == [one for one in listed(program) if one != LOADER], program


class Linker:
    """Links libraries and programs that hold nothing, in a tree of their own."""

    def __init__(self, tree: str, work: str) -> None:
        self.tree = tree
        self._work = work
        data = os.path.join(os.path.dirname(__file__), "data")
        flags = ("-O1", "-c", "-fPIC", "-ffreestanding", "-fno-stack-protector")
        for name in ("waiting", "library"):
            run("gcc", *flags, "-o", f"{work}/{name}.o", f"{data}/{name}.c")
        for name in ("usr/lib64", "etc", "proc"):
            os.makedirs(f"{tree}/{name}")
        for name in ("lib", "lib64"):
            os.symlink(f"usr/{name}", f"{tree}/{name}")
        shutil.copy(os.path.realpath(LOADER), f"{tree}{LOADER}")

    def library(self, path: str, *words: str, soname: str = "", needs: Sequence[str] = ()) -> None:
        soname = soname or os.path.basename(path)
        self._link(
            path, "-shared", "-soname", soname, f"{self._work}/library.o", *words, needs=needs
        )

    def program(self, path: str, *words: str, needs: Sequence[str] = ()) -> None:
        kind = ("-pie", "-dynamic-linker", LOADER, f"{self._work}/waiting.o")
        self._link(path, *kind, *words, needs=needs)

    def _link(self, path: str, *words: str, needs: Sequence[str]) -> None:
        os.makedirs(os.path.dirname(f"{self.tree}{path}"), exist_ok=True)
        libraries = [f"{self.tree}{one}" for one in needs]
        # What a library needs is not looked for when something is linked with it.
        flags = ("--no-as-needed", "--unresolved-symbols=ignore-all", "--no-copy-dt-needed-entries")
        run("ld", *flags, "-o", f"{self.tree}{path}", *words, *libraries)


def run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


OLD = "--disable-new-dtags"  # DT_RPATH
NEW = "--enable-new-dtags"  # DT_RUNPATH
LIB = "/usr/lib/x86_64-linux-gnu"
DEFAULT = "/lib/x86_64-linux-gnu"


def rpath(text: str) -> tuple[str, ...]:
    return OLD, "-rpath", text


def runpath(text: str) -> tuple[str, ...]:
    return NEW, "-rpath", text


def link_all(link: Linker) -> dict[str, list[str]]:
    """By name of the program: what it must be, in order."""
    for directory in ("/opt/a", "/opt/b", LIB):
        link.library(f"{directory}/libdeep.so")
    link.library("/opt/a/libmid.so", needs=["/opt/a/libdeep.so"])
    link.library("/opt/own/libmid.so", *rpath("/opt/b"), needs=["/opt/a/libdeep.so"])
    link.library("/opt/shut/libmid.so", *runpath("/opt/none"), needs=["/opt/a/libdeep.so"])
    for name, words in {
        "rpath": rpath("/opt/a"),
        "runpath": runpath("/opt/a"),
        "own-rpath": rpath("/opt/own:/opt/a"),
        "own-runpath": rpath("/opt/shut:/opt/a"),
    }.items():
        link.program(f"/opt/bin/{name}", *words, needs=["/opt/a/libmid.so"])
    wanted = {
        "rpath": ["/opt/a/libmid.so", "/opt/a/libdeep.so"],
        "runpath": ["/opt/a/libmid.so", f"{DEFAULT}/libdeep.so"],
        "own-rpath": ["/opt/own/libmid.so", "/opt/b/libdeep.so"],
        "own-runpath": ["/opt/shut/libmid.so", f"{DEFAULT}/libdeep.so"],
    }

    # Of three libraries the middle one has a runpath: what it needs is searched without the
    # program's rpath, what that one needs with it.
    link.library("/opt/c/libthree.so")
    link.library("/opt/c/libtwo.so", needs=["/opt/c/libthree.so"])
    link.library("/opt/c/libone.so", *runpath("/opt/c"), needs=["/opt/c/libtwo.so"])
    link.program("/opt/bin/through", *rpath("/opt/c"), needs=["/opt/c/libone.so"])
    wanted["through"] = [f"/opt/c/lib{name}.so" for name in ("one", "two", "three")]

    # $ORIGIN of a program is where it is, that of a library where it was opened.
    link.library("/opt/o/real/liblink.so", *runpath("${ORIGIN}"), needs=["/opt/a/libdeep.so"])
    link.library("/opt/o/lib/libdeep.so")
    os.symlink("../real/liblink.so", f"{link.tree}/opt/o/lib/liblink.so")
    link.program("/opt/o/bin/origin", *runpath("$ORIGIN/../lib/"), needs=["/opt/o/lib/liblink.so"])
    os.symlink("/opt/o/bin/origin", f"{link.tree}/opt/bin/origin")
    wanted["/opt/o/bin/origin"] = [
        "/opt/o/bin/../lib/liblink.so",
        "/opt/o/bin/../lib/libdeep.so",
    ]
    link.library(f"/opt/lib-of{LIB.removeprefix('/usr')}/libtoken.so")
    link.program(
        "/opt/bin/lib", *runpath("/opt/lib-of/$LIB"),
        needs=[f"/opt/lib-of{LIB.removeprefix('/usr')}/libtoken.so"],
    )  # fmt: skip
    wanted["lib"] = ["/opt/lib-of/lib/x86_64-linux-gnu/libtoken.so"]

    # The cache comes before the default directories, and after a runpath.
    for directory in ("/opt/cached", "/opt/run", LIB):
        link.library(f"{directory}/libcached.so")
    link.program("/opt/bin/cache", needs=[f"{LIB}/libcached.so"])
    wanted["cache"] = ["/opt/cached/libcached.so"]
    link.program("/opt/bin/before-cache", *runpath("/opt/run"), needs=[f"{LIB}/libcached.so"])
    wanted["before-cache"] = ["/opt/run/libcached.so"]
    link.program("/opt/bin/no-default", "-z", "nodefaultlib", needs=[f"{LIB}/libcached.so"])
    wanted["no-default"] = ["/opt/cached/libcached.so"]

    # A name that is known is not searched, nor is a file mapped twice.
    link.library("/opt/s/libfirst.so", soname="libsecond.so", needs=["/opt/a/libdeep.so"])
    link.library("/opt/s/libuser.so", needs=["/opt/s/libfirst.so"])
    link.library("/opt/s/libsecond.so")
    os.link(f"{link.tree}/opt/s/libuser.so", f"{link.tree}/opt/s/libagain.so")
    link.library("/opt/s/stub/libfirst.so")
    link.library("/opt/s/stub/libagain.so")
    needs = ["/opt/s/stub/libfirst.so", "/opt/s/libuser.so", "/opt/s/stub/libagain.so"]
    link.program("/opt/bin/names", *runpath("/opt/s"), needs=needs)
    wanted["names"] = [
        *("/opt/s/libfirst.so", "/opt/s/libuser.so", "/opt/s/libagain.so"),
        f"{DEFAULT}/libdeep.so",
    ]

    # A path as a name; files of another machine are passed over.
    link.library("/opt/path/libpath.so", soname="/opt/path/libpath.so")
    link.library("/opt/path/libtoken.so", soname="$ORIGIN/../path/libtoken.so")
    link.library("/opt/elsewhere/libdeep.so")
    with open(f"{link.tree}/opt/elsewhere/libdeep.so", "r+b") as file:
        file.seek(18)  # e_machine
        file.write(b"\xb7\0")
    link.program(
        "/opt/bin/path", *rpath("/opt/elsewhere:/opt/b"),
        needs=["/opt/path/libpath.so", "/opt/path/libtoken.so", "/opt/a/libdeep.so"],
    )  # fmt: skip
    wanted["path"] = [
        *("/opt/path/libpath.so", "/opt/bin/../path/libtoken.so", "/opt/b/libdeep.so"),
    ]

    # Filters are needed, auxiliary libraries are if they are there.
    link.library("/opt/f/libfiltered.so")
    link.library("/opt/f/libaux.so")
    filters = ("-F", "libfiltered.so", "-f", "libaux.so", "-f", "libnone.so")
    link.library("/opt/f/libfilter.so", *filters, *runpath("/opt/f"))
    link.program("/opt/bin/filter", *runpath("/opt/f"), needs=["/opt/f/libfilter.so"])
    wanted["filter"] = ["/opt/f/libfilter.so", "/opt/f/libfiltered.so", "/opt/f/libaux.so"]
    return wanted


def path_of(name: str) -> str:
    return name if "/" in name else f"/opt/bin/{name}"


class Linked(NamedTuple):
    tree: str
    link: Linker
    closures: Closures
    wanted: Mapping[str, list[str]]


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Linked]:
    tree = str(tmp_path_factory.mktemp("tree"))
    # Where temporary files are, programs may not gain privilege, nor other users look.
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", tree)
    link = Linker(tree, str(tmp_path_factory.mktemp("objects")))
    wanted = link_all(link)
    names = {path_of(name): members for name, members in wanted.items()}
    with open(f"{tree}/etc/ld.so.conf", "w") as file:
        file.write("/opt/cached\n")
    run("ldconfig", "-X", "-r", tree)
    made, errors = build(tree)
    assert errors == []
    # Where the loader finds out what $ORIGIN of the program is.
    run("mount", "-t", "proc", "proc", f"{tree}/proc")
    yield Linked(tree, link, made, names)
    run("umount", "--recursive", tree)


CASES = (
    "rpath runpath own-rpath own-runpath through /opt/o/bin/origin lib cache before-cache "
    "no-default names path filter"
).split()


@pytest.mark.parametrize("case", CASES)
def test_a_rule_of_the_loader(linked: Linked, case: str) -> None:
    program = path_of(case)
    ours = files(linked.closures, program)
    assert ours == [LOADER, *linked.wanted[program]]
    assert_as_loaded(linked.tree, program, ours)


def assert_as_loaded(tree: str, program: str, ours: Sequence[str]) -> None:
    """The loader lists and maps the same files for ``program``, which is started."""
    # A file with two names is opened by both and mapped once.
    once = {os.stat(f"{tree}{name}").st_ino: name for name in reversed(ours)}
    said = listed(program, "chroot", tree)
    # A filter comes after what it filters.
    assert {*said, LOADER} == set(once.values())
    assert len(said) == len(set(said))
    assert mapped(tree, program) == set(once)


def mapped(tree: str, program: str, *options: str) -> set[int]:
    """The inodes of the ELF files in the process of ``program``, but for its own."""
    with subprocess.Popen(["chroot", *options, tree, program], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.read(1) == b"x"
            with open(f"/proc/{process.pid}/maps") as maps:
                lines = [line.split(maxsplit=5) for line in maps]
        finally:
            process.kill()
    names = [words[5].rstrip() for words in lines if len(words) > 5 and tree in words[5]]
    return {os.stat(name).st_ino for name in names} - {os.stat(f"{tree}{program}").st_ino}


def needs(tree: str, program: str) -> list[str]:
    made, errors = build(tree, [program])
    assert errors == []
    return files(made, program)


def test_variants_for_processors(linked: Linked) -> None:
    """Of each library the loader takes one; whichever it is, it is in the closure."""
    tree, link = linked.tree, linked.link
    link.library("/opt/hw/libneed.so")
    for name in VARIANTS:
        more = ["/opt/hw/libneed.so"] if name else []
        link.library(f"/opt/hw/{name}libhw.so", *runpath("/opt/hw"), needs=more)
        link.library(f"/opt/cached/{name}libhwcached.so")
    run("ldconfig", "-X", "-r", tree)
    libraries = ["/opt/hw/libhw.so", "/opt/cached/libhwcached.so"]
    link.program("/opt/hw/program", *runpath("/opt/hw"), needs=libraries)
    ours = needs(tree, "/opt/hw/program")
    wanted = {f"/opt/hw/{name}libhw.so" for name in VARIANTS}
    wanted |= {f"/opt/cached/{name}libhwcached.so" for name in VARIANTS}
    assert set(ours) == {LOADER, "/opt/hw/libneed.so", *wanted}
    said = listed("/opt/hw/program", "chroot", tree)
    assert set(said) <= set(ours)
    assert {_VARIANT.sub("", name) for name in said} >= set(libraries)


def test_what_the_loader_does_not_find(linked: Linked) -> None:
    tree, link = linked.tree, linked.link
    link.program("/opt/wrong/x", "-z", "nodefaultlib", needs=[f"{LIB}/libdeep.so"])
    _, errors = build(tree, ["/opt/wrong/x"])
    assert [error.reason for error in errors] == ["library-missing"]
    with pytest.raises(subprocess.CalledProcessError):
        listed("/opt/wrong/x", "chroot", tree)


def refused(tree: str, program: str) -> list[str]:
    """Why the build refuses ``program``."""
    _, errors = build(tree, [program])
    return [error.reason for error in errors]


def inode(linked: Linked, path: str) -> int:
    return os.stat(f"{linked.tree}{path}").st_ino


def test_variants_by_links(linked: Linked) -> None:
    tree, link = linked.tree, linked.link
    link.library("/opt/hl/lib/libhl.so")
    for name in ("x86-64-v2", "x86-64-v3"):
        link.library(f"/opt/hl/{name}/libhl.so")
    os.symlink("/opt/hl", f"{tree}/opt/hl/lib/glibc-hwcaps")
    link.program("/opt/hl/x", *runpath("/opt/hl/lib"), needs=["/opt/hl/lib/libhl.so"])
    said = listed("/opt/hl/x", "chroot", tree)
    assert set(said) <= set(needs(tree, "/opt/hl/x"))


def test_default_directories_of_other_distributions(linked: Linked) -> None:
    """This loader does not search all of them, and starts with another one."""
    for directory in ("/usr/lib64", "/usr/lib"):
        linked.link.library(f"{directory}/libdist.so")
    linked.link.program("/opt/dist/x", needs=["/usr/lib/libdist.so"])
    ours = needs(linked.tree, "/opt/dist/x")
    assert set(ours) == {LOADER, "/lib64/libdist.so", "/lib/libdist.so"}
    said = listed("/opt/dist/x", "chroot", linked.tree)
    assert "/lib/libdist.so" in said
    assert set(said) <= set(ours)


def test_auditors(linked: Linked) -> None:
    tree, link = linked.tree, linked.link
    link.library("/opt/audit/libaudit.so", needs=["/opt/a/libdeep.so"])
    link.program("/opt/audit/x", "--audit", "/opt/audit/libaudit.so", needs=["/opt/b/libdeep.so"])
    assert refused(tree, "/opt/audit/x") == ["audited"]
    assert inode(linked, "/opt/audit/libaudit.so") in mapped(tree, "/opt/audit/x")


@pytest.mark.parametrize("how", ["link", "auxiliary", "cache"])
def test_a_place_where_a_library_could_be_added(linked: Linked, how: str) -> None:
    """It is loaded as soon as it is there; nothing would find it at boot."""
    tree, link = linked.tree, linked.link
    name, added = f"libadd-{how}.so", f"/srv/{how}/libadd-{how}.so"
    link.library(f"{LIB}/{name}", *(("-f", added) if how == "auxiliary" else ()))
    link.program(f"/opt/add/{how}", *runpath("/opt/add/lib"), needs=[f"{LIB}/{name}"])
    wanted = added
    if how == "link":
        wanted = f"/opt/add/lib/{name}"
        os.makedirs(f"{tree}/opt/add/lib")
        os.symlink(added, f"{tree}{wanted}")
    elif how == "cache":
        link.library(added)
        with open(f"{tree}/etc/ld.so.conf", "a") as file:
            file.write("/srv/cache\n")
        run("ldconfig", "-X", "-r", tree)
        os.unlink(f"{tree}{added}")
    said = listed(f"/opt/add/{how}", "chroot", tree)
    assert said[0] == f"{DEFAULT}/{name}"
    assert "search-path-open" in refused(tree, f"/opt/add/{how}")
    link.library(added)
    assert wanted in listed(f"/opt/add/{how}", "chroot", tree)


def test_a_cache_that_names_what_is_gone(linked: Linked) -> None:
    tree, link = linked.tree, linked.link
    for directory in ("/opt/cached", LIB):
        link.library(f"{directory}/libstale.so")
    link.program("/opt/stale/x", needs=[f"{LIB}/libstale.so"])
    run("ldconfig", "-X", "-r", tree)
    assert needs(tree, "/opt/stale/x") == [LOADER, "/opt/cached/libstale.so"]
    os.unlink(f"{tree}/opt/cached/libstale.so")
    assert refused(tree, "/opt/stale/x") == ["stale-ld-cache"]
    said = listed("/opt/stale/x", "chroot", tree)
    assert said[0] == f"{DEFAULT}/libstale.so"
    run("ldconfig", "-X", "-r", tree)
    assert needs(tree, "/opt/stale/x") == [LOADER, f"{DEFAULT}/libstale.so"]


CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)  # VFS_CAP_REVISION_2


@pytest.mark.parametrize("how", ["set-user-ID", "capability"])
def test_origin_in_what_gains_privilege(linked: Linked, how: str) -> None:
    """Without privilege the loader takes a library, and passes over it with privilege."""
    tree, link, program = linked.tree, linked.link, f"/opt/gain/bin/{how}"
    for directory in ("/opt/gain/lib", LIB):
        link.library(f"{directory}/libgain.so")
    link.program(program, *runpath("$ORIGIN/../lib"), needs=[f"{LIB}/libgain.so"])
    user = "--userspec=1000:1000"
    assert needs(tree, program) == [LOADER, "/opt/gain/bin/../lib/libgain.so"]
    assert inode(linked, "/opt/gain/lib/libgain.so") in mapped(tree, program, user)
    if how == "capability":
        os.setxattr(f"{tree}{program}", "security.capability", CAPABILITY)
    else:
        os.chmod(f"{tree}{program}", 0o4755)  # noqa: S103 that is what is tried
    assert refused(tree, program) == ["search-path-unknown"]
    assert inode(linked, f"{LIB}/libgain.so") in mapped(tree, program, user)


ACL = struct.pack(
    "<I HHI HHI HHI HHI HHI",
    2,
    *(0x01, 7, 0xFFFFFFFF),  # the owner
    *(0x02, 7, 1000),  # a user
    *(0x04, 5, 0xFFFFFFFF),  # the group
    *(0x10, 7, 0xFFFFFFFF),  # the mask
    *(0x20, 5, 0xFFFFFFFF),  # others
)
"""include/uapi/linux/posix_acl_xattr.h"""


@pytest.mark.parametrize(
    ("uid", "gid", "mode", "acl", "wanted"),
    [
        (0, 0, 0o775, False, ""),
        (0, 50, 0o755, False, ""),
        (1000, 0, 0o755, False, "user 1000"),
        (0, 50, 0o2775, False, "group 50"),
        (0, 0, 0o757, False, "anybody"),
        (0, 0, 0o755, True, "access control list"),
    ],
)
def test_directories_in_which_others_may_write(
    linked: Linked, uid: int, gid: int, mode: int, acl: bool, wanted: str
) -> None:
    tree, link = linked.tree, linked.link
    link.library("/opt/others/lib/libothers.so")
    link.program(
        "/opt/others/x", *runpath("/opt/others/lib"), needs=["/opt/others/lib/libothers.so"]
    )
    directory = f"{tree}/opt/others/lib"
    # Of root's tree the group is no owner.
    os.chown(tree, 0, 50)
    os.chown(directory, uid, gid)
    os.chmod(directory, mode)
    if acl:
        os.setxattr(directory, "system.posix_acl_access", ACL)
    _, errors = build(tree, ["/opt/others/x"])
    shutil.rmtree(directory)
    assert [error.reason for error in errors] == (["search-path-open"] if wanted else [])
    assert all(wanted in str(error.found) for error in errors)


@pytest.fixture
def preload(linked: Linked) -> Iterator[str]:
    path = f"{linked.tree}/etc/ld.so.preload"
    yield path
    os.unlink(path)


def test_preloaded_libraries(linked: Linked, preload: str) -> None:
    linked.link.library("/opt/p/libpre.so", needs=["/opt/a/libdeep.so"])
    linked.link.program("/opt/p/x", *runpath("/opt/p:/opt/a"), needs=["/opt/a/libmid.so"])
    with open(preload, "w") as file:
        file.write("libpre.so\n /opt/cached/libcached.so:/opt/f/libaux.so\t\n")
        file.write("/opt/lib-of/$LIB/libtoken.so $LIB.so")
    linked.link.library("/opt/p/$LIB.so")
    ours = needs(linked.tree, "/opt/p/x")
    assert ours == [
        *(LOADER, "/opt/p/libpre.so", "/opt/cached/libcached.so", "/opt/f/libaux.so"),
        *("/opt/lib-of/lib/x86_64-linux-gnu/libtoken.so", "/opt/p/$LIB.so"),
        *("/opt/a/libmid.so", f"{DEFAULT}/libdeep.so"),
    ]
    assert_as_loaded(linked.tree, "/opt/p/x", ours)


def test_a_preload_is_not_read_as_it_looks(linked: Linked, preload: str) -> None:
    linked.link.program("/opt/c/x", *runpath("/opt/c"), needs=["/opt/c/libthree.so"])
    with open(preload, "w") as file:
        file.write("# the first of them, and a long one\n/opt/cached/libcached.so\n")
        file.write("# never: /opt/f/libaux.so\n")
    assert refused(linked.tree, "/opt/c/x") == ["bad-ld-preload"]
    assert "/opt/f/libaux.so" in listed("/opt/c/x", "chroot", linked.tree)
