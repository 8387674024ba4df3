"""Generalised advantage estimation (arXiv 1506.02438) with ends of two kinds.

Shapes: T steps of a rollout, N episodes side by side.
"""

import numpy as np


def advantages(
    rewards_TN: np.ndarray,
    values_TN: np.ndarray,
    last_values_N: np.ndarray,
    terminated_TN: np.ndarray,
    truncated_TN: np.ndarray,
    final_values_TN: np.ndarray,
    gamma: float,
    gae_lambda: float,
) -> np.ndarray:
    """How much better each action was than expected.

    Args:
        rewards_TN: float, for the action taken at each step.
        values_TN: float, estimated before it.
        last_values_N: float, of what is seen after the last step.
        terminated_TN: bool, the episode ended by it: nothing more is to be had.
        truncated_TN: bool, it was cut by the horizon: what more was to be had is `final_values`.
        final_values_TN: float, of what was seen last where an episode was cut; elsewhere not read.
        gamma: discount.
        gae_lambda: 0 trusts the values, 1 the rewards.

    Returns:
        float64[T, N]; with the values added they are the returns that the critic learns.

    """
    result_TN = np.zeros(rewards_TN.shape)
    later_N = np.zeros(rewards_TN.shape[1])
    next_values_N = last_values_N
    for step in reversed(range(len(rewards_TN))):
        cut_N, ended_N = truncated_TN[step], terminated_TN[step]
        following_N = np.where(ended_N, 0.0, np.where(cut_N, final_values_TN[step], next_values_N))
        delta_N = rewards_TN[step] + gamma * following_N - values_TN[step]
        later_N = delta_N + gamma * gae_lambda * np.where(ended_N | cut_N, 0.0, later_N)
        result_TN[step], next_values_N = later_N, values_TN[step]
    return result_TN
