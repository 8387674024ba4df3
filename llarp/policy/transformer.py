"""A backbone made of any model of `transformers` that has a key-value cache.

Two facts that a change here must keep in mind:
* The attention mask is always 4-D, additive and of the model's dtype. A 2-D mask would silently make the instruction
  causal in a model that should read it in both directions.
* Positions are always explicit, because padding stands on the left and takes no position.

With `policy.lora_rank` the model is trained a little, but only as a reader of frames: see `lora`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from llarp.config import PolicyConfig
from llarp.errors import UserError
from llarp.policy.backbone import Backbone, Identity
from llarp.policy.compiled import compile_layers
from llarp.policy.layer_cache import Fresh, Grown, LayerCache, Written
from llarp.policy.lora import Lora
from llarp.policy.memory import KeyValueCache, Memory
from llarp.policy.packing import Packing, mask_of
from llarp.tasks.episode import HORIZON

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
        lora_rank: int = 0,
        is_compiled: bool = False,
    ) -> None:
        """Args:
        model: without a head: its `last_hidden_state` is what is used.
        tokenizer: its special tokens are kept.
        identity: which weights these are.
        max_instruction_tokens: longer instructions are refused.
        bidirectional: whether tokens of the instruction see later ones.
        lora_rank: of what is trained in the model; 0: nothing.
        is_compiled: whether its layers are compiled.
        """
        model.eval().requires_grad_(False)
        self.model, self.lora = model, Lora(model, lora_rank) if lora_rank else None
        self.lora_weights = self.lora.weights if self.lora else None
        if is_compiled:
            compile_layers(model)
        self.tokenizer, self.identity = tokenizer, identity
        self.max_instruction_tokens, self.bidirectional = max_instruction_tokens, bidirectional
        self.width = model.config.get_text_config().hidden_size
        embeddings: Any = model.get_input_embeddings()
        self.embedding_rms = float(embeddings.weight.float().square().mean().sqrt())

    def to(self, device: torch.device | str) -> None:
        """Moves the weights; quantised ones stay on the GPU that they were loaded on."""
        if getattr(self.model, "quantization_method", None) is None:
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
        layers = Fresh()
        with self.lora.off() if self.lora else nullcontext():
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
        written = Written(cache, rows, lengths)
        hidden_KSD = self._forward(written.seen_BSK, written.position_BS, written, inputs_embeds=written.pad(embeds_ND))
        cache.advance(lengths, rows)
        return hidden_KSD[written.real_BS]

    def sequence(self, embeds_ND: torch.Tensor, lengths: Sequence[int], memories: Sequence[Memory]) -> torch.Tensor:
        """Whole episodes, packed: short ones share a row with others that the mask hides, so little is padding."""
        packing = Packing(lengths, memories)
        before = Grown(packing.prefix())
        hidden_RCD = self._forward(
            packing.seen_RCK, packing.position_RC, before, inputs_embeds=packing.spread(embeds_ND)
        )
        return packing.gather(hidden_RCD)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    def _forward(
        self, seen_BQK: torch.Tensor, position_BQ: torch.Tensor, layers: LayerCache, **inputs: torch.Tensor
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


def check_positions(max_positions: int, config: PolicyConfig, where: object) -> None:
    """UserError when the longest instruction and a whole episode of frames are more than a model has positions for."""
    frames = HORIZON + 1  # what is seen last is read too, for its value
    tokens = frames * config.tokens_per_frame
    if config.max_instruction_tokens + tokens > max_positions:
        raise UserError(
            f"has {max_positions} positions, fewer than {config.max_instruction_tokens} tokens and {frames} frames of "
            f"{config.tokens_per_frame}",
            where,
            f"lower policy.max_instruction_tokens to {max_positions - tokens} or less"
            if max_positions > tokens
            else "lower policy.visual_tokens",
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
