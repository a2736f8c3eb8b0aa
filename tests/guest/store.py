"""What the harness shares: its error, its messages, its commands, and the store of built things."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
BUILD = REPO / "build" / "guest"

made: list[Path] = []
"""What this run had to build."""

_held: set[Path] = set()


class GuestError(Exception):
    """A foreseeable failure; the text says what happened, where, and what to do."""


def say(text: str) -> None:
    """One line of progress, on stderr: stdout belongs to the script in the guest."""
    print(f"guest: {text}", file=sys.stderr, flush=True)


def command(
    argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> str:
    """Run a command, give its stdout; when it fails, say so with the end of what it printed."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, **env} if env is not None else None,
            cwd=cwd,
            check=False,
        )
    except FileNotFoundError:
        raise GuestError(f"{words[0]}: command not found; `make setup` installs it") from None
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
        raise GuestError(f"`{' '.join(words)}` failed with status {done.returncode}:\n{said}")
    return done.stdout


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file: two runs at the same time must not build the same thing twice."""
    if path in _held:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another run that is building in {path.parent}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        _held.add(path)
        try:
            yield
        finally:
            _held.discard(path)


def built(name: str, inputs: object, make: Callable[[Path, Path], None]) -> Path:
    """Give build/guest/NAME-HASH, made by `make(path, scratch)` unless it is there already.

    It is made under another name and renamed at the end, so that what an interrupted build leaves
    behind is never taken for a good one. Everything in build/guest may be deleted at any time.
    """
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:12]
    final = BUILD / f"{name}-{key}"
    if final.exists():
        return final
    with locked(BUILD / "lock"):
        if final.exists():
            return final
        part, scratch = BUILD / f"part-{name}", BUILD / f"scratch-{name}"
        try:
            remove(part)
            remove(scratch)
            make(part, scratch)
            # What was made of other inputs has no use now; a machine that has it open keeps it.
            for old in BUILD.glob(f"{name}-{'[0-9a-f]' * len(key)}"):
                remove(old)
            part.rename(final)
        finally:
            remove(part)
            remove(scratch)
        made.append(final)
    return final


def remove(path: Path) -> None:
    """Delete a file or a tree, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
