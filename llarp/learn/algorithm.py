"""The seam between the trainer and what it trains by.

The trainer owns ranks, optimiser, schedule, checkpoints and logging. An algorithm says what one optimiser step learns
from and what its loss is; behaviour cloning reads demonstrations, PPO would collect rollouts with the policy.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """Which part of every step is this rank's."""

    rank: int = 0
    ranks: int = 1

    def of(self, items: Sequence[T]) -> Sequence[T]:
        """Every `ranks`-th item; the parts of all ranks are the whole."""
        return items[self.rank :: self.ranks]


@dataclass(frozen=True)
class Sums:
    """A loss as sums over samples, so that ranks with different numbers of samples add up to the right mean."""

    loss: torch.Tensor
    """Scalar with gradient: sum of the samples' losses."""
    num_frames: int
    """Samples of this rank."""
    metrics: dict[str, float]
    """Sums over the samples, by the algorithm's `metric_names`."""


class Algorithm(ABC):
    """What the trainer asks: validate, prepare if the training is fresh, then for every step batch and loss."""

    num_steps: int
    """Optimiser steps of the whole training."""
    metric_names: tuple[str, ...]
    """What `loss` reports; logged as means per frame."""

    @abstractmethod
    def validate(self) -> str:
        """Checks all data, alike on every rank; returns its digest. UserError says what is wrong."""

    @abstractmethod
    def prepare(self) -> None:
        """Whatever must happen before the first step of a fresh training; skipped when resuming."""

    @abstractmethod
    def batch(self, step: int) -> Any:
        """What this rank takes of the samples of a step; may be empty."""

    @abstractmethod
    def size(self, batch: Any) -> int:
        """Episodes of a batch; with 0, `loss` is not asked."""

    @abstractmethod
    def loss(self, batch: Any) -> Sums:
        """Loss of a batch that is not empty."""
