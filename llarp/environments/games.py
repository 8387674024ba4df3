"""What BabyAI and Atari have in common: episodes that a layout and a seed give again, proved by an expert that plays.

Games begin alike more often than their seeds do. So the digest of the first view decides who may have an episode:
training or everything else, and no evaluated episode begins as one that was trained on.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llarp.config import RewardConfig
from llarp.environments.base import Environment
from llarp.errors import UserError
from llarp.files import file_aside
from llarp.sim.base import Playable
from llarp.sim.rewards import Tally

SCHEMA_VERSION = 1
_VERSION_KEY = b"llarp.games.version"
ATTEMPTS = 1000
"""Seeds that are tried for one episode before its generation is given up."""


@dataclass(frozen=True, slots=True)
class GameEpisode:
    """One instruction in a game that a layout and a seed set up. Fields as in `llarp.environments.base.AnyEpisode`."""

    episode_id: str
    split: str
    family: str
    template: str
    instruction: str
    layout: str
    seed: int
    """[0, 2**31) of everything random in the game's start."""
    plan: tuple[str, ...]

    @property
    def demonstration(self) -> tuple[str, ...]:
        """The expert's plan: it saw no more than the policy does, or plays by what is on the screen."""
        return self.plan

    @property
    def recorded(self) -> tuple[Any, ...]:
        """None is from a public release."""
        return ()


class Game(Playable):
    """A game that knows by itself how far its goal is reached."""

    success: bool
    """Whether the goal has been reached since the reset."""
    fraction: float
    """[0, 1] share of the goal reached so far."""
    lost: bool = False
    """Whether the goal can no longer be reached."""


class GameProgress(Tally):
    """Progress as the game tells it."""

    def __init__(self, world: Game, config: RewardConfig) -> None:
        """Args:
        world: has just been reset to an episode.
        config: what each event is worth.
        """
        super().__init__(config)
        self.world = world
        self._fraction = 0.0

    @property
    def fraction(self) -> float:
        """See `Tally.fraction`."""
        return 1.0 if self.success else self._fraction

    def _look(self) -> None:
        self.success = self.success or self.world.success
        self._fraction = max(self._fraction, self.world.fraction)


def name(split: str, number: int) -> str:
    """An episode's id."""
    return f"{split}-{number:06d}"


class GameEnvironment(Environment):
    """Generation, storage and progress of games."""

    def generate(self, split: str, count: int, start: int = 0) -> Iterator[GameEpisode]:
        """See `Environment.generate`; UserError when no seed gives an episode that the expert solves."""
        game = self.simulator()
        for number in range(start, start + count):
            yield self._episode(game, split, number)

    def _episode(self, game: Any, split: str, number: int) -> GameEpisode:
        for attempt in range(ATTEMPTS):
            key = [self.params.seed, list(self.splits).index(split), number, attempt]
            rng = np.random.default_rng(key)
            episode = self.attempt(game, split, number, int(rng.integers(2**31)), rng)
            if episode is not None:
                return episode
        raise UserError(
            f"none of {ATTEMPTS} seeds gives an episode that the expert solves in {self.horizon} actions",
            f"environment {self.name}, split {split}",
            "choose other levels or games",
        )

    @staticmethod
    def may_have(split: str, game: Playable) -> bool:
        """Whether a split may have an episode that begins with what a game shows now."""
        return bool(game.view_key()[0] % 2) == (split == "train")

    @abstractmethod
    def attempt(self, game: Any, split: str, number: int, seed: int, rng: np.random.Generator) -> GameEpisode | None:
        """The episode that a seed gives; None when the split may not have it or the expert fails.

        Args:
            game: what `simulator` returned; left in any state.
            split: a key of `splits`.
            number: of the episode.
            seed: of the game.
            rng: draws layout and wording.

        """

    def read(self, path: Path) -> list[GameEpisode]:
        """See `Environment.read`."""
        return read(path)

    def write(self, path: Path, episodes: Iterable[GameEpisode]) -> None:
        """See `Environment.write`."""
        write(path, episodes)

    def progress(self, world: Game) -> GameProgress:
        """As the game tells it."""
        return GameProgress(world, self.params.reward)


def write(path: Path, episodes: Iterable[GameEpisode]) -> None:
    """Writes one Parquet file (zstd), whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = dict.fromkeys(("episode_id", "split", "family", "template", "instruction", "layout"), pa.string())
    schema = pa.schema(
        {**text, "seed": pa.int64(), "plan": pa.list_(pa.string())},
        metadata={_VERSION_KEY: str(SCHEMA_VERSION).encode()},
    )
    rows = [{**asdict(episode), "plan": list(episode.plan)} for episode in episodes]
    with file_aside(path) as aside:
        pq.write_table(pa.Table.from_pylist(rows, schema), aside, compression="zstd")


def read(path: Path) -> list[GameEpisode]:
    """The episodes of a file, or of all files `part-*.parquet` of a folder, in order.

    Raises:
        UserError: a file is missing, damaged, foreign or of another version.

    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    do = "run the stage `episodes` again"
    files: Sequence[Path] = sorted(path.glob("part-*.parquet")) if path.is_dir() else [path]
    if not files:
        raise UserError("holds no episodes", path, do)
    episodes: list[GameEpisode] = []
    for file in files:
        try:
            table = pq.read_table(file)
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"no readable Parquet file: {error}", file, do) from error
        if (table.schema.metadata or {}).get(_VERSION_KEY) != str(SCHEMA_VERSION).encode():
            raise UserError(f"holds no episodes of games of version {SCHEMA_VERSION}", file, do)
        try:
            episodes += [GameEpisode(**{**row, "plan": tuple(row["plan"])}) for row in table.to_pylist()]
        except TypeError as error:
            raise UserError(f"holds what is no episode of a game: {error}", file, do) from error
    return episodes


def solve(game: Game, actions: Iterator[str], horizon: int) -> tuple[str, ...] | None:
    """Plays an expert's actions until the goal is reached; None when it loses, or the horizon or its wits end first.

    Args:
        game: has just been reset.
        actions: drawn one by one, each after the one before was carried out.
        horizon: most actions.

    """
    plan: list[str] = []
    for action in actions:
        game.apply(action)
        plan.append(action)
        if game.success:
            return tuple(plan)
        if game.lost or len(plan) == horizon:
            break
    return None
