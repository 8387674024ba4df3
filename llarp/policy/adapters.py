"""The trained part of LLaRP: images in, skills and values out (arXiv 2310.17722, section 3 and appendix).

Shapes: N frames, P visual tokens of width D per frame (E x E patches, or one), S tokens that a frame becomes, W width
of the backbone, H hidden width, A actions.

Deviations from the paper:
* Features are standardised with the training set's mean and deviation, and the frame's token ends in a LayerNorm whose
  size starts at that of the backbone's word embeddings: adapters then learn in thousands of episodes, not millions.
* Several visual tokens (patches) become one token by a shared network that sees each with its neighbours and its
  position, pooled by maximum and mean: an object is wherever one patch shows it. With one visual token it is the
  paper's network. With `policy.visual_tokens` > 1 a resampler makes that many of them instead.
* With `policy.previous_action` the action before comes as a token of its own before each frame.
* The release's 22.6 M trained parameters hold 0.3 M of an embedding of actions that only its option of action inputs
  reads; here it exists with that option alone, so that without it they are 22.3 M.
"""

import math

import torch
from torch import nn

from llarp.errors import UserError
from llarp.policy.packed_linear import PackableLinear as Linear
from llarp.policy.resampler import Resampler

_PATCH_SHARE = 4
"""Patches pass through H / 4 units each: the P-fold work stays small beside the backbone's."""


class ObservationAdapter(nn.Module):
    """Visual tokens [N, P, D] of a frame -> tokens [N, S, W]."""

    def __init__(
        self, token_shape: tuple[int, int], hidden: int, width: int, scale: float, visual_tokens: int = 1
    ) -> None:
        """Args:
        token_shape: (P, D).
        hidden: H.
        width: W.
        scale: root mean square of the tokens at the start.
        visual_tokens: S; more than 1 needs several visual tokens to make them from.
        """
        super().__init__()
        tokens, dim = token_shape
        if visual_tokens > 1 and tokens == 1:
            raise UserError(
                f"{visual_tokens} tokens per frame from an encoder with one",
                "policy.visual_tokens",
                "set it to 1, or vision.output to patches",
            )
        self.mean_D: torch.Tensor
        self.std_D: torch.Tensor
        self.register_buffer("mean_D", torch.zeros(dim))
        self.register_buffer("std_D", torch.ones(dim))
        self.resampler = Resampler(tokens, dim, visual_tokens, hidden) if visual_tokens > 1 else None
        self.patches = _Patches(tokens, dim, max(8, hidden // _PATCH_SHARE)) if tokens > 1 == visual_tokens else None
        inner = hidden if self.resampler else self.patches.width if self.patches else dim
        self.head = nn.Sequential(Linear(inner, hidden), nn.ReLU(), Linear(hidden, width))
        self.norm = nn.LayerNorm(width)
        nn.init.constant_(self.norm.weight, scale)

    def standardise(self, features_NPD: torch.Tensor) -> None:
        """Takes mean and deviation over all frames and visual tokens of a sample [N, P, D]."""
        flat = features_NPD.double().flatten(0, -2)
        self.mean_D.copy_(flat.mean(0))
        self.std_D.copy_(flat.std(0, correction=0).clamp(min=1e-4))

    def forward(self, features_NPD: torch.Tensor) -> torch.Tensor:
        """[N, S, W] tokens of float16 or float32 [N, P, D] features."""
        features_NPD = (features_NPD.float() - self.mean_D) / self.std_D
        if self.resampler:
            pooled_NSH = self.resampler(features_NPD)
        else:
            pooled_NSH = self.patches(features_NPD)[:, None] if self.patches else features_NPD
        tokens_NSW: torch.Tensor = self.norm(self.head(pooled_NSH))
        return tokens_NSW


class _Patches(nn.Module):
    """[N, P, D] -> [N, 2 H]: what is somewhere (maximum), and how much of it (mean)."""

    def __init__(self, tokens: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.width = 2 * hidden
        self.edge = math.isqrt(tokens)
        if self.edge**2 != tokens:
            raise UserError(
                f"{tokens} patches are no square grid", "vision.output", "use cls or mean, or square images"
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
            Linear(width, hidden), nn.LayerNorm(hidden), nn.ReLU(),
            Linear(hidden, hidden), nn.LayerNorm(hidden), nn.ReLU(),
        )  # fmt: skip
        self.actor = Linear(hidden, num_actions)
        self.critic = Linear(hidden, 1)

    def forward(self, hidden_NW: torch.Tensor, critic_only: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """(logits [N, A], values [N]).

        Args:
            hidden_NW: hidden states.
            critic_only: the value's gradient stays in the critic's own weights.

        """
        trunk_NH = self.trunk(hidden_NW)
        judged_NH = trunk_NH.detach() if critic_only else trunk_NH
        return self.actor(trunk_NH), self.critic(judged_NH).squeeze(-1)


class PreviousAction(nn.Module):
    """The action before a frame as a token [N, W]; one more number stands for the start of an episode."""

    def __init__(self, num_actions: int, width: int, scale: float) -> None:
        super().__init__()
        self.token = nn.Embedding(num_actions + 1, width)
        nn.init.normal_(self.token.weight, std=scale)

    def forward(self, previous_N: torch.Tensor) -> torch.Tensor:
        """[N, W] of int64[N] actions, or their number for none."""
        token_NW: torch.Tensor = self.token(previous_N)
        return token_NW


class Adapters(nn.Module):
    """All that is trained and saved."""

    def __init__(
        self,
        token_shape: tuple[int, int],
        hidden: int,
        width: int,
        num_actions: int,
        scale: float = 1.0,
        visual_tokens: int = 1,
        previous_action: bool = False,
        observation_hidden: int | None = None,
        lora: nn.Module | None = None,
    ) -> None:
        """Args:
        token_shape: (P, D).
        hidden: H.
        width: W.
        num_actions: A.
        scale: root mean square of a token at the start.
        visual_tokens: tokens that the observation adapter makes of a frame.
        previous_action: whether the action before is a token too.
        observation_hidden: H of the observation adapter; None: the same.
        lora: what is trained in the backbone, which goes on using it; None: nothing.
        """
        super().__init__()
        self.observation = ObservationAdapter(token_shape, observation_hidden or hidden, width, scale, visual_tokens)
        self.previous = PreviousAction(num_actions, width, scale) if previous_action else None
        self.action = ActionAdapter(width, hidden, num_actions)
        self.lora = lora
        self.num_actions = num_actions
        self.tokens_per_frame = visual_tokens + previous_action
        """S."""

    def tokens(self, features_NPD: torch.Tensor, previous_N: torch.Tensor) -> torch.Tensor:
        """[N, S, W] tokens of frames and, where they are used, the actions before them (A: none)."""
        seen_NSW: torch.Tensor = self.observation(features_NPD)
        if self.previous is None:
            return seen_NSW
        return torch.cat([self.previous(previous_N)[:, None], seen_NSW], 1)
