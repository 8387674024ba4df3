"""Features of views that nobody had foreseen, kept from run to run in a folder of bounded size.

An overlay is a `ShardStore` with a limit. Beside each shard lies `<shard>.used.npy`, uint32[N] seconds since 1970: when
each view was asked for last, written by whoever asks. It is a hint without which nothing is lost. When the shards
outgrow the limit, the views that were used last are written together anew and the others are gone.
"""

import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import numpy as np

from llarp.errors import UserError
from llarp.vision.base import FeatureStore, Keys
from llarp.vision.manifest import MANIFEST, Manifest, locked
from llarp.vision.repack import repack
from llarp.vision.shard import Shard, most_rows, used_path, writing
from llarp.vision.store import ShardStore, TokenShape, drop_damaged, replace_manifest

KEPT = 0.75
"""Share of the limit that an eviction leaves."""
MOST_SHARDS = 256
"""Of less than half the size that a shard may have: above it they are put together, though there be room."""
REFRESH_S = 10.0
"""How old one's knowledge of what other processes have stored may be, where something is missing."""


class Overlay(FeatureStore):
    """A store of bounded size that several processes share."""

    def __init__(self, store: ShardStore, limit_bytes: int) -> None:
        """Use `open`."""
        self.store, self.limit_bytes = store, limit_bytes
        self._used: dict[str, np.ndarray | None] = {}
        self._refreshed_s = time.monotonic()
        store.on_found = self._note

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        encoder: TokenShape,
        limit_bytes: int,
        verify: bool = True,
        image: Sequence[int] | None = None,
    ) -> Self:
        """The overlay in a folder, made when there is none. What is damaged in it is told on stderr and left out.

        Args:
            folder: where it stands.
            encoder: whose features it keeps.
            limit_bytes: of its shards, at most; what is added since the last flush comes on top.
            verify: compare the sha256 of every file; without, only sizes are compared.
            image: height and width, pixels, of the images; None: any.

        Raises:
            UserError: the folder cannot be written, or keeps features of another encoder or size of image.

        """
        folder = Path(folder)
        drop_and_tell(folder, verify)
        return cls(ShardStore.open_or_create(folder, encoder, verify=False, image=image), limit_bytes)

    def __len__(self) -> int:
        return len(self.store)

    @property
    def num_bytes(self) -> int:
        """See `ShardStore.num_bytes`."""
        return self.store.num_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
        """See `FeatureStore.get`. Where something is missing, what others have stored lately is looked at too."""
        features, found = self.store.get(keys)
        if not found.all() and time.monotonic() - self._refreshed_s > REFRESH_S:
            self._refreshed_s = time.monotonic()
            if self.store.refresh():
                return self.store.get(keys)
        return features, found

    def add(self, keys: Keys, features: np.ndarray) -> None:
        """See `ShardStore.add`."""
        before = self.store.manifest
        self.store.add(keys, features)
        if self.store.manifest is not before:
            self._keep_within_limit()

    def close(self) -> None:
        """Writes what has gathered."""
        self.store.close()
        self._keep_within_limit()

    def _keep_within_limit(self) -> None:
        if _is_due(self.store.manifest, self.limit_bytes):
            evict(self.store.folder, self.limit_bytes)
            self.store.refresh()

    def _note(self, shard: Shard, rows: np.ndarray) -> None:
        """Remembers that rows of a shard were asked for now."""
        if shard.file not in self._used:
            try:
                self._used[shard.file] = _uses(self.store.folder, shard)
            except UserError:  # a folder that cannot be written: nothing is evicted from it either
                self._used[shard.file] = None
        used = self._used[shard.file]
        if used is not None:
            used[rows] = int(time.time())


def evict(folder: Path, limit_bytes: int) -> None:
    """Puts small shards together; beyond the limit, only the views used last, as many as `KEPT` of the limit holds.

    Whoever has the old shards mapped can go on reading them. Equal times: what was added later stays.
    """
    with locked(folder):
        manifest = Manifest.read(folder)
        if not _is_due(manifest, limit_bytes):
            return  # another process has done it
        size = 2 * manifest.num_tokens * manifest.dim + 16
        used = [np.array(_uses(folder, shard)) for shard in manifest.shards]
        order = np.argsort(np.concatenate(used), kind="stable")
        kept = np.full(len(order), manifest.bytes <= limit_bytes)
        kept[order[max(0, len(order) - int(KEPT * limit_bytes) // size) :]] = True
        bounds = np.cumsum([len(part) for part in used])[:-1]
        shards = repack(folder, manifest, np.split(kept, bounds), used)
        for shard, when in shards.items():
            with suppress(UserError):
                _uses(folder, shard)[:] = when
        replace_manifest(folder, manifest, manifest.with_shards(tuple(shards)))


def _is_due(manifest: Manifest, limit_bytes: int) -> bool:
    """Whether there is something for `evict` to do."""
    half = most_rows(manifest.num_tokens, manifest.dim) // 2
    return manifest.bytes > limit_bytes or sum(shard.rows < half for shard in manifest.shards) > MOST_SHARDS


def drop_and_tell(folder: Path, verify: bool) -> None:
    """Takes out of an overlay what is damaged, and tells of it on stderr; its views are encoded again when needed."""
    if not (folder / MANIFEST).exists():
        return
    with locked(folder):
        try:
            damage = drop_damaged(folder, Manifest.read(folder), verify) if (folder / MANIFEST).exists() else []
        except UserError as error:  # of another version, or damaged itself: nothing of it can be trusted
            damage = [str(error)]
            for path in folder.glob("*.*"):
                path.unlink(missing_ok=True)
    for what in damage:
        print(f"warning: {what}: its views will be encoded again", file=sys.stderr, flush=True)


def _uses(folder: Path, shard: Shard) -> np.ndarray:
    """uint32[N] seconds since 1970 at which each view of a shard was used last, mapped and shared; made if missing.

    UserError when it cannot be made. It is written before it is mapped: a full disk must be an error, not a signal.
    """
    path = used_path(folder, shard.file)
    with suppress(OSError, ValueError):
        found = np.lib.format.open_memmap(path, "r+")
        if found.dtype == np.uint32 and found.shape == (shard.rows,):
            return found
    with writing(folder) as aside:
        last_s = int((folder / shard.file).stat().st_mtime)
        np.save(aside / path.name, np.full(shard.rows, last_s, np.uint32))
        os.replace(aside / path.name, path)
        return np.lib.format.open_memmap(path, "r+")
