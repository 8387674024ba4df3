"""Episodes of games (BabyAI, Atari): what the stage `episodes` does where no apartments are furnished."""

from dataclasses import dataclass
from itertools import islice
from typing import Any

from components.parallel import map_jobs
from components.paths import Paths
from components.stage import Result
from llarp.environments.base import Environment

JOB_EPISODES = 20
"""Episodes per piece of work."""


@dataclass(frozen=True)
class Job:
    """Episodes `start` to `start + count - 1` of a split."""

    environment: Environment
    split: str
    start: int
    count: int


def make(job: Job) -> list[Any]:
    """The episodes of a job."""
    return list(job.environment.generate(job.split, job.count, job.start))


def run(environment: Environment, paths: Paths) -> Result:
    """Writes a folder with one file per split: all or nothing. They do not depend on the number of workers."""
    from llarp.files import folder_aside
    from llarp.tasks.data.store import shard_path

    config = environment.params.episodes
    environment.simulator()  # what is not installed is told here, in one line
    jobs = {
        split: [
            Job(environment, split, start, min(JOB_EPISODES, total - start)) for start in range(0, total, JOB_EPISODES)
        ]
        for split in environment.splits
        for total in [config.train if split == "train" else config.per_split]
    }
    everything = [job for some in jobs.values() for job in some]
    done = map_jobs(
        make, everything, config.workers, "episodes generated", lambda job: job.count, "episode",
        config.backend, config.address,
    )  # fmt: skip
    steps = 0
    with folder_aside(paths.episodes) as folder:
        for split, some in jobs.items():
            episodes = [episode for part in islice(done, len(some)) for episode in part]
            steps += sum(len(episode.demonstration) for episode in episodes)
            environment.write(shard_path(folder / split, 0), episodes)
        next(done, None)  # lets the bar and the processes end
    total = sum(job.count for job in everything)
    metrics = {"episodes": total, "demonstration_steps": steps / total}
    return Result(f"Generated {total} episodes in {len(jobs)} splits, {steps / total:.1f} steps each.", metrics)
