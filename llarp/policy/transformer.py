"""A backbone made of any model of `transformers` that has a key-value cache.

Two facts that a change here must keep in mind:
* The attention mask is always 4-D, additive and of the model's dtype. A 2-D mask would silently make the instruction
  causal in a model that should read it in both directions.
* Positions are always explicit, because padding stands on the left and takes no position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from llarp.errors import UserError
from llarp.policy.backbone import Backbone, Identity, Memory
from llarp.policy.packing import Packing

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase


class TransformerBackbone(Backbone):
    """Reads the instruction in one direction or both, and the frames after it causally."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        identity: Identity,
        max_instruction_tokens: int,
        bidirectional: bool,
    ) -> None:
        """Args:
        model: without a head: its `last_hidden_state` is what is used.
        tokenizer: its special tokens are kept.
        identity: which weights these are.
        max_instruction_tokens: longer instructions are refused.
        bidirectional: whether tokens of the instruction see later ones.
        """
        model.eval().requires_grad_(False)
        self.model = model
        self.tokenizer, self.identity = tokenizer, identity
        self.max_instruction_tokens, self.bidirectional = max_instruction_tokens, bidirectional
        self.width = model.config.get_text_config().hidden_size
        embeddings: Any = model.get_input_embeddings()
        self.embedding_rms = float(embeddings.weight.float().square().mean().sqrt())

    def to(self, device: torch.device | str) -> None:
        """Moves the weights."""
        self.model.to(torch.device(device))  # type: ignore[arg-type]

    def tokenize(self, instructions: Sequence[str]) -> list[list[int]]:
        """Token ids with the model's special tokens; UserError for an instruction beyond the limit."""
        if not instructions:
            return []
        token_ids: list[list[int]] = self.tokenizer(list(instructions), truncation=False, padding=False)["input_ids"]
        for text, ids in zip(instructions, token_ids, strict=True):
            if not 0 < len(ids) <= self.max_instruction_tokens:
                raise UserError(
                    f"{len(ids)} tokens, but 1 to {self.max_instruction_tokens} are allowed",
                    f"instruction {text[:60]!r}{'...' if len(text) > 60 else ''}",
                    "shorten it or raise policy.max_instruction_tokens; none is ever cut",
                )
        return token_ids

    @torch.no_grad()
    def prefix(self, token_ids: Sequence[Sequence[int]]) -> Memory:
        """Reads B instructions side by side; padding is neither seen nor counted as a position."""
        longest = max(map(len, token_ids))
        padded_BL = torch.tensor([[0] * (longest - len(ids)) + list(ids) for ids in token_ids])
        real_BL = torch.tensor([[False] * (longest - len(ids)) + [True] * len(ids) for ids in token_ids])
        real_BL = real_BL.to(self.model.device)
        seen_BLL = real_BL[:, None].expand(-1, longest, -1)
        if not self.bidirectional:
            seen_BLL = seen_BLL.tril()
        _, cache = self._forward(
            seen_BLL, (real_BL.cumsum(1) - 1).clamp(min=0), None, input_ids=padded_BL.to(self.model.device)
        )
        return Memory(_layers(cache), real_BL)

    @torch.no_grad()
    def step(self, embeds_BD: torch.Tensor, memory: Memory) -> tuple[torch.Tensor, Memory]:
        """One more frame per episode."""
        real_BL = torch.cat([memory.real_BL, memory.real_BL.new_ones(len(embeds_BD), 1)], 1)
        hidden_B1D, cache = self._forward(
            real_BL[:, None], memory.position_B[:, None], memory, inputs_embeds=embeds_BD[:, None]
        )
        return hidden_B1D[:, 0], Memory(_layers(cache), real_BL)

    def sequence(self, embeds_ND: torch.Tensor, lengths: Sequence[int], prefix: Memory) -> torch.Tensor:
        """Whole episodes, packed: short ones share a row with others that the mask hides, so little is padding."""
        packing = Packing(lengths, prefix)
        embeds_RCD = packing.spread(embeds_ND)
        hidden_RCD, _ = self._forward(packing.seen_RCK, packing.position_RC, packing.prefix, inputs_embeds=embeds_RCD)
        return hidden_RCD[packing.row_N, packing.column_N]

    def _forward(
        self, seen_BQK: torch.Tensor, position_BQ: torch.Tensor, memory: Memory | None, **inputs: torch.Tensor
    ) -> tuple[torch.Tensor, Cache | None]:
        """Hidden states float32 [B, Q, D] of Q new tokens, and the cache after them."""
        dtype: Any = self.model.dtype
        # The smallest number instead of -inf: rows of padding see nothing, and must not become NaN.
        mask_B1QK = torch.zeros(seen_BQK.shape, dtype=dtype, device=seen_BQK.device)
        mask_B1QK = mask_B1QK.masked_fill(~seen_BQK, torch.finfo(dtype).min)[:, None]
        if "inputs_embeds" in inputs:
            inputs["inputs_embeds"] = inputs["inputs_embeds"].to(dtype)
        output = self.model(
            **inputs,
            attention_mask=mask_B1QK,
            position_ids=position_BQ,
            past_key_values=_cache(memory),
            use_cache=True,
        )
        return output.last_hidden_state.float(), output.past_key_values


def _cache(memory: Memory | None) -> Cache:
    """What `transformers` appends to; the memory's own tensors stay as they are."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    cache = DynamicCache()
    for keys, values in memory.layers if memory else ():
        layer = DynamicLayer()
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values
        cache.layers.append(layer)
    return cache


def _layers(cache: Cache | None) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
    """Keys and values of each layer; none of a model that keeps none."""
    layers: Any = cache.layers if cache else ()
    return tuple((layer.keys, layer.values) for layer in layers)


def check_positions(max_positions: int, max_instruction_tokens: int, horizon: int, where: object) -> None:
    """UserError when the longest instruction and a whole episode of frames are more than a model has positions for."""
    if max_instruction_tokens + horizon > max_positions:
        raise UserError(
            f"has {max_positions} positions, fewer than {max_instruction_tokens} tokens and {horizon} frames",
            where,
            f"lower policy.max_instruction_tokens to {max_positions - horizon} or less",
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps transformers' loading bars and report of unused weights off the screen."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
