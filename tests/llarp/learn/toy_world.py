"""A world for tests of reinforcement learning: a number is shown, and the right action depends on the instruction.

`Say it`: the action must be the number shown; `Say ten more`: ten more than it. Two right actions in a row reach the
goal; a wrong one starts anew.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from llarp.environments.base import Environment, OwnSplit
from llarp.sim.base import Playable
from llarp.sim.rewards import Tally
from llarp.vision.base import Encoder
from llarp.vision.memory import MemoryStore
from llarp.vision.views import ViewFeatures

SHOWN, WANTED, HORIZON = 4, 2, 6
ASKED = {"it": ("Say it", 0), "more": ("Say ten more than it, please", 10)}


@dataclass(frozen=True)
class ToyEpisode:
    """A seed and what is asked for; `family` is a key of ASKED."""

    episode_id: str
    family: str
    seed: int
    split: str = "train"
    template: str = "toy"
    layout: str = "toy"
    plan: tuple[Any, ...] = ()
    demonstration: tuple[Any, ...] = ()
    recorded: tuple[Any, ...] = ()

    @property
    def instruction(self) -> str:
        return ASKED[self.family][0]


class ToyWorld(Playable):
    """Shows a number as the brightness of one pixel among 16."""

    image_shape = (1, 16, 3)

    def reset(self, episode: ToyEpisode) -> None:
        self.episode, self.step, self.right = episode, 0, 0

    @property
    def number(self) -> int:
        return int(np.random.default_rng([self.episode.seed, self.step]).integers(SHOWN))

    def apply(self, action: int) -> bool:
        valid = action == self.number + ASKED[self.episode.family][1]
        self.right = self.right + 1 if valid else 0
        self.step += 1
        return valid

    def render(self) -> np.ndarray:
        image = np.zeros(self.image_shape, np.uint8)
        image[0, self.number] = 255
        return image

    def view_key(self) -> bytes:
        return hashlib.md5(self.render().tobytes()).digest()


class ToyTally(Tally):
    """Half the subgoal for each right action in a row."""

    def __init__(self, world: ToyWorld, config: Any) -> None:
        super().__init__(config)
        self.world, self.best = world, 0

    @property
    def fraction(self) -> float:
        return self.best / WANTED

    def _look(self) -> None:
        self.best = max(self.best, self.world.right)
        self.success = self.best >= WANTED


class ToyAdvice:
    """What is right now."""

    def __init__(self, world: ToyWorld) -> None:
        self.world = world

    @property
    def action(self) -> int:
        return self.world.number + ASKED[self.world.episode.family][1]

    def note(self, action: int, valid: bool) -> None:
        """The world knows."""


class ToyEncoder(Encoder):
    """The pixels themselves."""

    identity, num_tokens, dim = "toy", 1, 16

    def encode(self, images: np.ndarray) -> np.ndarray:
        return images[:, :, :, 0].astype(np.float32) / 255


class ToyEnvironment(Environment):
    """Twenty actions, two families."""

    name: ClassVar[Any] = "toy"
    title: ClassVar[str] = "Toy"
    actions: ClassVar[tuple[int, ...]] = tuple(range(20))
    horizon: ClassVar[int] = HORIZON
    splits: ClassVar[Any] = {"train": OwnSplit("Train", "nothing")}

    def episodes(self, count: int = 50) -> list[ToyEpisode]:
        return [ToyEpisode(f"toy-{number}", list(ASKED)[number % 2], number) for number in range(count)]

    def generate(self, split, count, start=0):
        return iter(self.episodes(count))

    def read(self, path):
        return self.episodes()

    def write(self, path, episodes):
        raise NotImplementedError

    def simulator(self) -> ToyWorld:
        return ToyWorld()

    def adviser(self):
        return ToyAdvice

    def progress(self, world: ToyWorld) -> ToyTally:
        return ToyTally(world, self.params.reward)


def toy_views() -> ViewFeatures:
    return ViewFeatures(ToyEncoder(), MemoryStore(1, 16), MemoryStore(1, 16))
