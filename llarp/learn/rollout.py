"""Collecting experience: the policy acts in N episodes side by side, one token of a frame at a time.

Keys and values of all that the episodes have seen stand in one cache that is written in place. When a rollout begins
in the middle of an episode, its earlier frames are read again with the adapters as they are now, so that rollout and
update agree; the update then takes them as given, as recurrent PPO takes the hidden state that a rollout begins with:
they are seen, but no gradient flows to them.

Shapes: T steps, N episodes, P x D visual tokens of a frame, A actions.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch

from llarp.environments.vector import Ended, VectorEnvironment
from llarp.policy.llarp import LLaRPPolicy
from llarp.policy.memory import Memory
from llarp.policy.packed_linear import packed

T = TypeVar("T")


@dataclass(frozen=True)
class Segment:
    """The part of one episode that lies in a rollout."""

    place: int
    """Of the N episodes side by side."""
    start: int
    """First step."""
    end: int
    """Behind the last step."""
    instruction: str
    memory: Memory | None
    """What was read before the first step; None: the instruction alone."""

    def __len__(self) -> int:
        """Steps."""
        return self.end - self.start


@dataclass
class Rollout:
    """T steps of N episodes: T may be smaller than wanted when the rollout was cut for the others' sake."""

    features_TNPD: np.ndarray
    """float16."""
    previous_TN: np.ndarray
    """int64 action before each frame; A before an episode's first."""
    actions_TN: np.ndarray
    """int64."""
    log_probs_TN: np.ndarray
    """float32, of the actions."""
    values_TN: np.ndarray
    """float32."""
    rewards_TN: np.ndarray
    """float64."""
    terminated_TN: np.ndarray
    """bool."""
    truncated_TN: np.ndarray
    """bool."""
    final_values_TN: np.ndarray
    """float32 value of what was seen last, where truncated."""
    last_values_N: np.ndarray
    """float32 value of what is seen after the last step."""
    segments: list[Segment]
    ended: list[Ended]
    seconds: dict[str, float] = field(default_factory=dict)
    """`rollout`: of all of it; `env`: of the environment in it."""

    @property
    def num_steps(self) -> int:
        """Environment steps."""
        return self.actions_TN.size

    def problem(self) -> str | None:
        """What is not finite in it, if anything."""
        for what, array in (
            ("features", self.features_TNPD),
            ("the policy's log-probabilities", self.log_probs_TN),
            ("values", self.values_TN),
            ("rewards", self.rewards_TN),
        ):
            if not np.isfinite(array).all():
                step, place = np.argwhere(~np.isfinite(array))[0][:2]
                return f"{what} at step {step} of episode {place} of the rollout"
        return None


