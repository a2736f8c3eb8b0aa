"""veriseal wrap on the tree of a system: what is read, what is written, what is refused."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from veriseal.cli import wrap as verb
from veriseal.errors import VerisealError
from veriseal.unit import dropin, lookup, wrap

pytestmark = pytest.mark.unit

Cli = Callable[..., tuple[int, bytes, str]]

LIB, ETC, RUN = (f"{one}/systemd/system" for one in ("usr/lib", "etc", "run"))
KIOSK = f"{ETC}/kiosk.service.d/{wrap.FILE}"
PLAIN = "[Unit]\nDescription=K\n[Service]\nExecStart=/opt/app --full\n"
V = "/usr/bin/veriseal exec"


class Tree:
    """The tree of a system, made file by file."""

    def __init__(self, top: Path) -> None:
        self.top = top

    def put(self, path: str, text: str = "", mode: int = 0o644) -> None:
        place = self.top / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)

    def link(self, path: str, target: str) -> None:
        place = self.top / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)

    def service(self, name: str, *lines: str) -> None:
        self.put(f"{LIB}/{name}", "\n".join(("[Service]", *lines, "")))

    def plan(self, name: str, runtime: bool = False) -> wrap.Plan:
        return wrap.make(str(self.top), lookup.full_name(name), runtime)

    def starts(self, name: str) -> list[str]:
        """The ExecStart= values that the drop-in of ``name`` would have."""
        return [line.after for line in self.plan(name).lines]

    def refusal(self, name: str) -> VerisealError:
        with pytest.raises(VerisealError) as caught:
            self.plan(name)
        assert caught.value.remedy
        return caught.value

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.top)): path.read_bytes()
            for path in sorted(self.top.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "tree")


@pytest.fixture
def kiosk(tree: Tree) -> Tree:
    tree.put(f"{LIB}/kiosk.service", PLAIN)
    return tree


# The command


def test_writes_renews_and_undoes(kiosk: Tree, cli: Cli) -> None:
    before = kiosk.files()
    words = ("wrap", "--root", str(kiosk.top), "kiosk")
    status, out, err = cli(*words)
    assert (status, out) == (0, b"")
    assert err == f"veriseal: written: {kiosk.top}/{KIOSK}\n"
    text = kiosk.files()[KIOSK].decode()
    assert text == (
        "# Written by: veriseal wrap kiosk.service\n"
        "# Undo with:  veriseal wrap --undo kiosk.service\n"
        "#\n"
        "# The launcher, in front of the ExecStart= lines of\n"
        "#   /usr/lib/systemd/system/kiosk.service\n"
        "# If those change, run the first command again.\n"
        "\n"
        "[Service]\n"
        "ExecStart=\n"
        f"ExecStart={V} /opt/app --full\n"
        "# These act on the launcher's own interpreter before its first line runs.\n"
        f"UnsetEnvironment={wrap.UNSET}\n"
    )
    assert os.stat(kiosk.top / KIOSK).st_mode & 0o7777 == 0o644
    number = os.stat(kiosk.top / KIOSK).st_ino

    assert cli(*words) == (0, b"", f"veriseal: up to date: {kiosk.top}/{KIOSK}\n")
    assert os.stat(kiosk.top / KIOSK).st_ino == number

    kiosk.put(f"{LIB}/kiosk.service", PLAIN.replace("--full", "--other"))
    assert cli(*words)[0] == 0
    assert f"ExecStart={V} /opt/app --other\n".encode() in kiosk.files()[KIOSK]

    kiosk.put(f"{LIB}/kiosk.service", PLAIN)
    assert cli(*words, "--undo") == (0, b"", f"veriseal: removed: {kiosk.top}/{KIOSK}\n")
    assert kiosk.files() == before
    assert not (kiosk.top / KIOSK).parent.exists()
    status, _, err = cli(*words, "--undo")
    assert status == 1
    assert "there is no such drop-in" in err


def test_undo_leaves_everything_else(kiosk: Tree, cli: Cli) -> None:
    kiosk.put(f"{ETC}/kiosk.service.d/10-other.conf", "[Service]\nUser=kiosk\n")
    before = kiosk.files()
    for words in ([], ["--undo"]):
        assert cli("wrap", "--root", str(kiosk.top), "kiosk.service", *words)[0] == 0
    assert kiosk.files() == before


def test_undo_when_the_unit_is_gone_or_masked(kiosk: Tree, cli: Cli) -> None:
    words = ("wrap", "--root", str(kiosk.top), "kiosk")
    assert cli(*words)[0] == 0
    os.unlink(kiosk.top / LIB / "kiosk.service")
    assert cli(*words, "--undo")[0] == 0
    assert kiosk.files() == {}


def test_dry_run_prints_what_would_be_written(kiosk: Tree, cli: Cli) -> None:
    before = kiosk.files()
    words = ("wrap", "--root", str(kiosk.top), "kiosk")
    status, out, err = cli(*words, "--dry-run")
    assert (status, err) == (0, "")
    assert kiosk.files() == before
    assert cli(*words)[0] == 0
    assert kiosk.files()[KIOSK] == out
    assert cli(*words, "--dry-run", "--undo")[0] == 2


def test_json(kiosk: Tree, cli: Cli) -> None:
    kiosk.put(f"{ETC}/kiosk.service.d/a.conf", "[Service]\nExecReload=/bin/kill $MAINPID\n")
    words = ("wrap", "--root", str(kiosk.top), "--json", "kiosk")
    dry = json.loads(cli(*words, "--dry-run")[1])
    assert dry["written"] is False
    done = json.loads(cli(*words)[1])
    assert done == {
        "schema": 1,
        "unit": "kiosk.service",
        "path": f"/{KIOSK}",
        "written": True,
        "exec_start": [{"before": "/opt/app --full", "after": f"{V} /opt/app --full"}],
        "without_launcher": [
            {
                "key": "ExecReload",
                "value": "/bin/kill $MAINPID",
                "path": f"/{ETC}/kiosk.service.d/a.conf",
                "line": 2,
            }
        ],
        "text": kiosk.files()[KIOSK].decode(),
    }
    gone = json.loads(cli(*words, "--undo")[1])
    assert gone == {"schema": 1, "unit": "kiosk.service", "path": f"/{KIOSK}", "removed": True}


def test_a_name_that_systemd_takes_for_none_writes_no_lines(tree: Tree) -> None:
    tree.put(f"{LIB}/real.service", "[Service]\nExecStart=/a\n")
    forged = "a\n[Service]\nExecStartPre=poweroff\n#.service"
    tree.put(f"{LIB}/{forged}", "[Service]\nExecStart=/b\n")
    tree.link(f"{ETC}/kiosk.service", f"/{LIB}/{forged}")
    with pytest.raises(VerisealError):
        lookup.full_name(forged)
    plan = tree.plan("kiosk.service")
    assert plan.unit == "kiosk.service"
    assert "poweroff" not in [line.partition("=")[2] for line in plan.text.splitlines()]


def test_says_what_the_drop_in_does_not_cover(tree: Tree, cli: Cli) -> None:
    tree.service(
        "a.service",
        "ExecStart=/a",
        "ExecStartPre=/reset",
        "ExecStartPre=",
        "ExecStartPre=-/b c",
        "ExecStopPost=/d",
        'Environment="LD_LIBRARY_PATH=/opt/lib" LANG=C',
        'Environment="unbalanced',
    )
    status, _, err = cli("wrap", "--root", str(tree.top), "--dry-run", "a")
    assert status == 0
    assert err.splitlines() == [
        f"veriseal: a.service: runs without the launcher: {what} (/{LIB}/a.service)"
        for what in ("ExecStartPre=-/b c", "ExecStopPost=/d")
    ] + ["veriseal: a.service: its programs no longer get these variables: LD_LIBRARY_PATH"]


def test_wrong_usage(kiosk: Tree, cli: Cli) -> None:
    assert cli("wrap", "--root", f"{kiosk.top}/none", "kiosk")[0] == 2
    assert cli("wrap", "--root", str(kiosk.top), "--runtime", "kiosk")[0] == 2
    assert cli("wrap")[0] == 2


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.socket", "not-a-service"),
        ("/etc/systemd/system/a.service", "bad-name"),
        ("a b", "bad-name"),
        ("", "bad-name"),
        ("@b.service", "bad-name"),
        ("a\n", "bad-name"),
        ("a" * 250, "bad-name"),
    ],
)
def test_names(name: str, reason: str) -> None:
    with pytest.raises(VerisealError) as caught:
        lookup.full_name(name)
    assert caught.value.reason == reason


def test_a_running_system_is_told_what_comes_next(
    kiosk: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    verb._done("a.service", "/etc/x", "written", "/", True)
    assert capsys.readouterr().err == (
        "veriseal: written: /etc/x\n"
        "veriseal: now: systemctl daemon-reload && systemctl restart a.service\n"
    )


# Where the unit comes from


def test_the_first_directory_counts(kiosk: Tree) -> None:
    kiosk.put("usr/local/lib/systemd/system/kiosk.service", "[Service]\nExecStart=/local\n")
    assert kiosk.starts("kiosk") == [f"{V} /local"]
    kiosk.put(f"{RUN}/kiosk.service", "[Service]\nExecStart=/run\n")
    assert kiosk.starts("kiosk") == [f"{V} /run"]
    kiosk.put(f"{ETC}/kiosk.service", "[Service]\nExecStart=/etc\n")
    assert kiosk.starts("kiosk") == [f"{V} /etc"]


def test_drop_ins_of_all_directories_in_the_order_of_their_names(kiosk: Tree) -> None:
    def add(path: str, line: str) -> None:
        kiosk.put(path, f"[Service]\n{line}\n")

    add(f"{LIB}/kiosk.service.d/10-a.conf", "ExecStart=/10")
    add(f"{ETC}/service.d/05-all.conf", "ExecStart=/05")
    add(f"{RUN}/kiosk.service.d/20-b.conf", "ExecStart=/hidden")
    add(f"{ETC}/kiosk.service.d/20-b.conf", "ExecStart=/20")
    add(f"{ETC}/service.d/20-b.conf", "ExecStart=/hidden")
    add(f"{LIB}/kiosk.service.d/.hidden.conf", "ExecStart=/hidden")
    add(f"{LIB}/kiosk.service.d/30-x.conf~", "ExecStart=/hidden")
    add(f"{LIB}/kiosk.service.d/40-masked.conf", "ExecStart=/hidden")
    kiosk.link(f"{ETC}/kiosk.service.d/40-masked.conf", "/dev/null")
    assert kiosk.starts("kiosk") == [
        f"{V} {one}" for one in ("/opt/app --full", "/05", "/10", "/20")
    ]
    add(f"{ETC}/kiosk.service.d/45-reset.conf", "ExecStart=\nExecStart=/45")
    assert kiosk.starts("kiosk") == [f"{V} /45"]
    assert (
        "\n#   /etc/systemd/system/kiosk.service.d/45-reset.conf\n# If" in kiosk.plan("kiosk").text
    )


@pytest.mark.parametrize(
    ("name", "directories"),
    [
        ("a-b-c.service", ["a-b-c.service", "a-b-.service", "a-.service"]),
        ("a--.service", ["a--.service", "a-.service"]),
        ("-a.service", ["-a.service"]),
        ("a@b.service", ["a@b.service", "a@.service"]),
        ("a-b@.service", ["a-b@.service", "a-.service"]),
        (
            "a-b@c-d.service",
            ["a-b@c-d.service", "a-b@.service", "a-.service", "a-@c-d.service", "a-@.service"],
        ),
    ],
)
def test_whose_drop_ins_count(name: str, directories: list[str]) -> None:
    assert list(lookup._drop_in_names(name)) == directories


def test_templates_and_instances(tree: Tree) -> None:
    tree.service("a-b@.service", "ExecStart=/t %i")
    tree.put(f"{ETC}/a-.service.d/1.conf", "[Service]\nExecStart=\nExecStart=/prefix\n")
    tree.put(f"{ETC}/a-b@x.service.d/2.conf", "[Service]\nExecStart=\nExecStart=/x\n")
    assert tree.starts("a-b@") == tree.starts("a-b@y") == [f"{V} /prefix"]
    assert tree.starts("a-b@x") == [f"{V} /x"]
    assert tree.plan("a-b@").path == f"/{ETC}/a-b@.service.d/{wrap.FILE}"
    assert tree.plan("a-b@y").path == f"/{ETC}/a-b@y.service.d/{wrap.FILE}"
    tree.service("a-b@z.service", "ExecStart=/z")
    os.unlink(tree.top / ETC / "a-.service.d/1.conf")
    assert tree.starts("a-b@z") == [f"{V} /z"]


def test_a_wrapped_template_and_its_instance(tree: Tree, cli: Cli) -> None:
    tree.service("a@.service", "ExecStart=/t %i")
    for name in ("a@", "a@b", "a@"):
        assert cli("wrap", "--root", str(tree.top), name)[0] == 0
    made = [f"{ETC}/{name}.service.d/{wrap.FILE}" for name in ("a@", "a@b")]
    assert [name for name in tree.files() if name.startswith(ETC)] == made
    for name in made:
        assert f"ExecStart={V} /t %i\n".encode() in tree.files()[name]


def test_aliases(kiosk: Tree) -> None:
    """The drop-in is for the unit's own name; drop-ins under its other names count."""
    kiosk.link(f"{ETC}/display.service", f"/{LIB}/kiosk.service")
    kiosk.link(f"{ETC}/second.service", "display.service")
    kiosk.put(f"{ETC}/second.service.d/1.conf", "[Service]\nExecStart=/more\n")
    for name in ("kiosk", "display", "second"):
        plan = kiosk.plan(name)
        assert (plan.unit, plan.path) == ("kiosk.service", f"/{KIOSK}")
        assert [line.after for line in plan.lines] == [f"{V} /opt/app --full", f"{V} /more"]
    kiosk.put(f"{ETC}/kiosk.service", "[Service]\nExecStart=/etc\n")
    assert kiosk.starts("display") == [f"{V} /etc", f"{V} /more"]


