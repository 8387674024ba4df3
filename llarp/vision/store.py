"""The feature store on disk: immutable safetensors shards, memory-mapped.

A store is a folder:

    manifest.json            encoder identity, token shape, dtype, and each shard's file, rows and sha256
    <sha256[:16]>.safetensors  `keys` uint8[N, 16] and `features` float16[N, P, D], row by row

A shard is named by its content and enters the manifest only when it stands whole, so that a crash leaves at most a
file that no manifest names. Additions gather in memory until they fill a shard or the store is flushed or closed:
many small additions do not become many small files.
"""

import fcntl
import hashlib
import json
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
from pydantic import Field, ValidationError

from llarp.config import Section
from llarp.errors import UserError
from llarp.files import file_aside, sha256
from llarp.vision.base import FeatureStore, Keys
from llarp.vision.memory import KEY_BYTES, KeyIndex, MemoryStore, as_float16, as_keys

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
SHARD_ROWS = 4096
"""Views per shard when additions fill one up."""


class TokenShape(Protocol):
    """What a store must know of an encoder; every `Encoder` has it."""

    identity: str
    num_tokens: int
    dim: int


class Shard(Section):
    """One file of a store."""

    file: str = Field(pattern=r"^[0-9a-f]{16}\.safetensors$", description="name within the store's folder")
    rows: int = Field(ge=1, description="views")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the file's bytes")


class Manifest(Section):
    """manifest.json."""

    version: int = Field(ge=FORMAT_VERSION, le=FORMAT_VERSION, description="of this format")
    encoder: str = Field(description="identity of the encoder whose features these are")
    num_tokens: int = Field(ge=1, description="P, tokens per view")
    dim: int = Field(ge=1, description="D, numbers per token")
    dtype: str = Field(pattern="^float16$", description="of a number")
    rows: int = Field(ge=0, description="views in all shards")
    shards: tuple[Shard, ...]


class ShardStore(FeatureStore):
    """Features of views in a folder. Use as a context manager, or call `close`, to keep what was added."""

    def __init__(self, folder: Path, manifest: Manifest, read_only: bool, verify: bool) -> None:
        """Use `create` or `open`."""
        self.folder, self.read_only = folder, read_only
        self.identity, self.num_tokens, self.dim = manifest.encoder, manifest.num_tokens, manifest.dim
        self._index = KeyIndex()
        self._blocks: list[np.ndarray] = []
        self._starts = [0]
        self._pending = MemoryStore(self.num_tokens, self.dim)
        for shard in manifest.shards:
            self._map(shard, verify)

    @classmethod
    def create(cls, folder: str | os.PathLike[str], encoder: TokenShape) -> "ShardStore":
        """A new, empty store for an encoder's features; UserError when a store stands there already."""
        folder = Path(folder)
        if (folder / MANIFEST).exists():
            raise UserError("holds a feature store already", folder, "open it, or remove it first")
        manifest = Manifest(
            version=FORMAT_VERSION, encoder=encoder.identity, num_tokens=encoder.num_tokens, dim=encoder.dim,
            dtype="float16", rows=0, shards=(),
        )  # fmt: skip
        _write_manifest(folder, manifest)
        return cls(folder, manifest, read_only=False, verify=False)

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        encoder: TokenShape | None = None,
        read_only: bool = True,
        verify: bool = True,
    ) -> "ShardStore":
        """An existing store.

        Args:
            folder: where it stands.
            encoder: whose features are wanted; None: whichever the store was made for (see `identity`).
            read_only: refuse additions.
            verify: read every shard once to compare its sha256; without, only sizes are compared.

        Raises:
            UserError: there is no store, it belongs to another encoder, or a shard is missing or damaged.

        """
        folder = Path(folder)
        manifest = _read_manifest(folder)
        if encoder is not None and manifest.encoder != encoder.identity:
            raise UserError(
                f"holds features of encoder {manifest.encoder[:12]}, not of {encoder.identity[:12]}",
                folder,
                "encode the views again (stage features) or choose the store's encoder",
            )
        return cls(folder, manifest, read_only, verify)

    @classmethod
    def open_or_create(cls, folder: str | os.PathLike[str], encoder: TokenShape) -> "ShardStore":
        """The writable store at `folder`, made when there is none: for an overlay that outlives its process."""
        if (Path(folder) / MANIFEST).exists():
            return cls.open(folder, encoder, read_only=False)
        return cls.create(folder, encoder)

    def __len__(self) -> int:
        return len(self._index) + len(self._pending)

    def __enter__(self) -> "ShardStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
        """See `FeatureStore.get`. A loop over shards, never over rows."""
        features, found = self._pending.get(keys)
        rows = self._index.find(as_keys(keys))
        for start, end, block in zip(self._starts, self._starts[1:], self._blocks, strict=False):
            here = (rows >= start) & (rows < end)
            if here.any():
                features[here] = block[rows[here] - start]
        return features, found | (rows >= 0)

    def add(self, keys: Keys, features: np.ndarray) -> None:
        """See `FeatureStore.add`. Found at once; on disk once `SHARD_ROWS` have gathered or the store is flushed.

        Keys already stored keep their features. ValueError on a wrong shape; UserError when the store is read-only.
        """
        if self.read_only:
            raise UserError("is open for reading only", self.folder, "keep new features in an overlay")
        halves = as_float16(features, (len(keys), self.num_tokens, self.dim))
        array = as_keys(keys)
        new = self._index.find(array) < 0
        self._pending.add(array[new], halves[new])
        if len(self._pending) >= SHARD_ROWS:
            self.flush()

    def flush(self) -> None:
        """Writes what has gathered as one shard: all of it or nothing."""
        if not len(self._pending):
            return
        shard = write_shard(self.folder, *self._pending.contents())
        register_shards(self.folder, [shard])
        self._pending = MemoryStore(self.num_tokens, self.dim)
        self._map(shard, verify=False)

    def close(self) -> None:
        """Flushes. The store can still be read."""
        self.flush()

    def _map(self, shard: Shard, verify: bool) -> None:
        path = self.folder / shard.file
        keys, features = _open_shard(path, (shard.rows, self.num_tokens, self.dim))
        if verify and sha256(path) != shard.sha256:
            raise _damaged(path, "its sha256 is not the manifest's")
        new = self._index.find(keys) < 0  # two writers may both have encoded a view: the first one's row stays
        self._index.append(keys[new])
        self._blocks.append(features if new.all() else features[new])
        self._starts.append(len(self._index))


