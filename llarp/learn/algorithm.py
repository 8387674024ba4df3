"""The seam between the trainer and what it trains by.

The trainer owns ranks, optimiser, checkpoints and logging. An algorithm says what one update learns from, batch by
batch, and what its loss is: behaviour cloning reads demonstrations, PPO collects rollouts with the policy.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
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
    metrics: Mapping[str, torch.Tensor | float]
    """Sums over the samples, by the algorithm's `metric_names`."""


@dataclass(frozen=True)
class Optimisation:
    """How AdamW is set up."""

    weight_decay: float
    max_grad_norm: float
    """Gradients are scaled down to this norm."""


class Algorithm(ABC):
    """What the trainer asks, in every rank alike: validate, prepare if it is fresh, then update after update."""

    title: str
    """For people."""
    prefix: str
    """Of the names of curves that every algorithm has."""
    rate_key: str
    """Parameter of the learning rate."""
    optimisation: Optimisation
    checkpoint_every: int
    """Updates."""
    log_every: int
    """Updates."""
    metric_names: tuple[str, ...]
    """What `loss` reports; logged as means per frame."""

    @property
    @abstractmethod
    def progress(self) -> tuple[int, int]:
        """(done, total) of the whole training, over all ranks; it ends when they are equal. The x axis of curves."""

    @abstractmethod
    def validate(self) -> str:
        """Checks all data, alike on every rank; returns its digest. UserError says what is wrong."""

    @abstractmethod
    def prepare(self) -> None:
        """Whatever must happen before the first update of a fresh training; skipped when resuming."""

    @abstractmethod
    def learning_rate(self, update: int) -> float:
        """Of an update, from 0."""

    @abstractmethod
    def batches(self, update: int) -> Iterator[Any]:
        """What this rank takes of the samples of an update, optimiser step by step.

        As many batches on every rank; some may be empty. UserError must be raised by all ranks or by none.
        """

    @abstractmethod
    def size(self, batch: Any) -> int:
        """Episodes of a batch; with 0, `loss` is not asked."""

    @abstractmethod
    def loss(self, batch: Any) -> Sums:
        """Loss of a batch that is not empty."""

    def goes_on(self, means: Mapping[str, float]) -> bool:
        """After an optimiser step with these means over all ranks: whether the update takes its other batches too."""
        return True

    def finish(self, means: Mapping[str, float]) -> dict[str, float]:
        """Ends an update, given its means over all ranks; returns further figures for the curves."""
        return {}

    def shown(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Of the curves' figures, those for the terminal, by short names."""
        return {name.split("/")[-1]: figures[name] for name in self.metric_names if name in figures}

    @abstractmethod
    def state(self) -> Any:
        """JSON of all that this rank needs to go on after an update."""

    @abstractmethod
    def restore(self, state: Any) -> None:
        """Goes on from there."""
