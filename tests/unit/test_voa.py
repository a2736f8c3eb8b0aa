"""Which certificate files count: names, priorities and masks of UAPI.11."""

import os
from pathlib import Path

import pytest

from veriseal import voa
from veriseal.errors import VerisealError

pytestmark = pytest.mark.unit


@pytest.fixture
def roots(tmp_path: Path) -> list[str]:
    """Two load paths, the one of higher priority first."""
    return [str(tmp_path / "etc"), str(tmp_path / "usr")]


def add(root: str, name: str, os_name: str = "fedora:43", context: str = "default") -> str:
    directory = f"{root}/{os_name}/image/{context}/x509"
    os.makedirs(directory, exist_ok=True)
    Path(directory, name).touch()
    return f"{directory}/{name}"


def found(roots: list[str], names: tuple[str, ...] = ("fedora:43",)) -> list[str]:
    return [path for _, path in voa.find(roots, names, "default")[0]]


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"ID": "fedora"}, ["fedora"]),
        ({"ID": "fedora", "VERSION_ID": "43"}, ["fedora", "fedora:43"]),
        ({"ID": "fedora", "VARIANT_ID": "kiosk"}, ["fedora"]),
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
def test_a_systems_names_end_before_the_first_missing_field(
    fields: dict[str, str], names: list[str]
) -> None:
    assert voa.os_identifiers(fields) == names


def test_a_system_without_an_id_has_no_name() -> None:
    with pytest.raises(VerisealError) as caught:
        voa.os_identifiers({"VERSION_ID": "43"})
    assert caught.value.reason == "bad-os-release"


def test_nothing_is_there(roots: list[str]) -> None:
    assert voa.find(roots, ["fedora:43"], "default") == ([], [])


def test_all_load_paths_count_in_a_stable_order(roots: list[str]) -> None:
    paths = [add(roots[0], "b.pem"), add(roots[1], "c.pem"), add(roots[1], "a.pem")]
    assert found(roots) == [paths[0], paths[2], paths[1]]


def test_other_releases_purposes_and_contexts_do_not(roots: list[str]) -> None:
    add(roots[0], "a.pem", os_name="fedora:42")
    add(roots[0], "b.pem", context="other")
    os.makedirs(f"{roots[0]}/fedora:43/packages/default/x509")
    Path(f"{roots[0]}/fedora:43/packages/default/x509/c.pem").touch()
    assert found(roots) == []


def test_the_same_name_is_hidden_by_the_higher_priority(roots: list[str]) -> None:
    high, low = add(roots[0], "a.pem"), add(roots[1], "a.pem")
    verifiers, ignored = voa.find(roots, ["fedora:43"], "default")
    assert [verifier.path for verifier in verifiers] == [high]
    assert ignored == [voa.Ignored(low, f"hidden by {high}")]


def test_a_name_hides_only_within_its_release(roots: list[str]) -> None:
    one, two = add(roots[0], "a.pem"), add(roots[1], "a.pem", os_name="fedora:44")
    assert found(roots, ("fedora:43", "fedora:44")) == [one, two]


def test_a_link_to_dev_null_masks(roots: list[str]) -> None:
    low = add(roots[1], "a.pem")
    mask = low.replace(roots[1], roots[0])
    os.makedirs(os.path.dirname(mask))
    os.symlink("/dev/null", mask)
    verifiers, ignored = voa.find(roots, ["fedora:43"], "default")
    assert verifiers == []
    assert ignored == [voa.Ignored(mask, "masked"), voa.Ignored(low, f"hidden by {mask}")]


@pytest.mark.parametrize("target", ["other.pem", "/dev/zero", "../../dev/null", "/nonexistent"])
def test_any_other_link_is_an_error(roots: list[str], target: str) -> None:
    directory = os.path.dirname(add(roots[0], "other.pem"))
    os.symlink(target, f"{directory}/z.pem")
    with pytest.raises(VerisealError) as caught:
        found(roots)
    assert (caught.value.reason, caught.value.found) == ("bad-symlink", target)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_not_a_file_is_an_error(roots: list[str], make: object) -> None:
    assert callable(make)
    directory = os.path.dirname(add(roots[0], "a.pem"))
    make(f"{directory}/b.pem")
    with pytest.raises(VerisealError) as caught:
        found(roots)
    assert caught.value.reason == "not-a-regular-file"


def test_other_suffixes_are_ignored_and_said_so(roots: list[str]) -> None:
    path = add(roots[0], "README")
    assert voa.find(roots, ["fedora:43"], "default")[1] == [
        voa.Ignored(path, "its name does not end in .pem")
    ]


def test_run_is_no_load_path_of_the_initrd() -> None:
    assert not any(path.startswith("/run") for path in voa.INITRD_LOAD_PATHS)
