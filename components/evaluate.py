"""Stage `evaluate`: the policy, the same without eyes, chance and the expert, on every split."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from components.curves import TELLING
from components.curves import read as read_curves
from components.lineage import Lineage
from components.overlay import open_overlay, overlay_folder
from components.paths import Paths
from components.stage import OnMetrics, Result, ignore, main
from llarp.config import Params, flatten
from llarp.files import folder_aside

if TYPE_CHECKING:
    from llarp.environments.base import Environment

TIMED = 8
"""Episodes, of all splits, in which the time of a step is measured."""


def run(params: Params, paths: Paths, on_metrics: OnMetrics = ignore) -> Result:
    """Writes a row per episode, the scores, film strips and the report."""
    from llarp.environments.make import make_environment
    from llarp.evaluate import rows as results
    from llarp.evaluate.digest import evaluation_digest
    from llarp.evaluate.film import write_strips
    from llarp.evaluate.report import write_report
    from llarp.evaluate.runner import POLICIES, Setup, evaluate_all
    from llarp.evaluate.statistics import summarise
    from llarp.policy.llarp import LLaRPPolicy
    from llarp.progress import Progress
    from llarp.serving import Agent
    from llarp.serving.latency import measure
    from llarp.vision.encoder import load_encoder
    from llarp.vision.store import ShardStore
    from llarp.vision.views import Lookups

    config = params.evaluate
    environment = make_environment(params)
    episodes = chosen(environment, paths)
    encoder = load_encoder(paths.encoder)
    ShardStore.open(paths.features, encoder)  # read over once, for all processes
    open_overlay(params, paths, encoder, verify=True).close()
    setup = Setup(
        environment, config.batch_size, paths.policy, paths.encoder, paths.features,
        overlay_folder(paths, encoder.identity), int(params.features.overlay_gib * 2**30),
    )  # fmt: skip
    met = [Lookups.none()]
    with Progress("episodes evaluated", len(POLICIES) * len(episodes), "episode") as progress:
        rows = evaluate_all(POLICIES, episodes, setup, config.workers, progress.update, met.append)
    results.write(paths.rows, rows)
    summary = replace(summarise(rows, environment.name), digest=evaluation_digest(episodes))
    summary.write(paths.summary)
    simulator = environment.simulator()
    with folder_aside(paths.films) as folder:
        own = [row for row in rows if row["policy"] == "policy"]
        strips = write_strips(own, episodes, simulator, config.films_per_split, folder, type(environment))
        write_report(
            paths.report,
            summary,
            strips,
            {name: curve for name, curve in read_curves(paths.curves).items() if name in TELLING},
            json.loads(paths.probe.read_text()),
            provenance(params, paths),
        )
    metrics = summary.metrics("policy") | sum(met, Lookups.none()).figures()
    agent = Agent(LLaRPPolicy.load(paths.policy, actions=environment.names()), encoder, params.camera)
    # To MLflow alone: what DVC tracks is the same whenever it is made.
    metrics |= measure(agent, timed(episodes), simulator, environment.actions).metrics()
    return Result(f"Evaluated {len(episodes)} episodes: {paths.report}", metrics, (paths.report, paths.rows))


def timed(episodes: Sequence[Any]) -> list[Any]:
    """`TIMED` of them at most, from everywhere in the list."""
    return list(episodes[:: -(-len(episodes) // TIMED)])


def chosen(environment: "Environment", paths: Paths) -> list[Any]:
    """Of every split but `train`, and of every imported one, at most `evaluate.episodes_per_split`."""
    from itertools import groupby

    from llarp.environments.rearrangement import Rearrangement
    from llarp.tasks.data import store

    most = environment.params.evaluate.episodes_per_split
    generated = [list(environment.read(paths.split(split))[:most]) for split in environment.splits if split != "train"]
    released: list[Any] = []
    if isinstance(environment, Rearrangement):
        released = sorted(store.read(paths.release), key=lambda episode: episode.split)
    imported = [list(group)[:most] for _, group in groupby(released, key=lambda episode: episode.split)]
    return [episode for split in (*generated, *imported) for episode in split]


def provenance(params: Params, paths: Paths) -> dict[str, object]:
    """What the report says of its origin."""
    lineage = Lineage(paths)
    policy = json.loads((paths.policy / "policy.json").read_text())
    return {
        "commit": lineage.commit + (" (with changes)" if lineage.is_dirty else ""),
        "backbone": policy["backbone"],
        "data": {dataset.path: dataset.md5 for dataset in lineage.inputs("evaluate")},
        "params": flatten(params),
    }


if __name__ == "__main__":
    main("evaluate", run)
