"""Features of what simulators see now, drawn and encoded only when no store has them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from llarp.sim.base import Playable
from llarp.vision.base import Encoder, FeatureStore
from llarp.vision.index import first_occurrences
from llarp.vision.keys import as_keys
from llarp.vision.layered import Layered
from llarp.vision.memory import MemoryStore

KINDS = ("first_view", "after_skill", "later_epoch")
"""Of views: nothing has been done yet but to go about; something has; the episodes are seen another time."""
FIRST_VIEW, AFTER_SKILL, LATER_EPOCH = range(len(KINDS))


@dataclass(frozen=True)
class Lookups:
    """What came of looking views up."""

    by_kind: np.ndarray
    """int64[kind, found or missing] views."""
    encoded: int
    """Views that were drawn and encoded."""
    seconds: float
    """That this took, over all processes."""

    @classmethod
    def none(cls) -> "Lookups":
        """No view at all."""
        return cls(np.zeros((len(KINDS), 2), np.int64), 0, 0.0)

    def __add__(self, other: "Lookups") -> "Lookups":
        return Lookups(self.by_kind + other.by_kind, self.encoded + other.encoded, self.seconds + other.seconds)

    def __sub__(self, other: "Lookups") -> "Lookups":
        return Lookups(self.by_kind - other.by_kind, self.encoded - other.encoded, self.seconds - other.seconds)

    def figures(self) -> dict[str, float]:
        """To log: hit rates in [0, 1], of kinds that were met; encodes per second of drawing and encoding."""
        told = {
            f"features/hit_rate/{kind}": found / (found + missing)
            for kind, (found, missing) in zip(KINDS, self.by_kind.tolist(), strict=True)
            if found + missing
        }
        found, missing = self.by_kind.sum(0).tolist()
        told |= {"features/hit_rate": found / max(found + missing, 1), "features/encoded": float(self.encoded)}
        return told | ({"features/encodes_per_s": self.encoded / self.seconds} if self.seconds else {})


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
        self._known = Layered(store, self.overlay)
        self.by_kind = np.zeros((len(KINDS), 2), np.int64)
        """[kind, found or missing] views that `note` was told about."""
        self.missing = np.empty(0, bool)
        """bool[N] of the last call: which views were neither stored nor in the overlay."""
        self.hits = 0
        """Views that were found, or were equal to another view of the same call."""
        self.misses = 0
        """Views that were drawn and encoded."""
        self.seconds = 0.0
        """Wall-clock time of drawing and encoding."""

    @property
    def shape(self) -> tuple[int, int]:
        """(P, D): tokens of a view, and numbers of a token."""
        return self.encoder.num_tokens, self.encoder.dim

    def features(self, simulators: Sequence[Playable]) -> np.ndarray:
        """float16[N, P, D] features of what N simulators see now."""
        keys = as_keys([simulator.view_key() for simulator in simulators])
        return self.lookup(keys, lambda places: np.stack([simulators[place].render() for place in places]))

    def lookup(self, keys: np.ndarray, draw: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Features of views by their keys. Those that are missing are drawn and encoded as one batch, equal ones once.

        Args:
            keys: V16[N].
            draw: given the places in `keys` of K views, int64[K], draws them as uint8[K, H, W, 3].

        Returns:
            float16[N, P, D].

        Raises:
            UserError: the encoder answers with numbers that are not finite.

        """
        features, found = self._known.get(keys)
        self.missing = ~found
        missing = np.flatnonzero(self.missing)
        if len(missing):
            first, number = first_occurrences(keys[missing])
            drawn = missing[first]
            begun_s = time.perf_counter()
            new = self.encoder.encode_halves(draw(drawn))
            self.seconds += time.perf_counter() - begun_s
            self.overlay.add(keys[drawn], new)
            features[missing] = new[number]
            self.misses += len(drawn)
            self.hits -= len(drawn)
        self.hits += len(keys)
        return features

    def close(self) -> None:
        """Keeps what was encoded, where the overlay outlives its process."""
        self.overlay.close()

    @property
    def lookups(self) -> Lookups:
        """All until now."""
        return Lookups(self.by_kind.copy(), self.misses, self.seconds)

    def note(self, kinds_N: np.ndarray) -> None:
        """Counts the views of the last call by kind, int[N] of `KINDS`."""
        np.add.at(self.by_kind, (kinds_N, self.missing.astype(int)), 1)
