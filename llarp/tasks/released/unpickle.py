"""Reads a pickle of numbers, text and containers without ever running code from it.

A pickle is a program. This reader knows four names, those by which numpy writes arrays of numbers, and gives each a
harmless meaning of its own: numpy's constructors themselves would turn raw bytes into object pointers when asked to
(`numpy.ndarray((1,), "O", buffer)` crashes the interpreter). Any other name is refused before anything is called.
"""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from llarp.errors import UserError


class _ForbiddenError(Exception):
    """A pickle names something beyond numbers and containers."""


class _Array:
    """Stands for the class numpy.ndarray, which pickles only name, never call."""

    __slots__ = ()


class _NumberType:
    """numpy.dtype, of plain numbers only."""

    __slots__ = ()

    def __call__(self, code: str, align: bool = False, copy: bool = False) -> np.dtype:
        if not re.fullmatch(r"[biuf]\d{1,2}", code):
            raise _ForbiddenError(f"arrays of type {code!r}")
        return np.dtype(code)


class _EmptyArray:
    """numpy's `_reconstruct`: an array whose shape, type and bytes follow."""

    __slots__ = ()

    def __call__(self, kind: Any, shape: tuple[int, ...], code: bytes) -> np.ndarray:
        return np.empty((0,), np.int8)


class _Scalar:
    """numpy's `scalar`: one number from its bytes."""

    __slots__ = ()

    def __call__(self, dtype: np.dtype, value: bytes) -> np.generic:
        return np.frombuffer(value, dtype)[0]


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array(),
    ("numpy", "dtype"): _NumberType(),
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _EmptyArray() for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Scalar() for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise _ForbiddenError(f"{module}.{name}") from None


def load(path: Path) -> Any:
    """The content of a pickle file; UserError when it is unreadable, truncated or names anything beyond arrays."""
    try:
        with path.open("rb") as file:
            return _Unpickler(file).load()
    except _ForbiddenError as error:
        raise UserError(
            f"asks for {error}, which could run code; nothing was run", path, "use the files of the public release"
        ) from None
    except OSError as error:
        raise UserError(
            f"cannot be read ({error.strerror})", path, "name a released .pickle file or a folder"
        ) from error
    except Exception as error:  # a damaged pickle can make the unpickler raise almost anything
        raise UserError(
            f"is no whole pickle ({type(error).__name__}: {error})",
            path,
            "fetch it again (Git LFS) and check its sha256",
        ) from None
