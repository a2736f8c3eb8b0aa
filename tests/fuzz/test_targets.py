"""Every target with random input, the same in each run; and that no parser is left out."""

import ast
import random
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import veriseal
from tests.fuzz import mutate, oracles, samples
from tests.fuzz.contract import attempt
from tests.fuzz.targets import TARGETS, Target
from veriseal.errors import VerisealError

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("own_files_are_roots")]

SOURCE = Path(veriseal.__file__).parent
EXAMPLES = 400
SECONDS = 5
"""Of one input, however large. A quadratic parser takes minutes for the largest."""
MEMORY = 64 << 20
"""Bytes beyond those of the input."""

each_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """Anything, and what is left of a valid document after some changes."""
    seeds = target.seeds()

    def change(source: random.Random, seed: bytes, changes: list[mutate.Mutator]) -> bytes:
        for one in changes:
            seed = one(source, seed, target.tokens)
        return seed

    changed = st.builds(
        change,
        st.randoms(use_true_random=False),
        st.sampled_from(seeds),
        st.lists(st.sampled_from(target.all_mutators()), min_size=1, max_size=4),
    )
    return st.one_of(changed, changed, changed, st.binary(max_size=512))


@each_target
def test_any_input_gives_a_value_or_a_reason(target: Target) -> None:
    @settings(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=EXAMPLES,
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs(target))
    def holds(data: bytes) -> None:
        target.run(data)

    holds()


def large(target: Target) -> Iterator[bytes]:
    """Much of everything: whole documents, their first bytes, and single bytes in their middle."""
    for seed in target.seeds():
        yield seed * (mutate.MAX_SIZE // len(seed))
        half = len(seed) // 2
        for byte in (*b'[{("\\ \n\0=/*0a-', 0xFF):
            run = bytes((byte,)) * mutate.MAX_SIZE
            yield run
            yield seed[:half] + run + seed[half:]
    for token in target.tokens:
        yield token * (mutate.MAX_SIZE // len(token))


@each_target
def test_a_large_input_takes_neither_long_nor_much_memory(target: Target) -> None:
    for data in set(large(target)):
        started = time.process_time()
        target.run(data)
        taken = time.process_time() - started
        assert taken < SECONDS, (taken, data[:100], len(data))
    tracemalloc.start()
    try:
        for data in sorted(set(large(target)))[::8]:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            target.run(data)
            used = tracemalloc.get_traced_memory()[1] - before
            assert used < MEMORY, (used, data[:100], len(data))
    finally:
        tracemalloc.stop()


# What reads but parses nothing, or nothing from outside.
EXCEPTIONS = {
    "build.loader.Process.load": "works on what build.elf.read has read",
    "boot.seal.read_back": "compares numbers that the kernel gives",
    "build.scan.read": "hashes contents, whatever they are",
    "kernel.sysctl.read_require_signatures": "one byte is compared",
    "plan.side.read": "what policy.parse and osrelease.parse read",
    "regular.read": "bytes as they are",
    "kernel.verity.read_signature": "bytes as they are, which signature.inspect parses",
}
VERBS = ("parse", "read", "load", "inspect", "from_json")


def parsers() -> Iterator[str]:
    """Every public function whose name says that it reads something, as the table writes it."""
    for path in sorted(SOURCE.rglob("*.py")):
        module = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        if module.startswith("cli."):
            continue
        yield from named(f"{module}.", ast.parse(path.read_text()).body)


def named(prefix: str, body: list[ast.stmt]) -> Iterator[str]:
    for one in body:
        if isinstance(one, ast.ClassDef):
            yield from named(f"{prefix}{one.name}.", one.body)
        elif isinstance(one, ast.FunctionDef) and one.name.startswith(VERBS):
            yield prefix + one.name


def test_every_parser_is_in_the_table() -> None:
    covered = {name for target in TARGETS for name in target.covers.split()}
    found = set(parsers())
    assert found - covered - set(EXCEPTIONS) == set(), "not in the table, and no reason why"
    assert set(EXCEPTIONS) <= found, "a reason for what is not there any more"
    assert not covered & set(EXCEPTIONS)


@each_target
def test_the_samples_get_to_what_the_table_names(target: Target) -> None:
    """Each function is called, and each sample is one that some parser accepts."""
    called: set[CodeType] = set()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            called.add(frame.f_code)

    seeds = target.seeds()
    sys.setprofile(note)
    try:
        for seed in seeds:
            target.run(seed)
    finally:
        sys.setprofile(None)
    names = {
        ".".join(
            (*Path(code.co_filename).relative_to(SOURCE).with_suffix("").parts, code.co_qualname)
        )
        for code in called
        if code.co_filename.startswith(f"{SOURCE}/")
    }
    assert set(target.covers.split()) <= names


def test_a_crash_a_forged_line_and_a_warning_are_seen() -> None:
    def fails(call: Callable[[], object]) -> bool:
        try:
            attempt(call)
        except Exception:
            return True
        return False

    def refuse(**fields: str) -> Callable[[], object]:
        def call() -> object:
            error = VerisealError("bad-x", "no")
            for name, value in fields.items():
                setattr(error, name, value)
            raise error

        return call

    def warn() -> object:
        return compile("0 is 0", "x", "eval")

    assert not fails(refuse())
    assert fails(refuse(reason="Bad X"))
    assert fails(refuse(problem=""))
    assert fails(warn)
    assert fails(lambda: [][0])


@given(st.randoms(use_true_random=False), st.binary(max_size=64))
def test_mutators_take_anything(source: random.Random, data: bytes) -> None:
    for target in TARGETS:
        for one in target.all_mutators():
            assert len(one(source, data, target.tokens)) <= 2 * mutate.MAX_SIZE


def test_der_is_written_as_it_was_read() -> None:
    for data in (samples.rsa_signature(), samples.ec_signature(), samples.root().der):
        elements = mutate._read_der(data)
        assert elements is not None
        assert mutate._write_der(elements) == data
        assert oracles.is_der(data)
        assert not oracles.is_der(data + b"\0")
        assert not oracles.is_der(data[:-1])
