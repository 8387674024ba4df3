"""What is known of a model version, by which it is judged: the rows of its evaluation, its speed, its size.

A version's tag `evaluation.DIGEST` names the run in MLflow that has the rows as an artifact; the digest says which
episodes these were, so that two versions can be compared on the very same ones or not at all.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llarp.errors import UserError
from llarp.evaluate import rows as results
from llarp.evaluate.rows import Row

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

EVALUATION = "evaluation."
"""Begins the tags of a version whose value is the run with the rows of its evaluation, and whose end is a digest."""
ROWS = "episodes.parquet"
"""Artifact of such a run."""
LATENCIES = {"serve/latency_p50_ms": "latency.p50_ms", "serve/latency_p99_ms": "latency.p99_ms"}
"""Metric of such a run -> tag of the version."""
SIZE = "model.bytes"


@dataclass(frozen=True)
class Evidence:
    """What the gate looks at of one version."""

    version: str
    digest: str
    """Of the episodes: see `llarp.evaluate.digest`."""
    run_id: str
    """With the rows."""
    rows: Sequence[Row]
    """Of the policy alone."""
    latency_ms: float | None = None
    """p99 of a step of serving; None: not measured."""
    size_mb: float | None = None
    """Of its files, 10^6 bytes; None: not recorded."""
    commit: str = ""

    @classmethod
    def read(cls, client: "MlflowClient", version: "ModelVersion", digest: str) -> "Evidence":
        """What MLflow has on a version's evaluation on those episodes; UserError when it has none, or lost the rows."""
        run_id = version.tags.get(EVALUATION + digest)
        if run_id is None:
            raise other_episodes(version, digest)
        rows = _rows(client, version, run_id)
        latency, size = (_number(version.tags.get(key)) for key in ("latency.p99_ms", SIZE))
        size_mb = None if size is None else size / 1e6
        return cls(str(version.version), digest, run_id, rows, latency, size_mb, version.tags.get("git.commit", ""))


def digests(version: "ModelVersion") -> list[str]:
    """The digests of the episodes that a version was evaluated on, those of its own evaluation first."""
    found = {key.removeprefix(EVALUATION): run for key, run in version.tags.items() if key.startswith(EVALUATION)}
    own = version.tags.get("run.evaluate")
    return sorted(found, key=lambda digest: (found[digest] != own, digest))


def own_digest(version: "ModelVersion") -> str:
    """Of the episodes that count for a version; UserError when it was never evaluated."""
    found = digests(version)
    if not found:
        do = f"evaluate it on the episodes in data/: python -m components.assess {version.version}"
        raise UserError("has no evaluation", _where(version), do)
    return found[0]


def common_digest(candidate: "ModelVersion", champion: "ModelVersion") -> str | None:
    """Of episodes that both were evaluated on; None when there are none."""
    own_digest(candidate)
    theirs = set(digests(champion))
    return next((digest for digest in digests(candidate) if digest in theirs), None)


def other_episodes(version: "ModelVersion", digest: str) -> UserError:
    """What to say when a version was not evaluated on the episodes in question."""
    had = ", ".join(digests(version))
    told = f"was evaluated on other episodes ({had})" if had else "has no evaluation"
    do = f"evaluate it where data/ holds those: python -m components.assess {version.version}"
    return UserError(f"{told}, not on {digest}", _where(version), do)


def _rows(client: "MlflowClient", version: "ModelVersion", run_id: str) -> list[Row]:
    from mlflow.exceptions import MlflowException

    do = f"evaluate it again: python -m components.assess {version.version}"
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = client.download_artifacts(run_id, ROWS, folder)
        except (MlflowException, OSError) as error:
            told = " ".join(str(error).split())[:200]
            raise UserError(f"run {run_id} does not give its evaluation ({told})", _where(version), do) from None
        rows = results.read(Path(path))
    own = [row for row in rows if row["policy"] == "policy"]
    if not own:
        raise UserError(f"its evaluation in run {run_id} has no episode of the policy", _where(version), do)
    return own


def _where(version: "ModelVersion") -> str:
    return f"model {version.name} version {version.version}"


def _number(text: str | None) -> float | None:
    """None also for what is no number, NaN included."""
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if value == value else None
