"""Evaluates a registered version on the episodes in data/, as the stage `evaluate` does with a policy just trained.

    python -m components.assess 7

It is for versions that were evaluated on other episodes, as a champion of last month. Only the policy plays, seen
through its own camera and encoder; which episodes, and how many side by side, say this project's data/ and params.yaml.
"""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import aliases, tracking
from components.evaluate import chosen, timed
from components.evidence import EVALUATION, LATENCIES, ROWS
from components.lineage import Lineage
from components.overlay import open_overlay, overlay_folder
from components.paths import Paths
from components.stage import begin, fail
from llarp.config import Params, load_params
from llarp.errors import UserError

if TYPE_CHECKING:
    from llarp.environments.base import Environment


def digest_of(params: Params, paths: Paths) -> str:
    """Of the episodes that the stage `evaluate` would take; UserError when they are not there."""
    from llarp.environments.make import make_environment
    from llarp.evaluate.digest import evaluation_digest

    return evaluation_digest(chosen(make_environment(params), paths))


def assess(params: Params, paths: Paths, wanted: str) -> str:
    """Plays the episodes, keeps rows and scores in a run of MLflow and tags the version with it.

    Args:
        params: of the project.
        paths: of the project, with the episodes.
        wanted: number or alias of a version.

    Returns:
        A line on what was done.

    Raises:
        UserError: there is no such version, its files are not those that were registered, it is of another environment,
            or the episodes are missing.

    """
    from components.model_files import fetch
    from llarp.environments.make import make_environment
    from llarp.evaluate import rows as results
    from llarp.evaluate.digest import evaluation_digest
    from llarp.evaluate.statistics import summarise

    client, experiment = tracking.open_client(paths)
    name = params.register_.name
    version = aliases.find(client, name, wanted)
    where = f"model {name} version {version.version}"
    files = fetch(f"models:/{name}/{version.version}") / "artifacts"
    own = load_params(files / "params.yaml")
    if own.environment != params.environment:
        raise UserError(f"is of environment {own.environment}, not {params.environment}", where, "evaluate it there")
    # It sees what it was trained to see; what is played and how says the project.
    environment = make_environment(params.model_copy(update={"camera": own.camera, "simulator": own.simulator}))
    episodes = chosen(environment, paths)
    digest = evaluation_digest(episodes)
    rows = _play(params, paths, files, environment, episodes)
    summary = summarise(rows, environment.name)
    metrics = summary.metrics("policy") | _latency(files, environment, episodes)

    lineage = Lineage(paths)
    tags = {
        "stage": "assess",
        "model.version": f"{name}/{version.version}",
        "evaluation.digest": digest,
        "git.commit": lineage.commit,
        "git.dirty": str(lineage.is_dirty).lower(),
    }
    run = client.create_run(experiment, tags=tags, run_name="assess")
    status = "FAILED"
    try:
        for key, value in metrics.items():
            client.log_metric(run.info.run_id, key, value)
        with tempfile.TemporaryDirectory() as folder:
            results.write(Path(folder) / ROWS, rows)
            client.log_artifact(run.info.run_id, str(Path(folder) / ROWS))
        status = "FINISHED"
    finally:
        client.set_terminated(run.info.run_id, status)
    for metric, tag in LATENCIES.items():
        if metric in metrics:
            client.set_model_version_tag(name, version.version, tag, f"{metrics[metric]:.3f}")
    client.set_model_version_tag(name, version.version, EVALUATION + digest, run.info.run_id)
    total = summary.find("policy", "generated", "total")
    told = f", {100 * total.success:.1f} % in total" if total else ""
    return f"Evaluated version {version.version} of {name} on {len(episodes)} episodes ({digest}){told}."


def _play(params: Params, paths: Paths, files: Path, environment: "Environment", episodes: list[Any]) -> list[Any]:
    from llarp.evaluate.runner import Setup, evaluate_all
    from llarp.progress import Progress
    from llarp.vision.encoder import load_encoder

    encoder = load_encoder(files / "encoder")
    is_ours = paths.encoder.is_dir() and load_encoder(paths.encoder).identity == encoder.identity
    open_overlay(params, paths, encoder, verify=True).close()
    setup = Setup(
        environment, params.evaluate.batch_size, files / "policy", files / "encoder",
        paths.features if is_ours and paths.features.is_dir() else None,
        overlay_folder(paths, encoder.identity), int(params.features.overlay_gib * 2**30),
    )  # fmt: skip
    with Progress("episodes evaluated", len(episodes), "episode") as progress:
        return evaluate_all(("policy",), episodes, setup, params.evaluate.workers, progress.update)


def _latency(files: Path, environment: "Environment", episodes: list[Any]) -> dict[str, float]:
    from llarp.serving import Agent
    from llarp.serving.latency import measure

    agent = Agent.load(files / "policy", files / "encoder", files / "params.yaml")
    measured = measure(agent, timed(episodes), environment.simulator(), environment.actions).metrics()
    return {key: value for key, value in measured.items() if value == value}


if __name__ == "__main__":
    begin()
    try:
        if len(sys.argv) != 2:
            raise UserError("name one version", "components.assess", "as in python -m components.assess 7")
        print(assess(load_params(), Paths(), sys.argv[1]), flush=True)
    except UserError as error:
        fail(error)
