"""Random input for everything that parses bytes which others may have written.

One table, `targets.TARGETS`, drives two engines. Property-based: `test_targets`, in the unit
tier, by hypothesis. Coverage-guided: ``python -m tests.fuzz``, by atheris: a fixed number of runs
in ``make test``, and as long as wanted with ``make fuzz``. What they find becomes a named test in
tests/unit/test_found_by_fuzzing.py.
"""
