"""Runs in MLflow: every stage opens its own and leaves its id beside its output.

Importing mlflow costs seconds, so it is imported where it is used.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import data_versions
from components.lineage import Dataset, Lineage
from components.paths import Paths
from llarp.config import Params
from llarp.files import file_aside

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "llarp"
FLOW_RUN = "LLARP_FLOW_RUN"
"""Variable by which a flow tells its stages its own id."""
TRAINED = frozenset({"train", "evaluate", "register"})
"""Stages whose results depend on which episodes were learnt from."""
_FLUSH_S = 2.0
"""Live metrics are sent in batches this often: a batch costs some 5 ms."""
_MOST_METRICS = 1000
"""That MLflow takes in one batch."""


class Run:
    """One stage's run; `log` is for curves, `figures` for results."""

    def __init__(self, client: "MlflowClient", run_id: str) -> None:
        self.client, self.id = client, run_id
        self._waiting: list[Any] = []
        self._sent_s = 0.0

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Adds a point to each metric's curve; sent with others every few seconds."""
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        self._waiting += [Metric(name, float(value), now_ms, step) for name, value in metrics.items()]
        if time.monotonic() - self._sent_s > _FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Sends what has gathered."""
        for first in range(0, len(self._waiting), _MOST_METRICS):
            self.client.log_batch(self.id, metrics=self._waiting[first : first + _MOST_METRICS])
        self._waiting, self._sent_s = [], time.monotonic()

    def figures(self, metrics: Mapping[str, float]) -> None:
        """Results without a curve; those that are not numbers are left out."""
        self.log(0, {name: value for name, value in metrics.items() if value == value})

    def artifact(self, path: Path) -> None:
        """Keeps a copy of a file with the run."""
        self.client.log_artifact(self.id, str(path))


def open_client(paths: Paths) -> tuple["MlflowClient", str]:
    """The tracking server named by MLFLOW_TRACKING_URI, and the id of our experiment, which is made if need be.

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
            return client, found.experiment_id
        is_ours = os.environ.get("MLFLOW_TRACKING_URI", "").startswith("sqlite:")
        location = paths.artifacts.resolve().as_uri() if is_ours else None
        return client, client.create_experiment(EXPERIMENT, artifact_location=location)


@contextmanager
def stage_run(stage: str, params: Params, paths: Paths) -> Iterator[Run]:
    """A stage's run, active in MLflow's sense; its id is written beside the stage's output at the end.

    Parameters, inputs and commit go in at once.
    """
    import mlflow

    lineage = Lineage(paths)
    client, experiment = open_client(paths)
    tags = {"stage": stage, "git.commit": lineage.commit, "git.dirty": str(lineage.is_dirty).lower()}
    if FLOW_RUN in os.environ:
        tags["prefect.flow_run_id"] = os.environ[FLOW_RUN]
    if stage in TRAINED and (data := data_versions.name_of(paths)):
        tags["data.version"] = data
    keys = tuple(f"{key}." for key in lineage.params(stage))  # sections or single parameters
    with mlflow.start_run(run_name=stage, experiment_id=experiment, tags=tags) as active:
        run = Run(client, active.info.run_id)
        mlflow.log_params({key: value for key, value in flatten(params).items() if f"{key}.".startswith(keys)})
        if inputs := lineage.inputs(stage):
            client.log_inputs(run.id, [_dataset(dataset, stage, lineage.commit) for dataset in inputs])
        yield run
        run.flush()
    with file_aside(paths.run(stage)) as aside:
        aside.write_text(json.dumps({"experiment_id": experiment, "run_id": run.id}) + "\n")


def flatten(params: Params) -> dict[str, Any]:
    """Every parameter under its dotted key, as in params.yaml."""
    flat: dict[str, Any] = {}
    for name, value in params.model_dump(by_alias=True).items():
        flat |= {f"{name}.{key}": entry for key, entry in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _dataset(dataset: Dataset, stage: str, commit: str) -> Any:
    """The entity that MLflow shows; `DVCSource` reads it back."""
    from mlflow.entities import Dataset as Entity
    from mlflow.entities import DatasetInput, InputTag

    source = json.dumps({"path": dataset.path, "md5": dataset.md5, "rev": commit})
    entity = Entity(name=dataset.path, digest=dataset.md5, source_type="dvc", source=source)
    return DatasetInput(entity, [InputTag("mlflow.data.context", stage)])
