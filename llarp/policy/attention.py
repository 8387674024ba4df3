"""Attention of one frame's tokens to what its episode has read, where the cache stands: compiled, on the CPU.

A product with a single query is all memory traffic, and torch's batched products spend three times as long on it.
Shapes: N tokens, Q query heads, H heads of keys and values, D width of a head, R rows of the cache, C its columns.
"""

import math

import numpy as np
from numba import njit

_LANES = 16
"""Scores are computed in whole vectors; those beyond the end are then left out."""


# No flags that assume there is no NaN: a NaN must come out as one.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "arcp", "nsz"})
def attend(
    query_NQD: np.ndarray,
    keys_RHDC: np.ndarray,
    values_RHCD: np.ndarray,
    row_N: np.ndarray,
    end_N: np.ndarray,
    out_NQD: np.ndarray,
) -> None:
    """Fills `out` with the values that each query finds.

    Args:
        query_NQD: float32, scaled already.
        keys_RHDC: float32; C a multiple of 16, columns beyond the ends finite.
        values_RHCD: float32.
        row_N: int64 row that a token looks at.
        end_N: int64 tokens of that row that it sees: itself and all before it.
        out_NQD: float32.

    """
    num_tokens, heads, width = query_NQD.shape
    group = heads // keys_RHDC.shape[1]
    score = np.empty(keys_RHDC.shape[3], np.float32)
    for token in range(num_tokens):
        row, end = row_N[token], end_N[token]
        padded = (end + _LANES - 1) // _LANES * _LANES
        for head in range(heads):
            keys, values = keys_RHDC[row, head // group], values_RHCD[row, head // group]
            query, out = query_NQD[token, head], out_NQD[token, head]
            for key in range(padded):
                score[key] = np.float32(0.0)
            for d in range(width):
                for key in range(padded):
                    score[key] += query[d] * keys[d, key]
            largest = score[0]
            for key in range(1, end):
                largest = max(largest, score[key])
            total = np.float32(0.0)
            for key in range(end):
                score[key] = math.exp(score[key] - largest)
                total += score[key]
            for d in range(width):
                out[d] = np.float32(0.0)
            for key in range(end):
                share = score[key] / total
                for d in range(width):
                    out[d] += share * values[key, d]
