"""Packing keeps every frame, fills rows, and wastes little."""

import numpy as np
import pytest
import torch

from llarp.policy.backbone import Memory
from llarp.policy.packing import Packing, fill_rows

CASES = [[3, 1, 2, 5], [1], [4, 4, 4], [1] * 9, [13, 1, 1, 2, 8, 5]]


def prefix_of(tokens):
    """Keys that say whose and which token they are: 100 * episode + token."""
    parts = [
        Memory(
            (((100 * episode + torch.arange(count)).float().view(1, 1, count, 1),) * 2,),
            torch.ones(1, count, dtype=torch.bool),
        )
        for episode, count in enumerate(tokens)
    ]
    return Memory.join(parts)


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
    packing = Packing(lengths, prefix_of(tokens))
    numbers = torch.arange(sum(lengths), dtype=torch.float32)[:, None]
    spread_RC = packing.spread(numbers + 1)[:, :, 0] - 1  # -1 where there is no frame
    assert torch.equal(spread_RC[packing.row_N, packing.column_N], numbers[:, 0])
    keys_RK = torch.cat([packing.prefix.layers[0][0][:, 0, :, 0], spread_RC], 1)
    frame = 0
    for episode, length in enumerate(lengths):
        for time in range(length):
            row, column = packing.row_N[frame], packing.column_N[frame]
            seen = keys_RK[row][packing.seen_RCK[row, column]].tolist()
            past = [float(number) for number in range(frame - time, frame + 1)]
            assert seen == [100.0 * episode + token for token in range(tokens[episode])] + past
            assert packing.position_RC[row, column] == tokens[episode] + time
            frame += 1
