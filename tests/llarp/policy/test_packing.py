"""Packing keeps every frame, fills rows, and wastes little."""

import numpy as np
import pytest
import torch

from llarp.policy.memory import Memory
from llarp.policy.packing import Packing, fill_rows, group

CASES = [[3, 1, 2, 5], [1], [4, 4, 4], [1] * 9, [13, 1, 1, 2, 8, 5]]


def memories(tokens):
    """Keys that say whose and which token they are: 100 * episode + token."""
    return [
        Memory((100 * episode + torch.arange(count)).float().view(1, 1, 1, count, 1).expand(-1, 2, -1, -1, -1))
        for episode, count in enumerate(tokens)
    ]


@pytest.mark.parametrize("lengths", CASES)
def test_every_episode_has_its_place_and_no_row_overflows(lengths):
    rows = fill_rows(lengths, max(lengths))
    assert sorted(episode for row in rows for episode in row) == list(range(len(lengths)))
    assert all(0 < sum(lengths[episode] for episode in row) <= max(lengths) for row in rows)


def test_little_is_padding():
    lengths = np.random.default_rng(0).integers(1, 14, 64).tolist()
    assert len(fill_rows(lengths, max(lengths))) * max(lengths) < 1.15 * sum(lengths)
    assert len(lengths) * max(lengths) > 1.7 * sum(lengths)


@pytest.mark.parametrize("lengths", CASES)
def test_frames_see_their_own_prefix_and_their_own_past_and_nothing_else(lengths):
    tokens = [2 + episode % 3 for episode in range(len(lengths))]
    packing = Packing(lengths, memories(tokens))
    numbers = torch.arange(sum(lengths), dtype=torch.float32)[:, None]
    spread_RC = packing.spread(numbers)
    assert torch.equal(packing.gather(spread_RC), numbers)
    keys_RK = torch.cat([packing.prefix()[0, 0, :, 0, :, 0], spread_RC[..., 0]], 1)
    frame = 0
    for episode, length in enumerate(lengths):
        for time in range(length):
            row, column = divmod(int(packing.place_N[frame]), packing.shape[1])
            seen = keys_RK[row][packing.seen_RCK[row, column]].tolist()
            past = [float(number) for number in range(frame - time, frame + 1)]
            assert seen == [100.0 * episode + token for token in range(tokens[episode])] + past
            assert packing.position_N[frame] == tokens[episode] + time
            frame += 1


def test_without_causality_tokens_see_all_of_their_own_episode():
    packing = Packing([2, 3], memories([0, 0]), is_causal=False)
    assert packing.num_prefix == 0 and packing.shape == (2, 3)
    seen = {int(row.sum()) for rows, tokens in zip(packing.seen_RCK, (3, 2), strict=True) for row in rows[:tokens]}
    assert seen == {2, 3}


def test_groups_hold_every_episode_once_and_waste_less_than_one_group_or_one_row_each():
    rng = np.random.default_rng(0)
    for count in (1, 2, 12, 60):
        lengths, read = rng.integers(1, 33, count).tolist(), rng.integers(20, 50, count).tolist()
        groups = group(lengths, read)
        assert sorted(episode for one in groups for episode in one) == list(range(count))

        def cost(groups, lengths=lengths, read=read):
            sizes = [(len(one), max(lengths[e] for e in one), max(read[e] for e in one)) for one in groups]
            return sum(number * longest * (before + longest) for number, longest, before in sizes) + 1500 * len(groups)

        assert cost(groups) <= min(cost([list(range(count))]), cost([[episode] for episode in range(count)]))
    assert len(groups) > 2
