"""MLflow's and Prefect's servers on PostgreSQL, and the worker that runs Prefect's flows.

Both drivers of PostgreSQL take the password from PGPASSWORD, so that no address that might be logged holds it.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.server import HOST, answers
from pipelines.services.service import Service


class Mlflow(Service):
    """MLflow's tracking server and registry, which passes artifacts on, so that clients need no keys of the store.

    Its command line makes the tables of a fresh database before it starts the process that serves.
    """

    name = "mlflow"

    def __init__(self, root: Path, port: int, database: str, password: str, store: Mapping[str, str]) -> None:
        """Args:
        root: folder of all services.
        port: that it listens on.
        database: `host:port` of PostgreSQL.
        password: of the role `mlflow`.
        store: MLFLOW_ARTIFACTS_DESTINATION, and the endpoint and keys of an S3.
        """
        super().__init__(root, port)
        self._variables = {
            **store,
            "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg2://mlflow@{database}/mlflow",
            "PGPASSWORD": password,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # more processes, for nothing that is used here
        }

    def command(self) -> Sequence[str]:
        """One process: it has threads."""
        return [
            sys.executable, "-m", "mlflow", "server",
            "--host", HOST, "--port", str(self.port), "--workers", "1", "--serve-artifacts",
        ]  # fmt: skip

    def variables(self) -> Mapping[str, str]:
        """Where its database and its artifacts are."""
        return self._variables

    def is_healthy(self) -> bool:
        """Whether it answers."""
        return self.is_running() and answers(f"{self.address}/health")


class Prefect(Service):
    """Prefect's server with its services: schedules, late runs, automations."""

    name = "prefect"

    def __init__(self, root: Path, port: int, database: str, password: str) -> None:
        """Args:
        root: folder of all services.
        port: that it listens on.
        database: `host:port` of PostgreSQL.
        password: of the role `prefect`.
        """
        super().__init__(root, port)
        self._variables = {
            "PREFECT_HOME": str(self.root / "prefect-home"),
            "PREFECT_API_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://prefect@{database}/prefect",
            "PGPASSWORD": password,
        }

    @property
    def api(self) -> str:
        """Address for clients."""
        return f"{self.address}/api"

    def command(self) -> Sequence[str]:
        """The server in the foreground."""
        return [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(self.port)]

    def variables(self) -> Mapping[str, str]:
        """Where its database is."""
        return self._variables

    def prepare(self) -> None:
        """Makes its folder, which it does not itself."""
        Path(self._variables["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)

    def is_healthy(self) -> bool:
        """Whether it answers and its database does."""
        return self.is_running() and answers(f"{self.api}/ready")


class Worker(Service):
    """Runs what Prefect's server schedules, in the folder of the project."""

    name = "worker"

    def __init__(self, root: Path, variables: Mapping[str, str]) -> None:
        """Args:
        root: folder of all services.
        variables: where the servers are.
        """
        super().__init__(root, None)
        self._variables = variables

    def command(self) -> Sequence[str]:
        """The project's own command."""
        return [sys.executable, "-m", "pipelines.cli", "worker"]

    def variables(self) -> Mapping[str, str]:
        """Where the servers are."""
        return self._variables

    def folder(self) -> Path:
        """The project."""
        return Path().resolve()
