"""Encodes every view of every demonstration, each once, before training starts.

First each demonstration is replayed for its view keys alone: nothing is drawn. Then the distinct views, grouped by
layout so that a process compiles an apartment once, are cut into chunks of fixed content. A process takes a
chunk, reaches its states again, draws and encodes them and writes one shard. So neither the features nor the files
depend on the number of processes.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from llarp.environments.base import AnyEpisode
from llarp.files import folder_aside
from llarp.progress import Progress, track
from llarp.sim.base import Playable
from llarp.vision.encoder import ViTEncoder, load_encoder
from llarp.vision.memory import as_keys, first_occurrences
from llarp.vision.store import Shard, ShardStore, register_shards, write_shard

CHUNK_EPISODES = 128
"""Episodes replayed for their keys per piece of work."""
CHUNK_VIEWS = 1024
"""Views per shard."""

MakeSimulator = Callable[[], Playable]
"""Makes what episodes are played in; other processes are given it."""


P = TypeVar("P", bound=Playable)


@dataclass(frozen=True)
class Visit:
    """The views of one episode that fall into one chunk."""

    number: int
    """Of the episode."""
    views: tuple[tuple[int, bytes], ...]
    """(actions taken before it, key) of each, in order."""


def replay(simulator: Playable, episode: AnyEpisode) -> Iterator[int]:
    """Puts a simulator before each action of a demonstration in turn; yields the action's number."""
    simulator.reset(episode)
    for step, skill in enumerate(episode.demonstration):
        yield step
        simulator.apply(skill)


class _Worker:
    """What a process needs: the episodes, a simulator and the encoder."""

    def __init__(
        self,
        episodes: Sequence[AnyEpisode],
        make: MakeSimulator,
        encoder: ViTEncoder,
        batch_size: int,
    ) -> None:
        self.episodes, self.simulator, self.encoder, self.batch_size = episodes, make(), encoder, batch_size

    def keys(self, part: slice) -> list[list[bytes]]:
        return [[self.simulator.view_key() for _ in replay(self.simulator, each)] for each in self.episodes[part]]

    def encode(self, visits: Sequence[Visit], folder: Path) -> Shard:
        """Writes the shard of a chunk; the last batch may be smaller."""
        keys: list[bytes] = []
        batch: list[np.ndarray] = []
        features: list[np.ndarray] = []
        for image, key in self._draw(visits):
            keys.append(key)
            batch.append(image)
            if len(batch) == self.batch_size:
                features.append(self.encoder.encode(np.stack(batch)).astype(np.float16))
                batch.clear()
        if batch:
            features.append(self.encoder.encode(np.stack(batch)).astype(np.float16))
        return write_shard(folder, as_keys(keys), np.concatenate(features))

    def _draw(self, visits: Sequence[Visit]) -> Iterator[tuple[np.ndarray, bytes]]:
        for visit in visits:
            wanted = dict(visit.views)
            episode = self.episodes[visit.number]
            for step in replay(self.simulator, episode):
                if step in wanted:
                    if self.simulator.view_key() != wanted[step]:
                        raise RuntimeError(f"{episode.episode_id}: step {step} looks different the second time")
                    yield self.simulator.render(), wanted.pop(step)
                    if not wanted:
                        break


_WORKER: _Worker
"""This process's; set once by `_start`."""


def _start(episodes: Sequence[AnyEpisode], make: MakeSimulator, encoder: Path, batch_size: int) -> None:
    global _WORKER
    import torch

    torch.set_num_threads(1)
    _WORKER = _Worker(episodes, make, load_encoder(encoder), batch_size)


def _keys(part: slice) -> list[list[bytes]]:
    return _WORKER.keys(part)


def _encode(visits: Sequence[Visit], folder: Path) -> Shard:
    return _WORKER.encode(visits, folder)


