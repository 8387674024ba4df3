"""Attention of one frame's tokens to what its episode has read, where the cache stands: compiled, on the CPU.

A product with a single query is all memory traffic, and torch's batched products spend three times as long on it.
Shapes: N tokens, Q query heads, H heads of keys and values, D width of a head, R rows of the cache, C its columns.
"""

import math

import numpy as np
from numba import njit


# No flags that assume there is no NaN: a NaN must come out as one.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "arcp", "nsz"})
def attend(
    query_NQD: np.ndarray,
    new_keys_NHD: np.ndarray,
    new_values_NHD: np.ndarray,
    keys_RHCD: np.ndarray,
    values_RHCD: np.ndarray,
    row_N: np.ndarray,
    column_N: np.ndarray,
    out_NQD: np.ndarray,
) -> None:
    """Writes new keys and values into the cache, and fills `out` with the values that each query finds.

    Args:
        query_NQD: float32, scaled already.
        new_keys_NHD: float32.
        new_values_NHD: float32.
        keys_RHCD: float32 cache.
        values_RHCD: float32 cache.
        row_N: int64 row of each token.
        column_N: int64 column of each token, ascending within a row: it sees that and all before it.
        out_NQD: float32.

    """
    num_tokens, heads, width = query_NQD.shape
    group = heads // keys_RHCD.shape[1]
    score = np.empty(keys_RHCD.shape[2], np.float32)
    for token in range(num_tokens):
        row, end = row_N[token], column_N[token] + 1
        for head in range(keys_RHCD.shape[1]):
            for d in range(width):
                keys_RHCD[row, head, end - 1, d] = new_keys_NHD[token, head, d]
                values_RHCD[row, head, end - 1, d] = new_values_NHD[token, head, d]
        for head in range(heads):
            keys, values = keys_RHCD[row, head // group], values_RHCD[row, head // group]
            query, out = query_NQD[token, head], out_NQD[token, head]
            for key in range(end):
                product = np.float32(0.0)
                for d in range(width):
                    product += query[d] * keys[key, d]
                score[key] = product
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
