"""The feature store on disk: immutable safetensors shards, memory-mapped.

A store is a folder:

    manifest.json                    whose features these are, and every shard's file, rows, size and sha256
    <sha256[:16]>.safetensors        a shard, see `llarp.vision.shard`
    index-<sha256[:16]>.safetensors  the table of keys of the first shards: `slots` uint64[S, 2], `rows` int32[S]

A shard enters the manifest only when it stands whole, under a lock, so that many may read and several write at once.
Additions gather in memory until they fill a shard or the store is flushed or closed: many small additions do not become
many small files. The index is written by `index_shards`, when a large addition has ended; keys of later shards are
entered into a table in memory when the store is opened.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from llarp.errors import UserError
from llarp.vision.base import FeatureStore, Keys
from llarp.vision.gather import copy_rows
from llarp.vision.index import KeyIndex
from llarp.vision.keys import as_float16, as_keys
from llarp.vision.manifest import FORMAT_VERSION, MANIFEST, IndexFile, Manifest, locked, map_table
from llarp.vision.memory import MemoryStore
from llarp.vision.shard import (
    STALE_S,
    Shard,
    damaged,
    map_shard,
    most_rows,
    used_path,
    write_shard,
    write_tensors,
)

T = TypeVar("T")

SHARD_ROWS = 4096
"""Views that are gathered in memory before they are written, or fewer where they would be many bytes."""


class TokenShape(Protocol):
    """What a store must know of an encoder; every `Encoder` has it."""

    identity: str
    num_tokens: int
    dim: int


class ShardStore(FeatureStore):
    """Features of views in a folder. Use as a context manager, or call `close`, to keep what was added."""

    def __init__(self, folder: Path, manifest: Manifest, read_only: bool) -> None:
        """Use `create` or `open`."""
        self.folder, self.read_only = folder, read_only
        self.identity, self.num_tokens, self.dim = manifest.encoder, manifest.num_tokens, manifest.dim
        self.on_found: Callable[[Shard, np.ndarray], None] | None = None
        """Told which rows of a shard were asked for, int64[K]."""
        self._pending = MemoryStore(self.num_tokens, self.dim)
        self._gathered = min(SHARD_ROWS, most_rows(self.num_tokens, self.dim))
        self._open(manifest)

    @classmethod
    def create(cls, folder: str | os.PathLike[str], encoder: TokenShape, image: Sequence[int] | None = None) -> Self:
        """A new, empty store for an encoder's features; UserError when one stands there already, or it cannot be made.

        Args:
            folder: where it shall stand.
            encoder: whose features it is for.
            image: height and width, pixels, of the images that are encoded; None: any.

        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot be made ({error.strerror})", folder, "mend its parent's permissions") from error
        with locked(folder):
            if (folder / MANIFEST).exists():
                raise UserError("holds a feature store already", folder, "open it, or remove it first")
            manifest = Manifest(
                version=FORMAT_VERSION, encoder=encoder.identity, preprocessing=_preprocessing(encoder),
                image=None if image is None else (image[0], image[1]), num_tokens=encoder.num_tokens, dim=encoder.dim,
                dtype="float16", rows=0, shards=(), index=None,
            )  # fmt: skip
            manifest.write(folder)
        return cls(folder, manifest, read_only=False)

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        encoder: TokenShape | None = None,
        read_only: bool = True,
        verify: bool = True,
        image: Sequence[int] | None = None,
    ) -> Self:
        """An existing store.

        Args:
            folder: where it stands.
            encoder: whose features are wanted; None: whichever the store was made for (see `identity`).
            read_only: refuse additions.
            verify: read every file once to compare its sha256; without, only sizes are compared.
            image: height and width, pixels, of the images that are wanted; None: any.

        Raises:
            UserError: there is no store, it is of another version, belongs to another encoder or size of image, or a
                shard is missing or damaged.

        """
        folder = Path(folder)

        def check(manifest: Manifest) -> Manifest:
            check_origin(folder, manifest, encoder, image)
            for file in manifest.files:
                if why := file.damage(folder, thorough=verify):
                    raise damaged(folder / file.file, why)
            return manifest

        return while_it_changes(folder, lambda manifest: cls(folder, check(manifest), read_only))

    @classmethod
    def open_or_create(
        cls,
        folder: str | os.PathLike[str],
        encoder: TokenShape,
        verify: bool = True,
        image: Sequence[int] | None = None,
    ) -> Self:
        """The writable store at `folder`, made when there is none."""
        if not (Path(folder) / MANIFEST).exists():
            try:
                return cls.create(folder, encoder, image)
            except UserError:  # another process may have been faster
                if not (Path(folder) / MANIFEST).exists():
                    raise
        return cls.open(folder, encoder, read_only=False, verify=verify, image=image)

    @staticmethod
    def drop_damaged(folder: Path, verify: bool = True) -> list[str]:
        """Takes damaged files out of a store, so that what they held can be stored again.

        Args:
            folder: where the store stands.
            verify: compare the sha256 of every file; without, only sizes are compared.

        Returns:
            A line for each damaged file.

        Raises:
            UserError: there is no store, or its manifest is damaged.

        """
        with locked(folder):
            return drop_damaged(folder, Manifest.read(folder), verify)

    @property
    def manifest(self) -> Manifest:
        """What the store knows to be on disk."""
        return self._manifest

    def __len__(self) -> int:
        return (len(self._table) if self._table else 0) + len(self._index) + len(self._pending)

    @property
    def num_bytes(self) -> int:
        """Of the shards on disk, and of what has gathered."""
        return self._manifest.bytes + self._pending.num_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
        """See `FeatureStore.get`. A loop over the shards that are met, never over rows."""
        array = as_keys(keys)
        while True:
            try:
                return self._get(array)
            except UserError:  # another process may have put shards together and removed what this was about to map
                if not self.refresh():
                    raise

    def _get(self, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        features, found = self._pending.get(array)
        rows = self._find(array)
        places = np.flatnonzero(rows >= 0)
        if len(places):
            self._read(rows[places], places, features)
            found[places] = True
        return features, found

    def has(self, keys: np.ndarray) -> np.ndarray:
        """bool[N] which of the keys V16[N] are stored; no feature is read."""
        return (self._find(keys) >= 0) | self._pending.get(keys)[1]

    def add(self, keys: Keys, features: np.ndarray) -> None:
        """See `FeatureStore.add`. Found at once; on disk once `SHARD_ROWS` have gathered or the store is flushed.

        Keys already stored keep their features.

        Raises:
            ValueError: on a wrong shape.
            UserError: the store is read-only, or cannot be written to; nothing that was stored is lost then.

        """
        if self.read_only:
            raise UserError("is open for reading only", self.folder, "keep new features in an overlay")
        halves = as_float16(features, (len(keys), self.num_tokens, self.dim))
        array = as_keys(keys)
        new = self._find(array) < 0
        self._pending.add(array[new], halves[new])
        if len(self._pending) >= self._gathered:
            self.flush()

    def flush(self) -> None:
        """Writes what has gathered as one shard, all of it or nothing, and takes in what others have written."""
        if len(self._pending):
            add_shard(self.folder, *self._pending.contents())
            self._pending = MemoryStore(self.num_tokens, self.dim)
        self.refresh()

    def refresh(self) -> bool:
        """Takes in what other processes have written since; returns whether there was anything."""
        before = self._manifest
        while_it_changes(self.folder, lambda manifest: None if manifest == before else self._open(manifest))
        return self._manifest is not before

    def close(self) -> None:
        """Flushes. The store can still be read."""
        if not self.read_only:
            self.flush()

    def _open(self, manifest: Manifest) -> None:
        """Knows the keys of every shard from now on; those that were mapped stay so."""
        before: dict[str, tuple[np.ndarray, np.ndarray]] = getattr(self, "_mapped", {})
        mapped = {shard.file: before[shard.file] for shard in manifest.shards if shard.file in before}
        starts = np.cumsum([0, *(shard.rows for shard in manifest.shards)])
        table, covered_shards = None, 0
        if (file := manifest.index) is not None:
            table, covered_shards = map_table(self.folder, file), file.shards
        index = KeyIndex()
        for number, shard in enumerate(manifest.shards[covered_shards:], covered_shards):
            if shard.file not in mapped:
                mapped[shard.file] = map_shard(self.folder, shard, self.num_tokens, self.dim)
            keys, _ = mapped[shard.file]
            rows = np.arange(starts[number], starts[number + 1])
            if table is not None:  # two writers may both have encoded a view: the first one's row stays
                new = table.find(keys) < 0
                keys, rows = keys[new], rows[new]
            index.insert(keys, rows)
        # Nothing has failed: all of it changes together.
        self._manifest, self._mapped, self._starts = manifest, mapped, starts
        self._table, self._index = table, index
        self._addresses = np.zeros(len(manifest.shards), np.int64)
        """Of each shard's features; 0 until they are asked for."""

    def _map(self, number: int) -> None:
        """Makes a shard's features readable, when they are first asked for."""
        shard = self._manifest.shards[number]
        if shard.file not in self._mapped:
            self._mapped[shard.file] = map_shard(self.folder, shard, self.num_tokens, self.dim)
        self._addresses[number] = self._mapped[shard.file][1].ctypes.data

    def _find(self, keys: np.ndarray) -> np.ndarray:
        """int64[N] row, counted through all shards, of each key; -1 where there is none on disk."""
        if self._table is None:
            return self._index.find(keys)
        rows = self._table.find(keys)
        if len(self._index):
            absent = np.flatnonzero(rows < 0)
            rows[absent] = self._index.find(keys[absent])
        return rows

    def _read(self, rows: np.ndarray, places: np.ndarray, out: np.ndarray) -> None:
        """Copies rows K, counted through all shards, to places K of `out`, float16[N, P, D]."""
        shards = np.searchsorted(self._starts, rows, "right") - 1
        unmapped = np.flatnonzero(self._addresses[shards] == 0)
        for shard in np.unique(shards[unmapped]).tolist():
            self._map(shard)
        within = rows - self._starts[shards]
        copy_rows(self._addresses[shards] + within * (2 * self.num_tokens * self.dim), places, out)
        if self.on_found is not None:
            for shard in np.unique(shards).tolist():
                self.on_found(self._manifest.shards[shard], within[shards == shard])


def check_origin(
    folder: Path, manifest: Manifest, encoder: TokenShape | None, image: Sequence[int] | None = None
) -> None:
    """UserError unless a store holds features of that encoder and of images of that height and width, if given."""
    if encoder is not None and manifest.encoder != encoder.identity:
        raise UserError(
            f"holds features of encoder {manifest.encoder[:12]}, not of {encoder.identity[:12]}",
            folder,
            "encode the views again (stage features) or choose the store's encoder",
        )
    if image is not None and manifest.image is not None and manifest.image != (image[0], image[1]):
        raise UserError(
            f"holds features of images of {_pixels(manifest.image)}, not of {_pixels(image)}",
            folder,
            "encode the views again (stage features) or choose the store's size of camera",
        )


def while_it_changes(folder: Path, use: Callable[[Manifest], T]) -> T:
    """What `use` makes of a store's manifest.

    It is asked again when it fails and the manifest has changed meanwhile: another process may have put shards
    together and removed what the manifest before had named.
    """
    while True:
        manifest = Manifest.read(folder)
        try:
            return use(manifest)
        except UserError:
            if Manifest.read(folder) == manifest:
                raise


def add_shard(folder: Path, keys: np.ndarray, features: np.ndarray) -> None:
    """Writes V16[N] keys and float16[N, P, D] features as a shard and enters it; safe beside others that do the same.

    All under one lock: else who puts shards together might remove an equal one before this one is entered.
    """
    with locked(folder):
        shard, manifest = write_shard(folder, keys, features), Manifest.read(folder)
        if shard not in manifest.shards:
            manifest.with_shards((*manifest.shards, shard)).write(folder)


def drop_damaged(folder: Path, manifest: Manifest, verify: bool) -> list[str]:
    """See `ShardStore.drop_damaged`. The lock is held."""
    before = manifest
    bad = {file.file: why for file in manifest.files if (why := file.damage(folder, thorough=verify))}
    if bad:
        if manifest.index and manifest.index.file in bad:
            manifest = manifest.model_copy(update={"index": None})
        kept = tuple(shard for shard in manifest.shards if shard.file not in bad)
        replace_manifest(folder, before, manifest.with_shards(kept))
    return [f"{folder / file}: damaged shard: {why}" for file, why in bad.items()]


def index_shards(folder: Path) -> None:
    """Puts the shards into an order of their own, that of their names, and writes the index of all their keys.

    So equal shards make equal folders, whoever wrote them and when.
    """
    with locked(folder):
        manifest = Manifest.read(folder)
        shards = tuple(sorted(manifest.shards, key=lambda shard: shard.file))
        if not shards or (manifest.index and manifest.index.shards == len(shards) and shards == manifest.shards):
            return
        index = KeyIndex()
        starts = np.cumsum([0, *(shard.rows for shard in shards)])
        for shard, first, last in zip(shards, starts, starts[1:], strict=False):
            keys, _ = map_shard(folder, shard, manifest.num_tokens, manifest.dim)
            index.insert(keys, np.arange(first, last))
        index = index.trimmed()
        file = write_tensors(folder, {"slots": index.slots_S2, "rows": index.rows_S}, "index-")
        entry = IndexFile(shards=len(shards), keys=len(index), **file.model_dump())
        replace_manifest(folder, manifest, manifest.model_copy(update={"shards": shards, "index": entry}))


def replace_manifest(folder: Path, before: Manifest, after: Manifest) -> None:
    """Puts a manifest in the place of another and removes the files that are named no more. The lock is held.

    With a shard goes what stands beside it under its name. Files that no manifest names and nobody is about to enter,
    such as a crash leaves, go as well.
    """
    after.write(folder)
    for file in {file.file for file in before.files} - {file.file for file in after.files}:
        (folder / file).unlink(missing_ok=True)
        used_path(folder, file).unlink(missing_ok=True)
    sweep(folder, after)


def sweep(folder: Path, manifest: Manifest) -> None:
    """Removes files that no manifest names and that are old. The lock is held."""
    named = {file.file.partition(".")[0] for file in manifest.files}
    for path in (*folder.glob("*.safetensors"), *folder.glob("*.used.npy")):
        with suppress(OSError):
            if path.name.partition(".")[0] not in named and time.time() - path.stat().st_mtime > STALE_S:
                path.unlink()


def _pixels(image: Sequence[int]) -> str:
    """Height and width, as width times height."""
    return f"{image[1]} x {image[0]} pixels"


def _preprocessing(encoder: TokenShape) -> dict[str, Any]:
    """What a manifest keeps of how an encoder prepares images; it is part of the encoder's identity as well."""
    found = getattr(encoder, "preprocessing", None)
    return {} if found is None else found.model_dump(mode="json")