def test_an_alias_of_a_template(tree: Tree) -> None:
    tree.service("getty@.service", "ExecStart=/getty %I")
    tree.link(f"{ETC}/auto@.service", f"/{LIB}/getty@.service")
    tree.link(f"{ETC}/console.service", f"/{LIB}/getty@tty9.service")
    tree.put(f"{ETC}/auto@tty1.service.d/1.conf", "[Service]\nExecStart=/one\n")
    assert tree.plan("auto@tty1").unit == "getty@tty1.service"
    assert tree.starts("getty@tty1") == [f"{V} /getty %I", f"{V} /one"]
    assert tree.plan("auto@").unit == "getty@.service"
    assert tree.plan("console").unit == "getty@tty9.service"


def test_a_linked_unit_file_and_links_to_itself(tree: Tree) -> None:
    tree.put("opt/vendor/v1.service", "[Service]\nExecStart=/vendor\n")
    tree.link(f"{ETC}/vendor.service", "/opt/vendor/v1.service")
    assert tree.starts("vendor") == [f"{V} /vendor"]
    assert tree.plan("vendor").unit == "vendor.service"
    tree.service("self.service", "ExecStart=/self")
    tree.link(f"{ETC}/self.service", f"/{LIB}/self.service")
    assert tree.starts("self") == [f"{V} /self"]


