"""One change of the registry's aliases at a time on all machines: a limit of a Prefect server that lasts."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from llarp.errors import UserError

LIMIT = "registry"
"""Prefect's global concurrency limit, of one slot; made when it is missing."""
TEMPORARY = "LLARP_TEMPORARY_PREFECT"
"""Variable, set where the Prefect server is this process's own and guards nothing that a file does not."""
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
    from pipelines.slots import slot

    with ExitStack() as stack:
        try:
            stack.enter_context(slot(LIMIT, 1, _WAIT_S, lambda line: print(line, flush=True)))
        except TimeoutError:
            raise UserError(
                f"others have been changing the registry for {_WAIT_S:g} s",
                f"Prefect's limit {LIMIT!r}",
                f"try again; if nobody is: prefect gcl update {LIMIT} --active-slots 0",
            ) from None
        yield
