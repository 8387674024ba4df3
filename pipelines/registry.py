"""One change of the registry's aliases at a time on all machines: a limit of a Prefect server that lasts."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from llarp.errors import UserError

LIMIT = "registry"
"""Prefect's global concurrency limit, of one slot; made when it is missing."""
TEMPORARY = "LLARP_TEMPORARY_PREFECT"
"""Variable, set where the Prefect server is this process's own and guards nothing that a file does not."""
_LEASE_S = 60.0
"""How long a process that was killed keeps the slot; Prefect allows no less."""
_WAIT_S = 180.0


def has_server() -> bool:
    """Whether a Prefect server is named that outlives this process."""
    return "PREFECT_API_URL" in os.environ and TEMPORARY not in os.environ


@contextmanager
def guard() -> Iterator[None]:
    """Holds the limit where there is a server that lasts; UserError when others do not let go of it."""
    if not has_server():
        yield
        return
    from prefect.concurrency.sync import concurrency

    from pipelines.stages import make_limit

    make_limit(LIMIT, 1)
    slot = concurrency(
        LIMIT, timeout_seconds=_WAIT_S, strict=True, lease_duration=_LEASE_S, raise_on_lease_renewal_failure=False
    )
    try:
        slot.__enter__()
    except TimeoutError:
        raise UserError(
            f"others have been changing the registry for {_WAIT_S:g} s",
            f"Prefect's limit {LIMIT!r}",
            f"try again; if nobody is: prefect gcl update {LIMIT} --active-slots 0",
        ) from None
    try:
        yield
    finally:
        slot.__exit__(None, None, None)
