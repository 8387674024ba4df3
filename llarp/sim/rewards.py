"""Rewards and bookkeeping of one episode (arXiv 2310.17722, section 4 and appendix)."""

from llarp.config import RewardConfig
from llarp.tasks.goals import satisfied
from llarp.tasks.world import World


class Progress:
    """What has been reached so far, and the reward of each step.

    Deviation: the released code overwrites the penalty of invalid actions, so that it never applies. Here it does;
    `RewardConfig.invalid = 0` gives the released behaviour.
    """

    def __init__(self, world: World, config: RewardConfig) -> None:
        """Args:
        world: has just been reset to the episode.
        config: what each event is worth.
        """
        self.world, self.config, self.episode = world, config, world.episode
        self.success = False
        """Whether the goal has held after any step."""
        self.num_invalid = 0
        self.num_steps = 0
        self.total = 0.0
        """Sum of rewards."""
        self._reached = [False] * len(self.episode.subgoals)

    @property
    def fraction(self) -> float:
        """Share in [0, 1] of the subgoals ever reached, in any order; 1 on success."""
        if self.success:
            return 1.0
        return sum(self._reached) / len(self._reached) if self._reached else 0.0

    def step(self, valid: bool) -> float:
        """The reward of the step that the world has just taken; `valid`: whether its skill was valid."""
        before, succeeded = self.fraction, self.success
        self.num_steps += 1
        self.num_invalid += not valid
        if valid:  # an invalid skill changes nothing
            self._reached = [
                reached or satisfied(goal, self.world)
                for reached, goal in zip(self._reached, self.episode.subgoals, strict=True)
            ]
            self.success = succeeded or satisfied(self.episode.goal, self.world)
        reward = self.config.slack
        reward += self.config.subgoal * (self.fraction - before)
        reward += self.config.success * (self.success and not succeeded)
        reward += self.config.invalid * (not valid)
        self.total += reward
        return reward
