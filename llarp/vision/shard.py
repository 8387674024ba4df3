"""One file of a feature store: a safetensors file that is written once and then only mapped.

`keys` uint8[N, 16] and `features` float16[N, P, D], row by row. The file is named by its content, so that equal shards
are one file, and written aside: in `.<store>.aside` beside the store, where a crash may leave something that no store
will ever name.
"""

import hashlib
import json
import os
import shutil
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from llarp.config import Section
from llarp.errors import UserError
from llarp.files import sha256
from llarp.vision.keys import KEY_BYTES

SHARD_BYTES = 64 * 2**20
"""Of features, at most, in a shard that more than one view would fill."""
STALE_S = 3600.0
"""Age after which a file that no manifest names is no longer anyone's."""


class File(Section):
    """A file that a manifest names."""

    file: str = Field(pattern=r"^[a-z]*-?[0-9a-f]{16}\.safetensors$", description="name within the store's folder")
    bytes: int = Field(ge=1, description="size of the file")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the file's bytes")

    def damage(self, folder: Path, thorough: bool) -> str | None:
        """What is wrong with the file; None when nothing is.

        Args:
            folder: of the store.
            thorough: read all of it and compare its sha256; else its size alone.

        """
        path = folder / self.file
        try:
            size = path.stat().st_size
            if size != self.bytes:
                return f"it has {size} bytes instead of {self.bytes}"
            if thorough and sha256(path) != self.sha256:
                return "its sha256 is not the manifest's"
        except OSError as error:
            return f"it cannot be read ({error.strerror})"
        return None


class Shard(File):
    """One file of features."""

    rows: int = Field(ge=1, description="views")


def most_rows(num_tokens: int, dim: int) -> int:
    """Views in a full shard."""
    return max(1, SHARD_BYTES // (2 * num_tokens * dim))


def used_path(folder: Path, file: str) -> Path:
    """Where it stands when each view of a shard was used last; see `llarp.vision.overlay`."""
    return (folder / file).with_suffix(".used.npy")


def write_shard(folder: Path, keys: np.ndarray, features: np.ndarray) -> Shard:
    """Writes V16[N] keys and float16[N, P, D] features; no manifest names the file yet. UserError: no room for it."""
    tensors = {"keys": keys.view(np.uint8).reshape(-1, KEY_BYTES), "features": np.ascontiguousarray(features)}
    file = write_tensors(folder, tensors)
    return Shard(rows=len(keys), **file.model_dump())


def write_tensors(folder: Path, tensors: dict[str, np.ndarray], prefix: str = "") -> File:
    """Writes a safetensors file into a store's folder, named by its content: whole or not at all."""
    from safetensors.numpy import save

    data = save(tensors)
    digest = hashlib.sha256(data).hexdigest()
    name = f"{prefix}{digest[:16]}.safetensors"
    with writing(folder) as aside:
        (aside / name).write_bytes(data)
        os.replace(aside / name, folder / name)
    return File(file=name, bytes=len(data), sha256=digest)


@contextmanager
def writing(folder: Path) -> Iterator[Path]:
    """A folder beside a store's, on the same file system, to write in; UserError when there is no room.

    It is no part of the store, so that whoever versions the store's folder never meets what a crash has left.
    """
    all_aside = folder.parent / f".{folder.name}.aside"  # stays: others may be about to write in it
    try:
        all_aside.mkdir(parents=True, exist_ok=True)
        for old in all_aside.iterdir():
            with suppress(OSError):  # another process may be faster
                if time.time() - old.stat().st_mtime > STALE_S:
                    shutil.rmtree(old, ignore_errors=True)
        aside = Path(tempfile.mkdtemp(dir=all_aside))
        try:
            yield aside
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"cannot be written to ({error.strerror})", folder,
            "make room or mend its permissions, and run it again: what was stored before is still there",
        ) from error  # fmt: skip


def map_tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file, mapped: no byte is copied, or read, before it is used.

    `safetensors.numpy` copies tensors, so the header (its length as little-endian u64, then JSON) is read here.

    Raises:
        UserError: the file is missing or no safetensors file.

    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length)) if length < size else {}
        header.pop("__metadata__", None)
        found: dict[str, np.ndarray] = {}
        for name, entry in header.items():
            first, last = entry["data_offsets"]
            dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
            if 8 + length + last > size or last - first != dtype.itemsize * int(np.prod(shape)):
                raise ValueError(f"tensor {name} is cut")
            found[name] = np.memmap(path, dtype, "r", 8 + length + first, shape)
        return found
    except (OSError, struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(path, f"it cannot be read as safetensors ({type(error).__name__})") from error


_DTYPES: dict[str, np.dtype[Any]] = {
    "U8": np.dtype(np.uint8), "F16": np.dtype(np.float16), "U64": np.dtype("<u8"), "I32": np.dtype("<i4"),
}  # fmt: skip


def map_shard(folder: Path, shard: Shard, num_tokens: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """(V16[N] keys, float16[N, P, D] features) of a shard, mapped; UserError when it is not what it should be."""
    path = folder / shard.file
    tensors = map_tensors(path)
    shapes = {name: (array.dtype.str[1:], array.shape) for name, array in tensors.items()}
    if shapes != {"keys": ("u1", (shard.rows, KEY_BYTES)), "features": ("f2", (shard.rows, num_tokens, dim))}:
        raise damaged(path, f"it does not hold the {shard.rows} views that the manifest says")
    keys = np.asarray(tensors["keys"]).view(f"V{KEY_BYTES}").reshape(-1)
    return keys, tensors["features"]


def damaged(path: Path, why: str) -> UserError:
    """A damaged file of a store."""
    return UserError(f"damaged shard: {why}", path, "rebuild it: `llarp features warm`")
