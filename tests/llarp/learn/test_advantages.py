"""Advantages against numbers worked out by hand."""

import numpy as np
import pytest

from llarp.learn.advantages import advantages


def column(*numbers, kind=float):
    return np.array(numbers, kind)[:, None]


def judged(rewards, values, last, terminated=None, truncated=None, final=None, gamma=0.5, gae_lambda=0.5):
    steps = len(rewards)
    nothing = [False] * steps
    return advantages(
        column(*rewards), column(*values), np.array([last], float), column(*(terminated or nothing), kind=bool),
        column(*(truncated or nothing), kind=bool), column(*(final or [99.0] * steps)), gamma, gae_lambda,
    )[:, 0]  # fmt: skip


def test_an_episode_that_goes_on_is_worth_what_is_expected_of_it():
    # delta 1: 2 + 0.5 * 8 - 4 = 2;  delta 0: 1 + 0.5 * 4 - 2 = 1;  advantage 0: 1 + 0.25 * 2
    assert judged([1, 2], [2, 4], 8) == pytest.approx([1.5, 2.0])


def test_after_the_goal_nothing_more_is_to_be_had():
    # delta 1: 2 - 4 = -2;  delta 0: 1 + 0.5 * 4 - 2 = 1;  advantage 0: 1 + 0.25 * -2
    assert judged([1, 2], [2, 4], 8, terminated=[False, True]) == pytest.approx([0.5, -2.0])


def test_the_horizon_is_no_end_but_worth_what_was_seen_last():
    # delta 1: 2 + 0.5 * 6 - 4 = 1;  advantage 0: 1 + 0.25 * 1
    assert judged([1, 2], [2, 4], 8, truncated=[False, True], final=[99.0, 6.0]) == pytest.approx([1.25, 1.0])


@pytest.mark.parametrize("kind", ["terminated", "truncated"])
def test_the_next_episode_has_no_part_in_it(kind):
    ends = {kind: [True, False], "final": [0.0, 99.0]}
    # delta 0: 1 + 0 - 2 = -1 and nothing of step 1;  delta 1: 2 + 0.5 * 8 - 4 = 2
    assert judged([1, 2], [2, 4], 8, **ends) == pytest.approx([-1.0, 2.0])


def test_with_lambda_1_it_is_the_discounted_return_less_the_value():
    rewards, values = [1.0, 2.0, 3.0], [0.3, -0.2, 5.0]
    returns = [1 + 0.9 * (2 + 0.9 * (3 + 0.9 * 4)), 2 + 0.9 * (3 + 0.9 * 4), 3 + 0.9 * 4]
    found = judged(rewards, values, 4, gamma=0.9, gae_lambda=1.0)
    assert found == pytest.approx(np.array(returns) - values)


def test_episodes_side_by_side_know_nothing_of_each_other():
    rng = np.random.default_rng(0)
    rewards, values = rng.normal(size=(6, 3)), rng.normal(size=(6, 3))
    ended, cut = rng.random((6, 3)) < 0.2, rng.random((6, 3)) < 0.2
    final, last = rng.normal(size=(6, 3)), rng.normal(size=3)
    both = advantages(rewards, values, last, ended, cut & ~ended, final, 0.99, 0.95)
    for place in range(3):
        here = np.s_[:, place : place + 1]
        alone = advantages(
            rewards[here],
            values[here],
            last[place : place + 1],
            ended[here],
            (cut & ~ended)[here],
            final[here],
            0.99,
            0.95,
        )
        assert np.array_equal(alone, both[here])
