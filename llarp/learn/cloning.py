"""Behaviour cloning: the expert's action at every frame of its demonstrations (maximum likelihood)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from llarp.config import TrainConfig
from llarp.errors import UserError
from llarp.learn.algorithm import Algorithm, Optimisation, Share, Sums
from llarp.learn.demonstrations import Demonstration
from llarp.policy.llarp import LLaRPPolicy, Trajectories, previous_actions
from llarp.vision.base import FeatureStore

_CHUNK = 4096
"""Frames whose features are held at once outside of batches: 26 MB at 49 patches of 64 numbers."""


@dataclass(frozen=True)
class Batch:
    """Episodes of one rank in one optimiser step; B may be 0."""

    trajectories: Trajectories
    actions_N: torch.Tensor
    """int64[N]: the expert's, at every frame."""


class Cloning(Algorithm):
    """Cross-entropy of the expert's actions, averaged over frames."""

    title, prefix, rate_key = "Cloning", "bc/", "train.lr"
    metric_names = ("bc/loss", "bc/accuracy")

    def __init__(
        self,
        config: TrainConfig,
        policy: LLaRPPolicy,
        demonstrations: Sequence[Demonstration],
        store: FeatureStore,
        seed: int,
        share: Share,
    ) -> None:
        self.config, self.policy, self.store, self.seed, self.share = config, policy, store, seed, share
        # By length for `epoch_batches`; equal instructions stand together, so that few are read by several ranks.
        self.demonstrations = sorted(demonstrations, key=lambda d: (len(d), d.instruction, d.episode_id))
        self.steps_per_epoch = -(-len(demonstrations) // config.batch_size)
        self.num_steps = max(1, round(config.epochs * self.steps_per_epoch))
        self.optimisation = Optimisation(config.weight_decay, config.max_grad_norm)
        self.checkpoint_every, self.log_every = config.checkpoint_every, config.log_every
        self._step = 0
        self._epoch, self._batches = -1, list[list[int]]()

    def validate(self) -> str:
        """Finds every feature and tokenises every instruction; the digest covers demonstrations and features."""
        digest = hashlib.sha256()
        for demonstration in self.demonstrations:
            taken = demonstration.taken or demonstration.actions
            digest.update(repr((demonstration.instruction, *demonstration.actions, *taken)).encode())
            digest.update(b"".join(demonstration.keys))
        keys = sorted({key for demonstration in self.demonstrations for key in demonstration.keys})
        for first in range(0, len(keys), _CHUNK):
            digest.update(self._features(keys[first : first + _CHUNK]).tobytes())
        self.policy.backbone.tokenize(list({demonstration.instruction for demonstration in self.demonstrations}))
        return digest.hexdigest()

    def prepare(self) -> None:
        """Standardises the features on an even sample of frames; the same on every rank."""
        sample = sample_features(self.demonstrations, self.store)
        self.policy.adapters.observation.standardise(torch.from_numpy(sample))

    @property
    def progress(self) -> tuple[int, int]:
        """Optimiser steps."""
        return self._step, self.num_steps

    def learning_rate(self, update: int) -> float:
        """See `learning_rate`."""
        return learning_rate(update, self.num_steps, self.config)

    def batches(self, update: int) -> Iterator[Batch]:
        """One."""
        yield self.batch(update)

    def finish(self, means: Mapping[str, float]) -> dict[str, float]:
        """Counts."""
        self._step += 1
        return {}

    def state(self) -> int:
        """Steps done: everything random is drawn anew from seed and step."""
        return self._step

    def restore(self, state: int) -> None:
        """Goes on from there."""
        self._step = state

    def batch(self, step: int) -> Batch:
        """What this rank takes of the episodes of a step; depends on seed and step alone."""
        epoch, number = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._batches = epoch_batches(len(self.demonstrations), self.config.batch_size, self.seed, epoch)
        episodes = [self.demonstrations[index] for index in self.share.of(self._batches[number])]
        instructions = [episode.instruction for episode in episodes]
        features_NPD = self._features([key for episode in episodes for key in episode.keys])
        actions = [episode.actions for episode in episodes]
        actions_N = torch.tensor([action for of_one in actions for action in of_one])
        taken = [episode.taken or episode.actions for episode in episodes]
        previous_N = previous_actions(taken, len(self.policy.actions))
        return Batch(Trajectories(instructions, list(map(len, episodes)), features_NPD, previous_N), actions_N)

    def loss(self, batch: Batch) -> Sums:
        """Sums over this rank's frames."""
        logits_NA, _ = self.policy.evaluate(batch.trajectories)
        actions_N = batch.actions_N.to(logits_NA.device)
        loss = functional.cross_entropy(
            logits_NA, actions_N, reduction="sum", label_smoothing=self.config.label_smoothing
        )
        correct = (logits_NA.argmax(1) == actions_N).sum()
        return Sums(
            loss=loss,
            num_frames=len(actions_N),
            metrics={"bc/loss": loss.detach(), "bc/accuracy": correct},
        )

    def size(self, batch: Batch) -> int:
        """Episodes of a batch."""
        return len(batch.trajectories.instructions)

    def _features(self, keys: Sequence[bytes]) -> np.ndarray:
        return stored_features(self.store, keys)


def stored_features(store: FeatureStore, keys: Sequence[bytes]) -> np.ndarray:
    """float16[N, P, D]; UserError when one is missing."""
    features, found = store.get(keys)
    if not found.all():
        raise UserError(
            f"features of {int((~found).sum())} of {len(keys)} views are missing",
            "feature store",
            "run the stage `features` again",
        )
    return features


def sample_features(demonstrations: Sequence[Demonstration], store: FeatureStore) -> np.ndarray:
    """float16[N, P, D] features of an even sample of frames."""
    keys = [key for demonstration in demonstrations for key in demonstration.keys]
    return stored_features(store, keys[:: -(-len(keys) // _CHUNK)])


def epoch_batches(count: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Episodes of every step of an epoch: each once, the same whatever the number of ranks.

    The data set is cut into `batch_size` runs of consecutive episodes; a step takes a random one of each run, in the
    order of the runs. With episodes ordered by length every step therefore has nearly the same number of frames, and
    so has every rank's part of it, if a rank takes every so-maniest; and a rank meets the same part of the data set in
    every epoch, so that it reads only that part's instructions.

    Args:
        count: episodes of the data set.
        batch_size: episodes per step; some steps get fewer if `count` is no multiple of it.
        seed: of the order.
        epoch: every epoch has another order.

    Returns:
        Per step, numbers of episodes.

    """
    rng = np.random.default_rng([seed, epoch])
    steps = -(-count // batch_size)
    batches: list[list[int]] = [[] for _ in range(steps)]
    for run in np.array_split(np.arange(count), min(batch_size, count)):
        for place, episode in enumerate(rng.permutation(run)):
            batches[place * steps // len(run)].append(int(episode))
    return [batches[number] for number in rng.permutation(steps)]


def learning_rate(step: int, total: int, config: TrainConfig) -> float:
    """Rises linearly over the first `warmup` of the steps, then falls to zero along a cosine; `step` counts from 0."""
    warmup = config.warmup * total
    if step < warmup:
        return config.lr * (step + 1) / (warmup + 1)
    return config.lr * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1.0, total - warmup)))
