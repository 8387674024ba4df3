"""Model versions for tests of the registry: tags and rows of an evaluation, and no model."""

import tempfile
from pathlib import Path

from llarp.evaluate import rows as results
from llarp.evaluate.rows import Row

NAME = "llarp"
DIGEST = "0123456789abcdef"


def rows_of(successes, episodes=20, policy="policy"):
    """Rows of as many successes as a split is said to have."""
    return [
        Row(
            policy=policy, source="generated", split=split, family="move_to", template="move_to/1",
            episode_id=f"{split}-{number}", layout="gen_1", instruction="Bring an apple to the sofa",
            success=number < count, progress=float(number < count), invalid_actions=0, steps=1, reward=0.0,
            actions=["nav(sofa)"],
        )
        for split, count in successes.items()
        for number in range(episodes)
    ]  # fmt: skip


def store(patch, folder):
    """A client on a fresh sqlite store, which processes started from here on share."""
    patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow
    from mlflow import MlflowClient

    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    client = MlflowClient()
    client.create_experiment("llarp", artifact_location=(folder / "mlartifacts").as_uri())
    client.create_registered_model(NAME)
    return client


def evaluated(client, number, rows, digest=DIGEST, own=True):
    """Gives a version an evaluation."""
    run = client.create_run(client.get_experiment_by_name("llarp").experiment_id).info.run_id
    with tempfile.TemporaryDirectory() as folder:
        results.write(Path(folder) / "episodes.parquet", rows)
        client.log_artifact(run, str(Path(folder) / "episodes.parquet"))
    client.set_terminated(run)
    client.set_model_version_tag(NAME, number, f"evaluation.{digest}", run)
    if own:
        client.set_model_version_tag(NAME, number, "run.evaluate", run)


def register(client, rows=None, digest=DIGEST, latency_ms=20.0, size=5_000_000):
    """A version with an evaluation, unless rows are None; returns its number."""
    tags = {"latency.p99_ms": str(latency_ms), "model.bytes": str(size), "git.commit": "c" * 40}
    number = str(client.create_model_version(NAME, "file:///nowhere", tags=tags).version)
    if rows is not None:
        evaluated(client, number, rows, digest)
    return number
