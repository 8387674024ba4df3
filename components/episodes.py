"""Stage `episodes`: generates every split, each episode proved solvable, and proves that nothing leaks from training.

Finished shards wait outside DVC's outputs, which are removed before a stage runs; all of them move into place together.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from components import game_episodes
from components.generation import clear_others, fingerprint, which, write_extra, write_shards
from components.parallel import map_jobs
from components.paths import Paths
from components.stage import OnMetrics, Result, ignore, main
from llarp.config import Params

if TYPE_CHECKING:
    from llarp.tasks.data.dataset import Similarity


def run(params: Params, paths: Paths, on_metrics: OnMetrics = ignore) -> Result:
    """Writes a folder of shards per split, and the report on them: all or nothing."""
    from llarp.environments.games import GameEnvironment
    from llarp.environments.make import make_environment
    from llarp.files import replace_folder
    from llarp.tasks.data import card
    from llarp.tasks.data.capacity import refuse_too_many
    from llarp.tasks.data.dataset import REPORT, Report

    environment = make_environment(params)
    if isinstance(environment, GameEnvironment):
        return game_episodes.run(environment, paths)
    config = params.episodes
    refuse_too_many(config)
    folder = paths.unfinished_episodes / fingerprint(params.seed, config)
    clear_others(folder)
    write_shards(folder, params.seed, config)
    added = write_extra(folder, config)
    report = Report.of(folder, params.seed, which(config))
    report.refuse_leaks()
    report = report.with_similarity(similarities(folder, params))
    (folder / REPORT).write_text(report.to_json())
    card.write(report, folder / card.CARD)
    paths.data.mkdir(parents=True, exist_ok=True)
    replace_folder(folder, paths.episodes)
    steps = report.steps / report.episodes
    metrics = {"episodes": report.episodes, "demonstration_steps": steps}
    summary = f"Generated {report.episodes - added} episodes in {len(report.splits)} splits, {steps:.1f} steps each."
    if added:
        summary += f" Added {added} new ones from {config.extra} to training."
    return Result(summary, metrics)


def similarities(folder: Path, params: Params) -> "dict[str, Similarity]":
    """How like training the instructions of each evaluation split are."""
    from llarp.evaluate.similarity import compare, embeddings
    from llarp.tasks.data.store import Episodes
    from llarp.tasks.splits import SPLITS

    instructions = {split: Episodes.open(folder / split).column("instruction") for split in SPLITS}
    return compare(
        instructions.pop("train"),
        instructions,
        params.seed,
        lambda jobs: map_jobs(embeddings, jobs, params.episodes.workers, "instructions compared", len, "instruction"),
    )


if __name__ == "__main__":
    main("episodes", run)
