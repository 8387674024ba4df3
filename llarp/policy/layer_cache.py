"""What a model of `transformers` asks of a cache when masks and positions are given to it.

A model hands the cache to every layer with its number; `compiled` gives every layer its own part instead, so that one
compiled layer does for all of them. What is compiled (`OneLayer`) holds tensors and looks at no values in them.

Shapes: B rows of the call, H heads of keys and values, D width of a head, Q new tokens, L tokens before, K all tokens;
for a cache that is written in place also R rows, C columns, N new tokens without padding, S of them in the longest row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from llarp.policy.memory import KeyValueCache


class OneLayer:
    """The part of one layer."""

    is_compileable = False

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int = 0, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Takes the new tokens' [B, H, Q, D]; returns all tokens' [B, H, K, D]."""
        raise NotImplementedError

    def get_seq_length(self, layer: int = 0) -> int:
        """Asked for, but of no effect."""
        return 0


class LayerCache(OneLayer):
    """All layers."""

    def of(self, layer: int) -> OneLayer:
        """One of them."""
        raise NotImplementedError

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int = 0, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `OneLayer.update`."""
        return self.of(layer).update(keys, values)


class Fresh(LayerCache):
    """Nothing before; what comes is kept."""

    def __init__(self) -> None:
        self.pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
        """Per layer, keys and values [B, H, Q, D]."""

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int = 0, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `OneLayer.update`."""
        self.pairs.append((keys, values))
        return keys, values


class Grown(LayerCache):
    """Keys and values before, and the new ones behind them: with gradient."""

    def __init__(self, before: torch.Tensor) -> None:
        """Args:
        before: [layers, 2, B, H, L, D].
        """
        self.before = before

    def of(self, layer: int) -> OneLayer:
        """See `LayerCache.of`."""
        return _GrownLayer(*self.before[layer])


@dataclass(frozen=True)
class _GrownLayer(OneLayer):
    keys: torch.Tensor
    """[B, H, L, D]."""
    values: torch.Tensor
    """[B, H, L, D]."""

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int = 0, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.cat([self.keys, keys], 2), torch.cat([self.values, values], 2)


class Written(LayerCache):
    """Rows of a cache, written in place; all rows in their order are read where they stand."""

    def __init__(self, cache: KeyValueCache, rows: np.ndarray, lengths: Sequence[int]) -> None:
        """Args:
        cache: of the model.
        rows: int64[B], distinct.
        lengths: new tokens of each.
        """
        device = cache.keys.device
        self.cache, self._places = cache, cache.places(lengths, rows)
        start_B1, length_B1 = (torch.tensor(some, device=device)[:, None] for some in (cache.lengths[rows], lengths))
        step_S = torch.arange(max(lengths), device=device)
        self.real_BS = step_S < length_B1
        """bool[B, S] where there is a token."""
        self._real_N = self.real_BS.flatten().nonzero()[:, 0]
        self.position_BS = start_B1 + step_S
        self._longest = int((cache.lengths[rows] + lengths).max())
        self.seen_BSK = torch.arange(self._longest, device=device) <= self.position_BS[..., None]
        in_order = np.array_equal(rows, np.arange(len(cache.lengths)))
        self._chosen_B = None if in_order else torch.from_numpy(rows).to(device)

    def pad(self, embeds_NW: torch.Tensor) -> torch.Tensor:
        """[B, S, W] of [N, W]."""
        padded = embeds_NW.new_zeros(*self.real_BS.shape, embeds_NW.shape[1])
        padded[self.real_BS] = embeds_NW
        return padded

    def of(self, layer: int) -> OneLayer:
        """See `LayerCache.of`."""
        return _WrittenLayer(
            self.cache.keys[layer],
            self.cache.values[layer],
            *self._places,
            self._real_N,
            self._chosen_B,
            self._longest,
        )


@dataclass(frozen=True)
class _WrittenLayer(OneLayer):
    keys_RCHD: torch.Tensor
    values_RCHD: torch.Tensor
    row_N: torch.Tensor
    """int64, where the new tokens go."""
    column_N: torch.Tensor
    """int64."""
    real_N: torch.Tensor
    """int64 places of the new tokens among all B x S."""
    chosen_B: torch.Tensor | None
    """int64; None: all rows in their order."""
    longest: int
    """Columns that are read."""

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int = 0, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self._write(self.keys_RCHD, keys), self._write(self.values_RCHD, values)

    def _write(self, all_RCHD: torch.Tensor, new_BHSD: torch.Tensor) -> torch.Tensor:
        all_RCHD[self.row_N, self.column_N] = new_BHSD.transpose(1, 2).flatten(0, 1).index_select(0, self.real_N)
        seen = all_RCHD[:, : self.longest]
        return (seen if self.chosen_B is None else seen[self.chosen_B]).transpose(1, 2)
