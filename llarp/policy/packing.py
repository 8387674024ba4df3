"""Packing: episodes of different lengths side by side without padding each to the longest, which doubles the work.

A row may hold the prefixes of several episodes, then their frames; the mask shows a frame only its own prefix and
earlier frames. Where only attention works by rows, groups of episodes of similar length, one in each row, cost less.

Shapes: B episodes, N tokens of frames of all of them, R rows, C columns for frames, L columns for prefixes, K = L + C
columns for keys, H heads, D width of a head.
"""

from collections.abc import Sequence

import numpy as np
import torch

from llarp.policy.memory import Memory


class Packing:
    """Where every frame stands, and what it may see."""

    def __init__(
        self,
        lengths: Sequence[int],
        memories: Sequence[Memory],
        is_causal: bool = True,
        rows: Sequence[Sequence[int]] | None = None,
    ) -> None:
        """Args:
        lengths: tokens of each of the B episodes, at least 1.
        memories: what each has read before.
        is_causal: whether a token sees none of the later ones of its episode.
        rows: numbers of the episodes in each row; None: `fill_rows`.
        """
        capacity = max(lengths)
        rows = fill_rows(lengths, capacity) if rows is None else rows
        read = [len(memory) for memory in memories]
        starts = np.cumsum([0, *lengths])
        self.shape = len(rows), capacity
        """(R, C)."""
        self.num_tokens = sum(lengths)
        """N."""
        self.num_prefix = max(sum(read[episode] for episode in episodes) for episodes in rows)
        """L."""
        token_RC, episode_RC = np.zeros(self.shape, np.int64), np.full(self.shape, -1)
        position_RC, owner_RL = np.zeros(self.shape, np.int64), np.full((len(rows), self.num_prefix), -2)
        place_N = np.zeros(starts[-1], np.int64)
        self._copies: list[tuple[int, int, int]] = []
        for row, episodes in enumerate(rows):
            column = first = 0
            for episode in episodes:
                here = slice(column, column + lengths[episode])
                token_RC[row, here] = np.arange(starts[episode], starts[episode + 1])
                episode_RC[row, here] = episode
                position_RC[row, here] = read[episode] + np.arange(lengths[episode])
                place_N[starts[episode] : starts[episode + 1]] = row * capacity + np.arange(here.start, here.stop)
                owner_RL[row, first : first + read[episode]] = episode
                self._copies.append((row, first, episode))
                column, first = here.stop, first + read[episode]
        self._memories = memories
        device = memories[0].tensor.device
        self.token_RC = torch.from_numpy(token_RC).to(device)
        """int64[R, C] number of the token at a place; 0 where there is none."""
        self.place_N = torch.from_numpy(place_N).to(device)
        """int64[N] place of a token in 0..R * C - 1."""
        self.position_RC = torch.from_numpy(position_RC).to(device)
        """int64[R, C] position of a token in its episode."""
        seen_RCC = episode_RC[:, :, None] == episode_RC[:, None]
        if is_causal:
            seen_RCC &= np.tri(capacity, dtype=bool)
        seen_RCK = np.concatenate([episode_RC[:, :, None] == owner_RL[:, None], seen_RCC], 2)
        self.seen_RCK = torch.from_numpy(seen_RCK).to(device)
        """bool[R, C, K] which keys (prefixes, then frames) a frame may see."""

    @property
    def position_N(self) -> torch.Tensor:
        """int64[N] position of a token in its episode."""
        return self.position_RC.flatten()[self.place_N]

    def prefix(self) -> torch.Tensor:
        """[layers, 2, R, H, L, D] keys and values of the prefixes of each row, one after the other."""
        sample = self._memories[0].tensor
        layers, _, heads, _, width = sample.shape
        packed = sample.new_zeros(layers, 2, self.shape[0], heads, self.num_prefix, width)
        for row, first, episode in self._copies:
            tensor = self._memories[episode].tensor
            packed[:, :, row, :, first : first + tensor.shape[3]] = tensor
        return packed

    def spread(self, tokens_ND: torch.Tensor) -> torch.Tensor:
        """[R, C, D] of [N, D]; places without a token repeat the first, which nobody sees or reads there."""
        return tokens_ND.index_select(0, self.token_RC.flatten()).unflatten(0, self.shape)

    def gather(self, tokens_RCD: torch.Tensor) -> torch.Tensor:
        """[N, D] of [R, C, D]."""
        return tokens_RCD.flatten(0, 1).index_select(0, self.place_N)


def fill_rows(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Rows of episodes with at most `capacity` tokens: the longest episode first, each where there is room first."""
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


_GROUP_COST = 1500
"""What one more group costs in small operations, in products of a query and a key."""


def group(lengths: Sequence[int], read: Sequence[int]) -> list[list[int]]:
    """Groups of episodes of similar length, such that padding each to its group's longest costs least.

    Args:
        lengths: tokens of each episode.
        read: tokens that each has read before.

    Returns:
        Per group, numbers of episodes, the longest first; each episode is in one.

    """
    order = sorted(range(len(lengths)), key=lambda episode: -lengths[episode])
    length = np.array([lengths[episode] for episode in order])
    before = np.array([read[episode] for episode in order])
    cost, cut = [0.0], [0]  # of the first so many, and where their last group begins
    for end in range(1, len(order) + 1):
        most = np.maximum.accumulate(before[:end][::-1])[::-1]  # from each beginning to the end
        size = np.arange(end, 0, -1)
        total = np.array(cost) + size * length[:end] * (most + length[:end]) + _GROUP_COST
        cut.append(int(total.argmin()))
        cost.append(float(total.min()))
    groups, end = [], len(order)
    while end:
        groups.append(order[cut[end] : end])
        end = cut[end]
    return groups[::-1]


def mask_of(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What is added to scores: 0 where bool `seen`, else the smallest number.

    Not -inf: places without a token see nothing, and must not become NaN.
    """
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)
