"""How many floating-point operations a frame costs: a multiplication and an addition count as two.

Norms, activations and softmax are left out: they are some thousandths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from llarp.policy.adapters import Adapters


@dataclass(frozen=True)
class Flops:
    """Of one frame, whose tokens see so many tokens on average: themselves and their context."""

    backbone_weights: int
    """Frozen ones that a token meets: all matrices of the layers."""
    adapter_weights: int
    """That a frame meets."""
    attention_per_key: int
    """For each token that is seen, over all layers: the score and what is taken of its value."""
    lora_weights: int = 0
    """Trained ones that a token of a frame meets in the backbone."""
    tokens_per_frame: int = 1

    @classmethod
    def of(cls, model: Any, adapters: Adapters) -> Flops:
        """Args:
        model: of `transformers`, without a head; may be on the meta device.
        adapters: what is trained around it.
        """
        config = model.config.get_text_config()
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        lora = sum(weight.numel() for weight in adapters.lora.parameters()) if adapters.lora else 0
        matrices = [module for module in model.modules() if isinstance(module, nn.Linear)]
        return cls(
            backbone_weights=sum(module.in_features * module.out_features for module in matrices) - lora,
            adapter_weights=_weights(adapters),
            attention_per_key=4 * config.num_hidden_layers * config.num_attention_heads * head,
            lora_weights=lora,
            tokens_per_frame=adapters.tokens_per_frame,
        )

    def forward(self, seen: float) -> float:
        """One frame in a rollout."""
        token = 2 * (self.backbone_weights + self.lora_weights) + self.attention_per_key * seen
        return self.tokens_per_frame * token + 2 * self.adapter_weights

    def training(self, seen: float) -> float:
        """One frame in one epoch: the frozen part is passed twice, forward and for its input's gradient."""
        token = 4 * self.backbone_weights + 6 * self.lora_weights + 3 * self.attention_per_key * seen
        return self.tokens_per_frame * token + 6 * self.adapter_weights

    def reading(self, tokens: int) -> float:
        """An instruction of so many tokens, read for the first time."""
        return tokens * (2 * self.backbone_weights + self.attention_per_key * tokens / 2)


def _weights(adapters: Adapters) -> int:
    """Weights that a frame meets, those of a convolution once for each place."""
    total = sum(
        module.in_features * module.out_features * (_visual_tokens(adapters, name))
        for name, module in adapters.named_modules()
        if isinstance(module, nn.Linear)
    )
    patches = adapters.observation.patches
    if patches is not None:
        total += patches.edge**2 * sum(layer.weight.numel() for layer in (patches.inner, patches.outer))
    return total


def _visual_tokens(adapters: Adapters, name: str) -> int:
    """How often a linear map of the adapters is applied to one frame."""
    resampler = adapters.observation.resampler
    if resampler is None or not name.startswith("observation."):
        return 1
    latents, tokens = len(resampler.latents_MH), len(resampler.position_PH)
    if name.endswith("resampler.into"):
        return tokens
    return latents + tokens if name.endswith("pair") else latents
