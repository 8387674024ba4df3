"""Shards put together: few large files instead of many small ones, of what is still wanted."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from llarp.vision.index import KeyIndex
from llarp.vision.manifest import Manifest, locked
from llarp.vision.shard import Shard, map_shard, most_rows, write_shard
from llarp.vision.store import ShardStore, check_origin, index_shards, replace_manifest

Part = tuple[np.ndarray, np.ndarray, np.ndarray]
"""V16[N] keys, float16[N, P, D] features, and a number [N] that travels with each view."""


def repack(
    folder: Path,
    manifest: Manifest,
    keep: Sequence[np.ndarray],
    numbers: Sequence[np.ndarray],
    more: Iterable[Part] = (),
) -> dict[Shard, np.ndarray]:
    """Writes what is kept of a store's shards, and more, together anew. The lock is held; the manifest is the caller's.

    A shard of which all is kept stays as it is when it is half full: nobody need copy what stands.

    Args:
        folder: of the store.
        manifest: of the store.
        keep: per shard bool[N], which views are kept.
        numbers: per shard a number [N] for each view.
        more: views from elsewhere, none of which the store has.

    Returns:
        The shards that the store is to have, each with the numbers of its views.

    """
    full = most_rows(manifest.num_tokens, manifest.dim)
    shards: dict[Shard, np.ndarray] = {}
    gathered: list[Part] = []

    def parts() -> Iterable[Part]:
        for shard, kept, number in zip(manifest.shards, keep, numbers, strict=True):
            if kept.all() and shard.rows >= full // 2:
                shards[shard] = number
            elif kept.any():
                keys, features = map_shard(folder, shard, manifest.num_tokens, manifest.dim)
                yield keys[kept], features[kept], number[kept]
        yield from more

    def write() -> None:
        keys, features, number = (np.concatenate(column) for column in zip(*gathered, strict=True))
        gathered.clear()
        for first in range(0, len(keys), full):
            part = slice(first, first + full)
            if len(keys[part]) < full and first:  # what is left over waits for more
                gathered.append((keys[part], features[part], number[part]))
            else:
                shards[write_shard(folder, keys[part], features[part])] = number[part]

    for part in parts():
        gathered.append(part)
        if sum(len(keys) for keys, _, _ in gathered) >= full:
            write()
    if gathered:
        write()
    return shards


def compact(folder: Path, others: Sequence[Path] = ()) -> tuple[int, int]:
    """Puts the shards of a store together and takes the views of other stores in, which are left as they are.

    Views that two writers had both encoded are kept once. Whoever has the old shards mapped can go on reading them.

    Args:
        folder: of the store.
        others: folders of stores of the same encoder and size of image.

    Returns:
        (views that came from the others, shards now).

    Raises:
        UserError: a store is missing, damaged or of another encoder, or there is no room; nothing has changed then.

    """
    with locked(folder):
        store = ShardStore.open(folder)  # read over: what is damaged must not get a new, right checksum
        manifest, known = store.manifest, KeyIndex()
        keep = []
        for shard in manifest.shards:
            keys, _ = map_shard(folder, shard, manifest.num_tokens, manifest.dim)
            keep.append(known.insert(keys, np.zeros(len(keys))))
        before = len(known)
        sources = [(other, ShardStore.open(other).manifest) for other in others]
        for other, theirs in sources:
            check_origin(other, theirs, store, manifest.image)

        def more() -> Iterable[Part]:
            for other, theirs in sources:
                for shard in theirs.shards:
                    keys, features = map_shard(other, shard, theirs.num_tokens, theirs.dim)
                    new = known.insert(keys, np.zeros(len(keys)))
                    if new.any():
                        yield keys[new], features[new], np.zeros(int(new.sum()))

        numbers = [np.zeros(shard.rows) for shard in manifest.shards]
        shards = tuple(repack(folder, manifest, keep, numbers, more()))
        replace_manifest(folder, manifest, manifest.with_shards(shards))
    index_shards(folder)
    return len(known) - before, len(shards)