def write_shard(folder: Path, keys: np.ndarray, features: np.ndarray) -> Shard:
    """Writes one immutable shard of V16[N] keys and float16[N, P, D] features; the manifest does not name it yet."""
    from safetensors.numpy import save

    tensors = {"keys": keys.view(np.uint8).reshape(-1, KEY_BYTES), "features": np.ascontiguousarray(features)}
    data = save(tensors)
    digest = hashlib.sha256(data).hexdigest()
    name = f"{digest[:16]}.safetensors"
    with file_aside(folder / name) as aside:
        aside.write_bytes(data)
    return Shard(file=name, rows=len(keys), sha256=digest)


def register_shards(folder: Path, shards: Sequence[Shard]) -> None:
    """Enters whole shards into the manifest, in this order; safe beside other processes that do the same."""
    with _locked(folder):
        manifest = _read_manifest(folder)
        known = {shard.file for shard in manifest.shards}
        merged = (*manifest.shards, *(shard for shard in shards if shard.file not in known))
        rows = sum(shard.rows for shard in merged)
        _write_manifest(folder, manifest.model_copy(update={"shards": merged, "rows": rows}))


def _open_shard(path: Path, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(V16[N] keys, float16[N, P, D] features) of a shard, memory-mapped: no byte is copied before it is used.

    `safetensors.numpy` copies tensors, so the header (length as little-endian u64, then JSON) is read here.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length)) if length < size else {}
        entries = [header["keys"], header["features"]]
        described = [(entry["dtype"], tuple(entry["shape"])) for entry in entries]
        offsets = [8 + length + entry["data_offsets"][0] for entry in entries]
        end = max(8 + length + entry["data_offsets"][1] for entry in entries)
    except (OSError, struct.error, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"cannot be read as safetensors ({type(error).__name__})") from error
    if described != [("U8", (shape[0], KEY_BYTES)), ("F16", shape)] or size != end:
        raise _damaged(path, f"its {size} bytes do not hold the {shape[0]} views that the manifest says")
    keys = np.memmap(path, np.uint8, "r", offsets[0], (shape[0], KEY_BYTES))
    features = np.memmap(path, np.float16, "r", offsets[1], shape)
    return np.asarray(keys).view(f"V{KEY_BYTES}").reshape(-1), features


def _damaged(path: Path, why: str) -> UserError:
    return UserError(f"damaged shard: {why}", path, "remove the feature store and encode the views again")


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"no feature store ({error.strerror})", path, "run the stage features first") from error
    except ValidationError as error:
        what = error.errors()[0]["msg"]
        raise UserError(f"damaged manifest: {what}", path, "remove the store and encode the views again") from None


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    with file_aside(folder / MANIFEST) as aside:
        aside.write_text(manifest.model_dump_json(indent=1) + "\n")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the folder's advisory lock, which the system frees when the process ends."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
