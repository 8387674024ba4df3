"""The progress bar of a stage that runs in another process."""

import sys
import time
from types import TracebackType
from typing import Any

from pipelines.processes import Tick

_SAY_S = 20.0
"""Without a terminal a line is printed this often at most."""


class StageBar:
    """One bar at a time, for whatever the stage counts at the moment. Use as a context manager."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._what = ""
        self._said_s = time.monotonic()

    def __enter__(self) -> "StageBar":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()

    def show(self, tick: Tick) -> str | None:
        """Draws the state; without a terminal returns a line to log now and then instead."""
        if not sys.stderr.isatty():
            now_s = time.monotonic()
            if now_s - self._said_s < _SAY_S:
                return None
            self._said_s = now_s
            return f"{tick.what}: {tick.done} of {tick.total}"
        if self._bar is None or self._what != tick.what:
            from tqdm import tqdm

            self._close()
            self._what = tick.what
            self._bar = tqdm(total=tick.total, desc=tick.what, unit=tick.unit, dynamic_ncols=True, file=sys.stderr)
        self._bar.update(tick.done - self._bar.n)
        return None

    def hide(self) -> None:
        """Makes room for a line; the next `show` draws the bar again."""
        if self._bar is not None:
            self._bar.clear()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
