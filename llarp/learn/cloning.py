"""Behaviour cloning: the expert's action at every frame of its demonstrations (maximum likelihood)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from llarp.config import TrainConfig
from llarp.errors import UserError
from llarp.learn.algorithm import Algorithm, Share, Sums
from llarp.learn.demonstrations import Demonstration
from llarp.policy.llarp import LLaRPPolicy, Trajectories
from llarp.vision.base import FeatureStore


@dataclass(frozen=True)
class Batch:
    """Episodes of one rank in one optimiser step; B may be 0."""

    trajectories: Trajectories
    actions_BT: torch.Tensor
    """int64[B, T]; `PADDING` beyond an episode's end."""


PADDING = -100
_CHUNK = 4096
"""Frames whose features are in memory at once: 25 MB each at 64 patches of 48 numbers in float16."""


class Cloning(Algorithm):
    """Cross-entropy of the expert's actions, averaged over real frames."""

    metric_names = ("loss/policy", "train/accuracy")

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
        # Alike instructions stand together, so that few of them are read by more than one rank.
        self.demonstrations = sorted(demonstrations, key=lambda d: (d.instruction, d.episode_id))
        self.steps_per_epoch = -(-len(demonstrations) // config.batch_size)
        self.num_steps = max(1, round(config.epochs * self.steps_per_epoch))
        self._epoch, self._batches = -1, list[list[int]]()

    def validate(self) -> str:
        """Finds every feature and tokenises every instruction; the digest covers demonstrations and features."""
        digest = hashlib.sha256()
        for demonstration in self.demonstrations:
            digest.update(repr((demonstration.instruction, *demonstration.actions)).encode())
            digest.update(b"".join(demonstration.keys))
        keys = sorted({key for demonstration in self.demonstrations for key in demonstration.keys})
        for first in range(0, len(keys), _CHUNK):
            digest.update(self._features(keys[first : first + _CHUNK]).tobytes())
        self.policy.backbone.tokenize(list({demonstration.instruction for demonstration in self.demonstrations}))
        return digest.hexdigest()

    def prepare(self) -> None:
        """Standardises the features on an even sample of frames; the same on every rank."""
        keys = [key for demonstration in self.demonstrations for key in demonstration.keys]
        sample = keys[:: -(-len(keys) // _CHUNK)]
        self.policy.adapters.observation.standardise(torch.from_numpy(self._features(sample)))

    def batch(self, step: int) -> Batch:
        """What this rank takes of the episodes of a step; depends on seed and step alone."""
        epoch, number = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            lengths = [len(demonstration) for demonstration in self.demonstrations]
            self._epoch, self._batches = epoch, epoch_batches(lengths, self.config.batch_size, self.seed, epoch)
        chosen = self.share.of(self._batches[number])
        episodes = [self.demonstrations[index] for index in chosen]
        longest = max(map(len, episodes), default=0)
        tokens, dim = self.policy.token_shape
        features_BTPD = np.zeros((len(episodes), longest, tokens, dim), np.float16)
        actions_BT = np.full((len(episodes), longest), PADDING)
        found = self._features([key for episode in episodes for key in episode.keys])
        first = 0
        for row, episode in enumerate(episodes):
            features_BTPD[row, : len(episode)] = found[first : first + len(episode)]
            actions_BT[row, : len(episode)] = episode.actions
            first += len(episode)
        instructions = [episode.instruction for episode in episodes]
        return Batch(Trajectories(instructions, features_BTPD), torch.from_numpy(actions_BT))

    def loss(self, batch: Batch) -> Sums:
        """Sums over this rank's frames."""
        logits_BTA, _ = self.policy.evaluate(batch.trajectories)
        actions_BT = batch.actions_BT.to(logits_BTA.device)
        real_BT = actions_BT != PADDING
        loss = functional.cross_entropy(
            logits_BTA.flatten(0, 1),
            actions_BT.flatten(),
            ignore_index=PADDING,
            reduction="sum",
            label_smoothing=self.config.label_smoothing,
        )
        correct = (logits_BTA.argmax(-1) == actions_BT)[real_BT].sum()
        return Sums(
            loss=loss,
            num_frames=int(real_BT.sum()),
            metrics={"loss/policy": float(loss.detach()), "train/accuracy": float(correct)},
        )

    def size(self, batch: Batch) -> int:
        """Episodes of a batch."""
        return len(batch.actions_BT)

    def _features(self, keys: Sequence[bytes]) -> np.ndarray:
        features, found = self.store.get(keys)
        if not found.all():
            raise UserError(
                f"features of {int((~found).sum())} of {len(keys)} views are missing",
                "feature store",
                "run the stage `features` again",
            )
        return features


def epoch_batches(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Episodes of every step of an epoch: each once, steps of like length, the same whatever the number of ranks.

    The data set is cut into `batch_size` strata; a step takes one episode of each, in the order of the strata. Within a
    stratum episodes are ordered by length (equal ones at random), so that a step's episodes have nearly one length
    and little is padded; then the steps are shuffled. A rank that takes a fixed part of each step therefore meets the
    same part of the data set in every epoch, and reads only that part's instructions.

    Args:
        lengths: frames of each episode.
        batch_size: episodes per step; the last may get fewer.
        seed: of the order.
        epoch: every epoch has another order.

    Returns:
        Per step, indices into `lengths`.

    """
    rng = np.random.default_rng([seed, epoch])
    steps = -(-len(lengths) // batch_size)
    batches: list[list[int]] = [[] for _ in range(steps)]
    for stratum in np.array_split(np.arange(len(lengths)), min(batch_size, len(lengths))):
        order = sorted(zip(np.asarray(lengths)[stratum], rng.random(len(stratum)), stratum, strict=True))
        for place, (_, _, index) in enumerate(order):
            batches[place * steps // len(order)].append(int(index))
    return [batches[number] for number in rng.permutation(steps)]
