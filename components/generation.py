"""Generated episodes as shards: work for many processes that can be killed at any time and goes on where it was."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.parallel import map_jobs
from llarp.config import EpisodesConfig
from llarp.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

JOB_EPISODES = 250
"""Episodes per piece of work; a divisor of a shard's."""
HOW: frozenset[str] = frozenset({"extra", "workers", "backend", "address"})
"""Fields of EpisodesConfig that say how episodes are made or where more come from, not which are generated."""


@dataclass(frozen=True)
class Job:
    """Episodes `start` to `start + count - 1` of a split."""

    split: str
    start: int
    count: int
    seed: int
    config: EpisodesConfig


def make(job: Job) -> "pa.Table":
    """The episodes of a job as columns."""
    from llarp.sim.rules import RuleWorld
    from llarp.tasks.data.columns import to_table
    from llarp.tasks.generator import generate

    return to_table(list(generate(job.split, job.count, job.seed, job.config, job.start, world=RuleWorld())))


def write_shards(folder: Path, seed: int, config: EpisodesConfig) -> None:
    """Writes the shards of every split into a folder, save those that are there already.

    A shard appears whole or not at all, and what it holds depends on the seed, its number and `config` alone.
    """
    import pyarrow as pa

    from llarp.tasks.data import store

    for half_written in folder.glob("*/.*"):
        shutil.rmtree(half_written)
    todo = [shard for shard in _shards(folder, seed, config) if not _is_whole(*shard)]
    jobs = [job for _, jobs in todo for job in jobs]
    done = map_jobs(
        make,
        jobs,
        config.workers,
        "episodes generated",
        lambda job: job.count,
        "episode",
        config.backend,
        config.address,
    )
    for path, parts in todo:
        store.write_table(path, pa.concat_tables(islice(done, len(parts))))
    next(done, None)  # lets the bar and the processes end


def write_extra(folder: Path, config: EpisodesConfig) -> int:
    """Adds the episodes of `config.extra` to the training shards of a finished generation; returns how many."""
    from llarp.sim.rules import RuleWorld
    from llarp.tasks.data.additions import additions
    from llarp.tasks.data.store import SHARD_EPISODES, Episodes, shard_path, write

    generated = -(-config.train // SHARD_EPISODES)
    for path in folder.glob("train/part-*.parquet"):
        if path not in {shard_path(folder / "train", number) for number in range(generated)}:
            path.unlink()  # of an earlier attempt
    seen = set(Episodes.open(folder / "train").column("content"))
    new = additions(Path(config.extra), seen, RuleWorld())
    number, added = generated, 0
    while part := list(islice(new, SHARD_EPISODES)):
        added += write(shard_path(folder / "train", number), part)
        number += 1
    return added


def fingerprint(seed: int, config: EpisodesConfig) -> str:
    """Names the episodes that this code makes of these settings: shards under another name are of no use."""
    from llarp.tasks.data.columns import SCHEMA_VERSION

    settings = {"seed": seed, "schema": SCHEMA_VERSION, **which(config)}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in code_files():
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def which(config: EpisodesConfig) -> dict[str, Any]:
    """The parameters that decide which episodes there are."""
    return config.model_dump(exclude=set(HOW))


def code_files() -> list[Path]:
    """The files that decide what is drawn: those that dvc.yaml names for the stage, and what a lab has added."""
    import llarp
    from llarp.scenes.extension import folder
    from llarp.scenes.layouts import LAYOUTS_VARIABLE

    root = Path(llarp.__file__).parent
    found = [path for part in ("scenes", "tasks") for path in (root / part).rglob("*") if path.suffix != ".pyc"]
    found += [root / "sim" / "rules.py"]
    if (own := folder()) is not None:
        found += [path for path in own.iterdir() if path.suffix in (".toml", ".json", ".py")]
    if more := os.environ.get(LAYOUTS_VARIABLE):
        found.append(Path(more))
    return sorted(path for path in found if path.is_file())


def clear_others(folder: Path) -> None:
    """Removes what unfinished generations of other settings have left beside a folder."""
    if folder.parent.is_dir():
        for other in folder.parent.iterdir():
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)


def _shards(folder: Path, seed: int, config: EpisodesConfig) -> Iterator[tuple[Path, list[Job]]]:
    from llarp.tasks.data.store import SHARD_EPISODES, shard_path
    from llarp.tasks.splits import SPLITS

    for split in SPLITS:
        total = config.train if split == "train" else config.per_split
        for number, first in enumerate(range(0, total, SHARD_EPISODES)):
            stop = min(first + SHARD_EPISODES, total)
            yield (
                shard_path(folder / split, number),
                [
                    Job(split, start, min(JOB_EPISODES, stop - start), seed, config)
                    for start in range(first, stop, JOB_EPISODES)
                ],
            )


def _is_whole(path: Path, jobs: list[Job]) -> bool:
    from llarp.tasks.data.store import Episodes

    try:
        return path.exists() and len(Episodes.open(path)) == sum(job.count for job in jobs)
    except UserError:
        return False
