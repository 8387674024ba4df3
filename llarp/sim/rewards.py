"""Rewards and bookkeeping of one episode (arXiv 2310.17722, section 4 and appendix)."""

from abc import ABC, abstractmethod
from typing import TypeVar

import numpy as np

from llarp.config import RewardConfig
from llarp.tasks.goals import satisfied
from llarp.tasks.world import World

Number = TypeVar("Number", float, np.ndarray)


def step_reward(config: RewardConfig, gained: Number, succeeded: bool | np.ndarray, valid: bool | np.ndarray) -> Number:
    """The reward of a step, or of many.

    Args:
        config: what each event is worth.
        gained: increase of the share of subgoals reached.
        succeeded: whether the goal holds for the first time.
        valid: whether the action was.

    """
    reward = config.slack + config.subgoal * gained + config.success * succeeded + config.invalid * (1 - valid)
    return reward  # type: ignore[return-value]


class Tally(ABC):
    """What has been reached so far in one episode, and the reward of each step.

    Deviation: the released code overwrites the penalty of invalid actions, so that it never applies. Here it does;
    `RewardConfig.invalid = 0` gives the released behaviour.
    """

    def __init__(self, config: RewardConfig) -> None:
        """Args:
        config: what each event is worth.
        """
        self.config = config
        self.success = False
        """Whether the goal has held after any step."""
        self.num_invalid = 0
        self.num_steps = 0
        self.total = 0.0
        """Sum of rewards."""

    @property
    @abstractmethod
    def fraction(self) -> float:
        """Share in [0, 1] of the goal ever reached; 1 on success."""

    @abstractmethod
    def _look(self) -> None:
        """Brings `success` and `fraction` up to date after a valid action."""

    def step(self, valid: bool) -> float:
        """The reward of the step that was just taken; `valid`: whether its action was valid."""
        before, succeeded = self.fraction, self.success
        self.num_steps += 1
        self.num_invalid += not valid
        if valid:  # an invalid action changes nothing
            self._look()
        reward = float(step_reward(self.config, self.fraction - before, self.success and not succeeded, valid))
        self.total += reward
        return reward


class Progress(Tally):
    """Goal and subgoals of an episode of Language Rearrangement."""

    def __init__(self, world: World, config: RewardConfig) -> None:
        """Args:
        world: has just been reset to the episode.
        config: what each event is worth.
        """
        super().__init__(config)
        self.world, self.episode = world, world.episode
        self._reached = [False] * len(self.episode.subgoals)

    @property
    def fraction(self) -> float:
        """Share in [0, 1] of the subgoals ever reached, in any order; 1 on success."""
        if self.success:
            return 1.0
        return sum(self._reached) / len(self._reached) if self._reached else 0.0

    def _look(self) -> None:
        self._reached = [
            reached or satisfied(goal, self.world)
            for reached, goal in zip(self._reached, self.episode.subgoals, strict=True)
        ]
        self.success = self.success or satisfied(self.episode.goal, self.world)
