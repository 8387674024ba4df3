"""Runs in MLflow: every stage opens its own and leaves its id beside its output.

Importing mlflow costs seconds, so it is imported where it is used.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import data_versions
from components.lineage import Dataset, Lineage
from components.outbox import Outbox
from components.paths import Paths
from components.system_metrics import system_metrics
from components.unsent import Point, in_a_line, send_kept
from llarp.config import Params, flatten
from llarp.files import file_aside

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "llarp"
FLOW_RUN = "LLARP_FLOW_RUN"
"""Variable by which a flow tells its stages its own id."""
TRAINED = frozenset({"train", "evaluate", "register"})
"""Stages whose results depend on which episodes were learnt from."""
MEASURED = frozenset({"train"})
"""Stages beside whose curves the load of the machine is recorded."""
KEPT = "unsent"
"""Folder of the state for what a server did not take."""
SERVER_WAIT_S = 600.0
"""How long a stage that has done its work waits for a server that is away."""
_QUIET_S = 5.0
"""Of waiting, before it is said and what may be lost is put on disk; all that a stage that failed waits."""


class Run:
    """One stage's run; `log` is for curves, `figures` for results. None of them waits for the server or fails."""

    def __init__(self, client: "MlflowClient", run_id: str, kept: Path) -> None:
        """Args:
        client: of the tracking server.
        run_id: of a run that goes on.
        kept: folder in which what the server does not take is kept, by run.
        """
        self.id, self._kept = run_id, kept / run_id
        self._outbox = Outbox(client, run_id)
        self._last_ms = 0

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Adds a point to each metric's curve; sent with others every few seconds."""
        self._last_ms = max(self._last_ms, int(time.time() * 1000))  # curves are read in order of time
        self._outbox.unsent.points += [
            Point(name, float(value), self._last_ms, step) for name, value in metrics.items()
        ]
        self._outbox.start()

    def figures(self, metrics: Mapping[str, float]) -> None:
        """Results without a curve; those that are not numbers are left out."""
        self.log(0, {name: value for name, value in metrics.items() if value == value})

    def artifact(self, path: Path) -> None:
        """Keeps a copy of a file with the run."""
        self._outbox.unsent.artifacts.append(path.resolve(strict=True))
        self._outbox.start()

    def end(self, status: str, limit_s: float) -> None:
        """Ends the run once all is sent; what is not sent in `limit_s` is kept for `send_kept`."""
        unsent = self._outbox.unsent
        unsent.status, unsent.end_ms = status, int(time.time() * 1000)
        is_sent = False
        try:
            is_sent = self._outbox.finish(_QUIET_S)
        finally:
            if not is_sent:  # on disk before the long wait, whose end may be a kill
                unsent.keep(self._kept)
        if not is_sent and limit_s:
            where = in_a_line(self._outbox.client.tracking_uri)
            print(f"Waiting up to {limit_s / 60:.3g} minutes for MLflow at {where}, to send {unsent}.", flush=True)
            if is_sent := self._outbox.finish(limit_s):
                shutil.rmtree(self._kept, ignore_errors=True)
        if not is_sent:
            self._outbox.give_up()
            print(
                f"MLflow did not take {unsent}: kept in {self._kept}, and sent by the next stage that runs.", flush=True
            )


def open_client(paths: Paths) -> tuple["MlflowClient", str]:
    """The tracking server named by MLFLOW_TRACKING_URI, and the id of our experiment, which is made if need be.

    What an earlier stage could not send is sent.

    Several processes that open a fresh sqlite store at once destroy it: one at a time goes through here.
    """
    import logging

    from mlflow import MlflowClient

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it tells of every table it makes
    paths.state.mkdir(parents=True, exist_ok=True)
    with (paths.state / "mlflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        client = MlflowClient()
        found = client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            send_kept(paths.state / KEPT, client)
            return client, found.experiment_id
        is_ours = os.environ.get("MLFLOW_TRACKING_URI", "").startswith("sqlite:")
        location = paths.artifacts.resolve().as_uri() if is_ours else None
        return client, client.create_experiment(EXPERIMENT, artifact_location=location)


@contextmanager
def stage_run(stage: str, params: Params, paths: Paths) -> Iterator[Run]:
    """A stage's run, active in MLflow's sense; its id is written beside the stage's output at the end.

    Parameters, inputs and commit go in at once. From then on the server may go away: the stage goes on and ends well.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    lineage = Lineage(paths)
    client, experiment = open_client(paths)
    tags = {"stage": stage, "git.commit": lineage.commit, "git.dirty": str(lineage.is_dirty).lower()}
    if FLOW_RUN in os.environ:
        tags["prefect.flow_run_id"] = os.environ[FLOW_RUN]
    if stage in TRAINED and (data := data_versions.name_of(paths)):
        tags["data.version"] = data
    keys = tuple(f"{key}." for key in lineage.params(stage))  # sections or single parameters
    active = mlflow.start_run(run_name=stage, experiment_id=experiment, tags=tags, log_system_metrics=False)
    run = Run(client, active.info.run_id, paths.state / KEPT)
    status, limit_s = "FAILED", 0.0
    try:
        mlflow.log_params({key: value for key, value in flatten(params).items() if f"{key}.".startswith(keys)})
        if inputs := lineage.inputs(stage):
            client.log_inputs(run.id, [_dataset(dataset, stage, lineage.commit) for dataset in inputs])
        with system_metrics(run.id, run.log) if stage in MEASURED else nullcontext():
            yield run
        status, limit_s = "FINISHED", SERVER_WAIT_S
    finally:
        try:
            run.end(status, limit_s)
        finally:
            with suppress(MlflowException):
                mlflow.end_run(status)  # it is ended; this takes it off MLflow's stack of active runs
    with file_aside(paths.run(stage)) as aside:
        aside.write_text(json.dumps({"experiment_id": experiment, "run_id": run.id}) + "\n")


def _dataset(dataset: Dataset, stage: str, commit: str) -> Any:
    """The entity that MLflow shows; `DVCSource` reads it back."""
    from mlflow.entities import Dataset as Entity
    from mlflow.entities import DatasetInput, InputTag

    source = json.dumps({"path": dataset.path, "md5": dataset.md5, "rev": commit})
    entity = Entity(name=dataset.path, digest=dataset.md5, source_type="dvc", source=source)
    return DatasetInput(entity, [InputTag("mlflow.data.context", stage)])
