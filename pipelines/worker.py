"""A worker: takes scheduled flow runs and runs them here, and starts again those that have crashed anywhere."""

import os
import sys
import time

from llarp.errors import UserError
from pipelines.deploy import HEARTBEAT_S
from pipelines.processes import end
from pipelines.restarts import restart_crashed

PERIOD_S = 10.0
"""Between looks for crashed runs."""


def work(pool: str, limit: int) -> None:
    """Works until it is stopped.

    Args:
        pool: whose runs it takes.
        limit: how many run side by side; stages that need the accelerator wait for each other all the same.

    Raises:
        UserError: Prefect's worker has ended.

    """
    import subprocess

    from prefect.client.orchestration import get_client

    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--limit", str(limit)]
    variables = {**os.environ, "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S)}
    process = subprocess.Popen(command, env=variables, start_new_session=True)
    told = False
    try:
        while process.poll() is None:
            time.sleep(PERIOD_S)
            try:
                with get_client(sync_client=True) as client:
                    for run in restart_crashed(client):
                        print(f"Run {run.name} had crashed and goes on.", flush=True)
                told = False
            except Exception as error:  # whatever a server that is away makes of a request: the worker waits for it
                if not told:
                    print(f"Prefect's server does not answer ({type(error).__name__}).", flush=True)
                told = True
    finally:
        end(process)
    raise UserError(f"Prefect's worker ended with code {process.returncode}", f"pool {pool}", "see above")
