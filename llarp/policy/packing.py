"""Packing: episodes of different lengths side by side in a few full rows, instead of one padded row for each.

Expert episodes last from 1 to 13 steps, so that padding them to the longest doubles the work. Here a row holds the
prefixes of several episodes, then their frames; the mask shows a frame only its own prefix and earlier frames.

Shapes: B episodes, N frames of all of them, R rows, C columns for frames, K columns for keys, L prefix tokens of an
episode, D width.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch

from llarp.policy.backbone import Memory


class Packing:
    """Where every frame stands, and what it may see."""

    def __init__(self, lengths: Sequence[int], prefix: Memory) -> None:
        """Args:
        lengths: frames of each of the B episodes.
        prefix: of the B episodes.
        """
        rows = fill_rows(lengths, max(lengths))
        device = prefix.real_BL.device
        starts = list(accumulate(lengths, initial=0))
        frames_RC = torch.full((len(rows), max(lengths)), -1)  # number of the frame, -1 where there is none
        episode_RC = frames_RC.clone()
        time_RC = torch.zeros_like(frames_RC)
        for row, episodes in enumerate(rows):
            column = 0
            for episode in episodes:
                here = slice(column, column + lengths[episode])
                frames_RC[row, here] = torch.arange(starts[episode], starts[episode + 1])
                episode_RC[row, here] = episode
                time_RC[row, here] = torch.arange(lengths[episode])
                column = here.stop
        place_N = frames_RC.flatten().argsort(stable=True)[-sum(lengths) :].to(device)
        self.shape = frames_RC.shape
        self.row_N, self.column_N = place_N // self.shape[1], place_N % self.shape[1]
        """int64[N] each: where a frame stands."""
        episode_RC = episode_RC.to(device)
        self.position_RC = prefix.position_B[episode_RC] + time_RC.to(device)
        """int64[R, C]: position of a frame in its episode."""
        self.prefix, owner_RL = _pack_prefix(prefix, rows)
        """One row of keys and values per row of episodes."""
        column_C = torch.arange(self.shape[1], device=device)
        earlier_CC = column_C[:, None] >= column_C
        seen_RCC = (episode_RC[:, :, None] == episode_RC[:, None]) & earlier_CC
        self.seen_RCK = torch.cat([episode_RC[:, :, None] == owner_RL[:, None], seen_RCC], 2)
        """bool[R, C, K]: which keys (prefixes, then frames) a frame may see."""

    def spread(self, embeds_ND: torch.Tensor) -> torch.Tensor:
        """[R, C, D] of [N, D]; zero where there is no frame."""
        embeds_RCD = embeds_ND.new_zeros(*self.shape, embeds_ND.shape[1])
        return embeds_RCD.index_put((self.row_N, self.column_N), embeds_ND)


def fill_rows(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Rows of episodes with at most `capacity` frames: the longest episode first, each where there is room first."""
    rows: list[list[int]] = []
    room: list[int] = []
    for episode in sorted(range(len(lengths)), key=lambda episode: (-lengths[episode], episode)):
        row = next((row for row, left in enumerate(room) if left >= lengths[episode]), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(capacity)
        rows[row].append(episode)
        room[row] -= lengths[episode]
    return rows


def _pack_prefix(prefix: Memory, rows: Sequence[Sequence[int]]) -> tuple[Memory, torch.Tensor]:
    """Prefixes of the episodes of each row, one after the other, and int64[R, L]: whose each is, -2 for padding."""
    tokens: list[int] = prefix.position_B.tolist()
    padded = prefix.real_BL.shape[1]
    longest = max(sum(tokens[episode] for episode in episodes) for episodes in rows)
    source_RL = torch.zeros(len(rows), longest, dtype=torch.int64)  # padding repeats some key that nobody sees
    owner_RL = torch.full((len(rows), longest), -2)
    for row, episodes in enumerate(rows):
        column = longest
        for episode in episodes:
            here = slice(column - tokens[episode], column)
            end = (episode + 1) * padded
            source_RL[row, here] = torch.arange(end - tokens[episode], end)
            owner_RL[row, here] = episode
            column = here.start
    source_RL, owner_RL = source_RL.to(prefix.real_BL.device), owner_RL.to(prefix.real_BL.device)

    def gather(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.transpose(1, 2).flatten(0, 1)[source_RL].transpose(1, 2)

    layers = tuple((gather(keys), gather(values)) for keys, values in prefix.layers)
    return Memory(layers, owner_RL >= 0), owner_RL