def test_links_lead_nowhere_outside_the_tree(tree: Tree, tmp_path: Path) -> None:
    outside = tmp_path / "outside.service"
    outside.write_text("[Service]\nExecStart=/outside\n")
    tree.link(f"{ETC}/a.service", str(outside))
    assert tree.refusal("a").reason == "bad-unit"
    tree.link(f"{ETC}/b.service", "../" * 30 + str(outside))
    assert tree.refusal("b").reason == "bad-unit"
    tree.put(f"{tmp_path}/outside.service".lstrip("/"), "[Service]\nExecStart=/inside\n")
    assert tree.starts("a") == tree.starts("b") == [f"{V} /inside"]


def test_the_directories_can_be_links(tree: Tree) -> None:
    tree.put("system/usr/lib/systemd/system/a.service", "[Service]\nExecStart=/a\n")
    tree.link("usr", "/system/usr")
    tree.link("lib", "usr/lib")
    tree.link(f"{ETC}/b.service", "/lib/systemd/system/a.service")
    assert tree.plan("b").unit == "a.service"


def loop(tree: Tree) -> None:
    tree.link(f"{ETC}/a.service", "b.service")
    tree.link(f"{ETC}/b.service", "a.service")


def masked(tree: Tree) -> None:
    tree.service("a.service", "ExecStart=/a")
    tree.link(f"{ETC}/a.service", "/dev/null")


