"""The backbone that is fast on a CPU: fused layers where the model is of a family that they know.

Shapes as in `backbone` and `fused`; R rows, C columns, K keys as in `packing`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from llarp.policy.attention import attend
from llarp.policy.fused import FusedModel, fuse
from llarp.policy.memory import KeyValueCache, Memory
from llarp.policy.packing import Packing, group, mask_of
from llarp.policy.transformer import TransformerBackbone


class FusedBackbone(TransformerBackbone):
    """Like its base, several times as fast for float32 on the CPU.

    Elsewhere, for other families, with LoRA and when compiled it is its base.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        """As the base."""
        super().__init__(*args, **options)
        self._may_fuse = self.lora is None and not options.get("is_compiled")
        self.fused: FusedModel | None = fuse(self.model) if self._may_fuse else None

    def to(self, device: torch.device | str) -> None:
        """Moves the weights; off the CPU the base does the work."""
        if torch.device(device) != self.device:
            super().to(device)
            self.fused = fuse(self.model) if self._may_fuse else None

    @torch.no_grad()
    def prefix(self, token_ids: Sequence[Sequence[int]]) -> list[Memory]:
        """Reads B instructions without padding."""
        if self.fused is None:
            return super().prefix(token_ids)
        lengths = list(map(len, token_ids))
        heads, layers = self.fused.heads, self.fused.num_layers
        nothing = torch.empty(layers, 2, heads.pairs, 0, heads.width)
        read: list[torch.Tensor] = []

        def keep(keys_NHD: torch.Tensor, values_NHD: torch.Tensor) -> None:
            read.append(torch.stack([keys_NHD, values_NHD]))

        words_NW = self.fused.words(torch.tensor([id for ids in token_ids for id in ids]))
        self._run_grouped(words_NW, lengths, [Memory(nothing)] * len(lengths), not self.bidirectional, keep)
        all_NHD = torch.stack(read)  # [layers, 2, N, H, D]
        return [Memory(part.transpose(2, 3).contiguous()) for part in all_NHD.split(lengths, 2)]

    def cache(self, rows: int, tokens: int) -> KeyValueCache:
        """See `Backbone.cache`."""
        if self.fused is None:
            return super().cache(rows, tokens)
        heads, capacity = self.fused.heads, self.max_instruction_tokens + tokens
        return KeyValueCache((self.fused.num_layers, heads.pairs, heads.width), rows, capacity, torch.empty(0))

    @torch.no_grad()
    def read(
        self, embeds_ND: torch.Tensor, lengths: Sequence[int], cache: KeyValueCache, rows: np.ndarray
    ) -> torch.Tensor:
        """Reads on in some rows."""
        if self.fused is None:
            return super().read(embeds_ND, lengths, cache, rows)
        row_N, column_N = cache.places(lengths, rows)
        places, keys, values = (row_N.numpy(), column_N.numpy()), cache.keys.numpy(), cache.values.numpy()

        def look(
            layer: int, queries_NQD: torch.Tensor, keys_NHD: torch.Tensor, values_NHD: torch.Tensor
        ) -> torch.Tensor:
            found_NQD = torch.empty(queries_NQD.shape)
            new = queries_NQD.numpy(), keys_NHD.numpy(), values_NHD.numpy()
            attend(*new, keys[layer], values[layer], *places, found_NQD.numpy())
            return found_NQD.flatten(1)

        hidden_ND = self.fused.run(embeds_ND, column_N, look)
        cache.advance(lengths, rows)
        return hidden_ND

    def sequence(self, embeds_ND: torch.Tensor, lengths: Sequence[int], memories: Sequence[Memory]) -> torch.Tensor:
        """Whole episodes: maps on the tokens alone, attention in groups of episodes of similar length."""
        if self.fused is None:
            return super().sequence(embeds_ND, lengths, memories)
        return self._run_grouped(embeds_ND, lengths, memories, is_causal=True)

    def _run_grouped(
        self,
        embeds_ND: torch.Tensor,
        lengths: Sequence[int],
        memories: Sequence[Memory],
        is_causal: bool,
        keep: Callable[[torch.Tensor, torch.Tensor], None] | None = None,
    ) -> torch.Tensor:
        """Hidden states [N, D]; `keep` is given the keys and values of each layer, [N, H, D] each."""
        assert self.fused is not None
        groups = group(lengths, list(map(len, memories)))
        parts = [_Group([lengths[e] for e in one], [memories[e] for e in one], is_causal) for one in groups]
        sizes = [part.packing.num_tokens for part in parts]
        starts = np.cumsum([0, *lengths])
        order = np.concatenate([np.arange(starts[e], starts[e + 1]) for one in groups for e in one])
        order_N, back_N = torch.from_numpy(order), torch.from_numpy(order.argsort())

        def look(layer: int, *queries_keys_values: torch.Tensor) -> torch.Tensor:
            if keep:
                keep(*(part.index_select(0, back_N) for part in queries_keys_values[1:]))
            split = zip(*(tensor.split(sizes) for tensor in queries_keys_values), strict=True)
            return torch.cat([part.look(layer, *tensors) for part, tensors in zip(parts, split, strict=True)])

        position_N = torch.cat([part.packing.position_N for part in parts])
        return self.fused.run(embeds_ND.index_select(0, order_N), position_N, look).index_select(0, back_N)


class _Group:
    """Attention of episodes of similar length, one in each row."""

    def __init__(self, lengths: Sequence[int], memories: Sequence[Memory], is_causal: bool) -> None:
        self.packing = Packing(lengths, memories, is_causal, [[row] for row in range(len(lengths))])
        self.prefix = self.packing.prefix()
        self.mask_R11CK = mask_of(self.packing.seen_RCK, torch.float32)[:, None, None]

    def look(
        self, layer: int, queries_NQD: torch.Tensor, keys_NHD: torch.Tensor, values_NHD: torch.Tensor
    ) -> torch.Tensor:
        """[N, Q * D]; see `fused.Attend`."""
        pairs, width, columns = *keys_NHD.shape[1:], self.packing.shape[1]
        query, key, value = (
            self.packing.spread(part.flatten(1)).unflatten(2, (-1, width)).transpose(1, 2)
            for part in (queries_NQD, keys_NHD, values_NHD)
        )
        earlier_keys, earlier_values = self.prefix[layer]
        key, value = torch.cat([earlier_keys, key], 2), torch.cat([earlier_values, value], 2)
        query_RHGD = query.unflatten(1, (pairs, -1)).flatten(2, 3)  # queries that share keys side by side
        score_RHGCK = (query_RHGD @ key.mT).unflatten(2, (-1, columns)) + self.mask_R11CK
        found_RHGCD = (score_RHGCK.softmax(-1).flatten(2, 3) @ value).unflatten(2, (-1, columns))
        return self.packing.gather(found_RHGCD.flatten(1, 2).transpose(1, 2).flatten(2))
