"""The frozen language model: reads an instruction once, then the tokens of one frame after the other.

Shapes: B episodes, N tokens of frames of all episodes one after the other, K rows of a cache, D width of the model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llarp.config import PolicyConfig
from llarp.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from llarp.policy.memory import KeyValueCache, Memory


@dataclass(frozen=True)
class Identity:
    """Which weights a backbone has; adapters only fit the backbone that they were trained on."""

    name: str
    """As in `PolicyConfig.backbone`."""
    revision: str | None
    """Commit of the hub; None for a local folder."""
    sha256: str
    """Of model.safetensors; of the shards' digests in order when there are several."""


class Backbone(ABC):
    """A frozen language model with a key-value cache. What an episode gets never depends on who shares its batch."""

    identity: Identity
    width: int
    """D: width of its tokens and of its hidden states."""
    embedding_rms: float
    """Root mean square of its word embeddings: the size of token it is used to."""
    max_instruction_tokens: int
    """Longer instructions are refused."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the weights are."""

    lora_weights: torch.nn.ParameterDict | None = None
    """What is trained in it, for the adapters to hold: see `lora`. None: it is frozen altogether."""

    @abstractmethod
    def tokenize(self, instructions: Sequence[str]) -> list[list[int]]:
        """Token ids of each instruction; UserError for one that is longer than the limit: none is ever cut."""

    @abstractmethod
    def prefix(self, token_ids: Sequence[Sequence[int]]) -> list[Memory]:
        """Reads B instructions; no gradient."""

    @abstractmethod
    def cache(self, rows: int, tokens: int) -> KeyValueCache:
        """An empty cache whose rows can hold the longest instruction and `tokens` more."""

    @abstractmethod
    def read(
        self, embeds_ND: torch.Tensor, lengths: Sequence[int], cache: KeyValueCache, rows: np.ndarray
    ) -> torch.Tensor:
        """Reads on in some rows of a cache, in place; no gradient.

        Args:
            embeds_ND: tokens for the first of the rows, then for the second, ...
            lengths: tokens for each of the K rows, at least 1.
            cache: of this backbone; every row begun with `put`.
            rows: int64[K] distinct rows.

        Returns:
            [N, D] hidden states.

        """

    @abstractmethod
    def sequence(self, embeds_ND: torch.Tensor, lengths: Sequence[int], memories: Sequence[Memory]) -> torch.Tensor:
        """Reads many frames of many episodes, with gradient: the same numbers as `read`.

        Args:
            embeds_ND: tokens of the first episode, then of the second, ...
            lengths: tokens of each of the B episodes, at least 1.
            memories: what each of them has read before: the instruction, or more.

        Returns:
            [N, D] hidden states; the gradient flows to the tokens and LoRA's weights, and nowhere else.

        """

    @abstractmethod
    def to(self, device: torch.device | str) -> None:
        """Moves the weights."""


class Prefixes:
    """Reads instructions and keeps what was read, so that it is reused in every batch, epoch and rollout.

    When the limit is reached, what was used least recently goes. On a CPU every instruction is read by itself: beside
    others its last bits would be other ones, and a training that goes on, with nothing kept yet, would read it beside
    others than the uninterrupted one did. That costs 7.5 ms instead of 4 ms for each.
    """

    def __init__(self, backbone: Backbone, limit_bytes: int = 0, batch_size: int = 16) -> None:
        """Args:
        backbone: who reads.
        limit_bytes: most bytes of keys and values to keep; 0 keeps nothing.
        batch_size: instructions read at once, on a GPU.
        """
        self.backbone, self.limit_bytes, self.batch_size = backbone, limit_bytes, batch_size
        self.num_bytes = 0
        self.tokens_read = 0
        """Tokens of instructions read so far."""
        self._kept: OrderedDict[str, Memory] = OrderedDict()

    def __call__(self, instructions: Sequence[str]) -> list[Memory]:
        """Memories of B instructions, in their order; equal ones share one."""
        found = {text: self._kept[text] for text in instructions if text in self._kept}
        for text in found:
            self._kept.move_to_end(text)
        missing = [text for text in dict.fromkeys(instructions) if text not in found]
        ids = dict(zip(missing, self.backbone.tokenize(missing), strict=True))
        self.tokens_read += sum(map(len, ids.values()))
        missing.sort(key=lambda text: len(ids[text]))  # equal lengths side by side: little padding
        size = 1 if self.backbone.device.type == "cpu" else self.batch_size
        for first in range(0, len(missing), size):
            texts = missing[first : first + size]
            for text, memory in zip(texts, self.backbone.prefix([ids[text] for text in texts]), strict=True):
                found[text] = memory
                self._keep(text, memory)
        return [found[text] for text in instructions]

    def __len__(self) -> int:
        """Instructions kept."""
        return len(self._kept)

    def _keep(self, text: str, memory: Memory) -> None:
        if memory.num_bytes > self.limit_bytes:
            return
        self._kept[text] = memory
        self.num_bytes += memory.num_bytes
        while self.num_bytes > self.limit_bytes:
            self.num_bytes -= self._kept.popitem(last=False)[1].num_bytes


def check_sha256(found: str, config: PolicyConfig, where: object) -> None:
    """UserError when the weights' digest is not the configured one."""
    if config.sha256 is not None and found != config.sha256:
        raise UserError(
            f"sha256 of the weights is {found}, not the {config.sha256} of policy.sha256",
            where,
            "install the pinned version again, or correct policy.sha256 if the change is wanted",
        )
