"""Keys of views and features as arrays: what every feature store checks first."""

import numpy as np

from llarp.vision.base import Keys

KEY_BYTES = 16


def as_keys(keys: Keys) -> np.ndarray:
    """V16[N]: keys as one array that compares bytewise; ValueError when a key is not 16 bytes long."""
    if isinstance(keys, np.ndarray):
        return keys
    if any(len(key) != KEY_BYTES for key in keys):
        raise ValueError(f"a view key has {KEY_BYTES} bytes")
    return np.frombuffer(b"".join(keys), f"V{KEY_BYTES}")


def as_words(keys: np.ndarray) -> np.ndarray:
    """uint64[N, 2] of keys V16[N], or of the same as uint8[N, 16]."""
    return np.ascontiguousarray(keys).view(np.uint64).reshape(-1, 2)


def as_float16(features: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """float16[N, P, D]; ValueError when the shape differs or a number does not fit."""
    if features.shape != shape:
        raise ValueError(f"features have shape {features.shape}, not {shape}")
    with np.errstate(over="ignore"):
        halves = features.astype(np.float16)
    if not np.isfinite(halves).all():
        raise ValueError("features hold numbers that are not finite in float16")
    return halves
