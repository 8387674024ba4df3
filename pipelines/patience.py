"""Requests to a Prefect server that may be away for a moment, as while it is started again."""

import time
from collections.abc import Callable
from typing import TypeVar

import httpx

T = TypeVar("T")
PATIENCE_S = 240.0
"""How long it is waited for."""
_PAUSE_S = 2.0


def patiently(request: Callable[[], T]) -> T:
    """What a request returns, made again while nobody answers; the last error after `PATIENCE_S`.

    Prefect's clients do the same by themselves, but only those that have reached the server before.
    """
    begin_s = time.monotonic()
    while True:
        try:
            return request()
        except httpx.ConnectError:
            if time.monotonic() - begin_s > PATIENCE_S:
                raise
        time.sleep(_PAUSE_S)
