"""Row numbers by key: a hash table with open addressing, in memory or mapped from a file.

A table is two arrays of S slots: the keys, and their rows, -1 where a slot is free. A key stands in the first free slot
from its home onwards. Keys are digests already; they are mixed once more all the same, so that none, however regular,
makes the table slow. A third of the slots are free at least: a look-up reads one to two lines of memory.
"""

from typing import Any, Self

import numpy as np
from numba import njit

from llarp.vision.keys import as_words

_FEWEST = 64
_MIX = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)


@njit(cache=True, nogil=True, inline="always")
def _slot(low: np.uint64, high: np.uint64, slots_S2: np.ndarray, rows_S: np.ndarray) -> Any:
    """Where a key stands, or the free slot where it would. The search begins at the upper bits of its mixed halves."""
    size = len(rows_S)
    mixed = (low ^ (high * _MIX)) * _MIX
    slot: Any = np.int64(((mixed >> _HALF) * np.uint64(size)) >> _HALF)
    while rows_S[slot] >= 0 and (slots_S2[slot, 0] != low or slots_S2[slot, 1] != high):
        slot += 1
        if slot == size:
            slot = 0
    return slot


@njit(cache=True, nogil=True)
def _find(keys_N2: np.ndarray, slots_S2: np.ndarray, rows_S: np.ndarray, found_N: np.ndarray) -> None:
    for number in range(len(keys_N2)):
        low, high = keys_N2[number, 0], keys_N2[number, 1]
        slot = _slot(low, high, slots_S2, rows_S)
        found_N[number] = rows_S[slot]


@njit(cache=True, nogil=True)
def _insert(
    keys_N2: np.ndarray, row_N: np.ndarray, slots_S2: np.ndarray, rows_S: np.ndarray, is_new_N: np.ndarray
) -> None:
    for number in range(len(keys_N2)):
        low, high = keys_N2[number, 0], keys_N2[number, 1]
        slot = _slot(low, high, slots_S2, rows_S)
        is_new_N[number] = rows_S[slot] < 0
        if is_new_N[number]:
            slots_S2[slot, 0], slots_S2[slot, 1], rows_S[slot] = low, high, row_N[number]


class KeyIndex:
    """Row numbers by key."""

    def __init__(self) -> None:
        """An empty one."""
        self._count = 0
        self.slots_S2, self.rows_S = _table(_FEWEST)

    @classmethod
    def of_table(cls, slots_S2: np.ndarray, rows_S: np.ndarray, count: int) -> Self:
        """One whose table stands already, in a file for instance; it cannot be added to.

        Args:
            slots_S2: uint64 keys.
            rows_S: int32, at least one of them -1.
            count: keys that it holds.

        """
        index = cls.__new__(cls)
        index._count, index.slots_S2, index.rows_S = count, slots_S2, rows_S
        return index

    def __len__(self) -> int:
        """Keys."""
        return self._count

    def find(self, keys: np.ndarray) -> np.ndarray:
        """int64[N] row of each key of V16[N]; -1 where there is none."""
        found_N = np.empty(len(keys), np.int64)
        _find(as_words(keys), self.slots_S2, self.rows_S, found_N)
        return found_N

    def insert(self, keys: np.ndarray, row_N: np.ndarray) -> np.ndarray:
        """Enters keys V16[N] with their rows; one that is known, or came before in the same call, keeps its row.

        Returns:
            bool[N] which of them are new.

        """
        self._make_room(len(keys))
        is_new_N = np.empty(len(keys), bool)
        _insert(as_words(keys), row_N.astype(np.int32), self.slots_S2, self.rows_S, is_new_N)
        self._count += int(is_new_N.sum())
        return is_new_N

    def _make_room(self, more: int) -> None:
        """Doubles the table before more than two thirds of it are taken."""
        needed = (self._count + more) * 3 // 2 + 1
        if needed > len(self.rows_S):
            slots_S2, rows_S = self.slots_S2, self.rows_S
            taken = rows_S >= 0
            self.slots_S2, self.rows_S = _table(max(needed, 2 * len(rows_S)))
            _insert(slots_S2[taken], rows_S[taken], self.slots_S2, self.rows_S, np.empty(self._count, bool))

    def trimmed(self) -> "KeyIndex":
        """The same keys in the smallest table that is still fast: what is worth a file."""
        index = KeyIndex()
        taken = self.rows_S >= 0
        index.slots_S2, index.rows_S = _table(max(_FEWEST, self._count * 3 // 2 + 1))
        # In the order of the rows, so that equal stores have equal files.
        order = np.argsort(self.rows_S[taken], kind="stable")
        slots, rows = self.slots_S2[taken][order], self.rows_S[taken][order]
        _insert(slots, rows, index.slots_S2, index.rows_S, np.empty(self._count, bool))
        index._count = self._count
        return index


def first_occurrences(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int64[U] places where each distinct key of V16[N] first occurs, ascending; int64[N] its number in 0..U-1)."""
    index = KeyIndex()
    first = np.flatnonzero(index.insert(keys, np.arange(len(keys))))
    return first, np.searchsorted(first, index.find(keys))


def _table(size: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((size, 2), np.uint64), np.full(size, -1, np.int32)  # zeros: equal tables have equal bytes
