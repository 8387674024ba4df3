"""A worker: takes scheduled flow runs and runs them here, and starts again those that have crashed anywhere."""

import os
import subprocess
import sys
import time

from llarp.errors import UserError
from pipelines.deploy import HEARTBEAT_S
from pipelines.processes import end
from pipelines.restarts import restart_crashed

PERIOD_S = 10.0
"""Between looks for crashed runs."""
_MOST_ENDS = 5
"""Of Prefect's worker, each within a minute of its start, before it is given up."""
_SOON_S = 60.0
_RETRIES = 8
"""Of a flow's request while Prefect's server is away; the pauses double from two seconds, to eight minutes in all."""


def work(pool: str, limit: int) -> None:
    """Works until it is stopped. When Prefect's worker breaks down another one is started.

    Args:
        pool: whose runs it takes.
        limit: how many run side by side; stages that need the accelerator wait for each other all the same.

    Raises:
        UserError: Prefect's worker ends again and again.

    """
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--limit", str(limit)]
    variables = {"PREFECT_CLIENT_MAX_RETRIES": str(_RETRIES), **os.environ}
    variables["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] = str(HEARTBEAT_S)
    ends, told = 0, False
    while ends < _MOST_ENDS:
        start_s = time.monotonic()
        process = subprocess.Popen(command, env=variables, start_new_session=True)
        try:
            while process.poll() is None:
                time.sleep(PERIOD_S)
                told = _restart(told)
        finally:
            end(process)
        ends = ends + 1 if time.monotonic() - start_s < _SOON_S else 0
        print(f"Prefect's worker ended with code {process.returncode}: starting another one.", flush=True)
    raise UserError("Prefect's worker ends again and again", f"pool {pool}", "see above")


def _restart(told: bool) -> bool:
    """Starts crashed runs again; whether it has been told that the server is away."""
    from prefect.client.orchestration import get_client

    try:
        with get_client(sync_client=True) as client:
            for run in restart_crashed(client):
                print(f"Run {run.name} had crashed and goes on.", flush=True)
    except Exception as error:  # whatever a server that is away makes of a request: the worker waits for it
        if not told:
            print(f"Prefect's server does not answer ({type(error).__name__}).", flush=True)
        return True
    return False