class Collector:
    """Plays the episodes of one rank, rollout after rollout."""

    def __init__(self, policy: LLaRPPolicy, environment: VectorEnvironment, steps: int, horizon: int) -> None:
        """Args:
        policy: acts; its adapters may change between rollouts.
        environment: N episodes under way.
        steps: T, at most.
        horizon: most steps of an episode.
        """
        self.policy, self.environment, self.steps = policy, environment, steps
        count = environment.num_envs
        # The frame that ends a truncated episode is read too, for its value.
        self.cache = policy.cache(count, horizon + 1)
        self.start = len(policy.actions)
        self._every = np.arange(count)
        self._environment_s = 0.0
        self._previous_N = np.full(count, self.start)
        self._seen: list[list[np.ndarray]] = [[] for _ in range(count)]
        """Per episode under way, the features of its frames before the present one."""

    def restore(self, state: Any) -> None:
        """Goes on from an environment's state."""
        self._seen = [list(frames) for frames in self.environment.restore(state)]
        for place, actions in enumerate(self.environment.actions_so_far):
            self._previous_N[place] = actions[-1] if actions else self.start

    def collect(self, rng: np.random.Generator, should_stop: Callable[[int], bool] = lambda steps: False) -> Rollout:
        """One rollout.

        Args:
            rng: draws the actions.
            should_stop: asked after every step, given how many there were.

        """
        self._environment_s, start_s = 0.0, time.perf_counter()
        with packed(self.policy.adapters):
            rollout = self._play(rng, should_stop)
        rollout.seconds |= {"rollout": time.perf_counter() - start_s, "env": self._environment_s}
        return rollout

    def _play(self, rng: np.random.Generator, should_stop: Callable[[int], bool]) -> Rollout:
        count = self.environment.num_envs
        memories = self._begin()
        instructions, begun = self.environment.instructions, [0] * count
        rows: dict[str, list[np.ndarray]] = {name: [] for name in _COLUMNS}
        segments: list[Segment] = []
        ended: list[Ended] = []
        for step in range(self.steps):
            features_NPD = self._ask(self.environment.observe)
            logits_NA, values_N = self.policy.step(features_NPD, self._previous_N, self.cache, self._every)
            actions_N, log_probs_N = sample(logits_NA, rng.random(count))
            result = self._ask(self.environment.step, actions_N)
            row = {
                "features": features_NPD, "previous": self._previous_N.copy(), "actions": actions_N,
                "log_probs": log_probs_N, "values": values_N.cpu().numpy(), "rewards": result.rewards_N,
                "terminated": result.terminated_N, "truncated": result.truncated_N,
                "final_values": self._final_values(result.truncated_N, result.final_features_KPD, actions_N),
            }  # fmt: skip
            for name, value in row.items():
                rows[name].append(value)
            ended += result.ended
            self._remember(features_NPD, actions_N)
            places = np.flatnonzero(result.terminated_N | result.truncated_N)
            for place in places.tolist():
                memory = memories.pop(place, None)
                segments.append(Segment(place, begun[place], step + 1, instructions[place], memory))
                begun[place] = step + 1
            if len(places):
                instructions = self.environment.instructions
                self._start_episodes(places, instructions)
            if should_stop(step + 1):
                break
        taken = len(rows["actions"])
        segments += [
            Segment(place, begun[place], taken, instructions[place], memories.get(place))
            for place in range(count)
            if begun[place] < taken
        ]
        features_NPD = self._ask(self.environment.observe)
        _, last_values_N = self.policy.step(features_NPD, self._previous_N, self.cache, self._every)
        columns: dict[str, Any] = {f"{name}_{axes}": np.stack(rows[name]) for name, axes in _COLUMNS.items()}
        return Rollout(
            **columns, last_values_N=last_values_N.cpu().numpy(), segments=segments, ended=ended,
        )  # fmt: skip

    def _ask(self, question: Callable[..., T], *arguments: Any) -> T:
        """What the environment answers, its time counted."""
        start_s = time.perf_counter()
        answer = question(*arguments)
        self._environment_s += time.perf_counter() - start_s
        return answer

    def _begin(self) -> dict[int, Memory]:
        """Reads all that the episodes under way have seen, anew; returns it for those that are not at their start."""
        for place, memory in enumerate(self.policy.prefixes(self.environment.instructions)):
            self.cache.put(place, memory)
        under_way = np.array([place for place in self._every if self._seen[place]], np.int64)
        if len(under_way):
            frames = [np.stack(self._seen[place]) for place in under_way]
            done = self.environment.actions_so_far
            previous = [action for place in under_way for action in [self.start, *done[place][:-1]]]
            self.policy.read(np.concatenate(frames), np.array(previous), list(map(len, frames)), self.cache, under_way)
        return {place: self.cache.take(place) for place in under_way.tolist()}

    def _final_values(
        self, truncated_N: np.ndarray, final_features_KPD: np.ndarray, actions_N: np.ndarray
    ) -> np.ndarray:
        """float32[N] values of what the truncated episodes saw last; 0 elsewhere."""
        values_N = np.zeros(len(truncated_N), np.float32)
        places = np.flatnonzero(truncated_N)
        if len(places):
            _, values_K = self.policy.step(final_features_KPD, actions_N[places], self.cache, places)
            values_N[places] = values_K.cpu().numpy()
        return values_N

    def _remember(self, features_NPD: np.ndarray, actions_N: np.ndarray) -> None:
        for place in self._every:
            self._seen[place].append(features_NPD[place])
        self._previous_N[:] = actions_N

    def _start_episodes(self, places: np.ndarray, instructions: list[str]) -> None:
        memories = self.policy.prefixes([instructions[place] for place in places])
        for place, memory in zip(places.tolist(), memories, strict=True):
            self.cache.put(place, memory)
            self._seen[place] = []
            self._previous_N[place] = self.start


_COLUMNS = {
    "features": "TNPD", "previous": "TN", "actions": "TN", "log_probs": "TN", "values": "TN", "rewards": "TN",
    "terminated": "TN", "truncated": "TN", "final_values": "TN",
}  # fmt: skip


def sample(logits_NA: torch.Tensor, draws_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int64[N] actions drawn by probability, float32[N] their log-probabilities).

    Args:
        logits_NA: float32.
        draws_N: float64 in [0, 1), one for each.

    """
    log_probs_NA = logits_NA.float().log_softmax(1)
    cumulative_NA = log_probs_NA.double().exp().cumsum(1)
    threshold_N = torch.from_numpy(draws_N).to(logits_NA.device) * cumulative_NA[:, -1]
    actions_N = (cumulative_NA <= threshold_N[:, None]).sum(1).clamp(max=logits_NA.shape[1] - 1)
    return actions_N.cpu().numpy(), log_probs_NA.gather(1, actions_N[:, None])[:, 0].cpu().numpy()
