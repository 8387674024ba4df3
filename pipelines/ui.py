"""Both web UIs on this machine, on the databases that the pipeline writes."""

import os
import subprocess
import sys
import time

from components.environment import make_state
from components.paths import Paths
from components.tracking import open_client
from llarp.errors import UserError
from pipelines.processes import end
from pipelines.server import HOST, answers, is_free


def serve(prefect_port: int, mlflow_port: int) -> None:
    """Starts both servers, prints their addresses and stops both when interrupted or when one ends.

    Raises:
        UserError: a port is taken, or one of the servers ended.

    """
    for port, option in ((prefect_port, "--prefect-port"), (mlflow_port, "--mlflow-port")):
        if not is_free(port):
            raise UserError(f"port {port} is taken", "llarp ui", f"choose another with {option}")
    make_state()
    open_client(Paths())  # makes a fresh database in one process, before a server opens it in several
    print("Starting both servers, up to a minute; Ctrl-C stops them ...", flush=True)
    processes = {
        # Prefect prints a banner; what matters comes on stderr. Sessions of their own: Ctrl-C must not end them twice.
        name: subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        for name, command in commands(prefect_port, mlflow_port).items()
    }
    starting = {"Prefect": f"http://{HOST}:{prefect_port}", "MLflow": f"http://{HOST}:{mlflow_port}"}
    try:
        while True:
            for name, process in processes.items():
                if process.poll() is not None:
                    raise UserError(f"the {name} server ended with code {process.returncode}", "llarp ui", "see above")
            for name, address in list(starting.items()):
                if answers(address):
                    print(f"{name:<8} {starting.pop(name)}", flush=True)
            time.sleep(0.5)
    finally:
        for process in processes.values():
            end(process)


def commands(prefect_port: int, mlflow_port: int) -> dict[str, list[str]]:
    """Command line of each server."""
    address = ["--host", HOST, "--port"]
    artifacts = Paths().artifacts.resolve().as_uri()
    return {
        "Prefect": [sys.executable, "-m", "prefect", "server", "start", *address, str(prefect_port)],
        "MLflow": [
            sys.executable, "-m", "mlflow", "server", *address, str(mlflow_port), "--workers", "1",
            "--backend-store-uri", os.environ["MLFLOW_TRACKING_URI"], "--default-artifact-root", artifacts,
        ],
    }  # fmt: skip
