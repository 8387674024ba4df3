"""Several feature stores as one."""

import numpy as np

from llarp.vision.base import FeatureStore, Keys
from llarp.vision.keys import as_float16, as_keys


class Layered(FeatureStore):
    """Stores on top of each other, as an overlay on what a stage has stored: the first that has a view gives it."""

    def __init__(self, *stores: FeatureStore) -> None:
        """Args:
        stores: at least one, of one encoder; the last keeps what is added.
        """
        self.stores = stores

    @property
    def num_bytes(self) -> int:
        """Of all stores."""
        return sum(store.num_bytes for store in self.stores)

    def get(self, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
        """See `FeatureStore.get`. A later store is asked only for what no earlier one has."""
        array, (first, *others) = as_keys(keys), self.stores
        features, found = first.get(array)
        for store in others:
            absent = np.flatnonzero(~found)
            if len(absent):
                features[absent], found[absent] = store.get(array[absent])
        return features, found

    def add(self, keys: Keys, features: np.ndarray) -> None:
        """See `FeatureStore.add`. What an earlier store has, the last need not keep; ValueError on a wrong shape."""
        array, halves = as_keys(keys), as_float16(features, (len(keys), *features.shape[1:]))
        *earlier, last = self.stores
        if earlier:
            new = ~Layered(*earlier).get(array)[1]
            array, halves = array[new], halves[new]
        last.add(array, halves)
