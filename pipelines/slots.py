"""Slots of Prefect's global concurrency limits, by which runs on all machines wait for each other.

Prefect's own `concurrency` goes on waiting in a process that was stopped, and ends with an error when the server is
away for a moment. So the waiting is done here, by single requests. A slot is held by a lease: `LEASE_S` after a killed
holder's last sign of life it comes free, a restart of the server in between or not (`components/environment.py` puts
leases on disk).
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from pipelines.patience import patiently

LEASE_S = 60.0
"""How long a process that was killed keeps its slot; Prefect allows no less."""
_RENEWALS = 4
"""Per lease, so that a moment without the server loses nothing."""
_LOCKED = 423
"""HTTP's status where all slots are held."""
_PAUSE_S = 2.0


@contextmanager
def slot(name: str, slots: int, wait_s: float, say: Callable[[str], None]) -> Iterator[None]:
    """Holds a slot, waiting for one if need be.

    Args:
        name: of the limit; made when it is missing.
        slots: it is made with; people may change them.
        wait_s: how long others may hold all of them.
        say: gets a line when there is something to wait for.

    Raises:
        TimeoutError: nobody let go of one in time.

    """
    is_over = threading.Event()
    with get_client(sync_client=True) as client:
        patiently(lambda: _make(client, name, slots))
        lease = _take(client, name, wait_s, say)
        threading.Thread(target=_renew, args=(lease, is_over), daemon=True).start()
        try:
            yield
        finally:
            is_over.set()
            with suppress(httpx.HTTPError):  # a server that is away frees it when the lease has run out
                client.release_concurrency_slots_with_lease(lease)


def _make(client: SyncPrefectClient, name: str, slots: int) -> None:
    try:
        client.read_global_concurrency_limit_by_name(name)
    except ObjectNotFound:
        with suppress(ObjectAlreadyExists):  # another process may be faster
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=slots))


def _take(client: SyncPrefectClient, name: str, wait_s: float, say: Callable[[str], None]) -> UUID:
    end_s = time.monotonic() + wait_s
    told = False
    while True:
        try:
            answer = patiently(lambda: client.increment_concurrency_slots_with_lease([name], 1, "concurrency", LEASE_S))
        except httpx.HTTPStatusError as error:
            if error.response.status_code != _LOCKED:
                raise
            if time.monotonic() > end_s:
                raise TimeoutError(f"all slots of {name} are held") from None
        else:
            return UUID(answer.json()["lease_id"])
        if not told:
            told = True
            say(
                f"Waiting for a slot of {name}; one whose holder was killed comes free after {LEASE_S:g} s. "
                f"If nobody holds one: prefect gcl update {name} --active-slots 0"
            )
        time.sleep(_PAUSE_S)


def _renew(lease: UUID, is_over: threading.Event) -> None:
    """Keeps a lease alive until its holder is done with it, or dies."""
    while not is_over.wait(LEASE_S / _RENEWALS):
        with suppress(httpx.HTTPError), get_client(sync_client=True) as client:
            client.renew_concurrency_lease(lease, LEASE_S)
