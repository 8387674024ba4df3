"""Progress of long work: a bar on a terminal, lines for a parent process that draws the bar itself, else nothing.

A stage that runs under another program has no terminal. When `LLARP_PROGRESS=lines` is set it prints lines that begin
with `PREFIX`, followed by JSON `{"what", "done", "total", "unit"}`; the flow reads them and draws the bar.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

PREFIX = "::progress "
_PERIOD_S = 0.5

T = TypeVar("T")


class Progress:
    """Counts finished units of work; use as a context manager."""

    def __init__(self, what: str, total: int, unit: str = "it", is_shown: bool = True) -> None:
        """Args:
        what: is counted.
        total: units of work.
        unit: name of one.
        is_shown: False in all but one of the processes that work together.
        """
        self.what, self.total, self.unit, self.done = what, total, unit, 0
        self._lines = is_shown and os.environ.get("LLARP_PROGRESS") == "lines"
        self._last_s = 0.0
        self._bar = None
        if is_shown and not self._lines and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=what, unit=unit, dynamic_ncols=True)

    def __enter__(self) -> "Progress":
        self._emit()
        return self

    def __exit__(self, *_: object) -> None:
        self._emit()
        if self._bar is not None:
            self._bar.close()

    def update(self, count: int = 1, **shown: float) -> None:
        """Adds `count` finished units; `shown` are figures to print beside the bar."""
        self.done += count
        if self._bar is not None:
            if shown:
                self._bar.set_postfix({key: f"{value:.3g}" for key, value in shown.items()}, refresh=False)
            self._bar.update(count)
        elif self._lines and time.monotonic() - self._last_s > _PERIOD_S:
            self._emit()

    def _emit(self) -> None:
        if self._lines:
            self._last_s = time.monotonic()
            state = {"what": self.what, "done": self.done, "total": self.total, "unit": self.unit}
            print(PREFIX + json.dumps(state), flush=True)


def track(
    items: Iterable[T], what: str, total: int | None = None, unit: str = "it", is_shown: bool = True
) -> Iterator[T]:
    """Yields `items` while showing how many have been taken."""
    size = total if total is not None else len(items)  # type: ignore[arg-type]
    with Progress(what, size, unit, is_shown) as progress:
        for item in items:
            yield item
            progress.update()
