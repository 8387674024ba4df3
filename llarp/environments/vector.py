"""N episodes side by side in any environment family: what reinforcement learning plays in, resumably.

An episode under way is its number and the actions so far, and the order of episodes is a key and the number dealt. So
a state is a few numbers, and whoever is given it goes on exactly as if nothing had happened.

Shapes: N worlds, K of them, T frames; a frame is P tokens of D numbers.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from llarp.environments.base import Environment
from llarp.sim.env import Deck, some
from llarp.sim.rewards import Tally
from llarp.vision.views import AFTER_SKILL, FIRST_VIEW, LATER_EPOCH, ViewFeatures


@dataclass(frozen=True)
class Ended:
    """An episode that has just ended."""

    episode_id: str
    family: str
    success: bool
    steps: int
    num_invalid: int
    """Invalid actions."""
    total_reward: float


@dataclass(frozen=True)
class Transition:
    """What a step brought."""

    rewards_N: np.ndarray
    """float64[N]."""
    terminated_N: np.ndarray
    """bool[N] whether the goal was reached. A game that is lost goes on to its horizon, as in evaluation."""
    truncated_N: np.ndarray
    """bool[N] whether the horizon came without success: no end of the world, its value is to be bootstrapped."""
    final_features_KPD: np.ndarray
    """float16[K, P, D] what the K truncated worlds saw last, in their order."""
    ended: list[Ended]
    """Terminated and truncated ones in the order of their worlds."""


class Task(NamedTuple):
    """What is asked for in an episode."""

    episode_id: str
    family: str
    instruction: str


class VectorEnvironment(ABC):
    """N worlds; where an episode ends, the next one of a shuffled order begins in the same step."""

    def __init__(
        self,
        episodes: Sequence[Any],
        num_envs: int,
        features: ViewFeatures,
        seed_key: Sequence[int],
        environment: Environment,
    ) -> None:
        """Begins the first N episodes.

        Args:
            episodes: see `Environment.vector`, also for what is raised.
            num_envs: N.
            features: of what is seen.
            seed_key: decides the order of the episodes.
            environment: that they belong to.

        """
        self.num_envs, self.token_shape = num_envs, features.shape
        self._features, self._horizon = features, environment.horizon
        self._deck = Deck(len(some(episodes)), seed_key)
        self._every = np.arange(num_envs)
        self._numbers = [0] * num_envs
        self._tasks = [Task("", "", "")] * num_envs
        self._actions: list[list[int]] = [[] for _ in range(num_envs)]
        self._totals_N = np.zeros(num_envs)
        self._is_changed_N = np.zeros(num_envs, bool)
        """Whether anything was done in the episode but to go about."""
        self._changes_A = np.array([not environment.goes_about(action) for action in environment.actions])
        self._seen_NPD: np.ndarray | None = None
        self._start(self._every, self._deck.deal(num_envs))

    @property
    def instructions(self) -> list[str]:
        """N texts, of the present episodes."""
        return [task.instruction for task in self._tasks]

    @property
    def families(self) -> list[str]:
        """N kinds of task, of the present episodes."""
        return [task.family for task in self._tasks]

    @property
    def actions_so_far(self) -> list[list[int]]:
        """N lists of the actions taken in the present episodes."""
        return [list(actions) for actions in self._actions]

    def observe(self) -> np.ndarray:
        """float16[N, P, D] features of what is seen now, looked up once per step; not to be written to."""
        if self._seen_NPD is None:
            self._seen_NPD = self._watch(self._every)
        return self._seen_NPD

    def step(self, actions_N: np.ndarray) -> Transition:
        """Carries out one action per world, int64[N]; ended worlds begin their next episode."""
        rewards_N, terminated_N = self._play(actions_N)
        truncated_N = ~terminated_N & (np.array([len(actions) for actions in self._actions]) >= self._horizon)
        truncated, ended = np.flatnonzero(truncated_N), np.flatnonzero(terminated_N | truncated_N)
        final_features_KPD = self._watch(truncated) if len(truncated) else np.empty((0, *self.token_shape), np.float16)
        told = [self._end(world, bool(terminated_N[world])) for world in ended.tolist()]
        self._start(ended, self._deck.deal(len(ended)))
        return Transition(rewards_N, terminated_N, truncated_N, final_features_KPD, told)

    def state(self) -> dict[str, Any]:
        """What `restore` goes on from, for JSON: each world's episode and its actions so far; episodes dealt."""
        worlds = zip(self._numbers, self.actions_so_far, strict=True)
        return {
            "dealt": self._deck.dealt,
            "worlds": [{"episode": number, "actions": actions} for number, actions in worlds],
        }

    def restore(self, state: Mapping[str, Any]) -> list[np.ndarray]:
        """Goes on from a state of an environment of the same episodes, size and key, whatever was played here.

        Returns:
            Per world float16[T, P, D] features of the T frames that its present episode showed before the present one.

        Raises:
            ValueError: when the state has another number of worlds.

        """
        worlds = state["worlds"]
        if len(worlds) != self.num_envs:
            raise ValueError(f"a state of {len(worlds)} worlds, not of {self.num_envs}")
        numbers, histories = [world["episode"] for world in worlds], [world["actions"] for world in worlds]
        ages_N = np.array([len(actions) for actions in histories])
        frames: list[list[np.ndarray]] = [[] for _ in worlds]
        for age in range(ages_N.max(), -1, -1):  # the oldest begin first, so that all arrive together
            begun = np.flatnonzero(ages_N == age)
            self._start(begun, [numbers[world] for world in begun])
            if age:
                under_way = np.flatnonzero(ages_N >= age)
                for world, seen_PD in zip(under_way, self._look(under_way), strict=True):
                    frames[world].append(seen_PD)
                # What those do that have yet to begin is of no account.
                self._play(np.array([actions[-age] if len(actions) >= age else 0 for actions in histories]))
        self._deck.dealt = state["dealt"]
        empty = np.empty((0, *self.token_shape), np.float16)
        return [np.stack(seen) if seen else empty for seen in frames]

    def _watch(self, worlds: np.ndarray) -> np.ndarray:
        """As `_look`, and counts what was found by kind."""
        features_KPD = self._look(worlds)
        is_later = self._deck.dealt > self._deck.count
        kinds = np.where(self._is_changed_N[worlds], AFTER_SKILL, FIRST_VIEW)
        self._features.note(np.full(len(worlds), LATER_EPOCH) if is_later else kinds)
        return features_KPD

    def _start(self, worlds: np.ndarray, numbers: list[int]) -> None:
        """Begins episodes in some worlds, perhaps in none."""
        self._seen_NPD = None
        if not len(worlds):
            return
        for world, number, task in zip(worlds.tolist(), numbers, self._begin(worlds, numbers), strict=True):
            self._numbers[world], self._tasks[world], self._actions[world] = number, task, []
        self._totals_N[worlds] = 0
        self._is_changed_N[worlds] = False

    def _play(self, actions_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `_act`, and remembers it."""
        actions_N = np.asarray(actions_N)
        rewards_N, success_N = self._act(actions_N)
        for played, action in zip(self._actions, actions_N.tolist(), strict=True):
            played.append(action)
        self._totals_N += rewards_N
        self._is_changed_N |= self._changes_A[actions_N]
        self._seen_NPD = None
        return rewards_N, success_N

    def _end(self, world: int, success: bool) -> Ended:
        episode_id, family, _ = self._tasks[world]
        steps, total = len(self._actions[world]), float(self._totals_N[world])
        return Ended(episode_id, family, success, steps, self._num_invalid(world), total)

    @abstractmethod
    def _begin(self, worlds: np.ndarray, numbers: list[int]) -> list[Task]:
        """Begins K episodes, at least one, in as many worlds."""

    @abstractmethod
    def _act(self, actions_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(float64[N] rewards, bool[N] whether the goal has been reached) of one action per world; nothing begins."""

    @abstractmethod
    def _look(self, worlds: np.ndarray) -> np.ndarray:
        """float16[K, P, D] features of what is seen in some worlds now."""

    @abstractmethod
    def _num_invalid(self, world: int) -> int:
        """Invalid actions so far in a world's episode."""


class SingleWorlds(VectorEnvironment):
    """N worlds of any environment family, one after the other."""

    def __init__(
        self,
        environment: Environment,
        episodes: Sequence[Any],
        num_envs: int,
        features: ViewFeatures,
        seed_key: Sequence[int],
    ) -> None:
        """As `Environment.vector`."""
        self._environment, self._episodes = environment, episodes
        self._worlds = [environment.simulator() for _ in range(num_envs)]
        self._tallies: dict[int, Tally] = {}
        super().__init__(episodes, num_envs, features, seed_key, environment)

    def _begin(self, worlds: np.ndarray, numbers: list[int]) -> list[Task]:
        tasks = []
        for world, number in zip(worlds.tolist(), numbers, strict=True):
            episode, simulator = self._episodes[number], self._worlds[world]
            simulator.reset(episode)
            self._tallies[world] = self._environment.progress(simulator)
            tasks.append(Task(episode.episode_id, episode.family, episode.instruction))
        return tasks

    def _act(self, actions_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rewards_N, success_N = np.empty(self.num_envs), np.empty(self.num_envs, bool)
        for world, action in enumerate(actions_N.tolist()):
            tally = self._tallies[world]
            rewards_N[world] = tally.step(self._worlds[world].apply(self._environment.actions[action]))
            success_N[world] = tally.success
        return rewards_N, success_N

    def _look(self, worlds: np.ndarray) -> np.ndarray:
        return self._features.features([self._worlds[world] for world in worlds])

    def _num_invalid(self, world: int) -> int:
        return self._tallies[world].num_invalid
