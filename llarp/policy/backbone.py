"""The frozen language model: reads an instruction once, then one visual token per frame.

Shapes: B episodes, L instruction tokens (padded on the left), N frames of all episodes one after the other, D width
of the model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llarp.config import PolicyConfig
from llarp.errors import UserError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Identity:
    """Which weights a backbone has; adapters only fit the backbone that they were trained on."""

    name: str
    """As in `PolicyConfig.backbone`."""
    revision: str | None
    """Commit of the hub; None for a local folder."""
    sha256: str
    """Of model.safetensors; of the shards' digests in order when there are several."""


@dataclass(frozen=True)
class Memory:
    """Keys and values of all that B episodes have read so far, right-aligned: padding stands on the left.

    Never changed in place: one instruction's memory can start many episodes.
    """

    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    """Per layer (keys, values), each [B, heads, L, D / heads], without gradient."""
    real_BL: torch.Tensor
    """bool[B, L]: False where padding stands."""

    @property
    def position_B(self) -> torch.Tensor:
        """int64[B]: position of the next token."""
        return self.real_BL.sum(1)

    @property
    def num_bytes(self) -> int:
        """Size of keys and values."""
        return sum(tensor.nbytes for layer in self.layers for tensor in layer)

    def select(self, rows_K: torch.Tensor) -> Memory:
        """The memory of some of the episodes, in the order given: int64[K] of 0..B-1."""
        rows_K = rows_K.to(self.real_BL.device)
        layers = tuple((keys[rows_K], values[rows_K]) for keys, values in self.layers)
        return Memory(layers, self.real_BL[rows_K])

    def split(self) -> list[Memory]:
        """One memory per episode, without its padding."""
        lengths: list[int] = self.position_B.tolist()
        return [
            Memory(
                tuple(tuple(tensor[row : row + 1, :, -length:].clone() for tensor in pair) for pair in self.layers),  # type: ignore[misc]
                self.real_BL[row : row + 1, -length:].clone(),
            )
            for row, length in enumerate(lengths)
        ]

    @staticmethod
    def join(memories: Sequence[Memory]) -> Memory:
        """One batch of several memories; the shorter ones are padded."""
        longest = max(memory.real_BL.shape[1] for memory in memories)

        def stack(tensors: Sequence[torch.Tensor], axis: int) -> torch.Tensor:
            shape = list(tensors[0].shape)
            shape[0], shape[axis] = sum(tensor.shape[0] for tensor in tensors), longest
            joined, row = tensors[0].new_zeros(shape), 0
            for tensor in tensors:
                rows, length = tensor.shape[0], tensor.shape[axis]
                joined.narrow(0, row, rows).narrow(axis, longest - length, length).copy_(tensor)
                row += rows
            return joined

        layers = zip(*(memory.layers for memory in memories), strict=True)
        return Memory(
            tuple(tuple(stack(tensors, 2) for tensors in zip(*layer, strict=True)) for layer in layers),  # type: ignore[misc]
            stack([memory.real_BL for memory in memories], 1),
        )


class Backbone(ABC):
    """A frozen language model with a key-value cache. What an episode gets never depends on who shares its batch."""

    identity: Identity
    width: int
    """D: width of its tokens and of its hidden states."""
    embedding_rms: float
    """Root mean square of its word embeddings: the size of token it is used to."""

    @abstractmethod
    def tokenize(self, instructions: Sequence[str]) -> list[list[int]]:
        """Token ids of each instruction; UserError for one that is longer than the limit: none is ever cut."""

    @abstractmethod
    def prefix(self, token_ids: Sequence[Sequence[int]]) -> Memory:
        """Reads B instructions; no gradient."""

    @abstractmethod
    def step(self, embeds_BD: torch.Tensor, memory: Memory) -> tuple[torch.Tensor, Memory]:
        """Reads one more frame per episode: (hidden state [B, D] at it, memory with it); no gradient."""

    @abstractmethod
    def sequence(self, embeds_ND: torch.Tensor, lengths: Sequence[int], prefix: Memory) -> torch.Tensor:
        """Reads whole episodes after their prefixes: the same numbers as step by step.

        Args:
            embeds_ND: frames of the first episode, then of the second, ...
            lengths: frames of each of the B episodes, at least 1.
            prefix: of the B episodes.

        Returns:
            [N, D] hidden states; the gradient flows to the frames and nowhere else.

        """

    @abstractmethod
    def to(self, device: torch.device | str) -> None:
        """Moves the weights."""


class Prefixes:
    """Reads instructions and keeps what was read, so that training reads each of them once.

    When the limit is reached, what is there stays and the rest is read anew each time: with epochs over a fixed data
    set that keeps more hits than to drop the oldest.
    """

    def __init__(self, backbone: Backbone, limit_bytes: int = 0, batch_size: int = 16) -> None:
        """Args:
        backbone: who reads.
        limit_bytes: most bytes of keys and values to keep; 0 keeps nothing.
        batch_size: instructions read at once.
        """
        self.backbone, self.limit_bytes, self.batch_size = backbone, limit_bytes, batch_size
        self.num_bytes = 0
        self._kept: dict[str, Memory] = {}

    def __call__(self, instructions: Sequence[str]) -> Memory:
        """Memory of B instructions, in their order."""
        found = {text: self._kept[text] for text in instructions if text in self._kept}
        missing = [text for text in dict.fromkeys(instructions) if text not in found]
        ids = dict(zip(missing, self.backbone.tokenize(missing), strict=True))
        missing.sort(key=lambda text: len(ids[text]))  # equal lengths side by side: little padding
        for first in range(0, len(missing), self.batch_size):
            texts = missing[first : first + self.batch_size]
            for text, memory in zip(texts, self.backbone.prefix([ids[text] for text in texts]).split(), strict=True):
                found[text] = memory
                if self.num_bytes + memory.num_bytes <= self.limit_bytes:
                    self._kept[text] = memory
                    self.num_bytes += memory.num_bytes
        return Memory.join([found[text] for text in instructions])

    def __len__(self) -> int:
        """Instructions kept."""
        return len(self._kept)


def check_sha256(found: str, config: PolicyConfig, where: object) -> None:
    """UserError when the weights' digest is not the configured one."""
    if config.sha256 is not None and found != config.sha256:
        raise UserError(
            f"sha256 of the weights is {found}, not the {config.sha256} of policy.sha256",
            where,
            "install the pinned version again, or correct policy.sha256 if the change is wanted",
        )