def masked_by_an_empty_file(tree: Tree) -> None:
    tree.service("a.service", "ExecStart=/a")
    tree.put(f"{ETC}/a.service")


def of_users(tree: Tree) -> None:
    tree.put("usr/lib/systemd/user/a.service", "[Service]\nExecStart=/a\n")


def without_start(tree: Tree) -> None:
    tree.service("a.service", "ExecStart=/a", "ExecStart=", "ExecStop=/b")


def start_in_another_section(tree: Tree) -> None:
    tree.put(f"{LIB}/a.service", "[Unit]\nExecStart=/a\n")


def a_directory(tree: Tree) -> None:
    tree.put(f"{LIB}/a.service/x")


def a_broken_drop_in(tree: Tree) -> None:
    tree.service("a.service", "ExecStart=/a")
    tree.put(f"{ETC}/a.service.d/1.conf", "ExecStart=/b\n")


def no_such_program(tree: Tree) -> None:
    tree.service("a.service", "ExecStart=nothing")
    tree.put("usr/bin/nothing", "not executable")


def start_after_ours(tree: Tree) -> None:
    tree.service("a.service", "ExecStart=/a")
    tree.put(f"{ETC}/a.service.d/zzz.conf", "[Service]\nExecStart=\nExecStart=/b\n")


