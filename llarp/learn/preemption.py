"""Ending a rollout early for the sake of the others: DD-PPO's preemption of stragglers (arXiv 1911.00357, section 3).

Once a share of the ranks have finished their rollouts, the others stop theirs, if they have collected enough of it, and
all go on to learn. A counter in torch's own store tells how many have finished.
"""

from __future__ import annotations

import math
from typing import Any, Protocol


class Counter(Protocol):
    """A key-value store that counts; `torch.distributed.Store` is one."""

    def add(self, key: str, amount: int, /) -> int:
        """Adds to a count, 0 if there is none, and returns it."""

    def delete_key(self, key: str, /) -> bool:
        """Removes a count; returns whether there was one."""


class Preemption:
    """When this rank's rollout is to end."""

    def __init__(self, counter: Counter | None, ranks: int, share: float, least: float) -> None:
        """Args:
        counter: shared by all ranks; None: a rollout is never cut.
        ranks: how many there are.
        share: of the ranks that must have finished; 1 never cuts.
        least: share of its own steps that a rank collects in any case.
        """
        self.counter = counter if share < 1 and ranks > 1 else None
        self.wanted, self.least = math.ceil(round(share * ranks, 6)), least  # 0.07 * 100 is a little more than 7

    def should_stop(self, update: int, steps: int, total: int) -> bool:
        """Whether to stop after so many of all steps."""
        if self.counter is None or steps >= total or steps < self.least * total:
            return False
        return self.counter.add(_key(update), 0) >= self.wanted

    def finished(self, update: int) -> None:
        """Tells the others that this rank's rollout is over."""
        if self.counter is not None:
            self.counter.add(_key(update), 1)

    def forget(self, update: int) -> None:
        """Drops the count of an update once all have finished; by one rank, else millions of them would pile up."""
        if self.counter is not None:
            self.counter.delete_key(_key(update))


def _key(update: int) -> str:
    return f"llarp/rollout/{update}"


def shared_counter(ranks: int) -> Any:
    """The store that the ranks met through; None for a single one."""
    if ranks == 1:
        return None
    from torch.distributed.distributed_c10d import _get_default_store

    return _get_default_store()
