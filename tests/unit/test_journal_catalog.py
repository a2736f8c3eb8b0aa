"""Every kind of record is explained in the catalog, and nothing else is."""

import re
from pathlib import Path

import pytest

from veriseal import journal

pytestmark = pytest.mark.unit

CATALOG = Path(__file__).parents[2] / "units" / "veriseal.catalog"
SOURCE = Path(journal.__file__).parent

IDS = {
    name: value
    for name, value in vars(journal).items()
    if isinstance(value, str) and re.fullmatch("[0-9a-f]{32}", value)
}


def entries() -> dict[str, str]:
    """Identifier to text."""
    parts = re.split(r"^-- ([0-9a-f]{32})\n", CATALOG.read_text(), flags=re.MULTILINE)
    ids, texts = parts[1::2], parts[2::2]
    assert len(ids) == len(set(ids))
    return dict(zip(ids, texts, strict=True))


def test_the_catalog_and_the_code_have_the_same_records() -> None:
    assert len(set(IDS.values())) == len(IDS) > 0
    assert set(entries()) == set(IDS.values())


@pytest.mark.parametrize("name", IDS)
def test_an_entry_says_what_happened_and_what_to_do(name: str) -> None:
    head, _, text = entries()[IDS[name]].partition("\n\n")
    fields = dict(line.split(": ", 1) for line in head.splitlines())
    assert fields["Defined-By"] == "veriseal"
    assert set(fields) == {"Subject", "Defined-By", "Support"}
    assert len(text.strip()) > 80


@pytest.mark.parametrize("name", IDS)
def test_every_kind_of_record_is_used(name: str) -> None:
    users = [path for path in SOURCE.rglob("*.py") if f"journal.{name}" in path.read_text()]
    assert users


def test_placeholders_are_fields_that_the_record_has() -> None:
    launcher = (SOURCE / "launch" / "main.py").read_text()
    for text in entries().values():
        for field in re.findall(r"@VERISEAL_([A-Z]+)@", text):
            assert f"{field.lower()}=" in launcher