def reset_after_ours(tree: Tree) -> None:
    tree.service("a.service", "ExecStart=/a")
    tree.put(f"{ETC}/service.d/zzz.conf", "[Service]\nUnsetEnvironment=\n")


BROKEN: dict[Callable[[Tree], None], str] = {
    loop: "no-unit",
    masked: "masked",
    masked_by_an_empty_file: "masked",
    of_users: "user-unit",
    without_start: "no-exec-start",
    start_in_another_section: "no-exec-start",
    a_directory: "bad-unit",
    a_broken_drop_in: "bad-unit",
    no_such_program: "no-program",
    start_after_ours: "overridden",
    reset_after_ours: "overridden",
}


@pytest.mark.parametrize("spoil", BROKEN)
def test_refused_units(tree: Tree, spoil: Callable[[Tree], None]) -> None:
    spoil(tree)
    assert tree.refusal("a").reason == BROKEN[spoil]


def test_no_unit_at_all(tree: Tree) -> None:
    tree.put("etc/passwd")
    assert tree.refusal("a").reason == "no-unit"


def test_programs_are_looked_up_as_systemd_does(tree: Tree) -> None:
    tree.put("usr/bin/one", mode=0o755)
    tree.put("usr/local/sbin/two", mode=0o755)
    tree.put("usr/bin/two", mode=0o755)
    tree.link("usr/bin/three", "/usr/bin/one")
    tree.service("a.service", "Type=oneshot", "ExecStart=one 1 ; -two ; @three drei")
    assert tree.starts("a") == [
        f"{V} /usr/bin/one 1",
        f"-{V} /usr/local/sbin/two",
        f"{V} --argv0 drei /usr/bin/three",
    ]
    tree.put("opt/x/one", mode=0o755)
    tree.service("a.service", "ExecStart=one", "ExecSearchPath=/opt/y:/opt/x", "ExecSearchPath=/z")
    assert tree.starts("a") == [f"{V} /opt/x/one"]


def test_a_drop_in_that_hides_ours(kiosk: Tree, cli: Cli) -> None:
    assert cli("wrap", "--root", str(kiosk.top), "kiosk")[0] == 0
    with pytest.raises(VerisealError) as caught:
        kiosk.plan("kiosk", runtime=True)
    assert caught.value.reason == "hidden-drop-in"
    os.unlink(kiosk.top / KIOSK)
    dropin.write(
        str(kiosk.top), f"/{RUN}/kiosk.service.d/{wrap.FILE}", "# Written by: veriseal wrap x"
    )
    assert kiosk.plan("kiosk").path == f"/{KIOSK}"
    plan = kiosk.plan("kiosk", runtime=True)
    assert plan.path == f"/{RUN}/kiosk.service.d/{wrap.FILE}"
    assert "veriseal wrap --undo --runtime kiosk.service\n" in plan.text


# What the launcher cannot work under


@pytest.mark.parametrize(
    "line",
    [
        "RootDirectory=/srv/root",
        "RootImage=/srv/image.raw",
        "ExtensionImages=/srv/ext.raw",
        "ExtensionDirectories=/srv/ext",
        "AppArmorProfile=app",
        "SELinuxContext=system_u:system_r:app_t:s0",
        "ProcSubset=pid",
        "InaccessiblePaths=/run",
        "InaccessiblePaths=-/run/veriseal/",
        "InaccessiblePaths=/mnt +/usr/lib/../bin",
        "InaccessibleDirectories=/proc",
        "BindReadOnlyPaths=/srv/etc:/etc",
        "TemporaryFileSystem=/run:ro,size=1M",
        "TemporaryFileSystem=/",
        "BindPaths=/srv/run:/run",
        'BindReadOnlyPaths="/srv/my bin:/usr/bin:norbind"',
        "MountImages=/srv/usr.raw:/usr",
        "InaccessiblePaths=/run '",
        "NoExecPaths=/",
        "NoExecPaths=/usr\nExecPaths=/usr/bin",
        "NoExecPaths=/\nExecPaths=/usr\nNoExecPaths=/usr/lib",
        "SystemCallFilter=~@process",
    ],
)
def test_refused_settings(tree: Tree, line: str) -> None:
    tree.service("a.service", "ExecStart=/a", line)
    error = tree.refusal("a")
    assert error.reason == "unit-cannot-be-wrapped"
    assert error.path == f"/{LIB}/a.service"
    assert line.split("\n")[-1 if "NoExec" in line.split("\n")[-1] else 0] in error.problem


@pytest.mark.parametrize(
    "line",
    [
        "RootDirectory=/srv\nRootDirectory=",
        "RootDirectory=/",
        "ProcSubset=all\nProtectProc=invisible",
        "InaccessiblePaths=/run\nInaccessiblePaths=",
        "InaccessiblePaths=/home /root /usr/libexec /run/veriseal-other",
        "TemporaryFileSystem=/run\nBindReadOnlyPaths=/run/veriseal",
        "TemporaryFileSystem=/run /srv\nBindPaths=/run:/run:rbind",
        "TemporaryFileSystem=/\nBindReadOnlyPaths=/usr /etc /proc /run/veriseal",
        "BindPaths=/srv/data:/var/lib/data",
        "NoExecPaths=/\nExecPaths=/usr /opt/kiosk",
        "NoExecPaths=/var /tmp",
        "SystemCallFilter=@system-service\nSystemCallFilter=~@privileged @resources",
        "MemoryDenyWriteExecute=yes\nPrivateUsers=yes\nDynamicUser=yes\nProtectSystem=strict",
    ],
)
def test_settings_that_may_stay(tree: Tree, line: str) -> None:
    tree.service("a.service", "ExecStart=/a", line)
    assert tree.starts("a") == [f"{V} /a"]


# Where it is written


def test_nothing_is_written_through_a_link(kiosk: Tree, tmp_path: Path, cli: Cli) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    words = ("wrap", "--root", str(kiosk.top), "kiosk")
    for place in ("kiosk.service.d", ""):
        link = kiosk.top / ETC / place
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(outside)
        for more in ([], ["--undo"]):
            status, _, err = cli(*words, *more)
            assert status == 1
            assert "a symbolic link or another file is there" in err
        assert os.listdir(outside) == []
        link.unlink()
        if place:
            link.parent.rmdir()


@pytest.mark.parametrize("kind", ["link", "fifo", "other"])
def test_what_is_not_ours_is_left_alone(kiosk: Tree, cli: Cli, kind: str) -> None:
    place = kiosk.top / KIOSK
    place.parent.mkdir(parents=True)
    if kind == "link":
        kiosk.put("target", "# Written by: veriseal wrap x\n")
        place.symlink_to("/target")
    elif kind == "fifo":
        os.mkfifo(place)
    else:
        place.write_text("[Service]\nUser=kiosk\n")
    before = os.lstat(place)
    for words in ([], ["--undo"]):
        status, _, err = cli("wrap", "--root", str(kiosk.top), "kiosk", *words)
        assert status == 1, err
    assert os.lstat(place) == before
    assert os.listdir(place.parent) == [wrap.FILE]


def test_a_failed_write_leaves_nothing(
    kiosk: Tree, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    status, _, err = cli("wrap", "--root", str(kiosk.top), "kiosk")
    assert (status, err) == (1, f"veriseal: {kiosk.top}/{KIOSK}: No space left on device\n")
    assert os.listdir((kiosk.top / KIOSK).parent) == []


def test_the_plain_unit_unsets_the_same_variables() -> None:
    unit = Path(__file__).parents[2] / "units" / "veriseal-run@.service"
    assert f"\nUnsetEnvironment={wrap.UNSET}\n" in unit.read_text()
