"""Language Rearrangement as a `gymnasium` environment, registered as `llarp/Rearrangement-v0`.

`llarp.sim.batched.vector_env` steps many episodes at once.
"""

import string
from collections.abc import Sequence
from typing import Any, TypeVar

import gymnasium
import numpy as np

from llarp.config import CameraConfig, RewardConfig
from llarp.errors import UserError
from llarp.sim.base import Simulator
from llarp.sim.embedded import EmbeddedSimulator
from llarp.sim.rewards import Progress
from llarp.tasks.episode import HORIZON, Episode
from llarp.tasks.skills import SKILLS

ID = "llarp/Rearrangement-v0"
MAX_CHARACTERS = 1000
"""Longest instruction."""
T = TypeVar("T")


class Deck:
    """The numbers below `count` in random order, again and again, each time in another order.

    The order of round k depends on the key and on k alone, so `dealt` is all that has to be kept to go on later.
    """

    def __init__(self, count: int, key: Sequence[int]) -> None:
        """Args:
        count: at least 1.
        key: not negative; decides all orders.
        """
        self.count, self.key = count, tuple(key)
        self.dealt = 0
        """Numbers dealt so far, over all rounds; may be set."""
        self._round, self._order = -1, [0]

    def deal(self, num: int) -> list[int]:
        """The next `num` numbers."""
        numbers: list[int] = []
        while len(numbers) < num:
            played, place = divmod(self.dealt, self.count)
            if played != self._round:
                order = np.random.default_rng([*self.key, played]).permutation(self.count)
                self._round, self._order = played, order.tolist()
            part = self._order[place : place + num - len(numbers)]
            numbers += part
            self.dealt += len(part)
        return numbers


def some(episodes: Sequence[T]) -> Sequence[T]:
    """The episodes; UserError when there is none."""
    if not len(episodes):
        raise UserError("no episodes to play", do="generate some with `llarp run`, or choose another split")
    return episodes


class RearrangementEnv(gymnasium.Env[dict[str, Any], np.int64]):
    """One instruction, one head camera, 70 skills, 32 steps.

    Observation: `{"instruction": str, "image": uint8[H, W, 3]}`.
    Action: index into `llarp.tasks.skills.SKILLS`.
    Reward: see `llarp.sim.rewards.Progress`.
    Ends: terminated when the goal holds, truncated after `HORIZON` steps.
    Info: `success`, `progress` in [0, 1], `num_invalid` actions so far, `valid_actions` bool[70] (privileged),
    `episode_id`.
    Reset: the episodes come one after the other, in an order that a seed decides; `options={"episode": Episode}` plays
    that one.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 2}  # noqa: RUF012

    def __init__(
        self,
        episodes: Sequence[Episode],
        camera: CameraConfig,
        reward: RewardConfig,
        simulator: Simulator | None = None,
        render_mode: str | None = None,
    ) -> None:
        """Args:
        episodes: at least one.
        camera: of the embedded simulator; ignored when `simulator` is given.
        reward: weights of the rewards.
        simulator: where it happens; the embedded one when None.
        render_mode: rgb_array or None.

        Raises:
            UserError: when there is no episode.

        """
        self.episodes, self.reward, self.render_mode = some(episodes), reward, render_mode
        self.simulator = simulator or EmbeddedSimulator(camera)
        self.observation_space = gymnasium.spaces.Dict(
            {
                "instruction": gymnasium.spaces.Text(MAX_CHARACTERS, charset=string.printable),
                "image": gymnasium.spaces.Box(0, 255, self.simulator.image_shape, np.uint8),
            }
        )
        self.action_space = gymnasium.spaces.Discrete(len(SKILLS))
        self._deck: Deck | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts the next episode, or `options["episode"]`; a seed decides the order anew."""
        super().reset(seed=seed)
        episode = (options or {}).get("episode")
        if episode is None:
            if seed is not None or self._deck is None:
                self._deck = Deck(len(self.episodes), [int(self.np_random.integers(2**63))])
            episode = self.episodes[self._deck.deal(1)[0]]
        self.simulator.reset(episode)
        self.progress = Progress(self.simulator, self.reward)
        return self._observation(), self._info()

    def step(self, action: np.int64) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Tries one skill."""
        valid = self.simulator.apply(SKILLS[int(action)])
        reward = self.progress.step(valid)
        ended = self.progress.success
        return self._observation(), reward, ended, self.progress.num_steps >= HORIZON and not ended, self._info()

    def render(self) -> np.ndarray:
        """uint8[H, W, 3] image of the head camera."""
        return self.simulator.render()

    def _observation(self) -> dict[str, Any]:
        return {"instruction": self.progress.episode.instruction, "image": self.simulator.render()}

    def _info(self) -> dict[str, Any]:
        return {
            "success": self.progress.success,
            "progress": self.progress.fraction,
            "num_invalid": self.progress.num_invalid,
            "valid_actions": np.array([self.simulator.is_valid(skill) for skill in SKILLS]),
            "episode_id": self.progress.episode.episode_id,
        }


gymnasium.register(
    ID,
    entry_point="llarp.sim.env:RearrangementEnv",
    vector_entry_point="llarp.sim.batched.vector_env:RearrangementVectorEnv",
)
