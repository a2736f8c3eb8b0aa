"""Which variables a program gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriseal.launch.environment import clean

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "name",
    "LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT LD_ANYTHING GLIBC_TUNABLES GCONV_PATH BASH_ENV ENV "
    "SHELLOPTS PS4 BASH_FUNC_ls%% PYTHONPATH PYTHONSTARTUP PYTHONHOME PYTHONINSPECT PERL5LIB "
    "PERL5OPT RUBYOPT NODE_OPTIONS LUA_INIT LUA_INIT_5_4 JAVA_TOOL_OPTIONS CLASSPATH OPENSSL_CONF "
    "GTK_MODULES QT_PLUGIN_PATH GST_PLUGIN_PATH_1_0 MALLOC_PERTURB_".split(),
)
def test_a_variable_that_brings_code_is_removed_and_named(name: str) -> None:
    block = b"A=1\0" + name.encode() + b"=/evil\0B=2\0"
    assert clean(block) == ({b"A": b"1", b"B": b"2"}, [name])


@pytest.mark.parametrize(
    "name",
    "PATH HOME LANG LC_ALL TERM TZ DISPLAY LISTEN_FDS NOTIFY_SOCKET "
    "PYTHONUTF8 LD ld_preload".split(),
)
def test_any_other_arrives(name: str) -> None:
    assert clean(name.encode() + b"=x\0") == ({name.encode(): b"x"}, [])


def test_values_are_bytes_and_keep_their_order() -> None:
    kept, removed = clean(b"Z=a=b\0A=\xff\n\0EMPTY=\0")
    assert list(kept.items()) == [(b"Z", b"a=b"), (b"A", b"\xff\n"), (b"EMPTY", b"")]
    assert removed == []


def test_of_a_name_given_twice_the_first_counts() -> None:
    assert clean(b"A=1\0A=2\0") == ({b"A": b"1"}, [])


def test_what_is_not_a_variable_is_dropped() -> None:
    assert clean(b"nothing\0=x\0\0A=1") == ({b"A": b"1"}, [])
    assert clean(b"") == ({}, [])


def test_a_removed_name_that_is_not_text_is_shown_with_escapes() -> None:
    assert clean(b"LD_\xff=x\0") == ({}, ["LD_\\xff"])


@given(st.dictionaries(st.binary(min_size=1), st.binary()))
def test_nothing_is_lost_or_invented(variables: dict[bytes, bytes]) -> None:
    wanted = {
        name.replace(b"\0", b"").replace(b"=", b"") or b"x": value.replace(b"\0", b"")
        for name, value in variables.items()
    }
    block = b"".join(name + b"=" + value + b"\0" for name, value in wanted.items())
    kept, removed = clean(block)
    assert len(kept) + len(removed) == len(wanted)
    assert kept.items() <= wanted.items()
