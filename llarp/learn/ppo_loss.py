"""The loss of proximal policy optimisation (arXiv 1707.06347, equation 9), value clipping as in the paper's release."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from llarp.config import PPOConfig


@dataclass(frozen=True)
class Taken:
    """N steps of a rollout that are learnt from."""

    actions_N: torch.Tensor
    """int64[N]."""
    log_probs_N: torch.Tensor
    """float32[N] of them, when they were taken."""
    values_N: torch.Tensor
    """float32[N] estimated then."""
    advantages_N: torch.Tensor
    """float32[N]."""
    returns_N: torch.Tensor
    """float32[N] what the critic learns."""


METRICS = ("loss/policy", "loss/value", "ppo/entropy", "ppo/approx_kl", "ppo/clip_fraction")


def ppo_loss(
    config: PPOConfig, logits_NA: torch.Tensor, values_N: torch.Tensor, taken: Taken, critic_only: bool = False
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """(scalar sum of the steps' losses with gradient, sums by the names of `METRICS`).

    Args:
        config: clipping and weights.
        logits_NA: of all actions now.
        values_N: estimated now.
        taken: what was done.
        critic_only: leaves the policy as it is: only the value has a part in the loss.

    """
    log_probs_NA = logits_NA.float().log_softmax(1)
    ratio_log_N = log_probs_NA.gather(1, taken.actions_N[:, None])[:, 0] - taken.log_probs_N
    ratio_N = ratio_log_N.exp()
    clipped_N = ratio_N.clamp(1 - config.clip, 1 + config.clip)
    policy_N = -torch.minimum(ratio_N * taken.advantages_N, clipped_N * taken.advantages_N)
    error_N = (values_N - taken.returns_N).square()
    if config.clip_value > 0:
        near_N = taken.values_N + (values_N - taken.values_N).clamp(-config.clip_value, config.clip_value)
        error_N = torch.maximum(error_N, (near_N - taken.returns_N).square())
    value_N = 0.5 * error_N
    entropy_N = -(log_probs_NA.exp() * log_probs_NA).sum(1)
    loss_N = config.value_weight * value_N
    if not critic_only:
        loss_N = loss_N + policy_N - config.entropy_weight * entropy_N
    with torch.no_grad():
        kl_N = ratio_N - 1 - ratio_log_N  # never negative, and of less variance than -log ratio
        is_clipped_N = (ratio_N - 1).abs() > config.clip
        sums = (policy_N.sum(), value_N.sum(), entropy_N.sum(), kl_N.sum(), is_clipped_N.sum())
    return loss_N.sum(), dict(zip(METRICS, sums, strict=True))
