"""Stage `release`: imports the benchmark's released episodes, if a folder of them is named."""

from functools import partial
from pathlib import Path

from components.parallel import map_jobs
from components.paths import Paths
from components.stage import OnMetrics, Result, ignore, main
from llarp.config import Params
from llarp.tasks.episode import Episode

_CHUNK = 20


def run(params: Params, paths: Paths, on_metrics: OnMetrics = ignore) -> Result:
    """Writes the imported, proved episodes; an empty, valid file when `release.source` is null."""
    from llarp.tasks.data import store

    source = params.release.source
    if source is None:
        store.write(paths.release, [])
        return Result("No released episodes: release.source is null. Wrote an empty data set.", {"episodes": 0})
    episodes, unsolved = read_proved([Path(source)], params.episodes.workers)
    store.write(paths.release, episodes)
    metrics = {"episodes": len(episodes), "unsolved": len(unsolved)}
    lines = [f"Imported {len(episodes)} released episodes from {source}.", *unsolved]
    return Result("\n".join(lines), metrics)


def read_proved(sources: list[Path], workers: int) -> tuple[list[Episode], list[str]]:
    """Reads released files and lets the expert prove each episode.

    Returns:
        The solvable episodes in order, and a line with the reason for each of the rest.

    """
    from llarp.tasks.released.release import read

    episodes = read(sources)
    jobs = [episodes[start : start + _CHUNK] for start in range(0, len(episodes), _CHUNK)]
    solved: list[Episode] = []
    unsolved: list[str] = []
    for part, reasons in map_jobs(prove_all, jobs, workers, "released episodes proved", len, "episode"):
        solved += part
        unsolved += reasons
    return solved, unsolved


def prove_all(episodes: list[Episode]) -> tuple[list[Episode], list[str]]:
    """The episodes that the expert solves, with its plans, and why it does not solve the rest."""
    from llarp.sim.rules import RuleWorld
    from llarp.tasks.expert import Unsolvable, prove

    attempt = partial(prove, RuleWorld())
    solved, unsolved = [], []
    for episode in episodes:
        try:
            solved.append(attempt(episode))
        except Unsolvable as error:
            unsolved.append(f"{episode.episode_id} left out: {error}")
    return solved, unsolved


if __name__ == "__main__":
    main("release", run)
