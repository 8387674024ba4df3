"""Encodes in advance what is going to be seen, each view once, on several processes and machines.

What is seen in advance are walks: an episode and actions; the views are those before each action. First every walk is
replayed for its view keys alone: nothing is drawn. Every process takes its share and all learn the keys of all. Then
the distinct views, in the order of the episodes, are cut into chunks, whose content does not depend on the number of
processes, nor on what an earlier run that was killed had done. Each process takes its share of the chunks; of a chunk
it reaches the states again whose views the store does not have, draws and encodes them and adds them as one shard.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from llarp.environments.base import AnyEpisode
from llarp.progress import Progress, track
from llarp.sim.base import Playable
from llarp.vision.base import Encoder, FeatureStore
from llarp.vision.index import first_occurrences
from llarp.vision.keys import KEY_BYTES, as_keys
from llarp.vision.shard import most_rows
from llarp.vision.store import ShardStore, add_shard, index_shards

if TYPE_CHECKING:
    from llarp.ranks import Ranks

PART_EPISODES = 64
"""Episodes replayed for their keys per piece of work."""
CHUNKS = 64
"""Pieces of work that the views are cut into, so that processes end at nearly the same time,"""
FEWEST_VIEWS, MOST_VIEWS = 256, 4096
"""with so many views in each."""

P = TypeVar("P", bound=Playable)

Walk = Sequence[Any]
"""Actions, from an episode's beginning."""
Walks = Callable[[int], Sequence[Walk]]
"""Given the number of an episode, its walks."""


@dataclass(frozen=True)
class Warmed:
    """What `warm` did, over all processes of this machine."""

    keys: list[list[list[bytes]]]
    """Per episode and walk, the key of what is seen before each action."""
    num_distinct: int
    """Views that differ."""
    num_encoded: int
    """Of them drawn and encoded now; the others were stored already."""
    seconds: float
    """Wall-clock time from the first view drawn to the last shard written."""


class _Views:
    """M views by where they occur first: in the order of episodes, walks and steps."""

    def __init__(self, keys: np.ndarray, episode: np.ndarray, walk: np.ndarray, step: np.ndarray) -> None:
        self.keys, self.episode, self.walk, self.step = keys, episode, walk, step

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, which: Any) -> "_Views":
        return _Views(self.keys[which], self.episode[which], self.walk[which], self.step[which])


def replay(simulator: Playable, episode: AnyEpisode, actions: Walk | None = None) -> Iterator[int]:
    """Puts a simulator before each action in turn, by default of the demonstration; yields the action's number."""
    simulator.reset(episode)
    for step, action in enumerate(episode.demonstration if actions is None else actions):
        yield step
        simulator.apply(action)


def warm(
    episodes: Sequence[AnyEpisode],
    walks: Walks,
    simulator: Playable,
    encoder: Encoder,
    folder: Path,
    batch_size: int,
    ranks: "Ranks",
    known: FeatureStore | None = None,
    part: tuple[int, int] = (0, 1),
) -> Warmed:
    """Adds all views of the walks to a feature store that stands; called by every rank.

    A run that is killed leaves whole shards, and the next one goes on from them. Several may warm one store at once.

    Args:
        episodes: may be read lazily; they are asked for in order.
        walks: of each; the same in every rank.
        simulator: this rank's.
        encoder: frozen, the one that the store is for.
        folder: of the store.
        batch_size: images per call of the encoder.
        ranks: the processes of this machine.
        known: features of some views, perhaps, so that those need not be encoded; None: of none.
        part: (number, count) of machines that share the chunks out among themselves.

    Raises:
        UserError: a state cannot be reached, or the store cannot be written to. What was whole before is still there.

    """
    walker = _Walker(episodes, walks, simulator)
    keys = walker.keys(ranks)
    views = _distinct(keys)
    of_machine = chunks(views, encoder.num_tokens, encoder.dim)[part[0] :: part[1]]
    mine = of_machine[ranks.rank :: ranks.count]
    store = ShardStore.open(folder, encoder, verify=False)
    mine = [chunk[~store.has(chunk.keys)] for chunk in mine]

    def encode() -> int:
        num_encoded = 0
        title = "views encoded" if ranks.count == 1 else f"views encoded, by the first of {ranks.count} processes"
        with Progress(title, sum(map(len, mine)), "view", ranks.is_first) as progress:
            for chunk in mine:
                if len(chunk):
                    num_encoded += _encode(chunk, walker, encoder, folder, batch_size, known)
                progress.update(len(chunk))
        return num_encoded

    begun_s = time.perf_counter()
    num_encoded = sum(ranks.gather(ranks.alike(encode)))
    seconds = time.perf_counter() - begun_s
    ranks.alike(lambda: index_shards(folder) if ranks.is_first else None)
    return Warmed(keys, len(views), num_encoded, seconds)


