"""Features of what simulators see now, drawn and encoded only when no store has them."""

from collections.abc import Sequence

import numpy as np

from llarp.sim.base import Simulator
from llarp.vision.base import Encoder, FeatureStore
from llarp.vision.memory import MemoryStore, as_keys, first_occurrences


class ViewFeatures:
    """Looks views up in a store, then in an overlay; what neither has is encoded once and kept in the overlay."""

    def __init__(self, encoder: Encoder, store: FeatureStore, overlay: FeatureStore | None = None) -> None:
        """Args:
        encoder: frozen; of the same identity as the stores.
        store: never written to.
        overlay: keeps what was missing; None: in memory, until this object is gone. Closing it is the caller's.
        """
        self.encoder, self.store = encoder, store
        self.overlay = MemoryStore(encoder.num_tokens, encoder.dim) if overlay is None else overlay
        self.hits = 0
        """Views that were found, or were equal to another view of the same call."""
        self.misses = 0
        """Views that were drawn and encoded."""

    def features(self, simulators: Sequence[Simulator]) -> np.ndarray:
        """float16[N, P, D] features of what N simulators see now.

        All views that are missing are drawn and encoded as one batch, equal ones once.
        """
        keys = [simulator.view_key() for simulator in simulators]
        features, found = self.store.get(keys)
        absent = np.flatnonzero(~found)
        if len(absent):
            features[absent], found[absent] = self.overlay.get([keys[place] for place in absent])
        missing = np.flatnonzero(~found)
        if len(missing):
            first, number = first_occurrences(as_keys([keys[place] for place in missing]))
            drawn = missing[first]
            encoded = self.encoder.encode(np.stack([simulators[place].render() for place in drawn]))
            new = encoded.astype(np.float16)
            self.overlay.add([keys[place] for place in drawn], new)
            features[missing] = new[number]
            self.misses += len(drawn)
            self.hits -= len(drawn)
        self.hits += len(keys)
        return features
