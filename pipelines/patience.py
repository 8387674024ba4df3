"""Requests to a Prefect server that may be away or at a loss for a moment, as while it is started again."""

import time
from collections.abc import Callable
from typing import TypeVar

import httpx

T = TypeVar("T")
PATIENCE_S = 240.0
"""How long it is waited for."""
_PAUSE_S = 2.0
_SERVER_ERRORS = 500
"""HTTP's statuses from here on are the server's fault."""


def patiently(request: Callable[[], T]) -> T:
    """What a request returns, made again while nobody answers or the server fails; the last error after `PATIENCE_S`.

    Prefect's clients do half of it by themselves: those that have reached the server before, and not when it has an
    error of its own, as from a database that is locked.
    """
    begin_s = time.monotonic()
    while True:
        try:
            return request()
        except (httpx.ConnectError, httpx.HTTPStatusError) as error:
            is_ours = isinstance(error, httpx.HTTPStatusError) and error.response.status_code < _SERVER_ERRORS
            if is_ours or time.monotonic() - begin_s > PATIENCE_S:
                raise
        time.sleep(_PAUSE_S)
