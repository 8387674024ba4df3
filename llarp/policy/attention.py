"""Attention of one frame's tokens to what its episode has read, where the cache stands: compiled, on the CPU.

A product with a single query is all memory traffic, and torch's batched products spend three times as long on it.
Shapes: N tokens, Q query heads, H heads of keys and values, D width of a head, R rows of the cache, C columns.
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
    keys_RCHD: np.ndarray,
    values_RCHD: np.ndarray,
    row_N: np.ndarray,
    column_N: np.ndarray,
    out_NQD: np.ndarray,
) -> None:
    """Writes new keys and values into the cache, and fills `out` with the values that each query finds.

    Args:
        query_NQD: float32, scaled already.
        new_keys_NHD: float32.
        new_values_NHD: float32.
        keys_RCHD: float32 cache.
        values_RCHD: float32 cache.
        row_N: int64 row of each token.
        column_N: int64 column of each token, ascending within a row: it sees that and all before it.
        out_NQD: float32.

    """
    num_tokens, heads, width = query_NQD.shape
    group = heads // keys_RCHD.shape[2]
    score_QC = np.empty((heads, keys_RCHD.shape[1]), np.float32)
    for token in range(num_tokens):
        end = column_N[token] + 1
        keys, values, query, out = keys_RCHD[row_N[token]], values_RCHD[row_N[token]], query_NQD[token], out_NQD[token]
        keys[end - 1], values[end - 1] = new_keys_NHD[token], new_values_NHD[token]
        for key in range(end):
            for head in range(heads):
                product = np.float32(0.0)
                for d in range(width):
                    product += query[head, d] * keys[key, head // group, d]
                score_QC[head, key] = product
        for head in range(heads):
            score = score_QC[head]
            largest = score[0]
            for key in range(1, end):
                largest = max(largest, score[key])
            total = np.float32(0.0)
            for key in range(end):
                score[key] = math.exp(score[key] - largest)
                total += score[key]
            for key in range(end):
                score[key] /= total
            for d in range(width):
                out[head, d] = np.float32(0.0)
        for key in range(end):
            for head in range(heads):
                share = score_QC[head, key]
                for d in range(width):
                    out[head, d] += share * values[key, head // group, d]
