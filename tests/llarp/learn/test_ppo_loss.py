"""The loss of PPO against numbers worked out by hand."""

import math

import pytest
import torch
from toy_training import PPO

from llarp.learn.ppo_loss import METRICS, Taken, ppo_loss

CONFIG = PPO.model_copy(update={"clip": 0.2, "clip_value": 0.0, "value_weight": 0.5, "entropy_weight": 0.0})


def loss(advantage, ratio, old_value=0.0, value=0.0, goal=0.0, critic_only=False, **changes):
    """Loss of one step with two actions, of which the first was taken with probability 0.5, and its metrics."""
    now = 0.5 * ratio
    logits = torch.tensor([[math.log(now), math.log(1 - now)]], requires_grad=True)
    values = torch.tensor([value], requires_grad=True)
    taken = Taken(
        torch.tensor([0]), torch.tensor([math.log(0.5)]), torch.tensor([old_value]), torch.tensor([advantage]),
        torch.tensor([goal]),
    )  # fmt: skip
    result, sums = ppo_loss(CONFIG.model_copy(update=changes), logits, values, taken, critic_only)
    result.backward()
    gradient = torch.zeros(2) if logits.grad is None else logits.grad[0]
    return result.item(), {name: float(value) for name, value in sums.items()}, gradient, values.grad


@pytest.mark.parametrize(
    ("advantage", "ratio", "expected", "learns"),
    [
        (2.0, 1.1, -2.2, True),  # within the clip
        (2.0, 1.5, -2.4, False),  # no more reward for becoming more probable
        (2.0, 0.5, -1.0, True),  # but a mistake is mended from anywhere
        (-2.0, 0.5, 1.6, False),
        (-2.0, 1.5, 3.0, True),
    ],
)
def test_the_policys_part_is_clipped_on_one_side_only(advantage, ratio, expected, learns):
    found, sums, gradient, _ = loss(advantage, ratio)
    assert found == pytest.approx(expected, rel=1e-5)
    assert bool(gradient.abs().max() > 1e-4) == learns
    assert sums["ppo/clip_fraction"] == float(abs(ratio - 1) > 0.2)


def test_the_value_learns_the_return():
    found, sums, _, gradient = loss(0.0, 1.0, value=3.0, goal=1.0)
    assert found == pytest.approx(0.5 * 0.5 * 4.0) and sums["loss/value"] == pytest.approx(2.0)
    assert gradient == pytest.approx(0.5 * 2.0)


def test_a_clipped_value_is_judged_by_the_worse_of_both():
    # From 0 towards 10: at 1 it has moved beyond 0.2, so 0.2 is judged, and there is nothing to be gained
    found, _, _, gradient = loss(0.0, 1.0, old_value=0.0, value=1.0, goal=10.0, clip_value=0.2)
    assert found == pytest.approx(0.25 * 9.8**2) and gradient == 0
    # In the wrong direction nothing is clipped away
    found, _, _, gradient = loss(0.0, 1.0, old_value=0.0, value=-1.0, goal=10.0, clip_value=0.2)
    assert found == pytest.approx(0.25 * 121.0) and gradient != 0


def test_entropy_is_rewarded():
    even, skewed = loss(0.0, 1.0, entropy_weight=0.1), loss(0.0, 1.6, entropy_weight=0.1)
    assert even[0] == pytest.approx(-0.1 * math.log(2)) and even[1]["ppo/entropy"] == pytest.approx(math.log(2))
    assert skewed[0] > even[0] and skewed[2][0] > 0


def test_kl_is_that_of_the_change():
    _, sums, *_ = loss(0.0, 1.5)
    assert sums["ppo/approx_kl"] == pytest.approx(0.5 - math.log(1.5), rel=1e-4)
    assert set(sums) == set(METRICS)


def test_while_the_critic_warms_up_the_policy_stays():
    _, sums, gradient, value_gradient = loss(2.0, 1.1, value=1.0, critic_only=True, entropy_weight=0.1)
    assert gradient.abs().max() == 0 and value_gradient != 0
    assert sums["loss/policy"] == pytest.approx(-2.2, rel=1e-5)
