"""`llarp services`: PostgreSQL, an object store, MLflow, Prefect and a worker on this machine, for this project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from components.paths import Paths
from llarp.errors import UserError

if TYPE_CHECKING:
    from pipelines.services.stack import Layout, Services

app = typer.Typer(help="The servers of a lab on this machine.", no_args_is_help=True, rich_markup_mode=None)

Port = Annotated[int, typer.Option(min=1, max=65535)]


@app.command()
def start(
    postgres_port: Port = 5433,
    s3_port: Port = 9000,
    mlflow_port: Port = 5000,
    prefect_port: Port = 4200,
    postgres_data: Annotated[Path | None, typer.Option(help="Folder of the databases.", show_default=False)] = None,
    object_store: Annotated[
        str,
        typer.Option(
            help="Where artifacts go: `disk`; `s3://BUCKET/PATH` on the S3 that the AWS variables name; or `moto`, an "
            "S3 in memory, for tests and trials only: what it holds is gone when it ends."
        ),
    ] = "disk",
    worker: Annotated[bool, typer.Option(help="Run Prefect's flows here too.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Return when all are healthy; they go on.")] = False,
) -> None:
    """Start all servers on loopback and keep them running until Ctrl-C or `llarp services stop`."""
    from pipelines.services.stack import Layout

    layout = Layout(
        postgres_port, s3_port, mlflow_port, prefect_port, object_store,
        str(postgres_data.resolve()) if postgres_data else None, worker,
    )  # fmt: skip
    print("Starting the services, up to a minute ...", flush=True)
    _detach(layout) if detach else _supervise(layout)


@app.command()
def stop() -> None:
    """End all servers; their data stays."""
    from pipelines.services.stack import Services, end_supervisor

    services = Services(_root())
    was = end_supervisor(_supervisor()) or any(part.is_running() for part in services.parts)
    services.stop()
    print("All services have ended." if was else "No service was running.")


@app.command()
def status() -> None:
    """Say of each server whether it is healthy, and where it is. Exit code 2 unless all are."""
    from pipelines.services.stack import Services

    services = Services(_root())
    ill = []
    for part in services.parts:
        is_well = part.is_healthy()
        ill += [] if is_well else [part.name]
        state = "healthy" if is_well else "does not answer" if part.is_running() else "ended"
        print(f"{part.name:<10}{state:<17}{part.address:<24}{part.log}")
    if ill:
        raise UserError(f"not up: {', '.join(ill)}", "services", "start them: `make services`")


def _root() -> Path:
    return Paths().state / "services"


def _supervisor() -> Path:
    """Mark of the process that watches over the services."""
    return _root() / "run" / "supervisor.json"


def _supervise(layout: Layout) -> None:
    import os

    from pipelines.services.service import Mark
    from pipelines.services.stack import Services

    with Services(_root(), layout) as services:
        mark = _supervisor()
        Mark.of(os.getpid()).write(mark)
        try:
            _show(services)
            services.watch()
        finally:
            mark.unlink(missing_ok=True)


def _detach(layout: Layout) -> None:
    """The same command once more, in a session of its own, its words in a file."""
    import subprocess
    import sys
    import time

    from pipelines.services.service import Mark
    from pipelines.services.stack import Services

    services = Services(_root(), layout)
    options = {
        "postgres-port": layout.postgres_port, "s3-port": layout.s3_port, "mlflow-port": layout.mlflow_port,
        "prefect-port": layout.prefect_port, "object-store": layout.object_store, "postgres-data": layout.postgres_data,
    }  # fmt: skip
    arguments = [f"--{name}={value}" for name, value in options.items() if value is not None]
    log = _root() / "logs" / "services.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", "services", "start", *arguments,
             "--worker" if layout.worker else "--no-worker"],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    while not ((mark := Mark.read(_supervisor())) and mark.pid == process.pid):
        if process.poll() is not None:
            said = log.read_text().strip().splitlines()
            raise UserError(said[-1].removeprefix("error: ") if said else "they did not start")
        time.sleep(0.2)
    _show(services)


def _show(services: Services) -> None:
    for part in services.parts:
        print(f"{part.name:<10}{part.address}")
    print(f"To use them: make run TRACKING=services, or: set -a; . {services.env}; set +a", flush=True)