@contextmanager
def _mapping(workers: int, *setup: Any) -> Iterator[Callable[..., Iterator[Any]]]:
    """Something like `map` that spreads its calls over processes; with one worker it is `map` in this process."""
    if workers == 1:
        _start(*setup)
        yield map
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), _start, setup) as pool:
        yield pool.map


def warm(
    episodes: Sequence[AnyEpisode],
    encoder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    make: MakeSimulator,
    batch_size: int,
    workers: int,
) -> list[list[bytes]]:
    """Writes the feature store of all views of the episodes' demonstrations: whole or not at all.

    Args:
        episodes: with demonstrations; each process gets all of them, so large sets are best read lazily.
        encoder: folder of the frozen encoder; every process loads it.
        out: folder of the store; an older one is replaced.
        make: makes the simulator of a process; importable by name where there are several processes.
        batch_size: images per call of the encoder.
        workers: processes, one thread each; the files do not depend on it.

    Returns:
        Per episode the key of what is seen before each action.

    """
    with folder_aside(out) as folder:
        store = ShardStore.create(folder, load_encoder(encoder))
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve the other processes
        with _mapping(workers, episodes, make, Path(encoder), batch_size) as map_all:
            parts = [slice(start, start + CHUNK_EPISODES) for start in range(0, len(episodes), CHUNK_EPISODES)]
            per_part = track(map_all(_keys, parts), "view keys", len(parts), "part")
            keys = [episode_keys for part in per_part for episode_keys in part]
            chunks = plan(episodes, keys)
            shards = []
            with Progress("views encoded", sum(map(_num_views, chunks)), "view") as progress:
                for chunk, shard in zip(chunks, map_all(_encode, chunks, [folder] * len(chunks)), strict=True):
                    shards.append(shard)
                    progress.update(_num_views(chunk))
        register_shards(store.folder, shards)
    return keys


def plan(episodes: Sequence[AnyEpisode], keys: Sequence[Sequence[bytes]]) -> list[list[Visit]]:
    """The chunks of work: each distinct view once, where it first occurs, layout by layout."""
    places = [(number, step) for number, steps in enumerate(keys) for step in range(len(steps))]
    if not places:
        return []
    first, _ = first_occurrences(as_keys([key for steps in keys for key in steps]))
    layouts = [episode.layout for episode in episodes]
    distinct = sorted((places[place] for place in first), key=lambda place: (layouts[place[0]], *place))
    chunks = []
    for start in range(0, len(distinct), CHUNK_VIEWS):
        views: dict[int, list[tuple[int, bytes]]] = {}
        for number, step in distinct[start : start + CHUNK_VIEWS]:
            views.setdefault(number, []).append((step, keys[number][step]))
        chunks.append([Visit(number, tuple(steps)) for number, steps in views.items()])
    return chunks


def _num_views(chunk: Sequence[Visit]) -> int:
    return sum(len(visit.views) for visit in chunk)


def distinct_views(episodes: Sequence[AnyEpisode], simulator: P, seed: int) -> Iterator[P]:
    """Shows a simulator at views of demonstrations, none twice, in an order that the seed decides."""
    seen: set[bytes] = set()
    for number in np.random.default_rng(seed).permutation(len(episodes)):
        for _ in replay(simulator, episodes[number]):
            key = simulator.view_key()
            if key not in seen:
                seen.add(key)
                yield simulator


def sample_frames(episodes: Sequence[AnyEpisode], simulator: Playable, count: int, seed: int) -> np.ndarray:
    """uint8[N, H, W, 3] distinct frames of demonstrations; N is `count`, or fewer where there are fewer."""
    frames = np.empty((count, *simulator.image_shape), np.uint8)
    drawn = 0
    with Progress("frames drawn", count, "frame") as progress:
        for place, view in enumerate(distinct_views(episodes, simulator, seed)):
            if place == count:
                break
            frames[place] = view.render()
            drawn += 1
            progress.update()
    return frames[:drawn]
