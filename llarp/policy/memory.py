"""Keys and values of what a frozen model has read: of one episode, and of many that are being played.

Shapes: H heads for keys and values, D width of a head, L tokens read, R rows of a cache, C tokens that a row can hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Memory:
    """What one episode has read. Never changed in place: one instruction's memory starts many episodes."""

    tensor: torch.Tensor
    """[layers, 2, H, L, D] keys, then values, without gradient."""

    def __len__(self) -> int:
        """L: also the position of the next token."""
        return self.tensor.shape[3]

    @property
    def num_bytes(self) -> int:
        """Size of keys and values."""
        return self.tensor.nbytes


class KeyValueCache:
    """Keys and values of R episodes, allocated once; a step writes its tokens in place and copies nothing else.

    Who reads writes the new tokens' keys and values at `places`, layer by layer, and then calls `advance`.
    """

    def __init__(self, shape: Sequence[int], rows: int, capacity: int, like: torch.Tensor) -> None:
        """Args:
        shape: (layers, H, D).
        rows: R.
        capacity: C.
        like: of the dtype and device wanted.
        """
        layers, heads, width = shape
        # A row's tokens stand one after the other, so that reading them is one stream.
        self.keys, self.values = (like.new_zeros(layers, rows, capacity, heads, width) for _ in range(2))
        """[layers, R, C, H, D] each."""
        self.lengths = np.zeros(rows, np.int64)
        """int64[R] tokens in each row."""

    @property
    def capacity(self) -> int:
        """C."""
        return self.keys.shape[2]

    @property
    def num_bytes(self) -> int:
        """Size of keys and values."""
        return self.keys.nbytes + self.values.nbytes

    def put(self, row: int, memory: Memory) -> None:
        """Begins a row anew with what an episode has read."""
        assert len(memory) <= self.capacity, "a longer memory than there is room for"
        self.keys[:, row, : len(memory)] = memory.tensor[:, 0].transpose(1, 2)
        self.values[:, row, : len(memory)] = memory.tensor[:, 1].transpose(1, 2)
        self.lengths[row] = len(memory)

    def take(self, row: int) -> Memory:
        """A copy of what a row has read."""
        length = int(self.lengths[row])
        kept = [part[:, row, :length].transpose(1, 2) for part in (self.keys, self.values)]
        return Memory(torch.stack(kept, 1))

    def places(self, lengths: Sequence[int], rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """(int64[N] rows, int64[N] columns) of the next tokens of K rows, so many in each."""
        starts = self.lengths[rows]
        columns = [np.arange(start, start + length) for start, length in zip(starts, lengths, strict=True)]
        device = self.keys.device
        return (
            torch.from_numpy(np.repeat(rows, lengths)).to(device),
            torch.from_numpy(np.concatenate(columns)).to(device),
        )

    def advance(self, lengths: Sequence[int], rows: np.ndarray) -> None:
        """Counts new tokens, once all layers have them."""
        self.lengths[rows] += np.asarray(lengths)
