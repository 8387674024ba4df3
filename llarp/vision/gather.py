"""Rows of many mapped files copied into one array: compiled, one pass, whatever the number of files."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.extending import intrinsic


@intrinsic
def _pointer(typing_context: Any, address: Any) -> Any:
    """An address, int64, as a pointer to uint16."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], ir.IntType(16).as_pointer())

    return types.CPointer(types.uint16)(types.int64), generate


@njit(cache=True, nogil=True)
def _copy(address_K: np.ndarray, place_K: np.ndarray, target_NW: np.ndarray) -> None:
    width = target_NW.shape[1]
    for number in range(len(address_K)):
        source = carray(_pointer(address_K[number]), (width,))  # type: ignore[call-arg]
        target = target_NW[place_K[number]]
        for column in range(width):
            target[column] = source[column]


def copy_rows(address_K: np.ndarray, place_K: np.ndarray, target: np.ndarray) -> None:
    """Fills some rows of an array from memory.

    Args:
        address_K: int64 address of each row; whoever calls keeps what is there alive.
        place_K: int64 row of `target` that each fills.
        target: float16[N, P, D], contiguous.

    """
    _copy(address_K, place_K, target.reshape(len(target), -1).view(np.uint16))
