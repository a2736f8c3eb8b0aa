"""The verbs as whole processes: interrupted, cut off, on a terminal."""

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from veriseal.cli import passphrase, progress
from veriseal.errors import UsageError

pytestmark = pytest.mark.unit

COMMAND = [sys.executable, "-m", "veriseal"]


@pytest.fixture
def endless(tmp_path: Path) -> str:
    """A file that takes far longer to read than any test waits."""
    path = tmp_path / "sparse"
    path.touch()
    os.truncate(path, 1 << 42)
    return str(path)


def wait_for_workers(pid: int) -> None:
    """Until ``pid`` has children."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if Path(f"/proc/{pid}/task/{pid}/children").read_text():
            return
        time.sleep(0.05)
    pytest.fail("no workers")


def test_interrupted(endless: str, tmp_path: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "digest", endless, endless],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        wait_for_workers(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, b"", b"veriseal: interrupted\n")


def test_reader_goes_away(tmp_path: Path) -> None:
    paths = []
    for number in range(3000):
        paths.append(str(tmp_path / f"{number:0200}"))
        Path(paths[-1]).touch()
    with subprocess.Popen(
        [*COMMAND, "digest", *paths], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
    assert (process.returncode, err) == (1, b"")


def on_terminal(*arguments: str) -> bytes:
    """Run ``arguments`` with a terminal as stderr; what it got."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))  # without a width there is no room for a bar
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    seen = b""
    deadline = time.monotonic() + 15
    while b"/" not in seen and time.monotonic() < deadline:
        if not select.select([ours], [], [], 1)[0]:
            continue
        try:
            seen += os.read(ours, 4096)
        except OSError:  # how a terminal says that the other side is gone
            break
    process.kill()
    process.wait()
    os.close(ours)
    return seen


def test_progress_of_long_work_on_a_terminal(endless: str) -> None:
    assert b"0/1" in on_terminal("digest", endless)


def test_no_progress_of_short_work(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    assert on_terminal("digest", str(tmp_path / "f")) == b""


def test_progress_is_silent_off_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_PATIENCE", -1.0)
    with progress.Progress(3) as bar:
        for _ in range(3):
            bar.step()
        bar.say("a message")
    assert capfd.readouterr() == ("", "a message\n")


def test_lean_start() -> None:
    # What takes longer to import than small work takes must not be on the way to `digest`.
    program = (
        "import sys\n"
        "import veriseal.cli.main, veriseal.cli.digest\n"
        "heavy = {'cryptography', 'asn1crypto', 'tqdm', 'multiprocessing', 'json', 'subprocess'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_new_passphrases_are_asked_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    import getpass

    answers = iter(["one", "two", "", "one", "one"])
    monkeypatch.setattr(getpass, "getpass", lambda _: next(answers))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    for word in ("differ", "empty"):
        with pytest.raises(UsageError, match=word):
            passphrase.new(None, "key")
    assert passphrase.new(None, "key") == b"one"
