"""Policies to compare with: chance, the expert, and any policy with its eyes shut."""

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from llarp.errors import UserError
from llarp.policy.base import Policy, Task
from llarp.tasks.skills import SKILLS


def episode_rng(seed: int, task: Task) -> np.random.Generator:
    """Random numbers of one episode: they depend on the seed and the episode, never on who shares its batch."""
    name = f"{seed}/{getattr(task, 'episode_id', '')}/{task.instruction}"
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))


class RandomPolicy(Policy):
    """Draws every action uniformly."""

    uses_images = False

    def __init__(self, seed: int, num_actions: int = len(SKILLS)) -> None:
        self.seed, self.num_actions = seed, num_actions

    def start(self, tasks: Sequence[Task]) -> list[np.random.Generator]:
        """One generator per episode."""
        return [episode_rng(self.seed, task) for task in tasks]

    def act(
        self, features_BPD: np.ndarray | None, state: list[np.random.Generator], running_B: np.ndarray
    ) -> tuple[np.ndarray, list[np.random.Generator]]:
        """One draw per episode."""
        return np.array([rng.integers(self.num_actions) for rng in state], np.int64), state


class PlanPolicy(Policy):
    """The expert: follows each episode's proved plan, and stays with its last action if the episode goes on."""

    uses_images = False

    def __init__(self, actions: Sequence[Any] = SKILLS) -> None:
        """Args:
        actions: the action space that plans are written in.
        """
        self._numbers = {action: number for number, action in enumerate(actions)}

    def start(self, tasks: Sequence[Task]) -> list[tuple[Any, ...]]:
        """The plans; UserError for an episode without one."""
        plans = [tuple(getattr(task, "plan", ())) for task in tasks]
        for task, plan in zip(tasks, plans, strict=True):
            if not plan:
                raise UserError(
                    "has no plan",
                    f"episode {getattr(task, 'episode_id', task.instruction)}",
                    "let the expert prove it first",
                )
        return plans

    def act(
        self, features_BPD: np.ndarray | None, state: list[tuple[Any, ...]], running_B: np.ndarray
    ) -> tuple[np.ndarray, list[tuple[Any, ...]]]:
        """The next action of each plan."""
        return np.array([self._numbers[plan[0]] for plan in state], np.int64), [plan[1:] or plan for plan in state]


class Seeing(Protocol):
    """A policy that looks at images."""

    token_shape: tuple[int, int]
    """(P, D) of the features."""

    def start(self, tasks: Sequence[Task]) -> Any:
        """See `Policy.start`."""

    def act(self, features_BPD: np.ndarray | None, state: Any, running_B: np.ndarray) -> tuple[np.ndarray, Any]:
        """See `Policy.act`."""


class Blind(Policy):
    """Another policy that always gets the same empty view: its features are zero (before it standardises them).

    What it still solves, it solves from the instruction and the number of steps alone. Nothing is drawn for it.
    """

    uses_images = False

    def __init__(self, policy: Seeing) -> None:
        self.policy = policy

    def start(self, tasks: Sequence[Task]) -> Any:
        """As the other policy."""
        return self.policy.start(tasks)

    def act(self, features_BPD: np.ndarray | None, state: Any, running_B: np.ndarray) -> tuple[np.ndarray, Any]:
        """As the other policy would without seeing."""
        return self.policy.act(np.zeros((len(running_B), *self.policy.token_shape), np.float32), state, running_B)
