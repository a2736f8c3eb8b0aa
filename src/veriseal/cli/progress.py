"""A progress bar for long work, on a terminal, and otherwise nothing."""

import sys
import time
from typing import Any

_PATIENCE = 1.0
"""Seconds before a bar appears: most runs are over by then, and never load `tqdm`."""


class Progress:
    """Counts ``total`` items. Use as a context manager; call `step` for each."""

    def __init__(self, total: int, unit: str = "file") -> None:
        self._total = total
        self._unit = unit
        self._done = 0
        self._start = time.monotonic()
        self._wanted = sys.stderr is not None and sys.stderr.isatty()
        self._bar: Any = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def step(self) -> None:
        """One more item is done."""
        self._done += 1
        if self._visible():
            self._bar.set_postfix_str("", refresh=False)
            self._bar.update(self._done - self._bar.n)

    def reach(self, done: int, total: int) -> None:
        """``done`` of ``total`` items are done: for who counts them itself."""
        self._total, self._done = total, done
        if self._visible():
            self._bar.total = total
            self._bar.update(done - self._bar.n)

    def part(self, done: int, total: int) -> None:
        """``done`` of the ``total`` bytes of the item under way are done."""
        if self._visible():
            self._bar.set_postfix_str(f"{done / total:.0%} of this one")

    def say(self, message: str) -> None:
        """Print a line on stderr without tearing the bar."""
        if self._bar is not None:
            self._bar.write(message, file=sys.stderr)
        else:
            print(message, file=sys.stderr)

    def _visible(self) -> bool:
        if self._bar is None and self._wanted and time.monotonic() - self._start > _PATIENCE:
            import tqdm

            # Its watching thread would run while workers are forked.
            tqdm.tqdm.monitor_interval = 0
            self._bar = tqdm.tqdm(
                total=self._total, initial=self._done, unit=self._unit, leave=False, file=sys.stderr
            )
        return self._bar is not None
