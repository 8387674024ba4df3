"""Features by key, in memory: the index that every store shares, and stores without files."""

import numpy as np

from llarp.vision.base import FeatureStore, Keys

KEY_BYTES = 16


def as_keys(keys: Keys) -> np.ndarray:
    """V16[N]: keys as one array that compares bytewise; ValueError when a key is not 16 bytes long."""
    if isinstance(keys, np.ndarray):
        return keys
    if any(len(key) != KEY_BYTES for key in keys):
        raise ValueError(f"a view key has {KEY_BYTES} bytes")
    return np.frombuffer(b"".join(keys), f"V{KEY_BYTES}")


def first_occurrences(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int64[U] places where each distinct key of V16[N] first occurs, ascending; int64[N] its number in 0..U-1)."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    return first[order], number[inverse]


def as_float16(features: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """float16[N, P, D]; ValueError when the shape differs or a number does not fit."""
    if features.shape != shape:
        raise ValueError(f"features have shape {features.shape}, not {shape}")
    with np.errstate(over="ignore"):
        halves = features.astype(np.float16)
    if not np.isfinite(halves).all():
        raise ValueError("features hold numbers that are not finite in float16")
    return halves


class KeyIndex:
    """Row numbers by key, kept sorted, so that N look-ups are one binary search of N keys."""

    def __init__(self) -> None:
        self._keys = np.empty(0, f"V{KEY_BYTES}")
        self._rows = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """int64[N] row of each key of V16[N]; -1 where there is none."""
        if not len(self):
            return np.full(len(keys), -1, np.int64)
        places = np.minimum(np.searchsorted(self._keys, keys), len(self) - 1)
        return np.where(self._keys[places] == keys, self._rows[places], -1)

    def append(self, keys: np.ndarray) -> None:
        """Numbers distinct new keys V16[N] onwards from the last row."""
        order = np.argsort(keys)
        places = np.searchsorted(self._keys, keys[order])
        self._rows = np.insert(self._rows, places, len(self) + order)
        self._keys = np.insert(self._keys, places, keys[order])


class MemoryStore(FeatureStore):
    """Features of views, float16, kept in memory only."""

    def __init__(self, num_tokens: int, dim: int, room: int = 0) -> None:
        """Args:
        num_tokens: P, per view.
        dim: D, numbers per token.
        room: views for which room is set aside, so that it need not grow; untouched, it takes no memory.
        """
        self.num_tokens, self.dim = num_tokens, dim
        self._index = KeyIndex()
        self._keys = np.empty(room, f"V{KEY_BYTES}")
        self._features = np.empty((room, num_tokens, dim), np.float16)

    def __len__(self) -> int:
        return len(self._index)

    def get(self, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
        """See `FeatureStore.get`."""
        rows = self._index.find(as_keys(keys))
        found = rows >= 0
        features = np.zeros((len(rows), self.num_tokens, self.dim), np.float16)
        features[found] = self._features[rows[found]]
        return features, found

    def add(self, keys: Keys, features: np.ndarray) -> None:
        """See `FeatureStore.add`. Keys already stored keep their features; ValueError on a wrong shape."""
        array, rows = as_keys(keys), as_float16(features, (len(keys), self.num_tokens, self.dim))
        first, _ = first_occurrences(array)
        first = first[self._index.find(array[first]) < 0]
        new_keys, new = array[first], rows[first]
        count, total = len(self), len(self) + len(new_keys)
        if total > len(self._features):  # grow by doubling, so that many small additions stay cheap
            self._keys, self._features = (_grown(old, max(total, 2 * count)) for old in (self._keys, self._features))
        self._keys[count:total], self._features[count:total] = new_keys, new
        self._index.append(new_keys)

    def contents(self) -> tuple[np.ndarray, np.ndarray]:
        """(V16[N] keys, float16[N, P, D] features), in the order in which they were added."""
        return self._keys[: len(self)], self._features[: len(self)]

    def has(self, keys: np.ndarray) -> np.ndarray:
        """bool[N] which of the keys V16[N] are stored."""
        return self._index.find(keys) >= 0


class BoundedStore(FeatureStore):
    """Features of views, float16, kept in memory for as long as there is room, so that long runs stay within it.

    There are two generations. What is new, or is asked for again, goes to the newer one; when that is full, the older
    one is dropped and it takes its place. So whatever was of use lately is still there.
    """

    def __init__(self, num_tokens: int, dim: int, limit_bytes: int) -> None:
        """Args:
        num_tokens: P, per view.
        dim: D, numbers per token.
        limit_bytes: that features and keys take at most.
        """
        self.num_tokens, self.dim = num_tokens, dim
        num_bytes = num_tokens * dim * np.dtype(np.float16).itemsize + 2 * KEY_BYTES + np.dtype(np.int64).itemsize
        self.capacity = max(1, limit_bytes // num_bytes // 2)
        """Views of a generation."""
        self._newer, self._older = self._generation(), self._generation()

    def __len__(self) -> int:
        return len(self._newer) + int((~self._newer.has(self._older.contents()[0])).sum())

    def get(self, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
        """See `FeatureStore.get`."""
        array = as_keys(keys)
        features, found = self._newer.get(array)
        absent = np.flatnonzero(~found)
        if len(absent):
            features[absent], found[absent] = self._older.get(array[absent])
            again = absent[found[absent]]
            self._keep(array[again], features[again])
        return features, found

    def add(self, keys: Keys, features: np.ndarray) -> None:
        """See `FeatureStore.add`. Keys already stored keep their features; ValueError on a wrong shape."""
        array, rows = as_keys(keys), as_float16(features, (len(keys), self.num_tokens, self.dim))
        new = ~self._older.has(array)
        self._keep(array[new], rows[new])

    def _keep(self, keys: np.ndarray, features: np.ndarray) -> None:
        """Puts into the newer generation what it does not have."""
        first, _ = first_occurrences(keys)
        new = first[~self._newer.has(keys[first])]
        while len(new):
            if len(self._newer) == self.capacity:
                self._newer, self._older = self._generation(), self._newer
            part, new = np.split(new, [self.capacity - len(self._newer)])
            self._newer.add(keys[part], features[part])

    def _generation(self) -> MemoryStore:
        return MemoryStore(self.num_tokens, self.dim, self.capacity)


def _grown(array: np.ndarray, rows: int) -> np.ndarray:
    """The array's rows at the beginning of a larger one."""
    larger = np.empty((rows, *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger
