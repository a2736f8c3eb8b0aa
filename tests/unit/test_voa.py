"""Which certificate files count: names, priorities, links and masks of UAPI.11."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from veriseal import osrelease, voa
from veriseal.errors import VerisealError

pytestmark = pytest.mark.unit

ETC, RUN, LOCAL, SHARE = voa.LOAD_PATHS
PLACE = "fedora:43/image/default/x509"


@pytest.fixture
def root(tmp_path: Path) -> str:
    """Of another system: every path in it is meant as that system sees it."""
    return str(tmp_path)


def add(root: str, load_path: str, name: str, place: str = PLACE) -> str:
    directory = f"{root}{load_path}/{place}"
    os.makedirs(directory, exist_ok=True)
    Path(directory, name).touch()
    return f"{directory}/{name}"


def link(root: str, path: str, target: str) -> str:
    os.makedirs(os.path.dirname(f"{root}{path}"), exist_ok=True)
    os.symlink(target, f"{root}{path}")
    return f"{root}{path}"


def find(
    root: str,
    names: tuple[str, ...] = ("fedora:43",),
    load_paths: tuple[str, ...] = voa.LOAD_PATHS,
) -> tuple[list[str], dict[str, tuple[str, str]]]:
    """Paths that count, and by path what is ignored."""
    found, ignored = voa.find(load_paths, names, voa.PURPOSE, "default", root)
    dropped = {one.path: (one.reason, one.why) for one in ignored}
    assert len(dropped) == len(ignored)
    for one in found:
        assert os.path.realpath(one.target) == one.target
        assert os.path.isfile(one.target)
        assert one.target.startswith(root)
    return [one.path for one in found], dropped


def why(root: str, path: str) -> str:
    """Why the only thing that is there does not count."""
    found, ignored = find(root)
    assert found == []
    assert list(ignored) == [path]
    reason, clause = ignored[path]
    assert reason == voa.UNUSABLE
    return clause


# Names.


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"ID": "fedora"}, ["fedora"]),
        ({"ID": "fedora", "VERSION_ID": "43"}, ["fedora", "fedora:43"]),
        ({"ID": "fedora", "VARIANT_ID": "kiosk"}, ["fedora", "fedora::kiosk"]),
        ({"ID": "arch", "IMAGE_ID": "cashier"}, ["arch", "arch:::cashier"]),
        ({"ID": "arch", "IMAGE_VERSION": "1"}, ["arch", "arch::::1"]),
        (
            {
                "ID": "a",
                "VERSION_ID": "1",
                "VARIANT_ID": "b",
                "IMAGE_ID": "c",
                "IMAGE_VERSION": "2",
            },
            ["a", "a:1", "a:1:b", "a:1:b:c", "a:1:b:c:2"],
        ),
    ],
)
def test_a_systems_names(fields: dict[str, str], names: list[str]) -> None:
    assert voa.os_identifiers(fields) == names
    assert all(voa.is_os_name(name) for name in names)


@pytest.mark.parametrize(
    "fields",
    [
        {"VERSION_ID": "43"},
        {"ID": ""},
        {"ID": ".."},
        {"ID": "fedora:43"},
        {"ID": "a/b"},
        {"ID": "Fedora"},
        {"ID": "fedora", "VERSION_ID": "43:kiosk"},
        {"ID": "fedora", "VARIANT_ID": "../x"},
        {"ID": "fedora", "IMAGE_ID": "x\n"},
    ],
)
def test_a_system_without_a_usable_name(fields: dict[str, str]) -> None:
    with pytest.raises(VerisealError) as caught:
        voa.os_identifiers(fields)
    assert caught.value.reason == "bad-os-release"


def test_the_file_without_a_usable_name_is_named(tmp_path: Path) -> None:
    path = tmp_path / "os-release"
    for text in ("VERSION_ID=43\n", "ID=Fedora\n"):
        path.write_text(text)
        with pytest.raises(VerisealError) as caught:
            voa.os_identifiers(osrelease.read((str(path),)))
        assert caught.value.path == str(path)
        assert "ID=debian" in str(caught.value.remedy)


@pytest.mark.parametrize(
    "name", ["", ".", "..", ":", ":13", "a:", "a::", "a:1:2:3:4:5", "A", "a b", "a/b", "a\n", "é"]
)
def test_what_is_no_name_of_a_system(name: str) -> None:
    assert not voa.is_os_name(name)


def test_a_name_covers_what_it_begins() -> None:
    assert voa.covers("fedora", "fedora")
    assert voa.covers("fedora", "fedora:43")
    assert voa.covers("fedora:43", "fedora:43:kiosk")
    assert not voa.covers("fedora:4", "fedora:43")
    assert not voa.covers("fedora:43", "fedora")
    assert not voa.covers("fed", "fedora")


def test_the_systems_that_are_there(root: str) -> None:
    add(root, ETC, "a.pem")
    add(root, SHARE, "a.pem", "debian:13/image/default/x509")
    add(root, SHARE, "a.pem")
    stranger = f"{root}{SHARE}/a:1:2:3:4:5"
    os.mkdir(stranger)
    os.mkdir(f"{root}{SHARE}/Fedora")
    names, ignored = voa.systems(voa.LOAD_PATHS, root)
    assert names == ["debian:13", "fedora:43"]
    assert [one.path for one in ignored] == [f"{root}{SHARE}/Fedora", stranger]


# Priorities.


def test_nothing_is_there(root: str) -> None:
    assert find(root) == ([], {})
    assert voa.systems(voa.LOAD_PATHS, root) == ([], [])


def test_all_load_paths_count_in_a_stable_order(root: str) -> None:
    paths = [add(root, ETC, "d.pem"), add(root, RUN, "c.pem"), add(root, LOCAL, "b.pem")]
    paths += [add(root, SHARE, "a.pem"), add(root, SHARE, "e.pem")]
    assert find(root) == (paths, {})


def test_run_is_no_load_path_of_the_initrd(root: str) -> None:
    assert voa.INITRD_LOAD_PATHS == (ETC, LOCAL, SHARE)
    add(root, RUN, "a.pem")
    assert find(root, load_paths=voa.INITRD_LOAD_PATHS) == ([], {})


def test_other_releases_purposes_and_contexts_do_not_count(root: str) -> None:
    for place in ("fedora:42/image/default", "fedora:43/image/other", "fedora:43/packages/default"):
        add(root, ETC, "a.pem", f"{place}/x509")
    add(root, ETC, "a.pem", "fedora:43/image/default/openpgp")
    add(root, ETC, "a.pem", "fedora:43/trust-anchor-image/default/x509")
    assert find(root) == ([], {})


def test_the_same_name_is_hidden_by_the_higher_priority(root: str) -> None:
    high, low = add(root, ETC, "a.pem"), add(root, SHARE, "a.pem")
    assert find(root) == ([high], {low: (voa.HIDDEN, f"hidden by {high}")})


def test_a_name_hides_only_within_its_release(root: str) -> None:
    one, two = add(root, ETC, "a.pem"), add(root, SHARE, "a.pem", PLACE.replace("43", "44"))
    assert find(root, ("fedora:43", "fedora:44"))[0] == [one, two]


def test_what_does_not_count_hides_nothing(root: str) -> None:
    path = link(root, f"{ETC}/{PLACE}/a.pem", "/nonexistent/a.pem")
    low = add(root, SHARE, "a.pem")
    found, ignored = find(root)
    assert found == [low]
    assert list(ignored) == [path]


def test_other_suffixes_are_ignored_and_said_so(root: str) -> None:
    path = add(root, ETC, "README")
    assert why(root, path) == voa.OTHER_SUFFIX


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_not_a_file_is_ignored_and_not_opened(
    root: str, make: Callable[[str], None]
) -> None:
    os.makedirs(f"{root}{ETC}/{PLACE}")
    path = f"{root}{ETC}/{PLACE}/a.pem"
    make(path)
    assert why(root, path) == "not a regular file"


def test_a_file_in_place_of_a_directory(root: str) -> None:
    os.makedirs(f"{root}{ETC}/fedora:43")
    Path(f"{root}{ETC}/fedora:43/image").touch()
    assert why(root, f"{root}{ETC}/{PLACE}") == "not a directory"


# Masks.


@pytest.mark.parametrize("by", voa.LOAD_PATHS)
@pytest.mark.parametrize("target", ["/dev/null", "//dev/../dev//null", "../" * 40 + "dev/null"])
def test_a_mask_counts_in_all_load_paths(root: str, by: str, target: str) -> None:
    mask = link(root, f"{by}/{PLACE}/a.pem", target)
    files = [add(root, load_path, "a.pem") for load_path in voa.LOAD_PATHS if load_path != by]
    found, ignored = find(root)
    assert found == []
    expected = dict.fromkeys(files, (voa.MASKED, f"masked by {mask}"))
    assert ignored == {mask: (voa.MASKED, "a mask"), **expected}


def test_a_mask_leaves_other_names_alone(root: str) -> None:
    link(root, f"{ETC}/{PLACE}/a.pem", "/dev/null")
    other = add(root, SHARE, "b.pem")
    elsewhere = add(root, SHARE, "a.pem", PLACE.replace("43", "44"))
    assert find(root, ("fedora:43", "fedora:44"))[0] == [other, elsewhere]


def test_what_a_mask_hides_can_be_read(root: str) -> None:
    link(root, f"{SHARE}/{PLACE}/a.pem", "/dev/null")
    path = add(root, ETC, "a.pem")
    _, ignored = voa.find(voa.LOAD_PATHS, ["fedora:43"], voa.PURPOSE, "default", root)
    assert [(one.path, one.target) for one in ignored if one.target] == [(path, path)]


def test_a_link_to_a_masked_file_is_masked(root: str) -> None:
    add(root, SHARE, "a.pem", "fedora/image/default/x509")
    mask = link(root, f"{ETC}/fedora/image/default/x509/a.pem", "/dev/null")
    path = link(root, f"{ETC}/{PLACE}/a.pem", f"{SHARE}/fedora/image/default/x509/a.pem")
    assert find(root) == ([], {path: (voa.MASKED, f"masked by {mask}")})


def test_a_link_through_a_masked_link_is_masked(root: str) -> None:
    add(root, SHARE, "a.pem", "c/image/default/x509")
    link(root, f"{LOCAL}/b/image/default/x509/a.pem", f"{SHARE}/c/image/default/x509/a.pem")
    mask = link(root, f"{SHARE}/b/image/default/x509/a.pem", "/dev/null")
    path = link(root, f"{ETC}/{PLACE}/a.pem", f"{LOCAL}/b/image/default/x509/a.pem")
    assert find(root) == ([], {path: (voa.MASKED, f"masked by {mask}")})


def test_a_link_to_a_mask_is_one(root: str) -> None:
    link(root, f"{SHARE}/{PLACE}/a.pem", "/dev/null")
    path = link(root, f"{ETC}/{PLACE}/a.pem", f"{SHARE}/{PLACE}/a.pem")
    assert find(root)[1][path] == (voa.MASKED, "a mask")


@pytest.mark.parametrize("at", ["fedora:43", "fedora:43/image", PLACE])
def test_directories_cannot_be_masked(root: str, at: str) -> None:
    path = link(root, f"{ETC}/{at}", "/dev/null")
    low = add(root, SHARE, "a.pem")
    found, ignored = find(root)
    assert found == [low]
    assert ignored == {path: (voa.UNUSABLE, "only files can be masked, not directories")}


# Links.


@pytest.mark.parametrize(
    ("at", "target"),
    [
        (f"{ETC}/{PLACE}/a.pem", f"{SHARE}/fedora/image/default/x509/a.pem"),
        (f"{SHARE}/{PLACE}/a.pem", "../../../../fedora/image/default/x509/a.pem"),
        (f"{ETC}/{PLACE}/a.pem", f"../../../../../../{SHARE}/fedora/image/default/x509/a.pem"),
        (f"{ETC}/{PLACE}", f"{SHARE}/fedora/image/default/x509"),
        (f"{ETC}/fedora:43/image", f"{SHARE}/fedora/image/"),
        (f"{ETC}/{PLACE}/a.pem", f"{SHARE}/keys/./a.pem"),
        (f"{SHARE}/{PLACE}/a.pem", "../x509/../../../../keys/a.pem"),
    ],
)
def test_links_that_count(root: str, at: str, target: str) -> None:
    add(root, SHARE, "a.pem", "fedora/image/default/x509")
    add(root, SHARE, "a.pem", "keys")
    link(root, at, target)
    load_path = at[: at.index("/fedora")]
    assert find(root) == ([f"{root}{load_path}/{PLACE}/a.pem"], {})


@pytest.mark.parametrize(
    ("at", "target", "clause"),
    [
        (f"{SHARE}/{PLACE}/a.pem", f"{ETC}/fedora/image/default/x509/a.pem", "higher priority"),
        (f"{SHARE}/{PLACE}", f"{ETC}/fedora/image/default/x509", "higher priority"),
        (f"{ETC}/{PLACE}/a.pem", f"{RUN}/fedora/image/default/x509/a.pem", RUN),
        (f"{RUN}/{PLACE}/a.pem", f"{SHARE}/keys/a.pem", RUN),
        (f"{RUN}/{PLACE}", f"{SHARE}/{PLACE}", RUN),
        (f"{ETC}/{PLACE}/a.pem", f"{SHARE}/keys/b.pem", "another name"),
        (f"{ETC}/fedora:43", f"{SHARE}/fedora", "another name"),
        (f"{ETC}/{PLACE}/a.pem", "/root/a.pem", "out of the load paths"),
        (f"{ETC}/{PLACE}/a.pem", "/a/../root/a.pem", "No such file"),
        (f"{ETC}/{PLACE}/a.pem", "../" * 40 + "root/a.pem", "out of the load paths"),
        (f"{ETC}/{PLACE}/a.pem", "/etc/voa-other/a.pem", "out of the load paths"),
        (f"{ETC}/{PLACE}/a.pem", "/dev/zero", "another name"),
        (f"{ETC}/{PLACE}/a.pem", "/outside/a.pem", "out of the load paths"),
        (f"{ETC}/{PLACE}/a.pem", f"{SHARE}/nothing/a.pem", "No such file"),
        (f"{ETC}/{PLACE}/a.pem", f"{SHARE}/keys/a.pem/a.pem", "Not a directory"),
        (f"{ETC}/{PLACE}/a.pem", "a.pem", "Too many levels"),
        (f"{ETC}/{PLACE}/a.pem", f"{SHARE}/directory/a.pem", "not a regular file"),
        (f"{ETC}/{PLACE}/a.pem", f"{SHARE}/fifo/a.pem", "not a regular file"),
        (f"{ETC}/{PLACE}", f"{SHARE}/file/x509", "not a directory"),
        (f"{ETC}/{PLACE}", "..", "Too many levels|another name"),
        (f"{ETC}/{PLACE}/a.pem", f"{SHARE}/chain/a.pem", "another name"),
        (f"{ETC}/{PLACE}/a.pem", f"{SHARE}/back/a.pem", "higher priority"),
    ],
)
def test_links_that_do_not(root: str, at: str, target: str, clause: str) -> None:
    for load_path in (ETC, RUN, SHARE):
        add(root, load_path, "a.pem", "fedora/image/default/x509")
    add(root, SHARE, "a.pem", "keys")
    add(root, SHARE, "b.pem", "keys")
    add(root, SHARE, "x509", "file")
    add(root, "", "a.pem", "root")
    add(root, "", "a.pem", "etc/voa-other")
    os.makedirs(f"{root}{SHARE}/directory/a.pem")
    os.makedirs(f"{root}{SHARE}/fifo")
    os.mkfifo(f"{root}{SHARE}/fifo/a.pem")
    link(root, "/outside", f"{SHARE}/keys")
    link(root, f"{SHARE}/chain/a.pem", f"{SHARE}/keys/b.pem")
    link(root, f"{SHARE}/back/a.pem", f"{ETC}/fedora/image/default/x509/a.pem")
    path = link(root, at, target)
    said = why(root, path)
    assert any(one in said for one in clause.split("|")), said


def test_two_links_to_each_other(root: str) -> None:
    path = link(root, f"{ETC}/{PLACE}/a.pem", f"{SHARE}/{PLACE}/a.pem")
    other = link(root, f"{SHARE}/{PLACE}/a.pem", f"{SHARE}/{PLACE}/../x509/a.pem")
    found, ignored = find(root)
    assert found == []
    assert {one for one, (reason, _) in ignored.items() if reason == voa.UNUSABLE} == {path, other}


def test_a_link_up_and_down_again(root: str) -> None:
    add(root, SHARE, "a.pem", "keys")
    link(root, f"{ETC}/keys/a.pem", f"{SHARE}/keys/a.pem")
    path = link(root, f"{SHARE}/{PLACE}/a.pem", f"{ETC}/keys/a.pem")
    assert "higher priority" in why(root, path)


def test_an_absolute_link_never_leaves_the_root(root: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    system = str(tmp_path / "system")
    target = add(str(outside), "", "a.pem", "keys")
    path = link(system, f"{ETC}/{PLACE}/a.pem", target)
    assert "No such file" in why(system, path)
    assert f"{system}{target}" != target


def test_what_leads_to_a_load_path_may_be_a_link(root: str) -> None:
    link(root, "/usr/local", "../var/usrlocal")
    add(root, "/var/usrlocal/share/voa", "a.pem")
    add(root, "/var/usrlocal/share/voa", "b.pem", "keys")
    link(root, f"{ETC}/{PLACE}/b.pem", "/usr/local/share/voa/keys/b.pem")
    found, ignored = find(root)
    assert [os.path.basename(path) for path in found] == ["b.pem", "a.pem"]
    assert ignored == {}
