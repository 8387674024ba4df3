"""Perceiver resampler: many visual tokens of a frame become a few (Jaegle et al. 2021; Alayrac et al. 2022, figure 5).

Shapes: N frames, P visual tokens of width D per frame, M latents, H width of the latents.
"""

import torch
from torch import nn
from torch.nn import functional

from llarp.errors import UserError


class Resampler(nn.Module):
    """[N, P, D] -> [N, M, H]: learnt latents look at the visual tokens and at each other."""

    def __init__(self, tokens: int, dim: int, latents: int, hidden: int, depth: int = 2, head_width: int = 32) -> None:
        """Args:
        tokens: P.
        dim: D.
        latents: M.
        hidden: H, a multiple of `head_width`.
        depth: rounds of looking.
        head_width: width of an attention head.
        """
        super().__init__()
        if hidden % head_width:
            raise UserError(
                f"{hidden} is no multiple of {head_width}, the width of a resampler's head",
                "policy.hidden",
                "choose one, or set policy.visual_tokens to 1",
            )
        self.into = nn.Linear(dim, hidden)
        self.position_PH = nn.Parameter(0.02 * torch.randn(tokens, hidden))
        self.latents_MH = nn.Parameter(0.02 * torch.randn(latents, hidden))
        self.layers = nn.ModuleList(_Layer(hidden, head_width) for _ in range(depth))
        self.norm = nn.LayerNorm(hidden)

    def forward(self, features_NPD: torch.Tensor) -> torch.Tensor:
        """[N, M, H] of float32 [N, P, D]."""
        seen_NPH = self.into(features_NPD) + self.position_PH
        latents_NMH = self.latents_MH.expand(len(features_NPD), -1, -1)
        for layer in self.layers:
            latents_NMH = layer(latents_NMH, seen_NPH)
        return self.norm(latents_NMH)


class _Layer(nn.Module):
    def __init__(self, hidden: int, head_width: int) -> None:
        super().__init__()
        self.heads = hidden // head_width
        self.norm_latents, self.norm_seen, self.norm_inner = (nn.LayerNorm(hidden) for _ in range(3))
        self.query, self.pair, self.out = (
            nn.Linear(hidden, hidden),
            nn.Linear(hidden, 2 * hidden),
            nn.Linear(hidden, hidden),
        )
        self.inner = nn.Sequential(nn.Linear(hidden, 2 * hidden), nn.GELU(), nn.Linear(2 * hidden, hidden))

    def forward(self, latents_NMH: torch.Tensor, seen_NPH: torch.Tensor) -> torch.Tensor:
        query = self.norm_latents(latents_NMH)
        # Latents see themselves beside the frame, so that they can share the work.
        key, value = self.pair(torch.cat([self.norm_seen(seen_NPH), query], 1)).chunk(2, -1)
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query(query), key, value)
        )
        found = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        latents_NMH = latents_NMH + self.out(found)
        return latents_NMH + self.inner(self.norm_inner(latents_NMH))
