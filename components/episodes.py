"""Stage `episodes`: generates every split, each episode proved solvable by the expert."""

from dataclasses import dataclass

from components.parallel import map_jobs
from components.paths import Paths
from components.stage import OnMetrics, Result, ignore, main
from llarp.config import EpisodesConfig, Params
from llarp.tasks.episode import Episode

CHUNK = 50
"""Episodes per piece of work."""


@dataclass(frozen=True)
class Job:
    """Episodes `start` to `start + count - 1` of a split."""

    split: str
    start: int
    count: int
    seed: int
    config: EpisodesConfig


def run(params: Params, paths: Paths, on_metrics: OnMetrics = ignore) -> Result:
    """Writes one Parquet file per split: all of them or none."""
    from llarp.files import folder_aside
    from llarp.tasks import store
    from llarp.tasks.splits import SPLITS

    config = params.episodes
    counts = {split: config.train if split == "train" else config.per_split for split in SPLITS}
    jobs = [
        Job(split, start, min(CHUNK, count - start), params.seed, config)
        for split, count in counts.items()
        for start in range(0, count, CHUNK)
    ]
    done = map_jobs(make, jobs, config.workers, "episodes generated", lambda job: job.count, "episode")
    steps = 0
    with folder_aside(paths.episodes) as folder:
        for split, count in counts.items():
            episodes: list[Episode] = []
            while len(episodes) < count:
                episodes += next(done)
            steps += sum(len(episode.demonstration) for episode in episodes)
            store.write(folder / paths.split(split).name, episodes)
        next(done, None)  # lets the bar and the processes end
    total = sum(counts.values())
    metrics = {"episodes": total, "demonstration_steps": steps / total}
    return Result(f"Generated {total} episodes in {len(counts)} splits, {steps / total:.1f} steps each.", metrics)


def make(job: Job) -> list[Episode]:
    """The episodes of a job."""
    from llarp.sim.rules import RuleWorld
    from llarp.tasks.generator import generate

    return list(generate(job.split, job.count, job.seed, job.config, job.start, world=RuleWorld()))


if __name__ == "__main__":
    main("episodes", run)
