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

import numpy as np
import torch

from llarp.errors import UserError
from llarp.policy.backbone import Backbone, Identity
from llarp.policy.memory import KeyValueCache, Memory
from llarp.policy.packing import Packing, mask_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


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
    def prefix(self, token_ids: Sequence[Sequence[int]]) -> list[Memory]:
        """Reads B instructions side by side; padding stands on the right, where nobody sees it."""
        lengths = list(map(len, token_ids))
        longest = max(lengths)
        padded_BL = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in token_ids], device=self.device)
        column_L, end_B11 = torch.arange(longest), torch.tensor(lengths)[:, None, None]
        seen_BLL = (column_L < end_B11).expand(-1, longest, -1)
        if not self.bidirectional:
            seen_BLL = seen_BLL.tril()
        position_BL = column_L.expand(len(lengths), -1).to(self.device)
        layers = _Grown([])
        self._forward(seen_BLL.to(self.device), position_BL, layers, input_ids=padded_BL)
        read = torch.stack([torch.stack(pair) for pair in layers.pairs])  # [layers, 2, B, H, L, D]
        return [Memory(read[:, :, row, :, :length].clone()) for row, length in enumerate(lengths)]

    def cache(self, rows: int, tokens: int) -> KeyValueCache:
        """See `Backbone.cache`."""
        sample = self.prefix([[0]])[0].tensor
        layers, _, heads, _, width = sample.shape
        return KeyValueCache((layers, heads, width), rows, self.max_instruction_tokens + tokens, sample)

    @torch.no_grad()
    def read(
        self, embeds_ND: torch.Tensor, lengths: Sequence[int], cache: KeyValueCache, rows: np.ndarray
    ) -> torch.Tensor:
        """Reads on in some rows; shorter ones are padded on the right."""
        written = _Written(cache, rows, lengths)
        hidden_KSD = self._forward(written.seen_KSC, written.position_KS, written, inputs_embeds=written.pad(embeds_ND))
        cache.advance(lengths, rows)
        return hidden_KSD[written.real_KS]

    def sequence(self, embeds_ND: torch.Tensor, lengths: Sequence[int], memories: Sequence[Memory]) -> torch.Tensor:
        """Whole episodes, packed: short ones share a row with others that the mask hides, so little is padding."""
        packing = Packing(lengths, memories)
        before = _Grown(list(packing.prefix()))
        hidden_RCD = self._forward(
            packing.seen_RCK, packing.position_RC, before, inputs_embeds=packing.spread(embeds_ND)
        )
        return packing.gather(hidden_RCD)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    def _forward(
        self, seen_BQK: torch.Tensor, position_BQ: torch.Tensor, layers: _Layers, **inputs: torch.Tensor
    ) -> torch.Tensor:
        """Hidden states float32 [B, Q, D] of Q new tokens after what the layers hold."""
        dtype: Any = self.model.dtype
        if "inputs_embeds" in inputs:
            inputs["inputs_embeds"] = inputs["inputs_embeds"].to(dtype)
        output = self.model(
            **inputs,
            attention_mask=mask_of(seen_BQK, dtype)[:, None],
            position_ids=position_BQ,
            past_key_values=layers,
            use_cache=True,
        )
        if output.past_key_values is None:
            where = f"backbone {self.identity.name}"
            raise UserError("keeps no keys and values, so it is no decoder", where, "choose another model")
        return output.last_hidden_state.float()


class _Layers:
    """What a model of `transformers` asks of a cache when masks and positions are given to it."""

    is_compileable = False

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Takes the new tokens' [B, H, Q, D]; returns all tokens' [B, H, K, D]."""
        raise NotImplementedError

    def get_seq_length(self, layer: int = 0) -> int:
        """Asked for, but of no effect."""
        return 0


class _Grown(_Layers):
    """Keys and values before, and the new ones behind them: with gradient."""

    def __init__(self, before: list[torch.Tensor]) -> None:
        """Args:
        before: per layer [2, B, H, L, D]; or none at all.
        """
        self.before = before
        self.pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
        """Per layer, what `update` was given."""

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.pairs.append((keys, values))
        if not self.before:
            return keys, values
        earlier_keys, earlier_values = self.before[layer]
        return torch.cat([earlier_keys, keys], 2), torch.cat([earlier_values, values], 2)


class _Written(_Layers):
    """Rows of a cache, written in place; all rows in their order are read where they stand."""

    def __init__(self, cache: KeyValueCache, rows: np.ndarray, lengths: Sequence[int]) -> None:
        self.cache, device = cache, cache.keys.device
        self.places = cache.places(lengths, rows)
        start_K1, length_K1 = (torch.tensor(some, device=device)[:, None] for some in (cache.lengths[rows], lengths))
        step_S = torch.arange(max(lengths), device=device)
        self.real_KS = step_S < length_K1
        """bool[K, S] where there is a token."""
        self.position_KS = start_K1 + step_S
        self.longest = int((cache.lengths[rows] + lengths).max())
        self.seen_KSC = torch.arange(self.longest, device=device) <= self.position_KS[..., None]
        in_order = np.array_equal(rows, np.arange(len(cache.lengths)))
        self.chosen = slice(None) if in_order else torch.from_numpy(rows).to(device)

    def pad(self, embeds_ND: torch.Tensor) -> torch.Tensor:
        """[K, S, D] of [N, D]."""
        padded = embeds_ND.new_zeros(*self.real_KS.shape, embeds_ND.shape[1])
        padded[self.real_KS] = embeds_ND
        return padded

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        new_keys, new_values = (new.transpose(1, 2)[self.real_KS] for new in (keys, values))
        self.cache.write(layer, *self.places, new_keys, new_values)
        all_keys = self.cache.keys[layer, ..., : self.longest][self.chosen]
        all_values = self.cache.values[layer][:, :, : self.longest][self.chosen]
        return all_keys.transpose(2, 3), all_values


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
