"""Interfaces of what is seen: a frozen encoder, and a store of its features."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from llarp.errors import UserError

Keys = Sequence[bytes] | np.ndarray
"""N keys of views: 16 bytes each, or one array V16[N]."""


class Encoder(ABC):
    """A frozen image encoder: N images to N x P tokens of D numbers."""

    identity: str
    """Digest of weights, preprocessing and output; features of different identities are never mixed."""
    num_tokens: int
    """P: visual tokens per image (1 for a class token or a mean)."""
    dim: int
    """D: width of a token."""

    @abstractmethod
    def encode(self, images: np.ndarray) -> np.ndarray:
        """float32[N, P, D] features of uint8[N, H, W, 3] images."""

    def encode_halves(self, images: np.ndarray) -> np.ndarray:
        """As `encode`, as features are kept: float16[N, P, D]; UserError when a number is not finite in it."""
        with np.errstate(over="ignore"):
            halves = self.encode(images).astype(np.float16)
        if not np.isfinite(halves).all():
            raise UserError("features of new views are not finite", "encoder", "train or convert it again")
        return halves


class FeatureStore(ABC):
    """Features of views that were encoded before, by key."""

    @abstractmethod
    def get(self, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
        """(float16[N, P, D] features, bool[N] found); rows that were not found are zero."""

    @abstractmethod
    def add(self, keys: Keys, features: np.ndarray) -> None:
        """Stores features [N, P, D]: all of them or none."""

    @property
    @abstractmethod
    def num_bytes(self) -> int:
        """Of what is stored, keys included."""

    def close(self) -> None:  # noqa: B027  (most have nothing to do)
        """Keeps what was added, where a store outlives its process."""
