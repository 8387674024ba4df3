"""A whole training, inside each rank: cloning, reinforcement learning, or one after the other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from llarp.config import Params, PPOConfig
from llarp.environments.base import AnyEpisode, Environment
from llarp.errors import UserError
from llarp.learn.algorithm import Algorithm, Share
from llarp.learn.checkpoint import Checkpoints, check_writable
from llarp.learn.cloning import Cloning, sample_features
from llarp.learn.demonstrations import Demonstrations
from llarp.learn.ppo import PPO
from llarp.learn.ranks import Ranks
from llarp.learn.rollout import Collector
from llarp.learn.trainer import OnMetrics, Trainer
from llarp.policy.backbones import load_backbone
from llarp.policy.llarp import LLaRPPolicy
from llarp.vision.base import FeatureStore
from llarp.vision.views import ViewFeatures

_UNIMPORTANT = {"checkpoint_every", "keep_checkpoints", "log_every", "prefix_cache_gib", "view_cache_gib", "address"}
"""Parameters that change nothing of what is learnt: a training goes on with other ones."""

_PRECISION = {"none": "no", "bf16": "bf16"}
"""In accelerate's words."""


@dataclass(frozen=True)
class Shown:
    """What there is to learn from."""

    demonstrations: Demonstrations
    store: FeatureStore
    """Features of all their views."""
    token_shape: tuple[int, int]
    """(P, D) of the features."""


@dataclass(frozen=True)
class Playground:
    """Where there is something to learn by doing."""

    environment: Environment
    episodes: Sequence[AnyEpisode]
    views: Callable[[], ViewFeatures]
    """Makes this rank's eyes."""
    digest: str
    """Of the episodes, the encoder and whatever else decides what can be met."""


def train(
    params: Params,
    shown: Shown,
    playground: Playground | None,
    out: Path,
    on_metrics: Callable[[str], OnMetrics],
    checkpoints: Path,
) -> None:
    """Trains adapters and saves the policy; runs inside each rank.

    An interrupted training goes on from its last checkpoint and ends with the very weights of an uninterrupted one
    (on a CPU, with as many ranks and without preemption). Other parameters, another seed or data set start anew.

    Args:
        params: sections `train`, `ppo`, `policy` and `seed`.
        shown: every rank gets all of it and takes its share.
        playground: needed for reinforcement learning and DAgger.
        out: folder of the saved policy; replaced.
        on_metrics: given the name of a phase, who gets its figures on the first rank.
        checkpoints: folder, with one folder for each phase. They are removed when the policy has been saved.

    Raises:
        UserError: the number of ranks is not `train.processes`, a feature is missing, an instruction is too long, a
            folder cannot be written, the backbone is missing or has other weights, or learning has failed.
            Every rank raises it alike.
        SystemExit: the process was asked to end; a checkpoint has been written.

    """
    if not shown.demonstrations:
        raise UserError("there is nothing to learn from", "demonstrations", "raise episodes.train")
    accelerator = Accelerator(mixed_precision=_PRECISION[params.train.mixed_precision])
    if accelerator.num_processes != params.train.processes:
        raise UserError(
            f"{params.train.processes} processes wanted, {accelerator.num_processes} running",
            "train.processes",
            "start it with the command of llarp.learn.launch",
        )
    if accelerator.device.type == "cpu":
        torch.set_num_threads(1)
    ranks = Ranks(accelerator)
    for folder in (out.parent, checkpoints):
        check_writable(folder)
    training = _Training(params, shown, playground, on_metrics, checkpoints, ranks)
    phases = params.train.algorithm.split("+")
    if "bc" in phases:
        training.clone()
    if "ppo" in phases:
        training.reinforce(cloned="bc" in phases)
    if ranks.is_first:
        training.policy.save(out)
        for folder in training.folders:
            Checkpoints(folder, "", 1).clear(all_trainings=True)
            folder.rmdir()
    ranks.wait()


class _Training:
    """One policy and the phases that it goes through."""

    def __init__(
        self,
        params: Params,
        shown: Shown,
        playground: Playground | None,
        on_metrics: Callable[[str], OnMetrics],
        checkpoints: Path,
        ranks: Ranks,
    ) -> None:
        self.params, self.shown, self.playground, self.ranks = params, shown, playground, ranks
        self.on_metrics, self.checkpoints = on_metrics, checkpoints
        self.folders: list[Path] = []
        torch.manual_seed(params.seed)  # every rank starts with the same adapters
        self.policy = LLaRPPolicy(
            load_backbone(params.policy),
            params.policy,
            shown.token_shape,
            prefix_bytes=int(params.train.prefix_cache_gib * 2**30),
            actions=shown.demonstrations.actions,
        ).to(ranks.device)
        self.identity: list[Any] = [
            self.policy.backbone.identity.sha256, params.policy.model_dump(),
            [shown.token_shape, shown.demonstrations.actions, params.seed, ranks.count],
        ]  # fmt: skip

    def clone(self) -> None:
        """Behaviour cloning."""
        share = Share(self.ranks.rank, self.ranks.count)
        config, seed = self.params.train, self.params.seed
        self._run("bc", config, Cloning(config, self.policy, self.shown.demonstrations, self.shown.store, seed, share))

    def reinforce(self, cloned: bool) -> None:
        """PPO."""
        ground, config, seed = self.playground, self.params.ppo, self.params.seed
        assert ground is not None, "reinforcement learning needs a playground"
        views = ground.views()
        played = ground.environment.vector(ground.episodes, config.num_envs, views, (seed, self.ranks.rank))
        collector = Collector(self.policy, played, config.rollout_steps, ground.environment.horizon)
        ppo = PPO(
            config, self.policy, collector, ground.digest, seed, self.ranks, self._log_every(config), self._autocast(),
            views, None if cloned else self._sample,
        )  # fmt: skip
        self._run("ppo", config, ppo)

    def _run(self, phase: str, config: Any, algorithm: Algorithm) -> None:
        self.identity = [*self.identity, phase, config.model_dump(exclude=_UNIMPORTANT), algorithm.validate()]
        fingerprint = hashlib.sha256(json.dumps(self.identity).encode()).hexdigest()
        folder = self.checkpoints / phase
        self.folders.append(folder)
        kept = Checkpoints(folder, fingerprint, self.params.train.keep_checkpoints)
        on_metrics = self.on_metrics(phase)
        Trainer(self.policy.adapters, algorithm, self.ranks, kept, self.params.seed, on_metrics).run()

    def _sample(self) -> np.ndarray:
        """float16[N, P, D] features of demonstrations, to standardise by."""
        return sample_features(self.shown.demonstrations, self.shown.store)

    def _autocast(self) -> AbstractContextManager[Any] | None:
        return None if self.params.train.mixed_precision == "none" else self.ranks.accelerator.autocast()

    def _log_every(self, config: PPOConfig) -> int:
        """Updates between figures: about a thousand of them in all."""
        per_update = config.num_envs * config.rollout_steps * self.ranks.count
        return max(1, config.total_steps // per_update // 1000)
