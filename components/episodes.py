"""Stage `episodes`: generates every split, each episode proved solvable, and proves that nothing leaks from training.

Finished shards wait outside DVC's outputs, which are removed before a stage runs; all of them move into place together.
"""

from components.generation import clear_others, fingerprint, which, write_shards
from components.paths import Paths
from components.stage import OnMetrics, Result, ignore, main
from llarp.config import Params


def run(params: Params, paths: Paths, on_metrics: OnMetrics = ignore) -> Result:
    """Writes a folder of shards per split, and the report on them: all or nothing."""
    from llarp.files import file_aside, replace_folder
    from llarp.tasks.dataset import REPORT, Report

    config = params.episodes
    folder = paths.unfinished_episodes / fingerprint(params.seed, config)
    clear_others(folder)
    write_shards(folder, params.seed, config)
    report = Report.of(folder, params.seed, which(config))
    report.refuse_leaks()
    with file_aside(folder / REPORT) as aside:
        aside.write_text(report.to_json())
    paths.data.mkdir(parents=True, exist_ok=True)
    replace_folder(folder, paths.episodes)
    steps = report.steps / report.episodes
    metrics = {"episodes": report.episodes, "demonstration_steps": steps}
    return Result(
        f"Generated {report.episodes} episodes in {len(report.splits)} splits, {steps:.1f} steps each.", metrics
    )


if __name__ == "__main__":
    main("episodes", run)
