"""The trained part of LLaRP: images in, skills and values out (arXiv 2310.17722, section 3 and appendix).

Shapes: N frames, P visual tokens of width D per frame (E x E patches, or one), W width of the backbone, H hidden width,
A actions.

Deviations from the paper:
* Features are standardised with the training set's mean and deviation, and the frame's token ends in a LayerNorm whose
  size starts at that of the backbone's word embeddings: adapters then learn in thousands of episodes, not millions.
* Several visual tokens (patches) become one token by a shared network that sees each with its neighbours and its
  position, pooled by maximum and mean: an object is wherever one patch shows it. With one visual token it is the
  paper's network.
"""

import math

import torch
from torch import nn

from llarp.errors import UserError

_PATCH_SHARE = 4
"""Patches pass through H / 4 units each: the P-fold work stays small beside the backbone's."""


class ObservationAdapter(nn.Module):
    """Visual tokens [N, P, D] of a frame -> one token [N, W]."""

    def __init__(self, token_shape: tuple[int, int], hidden: int, width: int, scale: float) -> None:
        """Args:
        token_shape: (P, D).
        hidden: H.
        width: W.
        scale: root mean square of the token at the start.
        """
        super().__init__()
        tokens, dim = token_shape
        self.mean_D: torch.Tensor
        self.std_D: torch.Tensor
        self.register_buffer("mean_D", torch.zeros(dim))
        self.register_buffer("std_D", torch.ones(dim))
        self.patches = _Patches(tokens, dim, max(8, hidden // _PATCH_SHARE)) if tokens > 1 else None
        self.head = nn.Sequential(
            nn.Linear(self.patches.width if self.patches else dim, hidden), nn.ReLU(), nn.Linear(hidden, width)
        )
        self.norm = nn.LayerNorm(width)
        nn.init.constant_(self.norm.weight, scale)

    def standardise(self, features_NPD: torch.Tensor) -> None:
        """Takes mean and deviation over all frames and visual tokens of a sample [N, P, D]."""
        flat = features_NPD.double().flatten(0, -2)
        self.mean_D.copy_(flat.mean(0))
        self.std_D.copy_(flat.std(0, correction=0).clamp(min=1e-4))

    def forward(self, features_NPD: torch.Tensor) -> torch.Tensor:
        """[N, W] tokens of float16 or float32 [N, P, D] features."""
        features_NPD = (features_NPD.float() - self.mean_D) / self.std_D
        pooled = self.patches(features_NPD) if self.patches else features_NPD.squeeze(-2)
        token: torch.Tensor = self.norm(self.head(pooled))
        return token


class _Patches(nn.Module):
    """[N, P, D] -> [N, 2 H]: what is somewhere (maximum), and how much of it (mean)."""

    def __init__(self, tokens: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.width = 2 * hidden
        self.edge = math.isqrt(tokens)
        if self.edge**2 != tokens:
            raise UserError(
                f"{tokens} patches are no square grid", "encoder.output", "use cls or mean, or square images"
            )
        # An object rarely lies within one patch: each is read together with the eight around it.
        self.inner = nn.Conv2d(dim, hidden, kernel_size=3, padding=1)
        self.position_HEE = nn.Parameter(0.02 * torch.randn(hidden, self.edge, self.edge))
        self.outer = nn.Conv2d(hidden, hidden, kernel_size=1)

    def forward(self, features_NPD: torch.Tensor) -> torch.Tensor:
        grid_NDEE = features_NPD.mT.unflatten(-1, (self.edge, self.edge))
        hidden_NHEE = torch.relu(self.inner(grid_NDEE) + self.position_HEE)
        hidden_NHP = torch.relu(self.outer(hidden_NHEE)).flatten(-2)
        return torch.cat([hidden_NHP.amax(-1), hidden_NHP.mean(-1)], -1)


class ActionAdapter(nn.Module):
    """Hidden state [N, W] at a frame's token -> logits of the actions and value of the state."""

    def __init__(self, width: int, hidden: int, num_actions: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.ReLU(),
            nn.Linear(hidden, hidden), nn.LayerNorm(hidden), nn.ReLU(),
        )  # fmt: skip
        self.actor = nn.Linear(hidden, num_actions)
        self.critic = nn.Linear(hidden, 1)

    def forward(self, hidden_NW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(logits [N, A], values [N])."""
        trunk_NH = self.trunk(hidden_NW)
        return self.actor(trunk_NH), self.critic(trunk_NH).squeeze(-1)


class Adapters(nn.Module):
    """All that is trained and saved."""

    def __init__(
        self, token_shape: tuple[int, int], hidden: int, width: int, num_actions: int, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.observation = ObservationAdapter(token_shape, hidden, width, scale)
        self.action = ActionAdapter(width, hidden, num_actions)