def chunks(views: _Views, num_tokens: int, dim: int) -> list[_Views]:
    """The pieces of work."""
    size = min(max(len(views) // CHUNKS, FEWEST_VIEWS), MOST_VIEWS, most_rows(num_tokens, dim))
    return [views[first : first + size] for first in range(0, len(views), size)]


class _Walker:
    """Goes the walks of episodes in a simulator."""

    def __init__(self, episodes: Sequence[AnyEpisode], walks: Walks, simulator: Playable) -> None:
        self.episodes, self.walks, self.simulator = episodes, walks, simulator

    def keys(self, ranks: "Ranks") -> list[list[list[bytes]]]:
        """Per episode and walk the keys of all views; each rank replays every so-maniest part of the episodes."""
        told = [iter(_parts(data)) for data in ranks.gather_bytes(_joined(ranks.alike(lambda: self._replay(ranks))))]
        keys: list[list[list[bytes]]] = []
        for number in range(len(self.episodes)):
            rank = number // PART_EPISODES % ranks.count
            keys.append([_cut(next(told[rank])) for _ in self.walks(number)])
        return keys

    def images(self, views: _Views) -> Iterator[np.ndarray]:
        """uint8[H, W, 3] images of the views, in order; every walk is gone once, and no further than needed."""
        starts = np.flatnonzero(np.diff(views.episode, prepend=-1) | np.diff(views.walk, prepend=-1))
        for first, end in zip(starts, [*starts[1:], len(views)], strict=True):
            number, walk = int(views.episode[first]), int(views.walk[first])
            wanted = dict(zip(views.step[first:end].tolist(), views.keys[first:end], strict=True))
            episode = self.episodes[number]
            for step in replay(self.simulator, episode, self.walks(number)[walk]):
                if step in wanted:
                    if self.simulator.view_key() != wanted.pop(step).tobytes():
                        raise RuntimeError(f"{episode.episode_id}: step {step} looks different the second time")
                    yield self.simulator.render()
                    if not wanted:
                        break

    def _replay(self, ranks: "Ranks") -> list[bytes]:
        """The keys of this rank's parts, joined walk by walk."""
        mine = range(0, len(self.episodes), PART_EPISODES)[ranks.rank :: ranks.count]
        found = []
        for first in track(mine, "view keys", len(mine), "part", ranks.is_first):
            for number, episode in enumerate(self.episodes[first : first + PART_EPISODES], first):
                for walk in self.walks(number):
                    found.append(b"".join(self.simulator.view_key() for _ in replay(self.simulator, episode, walk)))
        return found


def _joined(parts: Sequence[bytes]) -> bytes:
    """Parts as one, to be taken apart by `_parts`."""
    sizes = np.array([len(parts), *map(len, parts)], "<u4")
    return sizes.tobytes() + b"".join(parts)


def _parts(data: bytes) -> Iterator[bytes]:
    (count,) = np.frombuffer(data[:4], "<u4")
    sizes = np.frombuffer(data[4 : 4 + 4 * int(count)], "<u4").astype(int)
    ends = 4 + 4 * int(count) + np.cumsum(sizes)
    return (data[end - size : end] for end, size in zip(ends, sizes, strict=True))


def _cut(data: bytes) -> list[bytes]:
    return [data[start : start + KEY_BYTES] for start in range(0, len(data), KEY_BYTES)]


def _distinct(keys: Sequence[Sequence[Sequence[bytes]]]) -> _Views:
    """Each view where it occurs first."""
    flat = as_keys([key for of_one in keys for steps in of_one for key in steps])
    counts = [len(steps) for of_one in keys for steps in of_one]
    numbers = np.repeat(np.arange(len(keys)), [len(of_one) for of_one in keys])
    walk_numbers = np.array([walk for of_one in keys for walk in range(len(of_one))], int)
    steps = np.concatenate([np.arange(count) for count in counts]) if counts else np.empty(0, int)
    places = _Views(flat, np.repeat(numbers, counts), np.repeat(walk_numbers, counts), steps)
    return places[first_occurrences(flat)[0]]


def _encode(
    chunk: _Views, walker: _Walker, encoder: Encoder, folder: Path, batch_size: int, known: FeatureStore | None
) -> int:
    """Adds the shard of a chunk; returns how many views were encoded for it."""
    features = np.empty((len(chunk), encoder.num_tokens, encoder.dim), np.float16)
    found = np.zeros(len(chunk), bool)
    if known is not None:
        features[:], found = known.get(chunk.keys)
    absent = np.flatnonzero(~found)
    images = walker.images(chunk[absent])
    for first in range(0, len(absent), batch_size):
        places = absent[first : first + batch_size]
        features[places] = encoder.encode_halves(np.stack([next(images) for _ in places]))
    add_shard(folder, chunk.keys, features)
    return len(absent)


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
