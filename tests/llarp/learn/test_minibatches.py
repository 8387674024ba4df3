"""Every step is learnt from in every epoch, and minibatches are of nearly equal size."""

import numpy as np

from llarp.learn.minibatches import divide


def test_every_segment_is_in_one_group_and_groups_are_even():
    rng = np.random.default_rng(0)
    for _ in range(20):
        lengths = rng.integers(1, 33, 60).tolist()
        groups = divide(lengths, 8, rng)
        assert sorted(number for group in groups for number in group) == list(range(60))
        sizes = [sum(lengths[number] for number in group) for group in groups]
        assert max(sizes) - min(sizes) <= 10 < 0.1 * sum(sizes)


def test_epochs_differ_and_the_generator_decides():
    lengths = [5, 9, 3, 5, 5, 2, 9, 9] * 4
    first, second = (divide(lengths, 4, np.random.default_rng(seed)) for seed in (1, 2))
    assert first != second and first == divide(lengths, 4, np.random.default_rng(1))


def test_with_few_segments_some_groups_are_empty():
    groups = divide([3, 3], 4, np.random.default_rng(0))
    assert sorted(map(len, groups)) == [0, 0, 1, 1]
