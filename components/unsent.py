"""What MLflow has still to be told of a run: it can be sent, or kept in a folder and sent another day.

A folder of kept things holds `run.json` {"status", "end_ms"}, `points.jsonl` with a line {"name", "value", "time_ms",
"step"} per point, and copies of `artifacts`. Its name is the run's id.
"""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from llarp.files import folder_aside

if TYPE_CHECKING:
    from mlflow import MlflowClient

_MOST_POINTS = 1000
"""That MLflow takes in one batch."""
_REFUSAL = "INVALID_PARAMETER_VALUE"
"""MLflow's word when the run has been deleted or a name is impossible; trying again would not help."""
_MOST_LETTERS = 200
"""Of an error that is told in a line."""


class Point(NamedTuple):
    """One point of a metric's curve."""

    name: str
    value: float
    time_ms: int
    """Since 1970."""
    step: int


@dataclass
class Unsent:
    """Things to be sent, in the order of these fields."""

    run_id: str
    points: list[Point] = field(default_factory=list)
    artifacts: list[Path] = field(default_factory=list)
    status: str | None = None
    """How the run ended, in MLflow's terms; None while it goes on, and once it is sent."""
    end_ms: int = 0
    """When it ended, since 1970."""

    @property
    def is_empty(self) -> bool:
        """Whether all has been sent."""
        return not (self.points or self.artifacts or self.status)

    def send(self, client: "MlflowClient") -> None:
        """Sends all there is, forgets what has arrived, and raises what the client raises.

        What arrived without our being told is sent again, and that is harmless: MLflow stores a batch whole or not at
        all, and a point is its own key there (run, name, value, time, step), so none is stored twice. Others may add
        points meanwhile: adding to a list and cutting it are atomic.
        """
        from mlflow.entities import Metric

        while batch := self.points[:_MOST_POINTS]:
            with self._unless_refused(f"{len(batch)} points"):
                metrics = [Metric(point.name, point.value, point.time_ms, point.step) for point in batch]
                client.log_batch(self.run_id, metrics=metrics)
            del self.points[: len(batch)]
        while self.artifacts:
            with self._unless_refused(self.artifacts[0].name):
                client.log_artifact(self.run_id, str(self.artifacts[0]))
            del self.artifacts[0]
        if self.status:
            with self._unless_refused("its end"):
                client.set_terminated(self.run_id, self.status, self.end_ms)
            self.status = None

    def keep(self, folder: Path) -> None:
        """Writes the folder, whole or not at all."""
        with folder_aside(folder) as fresh:
            (fresh / "run.json").write_text(json.dumps({"status": self.status, "end_ms": self.end_ms}) + "\n")
            lines = [json.dumps(point._asdict()) + "\n" for point in list(self.points)]
            (fresh / "points.jsonl").write_text("".join(lines))
            (fresh / "artifacts").mkdir()
            for artifact in list(self.artifacts):
                shutil.copy(artifact, fresh / "artifacts")

    @staticmethod
    def read(folder: Path) -> "Unsent":
        """What `keep` wrote."""
        points = [Point(**json.loads(line)) for line in (folder / "points.jsonl").read_text().splitlines()]
        return Unsent(
            folder.name,
            points,
            sorted((folder / "artifacts").iterdir()),
            **json.loads((folder / "run.json").read_text()),
        )

    def __str__(self) -> str:
        parts = [f"{len(self.points)} points"] if self.points else []
        parts += [artifact.name for artifact in self.artifacts]
        parts += ["the end"] if self.status else []
        return f"{', '.join(parts)} of run {self.run_id}"

    @contextmanager
    def _unless_refused(self, what: str) -> Iterator[None]:
        """Says that MLflow will never take something, and counts it as sent."""
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            if error.error_code != _REFUSAL:
                raise
            print(f"MLflow refuses {what} of run {self.run_id}: {in_a_line(error)}", flush=True)


def send_kept(folder: Path, client: "MlflowClient") -> None:
    """Sends what is kept below a folder and removes it; never raises for a server's sake.

    A server that does not know a run is another one than the run's: what is kept stays, for the right one.
    """
    from mlflow.exceptions import MlflowException

    for kept in sorted(folder.glob("[!.]*")):  # those with a dot are being written
        try:
            unsent = Unsent.read(kept)
            what = str(unsent)
            client.get_run(unsent.run_id)
            unsent.send(client)
        except (MlflowException, OSError, ValueError, TypeError) as error:
            print(f"{kept} is not sent to MLflow at {in_a_line(client.tracking_uri)}: {in_a_line(error)}", flush=True)
            continue
        shutil.rmtree(kept, ignore_errors=True)
        print(f"MLflow has now got what it had missed: {what}.", flush=True)


def in_a_line(told: object) -> str:
    """An address or an error without line breaks and passwords; of an error of the network, its cause."""
    line = " ".join(str(told).split()).rpartition("(Caused by ")[2]
    return re.sub(r"//[^/@\s]*@", "//", line)[:_MOST_LETTERS]
