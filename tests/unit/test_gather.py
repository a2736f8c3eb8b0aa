"""What the seal step keeps of a trust statement: nothing, unless it is good."""

from pathlib import Path

import pytest

from veriseal.boot import gather
from veriseal.boot.floor import Floor
from veriseal.errors import VerisealError
from veriseal.policy import Policy
from veriseal.trust import beside

pytestmark = pytest.mark.unit

OS_RELEASE = {"ID": "nobodys", "VERSION_ID": "1"}
MANY = 5000


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(gather, "KEPT", str(tmp_path / "kept"))
    return tmp_path / "kept"


@pytest.mark.parametrize(
    ("count", "reason"),
    [(0, "statement-not-signed"), (beside.MAX_SIGNATURES, "statement-not-signed")]
    + [(beside.MAX_SIGNATURES + 1, "no-statement"), (MANY, "no-statement")],
)
@pytest.mark.parametrize("instead", ["refuse", "built-in"])
def test_a_statement_that_does_not_count_is_not_kept(
    tmp_path: Path, kept: Path, count: int, reason: str, instead: str
) -> None:
    path = tmp_path / "trust.json"
    path.write_bytes(b"{}")
    for number in range(count):
        Path(f"{path}.{number}.sig").write_bytes(b"x")
    kept.mkdir()
    (kept / "of-an-earlier-run").touch()
    settings = Policy(statement=str(path), without_statement=instead)
    with pytest.raises(VerisealError) as caught:
        gather.sealing(settings, OS_RELEASE, Floor())
    # This machine has no certificates of nobody's system either.
    assert caught.value.reason == (reason if instead == "refuse" else "no-certificates")
    if count > beside.MAX_SIGNATURES and instead == "refuse":
        assert f"{count} signatures beside it, of which 64 may be" in caught.value.problem
    assert not kept.exists()
