"""Proximal policy optimisation of the adapters, decentralised over ranks as in DD-PPO (arXiv 1707.06347, 1911.00357).

Every rank collects its own rollout and divides it into minibatches, and the gradients of all ranks' minibatches are
summed: each rank both collects and learns.

Deviations from the released LLaRP:
* Every collected step is learnt from in every epoch, whenever its episode ended.
* The horizon is no end of the task: what was seen last is worth its value.
* Minibatches are divided by whole parts of episodes, not by environments.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from llarp.config import PPOConfig
from llarp.errors import UserError
from llarp.learn.advantages import advantages
from llarp.learn.algorithm import Algorithm, Optimisation, Sums
from llarp.learn.minibatches import divide
from llarp.learn.ppo_loss import METRICS, Taken, ppo_loss
from llarp.learn.preemption import Preemption, shared_counter
from llarp.learn.rollout import Collector, Rollout, Segment
from llarp.learn.standing import Standing
from llarp.policy.llarp import LLaRPPolicy, Trajectories
from llarp.ranks import Ranks
from llarp.vision.views import Lookups, ViewFeatures


@dataclass(frozen=True)
class Batch:
    """Parts of episodes of one rank in one optimiser step; may hold none."""

    rollout: Rollout
    segments: list[Segment]
    advantages_TN: np.ndarray
    returns_TN: np.ndarray


class PPO(Algorithm):
    """See the module."""

    title, prefix, rate_key = "Reinforcement learning", "", "ppo.lr"
    metric_names = METRICS

    def __init__(
        self,
        config: PPOConfig,
        policy: LLaRPPolicy,
        collector: Collector,
        data_digest: str,
        seed: int,
        ranks: Ranks,
        log_every: int = 1,
        autocast: AbstractContextManager[Any] | None = None,
        views: ViewFeatures | None = None,
        sample: Callable[[], np.ndarray] | None = None,
    ) -> None:
        """Args:
        config: section `ppo`.
        policy: what learns.
        collector: plays this rank's episodes with it.
        data_digest: of all episodes and whatever else decides what can be met.
        seed: of actions and minibatches.
        ranks: all that learn together.
        log_every: updates between figures.
        autocast: mixed precision; None: none.
        views: of the collector's environment, for figures.
        sample: gives float16[N, P, D] features to standardise by, the same on every rank; None: that is done.
        """
        self.config, self.policy, self.collector, self.ranks = config, policy, collector, ranks
        self.data_digest, self.seed, self.views, self.sample = data_digest, seed, views, sample
        self.autocast = autocast or nullcontext()
        self.optimisation = Optimisation(weight_decay=0.0, max_grad_norm=config.max_grad_norm)
        self.checkpoint_every, self.log_every = config.checkpoint_every, log_every
        self.preemption = Preemption(shared_counter(ranks.count), ranks.count, config.preemption, config.min_rollout)
        self.steps_done, self.update, self.lr_scale = 0, 0, 1.0
        self.standing = Standing()
        self._kl: list[float] = []
        self._figures: dict[str, float] = {}
        self._learning_since_s = 0.0

    @property
    def progress(self) -> tuple[int, int]:
        """Environment steps over all ranks."""
        return min(self.steps_done, self.config.total_steps), self.config.total_steps

    def validate(self) -> str:
        """Every instruction is checked when it is first met: there may be millions."""
        return self.data_digest

    def prepare(self) -> None:
        """Standardises the features, if nothing has done so before."""
        if self.sample is not None:
            self.policy.adapters.observation.standardise(torch.from_numpy(self.sample()))

    def learning_rate(self, update: int) -> float:
        """The critic's while it warms up; then constant or falling, times what the KL divergence has made of it."""
        if update < self.config.critic_warmup:
            return self.config.critic_lr
        left = 1.0 - self.steps_done / self.config.total_steps if self.config.lr_decay else 1.0
        return self.config.lr * max(left, 0.0) * self.lr_scale

    def batches(self, update: int) -> Iterator[Batch]:
        """Collects a rollout, then yields its minibatches, epoch by epoch."""
        config = self.config
        self.update, self._kl = update, []
        rng = np.random.default_rng([self.seed, update, self.ranks.rank])
        rollout = self.ranks.alike(lambda: self._collect(rng, update))
        if self.ranks.is_first:
            self.preemption.forget(update)
        advantages_TN, returns_TN = self._judge(rollout)
        self._share(rollout, returns_TN)
        if config.normalise_advantages:
            advantages_TN = self._normalised(advantages_TN)
        self._learning_since_s = time.perf_counter()
        lengths = list(map(len, rollout.segments))
        for _ in range(config.epochs):
            for group in divide(lengths, config.minibatches, rng):
                yield Batch(rollout, [rollout.segments[number] for number in group], advantages_TN, returns_TN)

    def size(self, batch: Batch) -> int:
        """Parts of episodes."""
        return len(batch.segments)

    def loss(self, batch: Batch) -> Sums:
        """Sums over this rank's steps."""
        trajectories, taken = self.gathered(batch)
        warming = self.update < self.config.critic_warmup
        with self.autocast:
            logits_NA, values_N = self.policy.evaluate(trajectories, critic_only=warming)
        loss, sums = ppo_loss(self.config, logits_NA, values_N.float(), taken, critic_only=warming)
        return Sums(loss, len(taken.actions_N), sums)

    def gathered(self, batch: Batch) -> tuple[Trajectories, Taken]:
        """What a batch's parts of episodes saw, and what was done, one part after the other."""
        rollout, segments = batch.rollout, batch.segments
        trajectories = Trajectories(
            [segment.instruction for segment in segments],
            list(map(len, segments)),
            _of(rollout.features_TNPD, segments),
            _of(rollout.previous_TN, segments),
            [segment.memory for segment in segments],
        )
        columns = (
            rollout.actions_TN, rollout.log_probs_TN, rollout.values_TN, batch.advantages_TN.astype(np.float32),
            batch.returns_TN.astype(np.float32),
        )  # fmt: skip
        return trajectories, Taken(
            *(torch.from_numpy(_of(column, segments)).to(self.ranks.device) for column in columns)
        )

    def goes_on(self, means: Mapping[str, float]) -> bool:
        """Ends the update's passes when the KL divergence is beyond its aim, if asked for."""
        self._kl.append(means["ppo/approx_kl"])
        aim = self.config.target_kl
        return not (aim is not None and self.config.on_kl == "stop" and self._kl[-1] > 1.5 * aim)

    def finish(self, means: Mapping[str, float]) -> dict[str, float]:
        """Guards, the learning rate's change, and the figures of the update."""
        config, where = self.config, f"update {self.update + 1}, step {self.steps_done}"
        kl, aim = self._kl[-1], config.target_kl
        if kl > config.max_kl:
            raise UserError(
                f"KL divergence is {kl:.3g} nats, beyond ppo.max_kl of {config.max_kl:g}", where,
                "lower ppo.lr or set ppo.target_kl; the last checkpoint is kept",
            )  # fmt: skip
        if means["ppo/entropy"] < config.min_entropy:
            raise UserError(
                f"entropy has collapsed to {means['ppo/entropy']:.3g} nats, below ppo.min_entropy of "
                f"{config.min_entropy:g}", where,
                "raise ppo.entropy_weight or lower ppo.lr; the last checkpoint is kept",
            )  # fmt: skip
        if aim is not None and config.on_kl == "adapt":
            self.lr_scale *= 1 / 1.5 if kl > 2 * aim else 1.5 if kl < 0.5 * aim else 1.0
            self.lr_scale = min(max(self.lr_scale, 1e-3), 10.0)
        self._figures["time/update_s"] = time.perf_counter() - self._learning_since_s
        self._figures["ppo/last_kl"] = kl
        self._figures["ppo/optimiser_steps"] = float(len(self._kl))
        return self._figures | self.standing.figures()

    def shown(self, figures: Mapping[str, float]) -> dict[str, float]:
        """What tells at a glance how it goes."""
        names = {
            "success": "rollout/success_rate", "entropy": "ppo/entropy", "kl": "ppo/approx_kl",
            "expl": "ppo/explained_variance", "steps/s": "speed/steps_per_s",
        }  # fmt: skip
        return {short: figures[name] for short, name in names.items() if name in figures}

    def state(self) -> Any:
        """Counters, episodes under way and how the last ones ended."""
        return {
            "steps": self.steps_done, "lr_scale": self.lr_scale, "environment": self.collector.environment.state(),
            "standing": self.standing.state(),
        }  # fmt: skip

    def restore(self, state: Any) -> None:
        """Goes on from there."""
        self.steps_done, self.lr_scale = state["steps"], state["lr_scale"]
        self.collector.restore(state["environment"])
        self.standing = Standing(**state["standing"])

    def _collect(self, rng: np.random.Generator, update: int) -> Rollout:
        try:
            with self.autocast:
                return self.collector.collect(
                    rng, lambda steps: self.preemption.should_stop(update, steps, self.config.rollout_steps)
                )
        finally:
            self.preemption.finished(update)

    def _judge(self, rollout: Rollout) -> tuple[np.ndarray, np.ndarray]:
        """(advantages, returns), float64[T, N] each."""
        advantages_TN = advantages(
            rollout.rewards_TN, rollout.values_TN.astype(np.float64), rollout.last_values_N, rollout.terminated_TN,
            rollout.truncated_TN, rollout.final_values_TN, self.config.gamma, self.config.gae_lambda,
        )  # fmt: skip
        return advantages_TN, advantages_TN + rollout.values_TN

    def _share(self, rollout: Rollout, returns_TN: np.ndarray) -> None:
        """Tells all ranks what this one has met; every rank then knows the same figures, and of the same problem."""
        error_TN = returns_TN - rollout.values_TN
        told = self.ranks.gather(
            {
                "problem": rollout.problem(), "steps": rollout.num_steps, "length": len(rollout.actions_TN),
                "ended": [
                    [one.family, one.success, one.steps, one.num_invalid, one.total_reward] for one in rollout.ended
                ],
                "moments": [float(part.sum()) for part in (returns_TN, returns_TN**2, error_TN, error_TN**2)],
                "seconds": [rollout.seconds["rollout"], rollout.seconds["env"]],
                "views": self._views_met(),
            }
        )  # fmt: skip
        problems = [entry["problem"] for entry in told if entry["problem"]]
        if problems:
            raise UserError(
                f"{problems[0]} is not finite", f"update {self.update + 1}, step {self.steps_done}",
                "lower ppo.lr, or look at the encoder's features; the last checkpoint is kept",
            )  # fmt: skip
        steps = sum(entry["steps"] for entry in told)
        self.steps_done += steps
        for entry in told:
            self.standing.add(entry["ended"])
        total, squares, error, error_squares = np.sum([entry["moments"] for entry in told], 0) / steps
        variance = squares - total**2
        lengths = [entry["length"] for entry in told]
        seconds = np.array([entry["seconds"] for entry in told]).mean(0)
        self._figures = {
            "ppo/explained_variance": float(1 - (error_squares - error**2) / max(variance, 1e-8)),
            "rollout/return_mean": float(total),
            "rollout/length_mean": float(np.mean(lengths)), "rollout/length_min": float(min(lengths)),
            "rollout/cut": float(sum(length < self.config.rollout_steps for length in lengths)),
            "time/rollout_s": float(seconds[0]), "time/env_s": float(seconds[1]),
        }  # fmt: skip
        if views := [entry["views"] for entry in told if entry["views"]]:
            met = [Lookups(np.array(by_kind), encoded, views_s) for by_kind, encoded, views_s, _ in views]
            together = sum(met, Lookups.none())
            self._figures |= together.figures() | {
                "features/bytes": float(max(num_bytes for *_, num_bytes in views)),
                "time/views_s": together.seconds / len(met),
            }

    def _views_met(self) -> list[Any] | None:
        """What came of looking views up here, for JSON, and the bytes of the overlay."""
        if self.views is None:
            return None
        met = self.views.lookups
        return [met.by_kind.tolist(), met.encoded, met.seconds, self.views.overlay.num_bytes]

    def _normalised(self, advantages_TN: np.ndarray) -> np.ndarray:
        """Advantages with mean 0 and deviation 1 over all ranks."""
        sums = torch.tensor([advantages_TN.sum(), (advantages_TN**2).sum(), advantages_TN.size], dtype=torch.float64)
        total, squares, count = self.ranks.sum(sums.to(self.ranks.device)).cpu().numpy()
        mean = total / count
        return (advantages_TN - mean) / np.sqrt(max(squares / count - mean**2, 1e-16))


def _of(array_TN: np.ndarray, segments: list[Segment]) -> np.ndarray:
    """[N', ...] what a column [T, N, ...] holds of some segments, one after the other."""
    return np.concatenate([array_TN[part.start : part.end, part.place] for part in segments])
