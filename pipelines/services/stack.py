"""All services of one folder: made, started one after the other, watched, ended; nothing is left when they end."""

import fcntl
import json
import shlex
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from llarp.errors import UserError
from llarp.files import file_aside
from pipelines.server import free_port
from pipelines.services.object_store import Moto
from pipelines.services.postgres import Postgres, program
from pipelines.services.secrets import passwords, write_private
from pipelines.services.servers import Mlflow, Prefect, Worker
from pipelines.services.service import Mark, Service

_REVIVALS = 5
"""How often in an hour one that ends by itself is started again, before all are given up."""
_HOUR_S = 3600.0
_WATCH_S = 1.0


@dataclass(frozen=True)
class Layout:
    """What is started, and where."""

    postgres_port: int = 5433
    """Beside 5432, where a PostgreSQL of the machine listens."""
    s3_port: int = 9000
    mlflow_port: int = 5000
    prefect_port: int = 4200
    object_store: str = "disk"
    """Where MLflow's artifacts go: `disk`, `moto`, or `s3://BUCKET/PATH` of an S3 that the AWS variables name."""
    postgres_data: str | None = None
    """Folder of the databases; None: `postgres` below the folder of all services."""
    worker: bool = False

    @classmethod
    def free(cls, object_store: str = "disk", worker: bool = False) -> "Layout":
        """On ports that nobody listens on, for tests."""
        return cls(free_port(), free_port(), free_port(), free_port(), object_store, None, worker)


class Services:
    """The services; as a context they are started, and ended on the way out. Each of them is an attribute."""

    def __init__(self, root: Path, layout: Layout | None = None) -> None:
        """Starts nothing.

        Args:
            root: their folder; where we are root the user `postgres` must be able to pass the folders above it.
            layout: None: that of the last start.

        Raises:
            UserError: nothing was ever started there, the passwords are gone, or the option is no object store.

        """
        self.root = root.resolve()
        self.layout = layout = layout or self._last()
        data = Path(layout.postgres_data) if layout.postgres_data else self.root / "postgres"
        secrets = passwords(self.root / "passwords", (data / "PG_VERSION").exists())
        self.postgres = Postgres(self.root, layout.postgres_port, data, secrets)
        moto = Moto(self.root, layout.s3_port, secrets["s3_key"], secrets["s3_secret"])
        self.object_store = moto if layout.object_store == "moto" else None
        database = self.postgres.address
        self.mlflow = Mlflow(self.root, layout.mlflow_port, database, secrets["mlflow"], self._store())
        self.prefect = Prefect(self.root, layout.prefect_port, database, secrets["prefect"])
        self.worker = Worker(self.root, self.variables) if layout.worker else None

    def _last(self) -> Layout:
        with suppress(OSError, ValueError, TypeError):
            return Layout(**json.loads((self.root / "layout.json").read_text()))
        raise UserError("no services were started here", self.root, "start them: `llarp services start`")

    def _store(self) -> dict[str, str]:
        """Where MLflow puts artifacts, as variables."""
        kind = self.layout.object_store
        if self.object_store is not None:
            return {"MLFLOW_ARTIFACTS_DESTINATION": "s3://mlflow/artifacts", **self.object_store.client_variables()}
        if kind == "disk":
            return {"MLFLOW_ARTIFACTS_DESTINATION": (self.root / "artifacts").as_uri()}
        if kind.startswith("s3://"):
            return {"MLFLOW_ARTIFACTS_DESTINATION": kind}
        raise UserError(f"{kind} is no object store", "--object-store", "give disk, moto or s3://BUCKET/PATH")

    @property
    def variables(self) -> dict[str, str]:
        """What a client needs to find them all."""
        found = {"PREFECT_API_URL": self.prefect.api, "MLFLOW_TRACKING_URI": self.mlflow.address}
        return found | (self.object_store.client_variables() if self.object_store else {})

    @property
    def env(self) -> Path:
        """File of `variables`, there while they run."""
        return self.root / "env"

    @property
    def parts(self) -> list[Service]:
        """In the order in which they start."""
        found = (self.postgres, self.object_store, self.mlflow, self.prefect, self.worker)
        return [part for part in found if part is not None]

    def start(self) -> None:
        """Starts all, each when what it needs is healthy; ends all again when one does not start.

        Raises:
            UserError: they run already, something is missing, or one did not start: the line says why.

        """
        program("initdb")
        self.root.mkdir(parents=True, exist_ok=True)
        self._lock = (self.root / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise UserError("the services run already", self.root, "end them: `llarp services stop`") from None
        if running := [part.name for part in self.parts if part.is_running()]:
            self._lock.close()
            raise UserError(f"{', '.join(running)} left over", self.root, "end them: `llarp services stop`")
        try:
            with file_aside(self.root / "layout.json") as aside:
                aside.write_text(json.dumps(asdict(self.layout)) + "\n")
            self.postgres.start()
            if self.object_store is not None:
                self.object_store.start()
                self.object_store.wait()
            self.postgres.wait()
            for server in (self.mlflow, self.prefect):  # neither needs the other, and both take long
                server.start()
            for server in (self.mlflow, self.prefect):
                server.wait()
            if self.worker is not None:
                self.worker.start()
                self.worker.wait()
            write_private(self.env, {name: shlex.quote(value) for name, value in self.variables.items()})
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends all, those that use another one first."""
        self.env.unlink(missing_ok=True)
        for part in reversed(self.parts):
            part.stop()
        if lock := getattr(self, "_lock", None):
            lock.close()

    def watch(self) -> None:
        """Starts again what ends by itself, until it is interrupted; UserError when one ends again and again."""
        revived: dict[str, list[float]] = {part.name: [] for part in self.parts}
        while True:
            for part in self.parts:
                if part.is_running():
                    continue
                now_s = time.monotonic()
                times = revived[part.name] = [it for it in revived[part.name] if now_s - it < _HOUR_S]
                if len(times) == _REVIVALS:
                    raise UserError(f"{part.name} ended {_REVIVALS + 1} times within an hour", part.log, "read it")
                times.append(now_s)
                print(f"{part.name} ended: starting it again ({part.log})", flush=True)
                part.kill()  # children that it has left behind
                part.start()
                part.wait()
            time.sleep(_WATCH_S)

    def __enter__(self) -> "Services":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def end_supervisor(mark: Path, limit_s: float = 120.0) -> bool:
    """Ends the process that watches the services, and with it all of them; whether there was one."""
    import psutil

    found = Mark.read(mark)
    process = found.process() if found else None
    if process is None:
        return False
    with suppress(psutil.NoSuchProcess):
        process.terminate()
        psutil.wait_procs([process], limit_s)
    return True
