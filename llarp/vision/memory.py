"""A feature store in memory."""

import numpy as np

from llarp.vision.base import FeatureStore, Keys
from llarp.vision.index import KeyIndex, first_occurrences
from llarp.vision.keys import KEY_BYTES, as_float16, as_keys


class MemoryStore(FeatureStore):
    """Features of views, float16, kept in memory only."""

    def __init__(self, num_tokens: int, dim: int) -> None:
        """Args:
        num_tokens: P, per view.
        dim: D, numbers per token.
        """
        self.num_tokens, self.dim = num_tokens, dim
        self._index = KeyIndex()
        self._keys = np.empty(0, f"V{KEY_BYTES}")
        self._features = np.empty((0, num_tokens, dim), np.float16)

    def __len__(self) -> int:
        return len(self._index)

    @property
    def num_bytes(self) -> int:
        """See `FeatureStore.num_bytes`."""
        return len(self) * (2 * self.num_tokens * self.dim + KEY_BYTES)

    def get(self, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
        """See `FeatureStore.get`."""
        rows = self._index.find(as_keys(keys))
        found = rows >= 0
        features = np.zeros((len(rows), self.num_tokens, self.dim), np.float16)
        features[found] = self._features[rows[found]]
        return features, found

    def add(self, keys: Keys, features: np.ndarray) -> None:
        """See `FeatureStore.add`. Keys already stored keep their features; ValueError on a wrong shape."""
        array, halves = as_keys(keys), as_float16(features, (len(keys), self.num_tokens, self.dim))
        count = len(self)
        absent = np.flatnonzero(self._index.find(array) < 0)
        first = absent[first_occurrences(array[absent])[0]]
        total = count + len(first)
        self._index.insert(array[first], np.arange(count, total))
        if total > len(self._features):  # grow by doubling, so that many small additions stay cheap
            self._keys, self._features = (_grown(old, max(total, 2 * count)) for old in (self._keys, self._features))
        self._keys[count:total], self._features[count:total] = array[first], halves[first]

    def contents(self) -> tuple[np.ndarray, np.ndarray]:
        """(V16[N] keys, float16[N, P, D] features), in the order in which they were added."""
        return self._keys[: len(self)], self._features[: len(self)]


def _grown(array: np.ndarray, rows: int) -> np.ndarray:
    """The array's rows at the beginning of a larger one."""
    larger = np.empty((rows, *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger
