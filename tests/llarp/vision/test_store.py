"""Feature stores keep the contract; the one on disk survives its process, full disks and its neighbours."""

import json
from pathlib import Path

import numpy as np
import pytest
from disk_stores import ENCODER, OTHER, contents, flip, holds, index_file, refusal, shards
from safetensors.numpy import load_file
from store_contract import StoreContract, features_of, keys_of

from llarp.vision import overlay as overlay_module
from llarp.vision import store as store_module
from llarp.vision.keys import as_keys
from llarp.vision.manifest import MANIFEST
from llarp.vision.memory import MemoryStore
from llarp.vision.overlay import Overlay
from llarp.vision.shard import write_tensors
from llarp.vision.store import ShardStore, add_shard, index_shards


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self):
        return MemoryStore(3, 4)


class TestShardStoreUnflushed(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return ShardStore.create(tmp_path / "features", ENCODER)


class TestShardStoreOfManyShards(StoreContract):
    @pytest.fixture
    def store(self, tmp_path, monkeypatch):
        monkeypatch.setattr(store_module, "SHARD_ROWS", 1)
        return ShardStore.create(tmp_path / "features", ENCODER)


class Indexed(ShardStore):
    """Writes an index with every addition."""

    def add(self, keys, features):
        super().add(keys, features)
        self.flush()
        index_shards(self.folder)
        self.refresh()


class TestShardStoreWithAnIndex(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return Indexed.create(tmp_path / "features", ENCODER)


class TestShardStoreWithAnIndexOfItsBeginning(StoreContract):
    @pytest.fixture
    def store(self, tmp_path, monkeypatch):
        monkeypatch.setattr(store_module, "SHARD_ROWS", 1)
        store, add = ShardStore.create(tmp_path / "features", ENCODER), ShardStore.add

        def add_first(self, keys, features):
            add(self, keys, features)
            if len(self.manifest.shards) == 1:
                index_shards(self.folder)
                self.refresh()

        monkeypatch.setattr(ShardStore, "add", add_first)
        return store


class TestOverlay(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return Overlay.open(tmp_path / "overlay", ENCODER, limit_bytes=1 << 20)


class TestOverlayWithLittleRoom(StoreContract):
    @pytest.fixture
    def store(self, tmp_path, monkeypatch):
        """What the contract adds just fits; shards are put together all the time."""
        monkeypatch.setattr(store_module, "SHARD_ROWS", 1)
        monkeypatch.setattr(overlay_module, "MOST_SHARDS", 1)
        return Overlay.open(tmp_path / "overlay", ENCODER, limit_bytes=50 * (3 * 4 * 2 + 16) + 600)


# What stands on disk


@pytest.mark.parametrize("indexed", [False, True])
def test_what_is_closed_can_be_read_again_from_many_shards(filled, indexed):
    if indexed:
        index_shards(filled)
    store = ShardStore.open(filled, ENCODER)
    assert len(store) == 30 and len(shards(filled)) == 3
    order = np.random.default_rng(2).permutation(30)
    assert holds(store, [keys_of(30)[place] for place in order], features_of(30)[order])
    assert store.has(as_keys([*keys_of(30)[9:11], bytes(16), *keys_of(2, seed=8)])).tolist() == [True] * 2 + [False] * 3


def test_another_program_can_read_a_shard(filled):
    tensors = load_file(shards(filled)[1])
    assert [bytes(key) for key in tensors["keys"]] == keys_of(30)[10:20]
    np.testing.assert_array_equal(tensors["features"], features_of(30)[10:20].astype(np.float16))


def test_features_are_mapped_not_read(filled):
    index_shards(filled)
    store = ShardStore.open(filled, verify=False)
    assert not store._mapped, "an index spares mapping what nobody asks for"
    store.get([bytes(load_file(shards(filled)[1])["keys"][0])])
    ((_, features),) = store._mapped.values()
    assert isinstance(features, np.memmap) and not features.flags.writeable
    assert features.filename == shards(filled)[1]


def test_a_reader_that_needs_no_encoder_learns_its_shape(filled):
    store = ShardStore.open(filled)
    assert (store.identity, store.num_tokens, store.dim) == ("a" * 64, 3, 4)


def test_its_size_is_that_of_the_shards_and_of_what_has_gathered(filled):
    store = ShardStore.open(filled, ENCODER, read_only=False)
    on_disk = sum(path.stat().st_size for path in shards(filled))
    assert store.num_bytes == on_disk
    store.add(keys_of(5, seed=3), features_of(5))
    assert store.num_bytes == on_disk + 5 * (3 * 4 * 2 + 16) and len(store) == 35
    assert store.has(as_keys(keys_of(5, seed=3))).all()
    store.flush()
    assert store.num_bytes == sum(path.stat().st_size for path in shards(filled)) and len(store) == 35


def test_many_small_additions_make_few_files(tmp_path):
    with ShardStore.create(tmp_path / "overlay", ENCODER) as store:
        for key, features in zip(keys_of(200), features_of(200), strict=True):
            store.add([key], features[None])
    assert len(contents(tmp_path / "overlay")) == 2
    with ShardStore.open_or_create(tmp_path / "overlay", ENCODER) as store:
        assert holds(store, keys_of(200), features_of(200))
        store.add(keys_of(200), features_of(200))
    assert len(contents(tmp_path / "overlay")) == 2


def test_equal_additions_make_equal_bytes(tmp_path):
    for name in ("one", "two"):
        with ShardStore.create(tmp_path / name, ENCODER) as store:
            store.add(keys_of(20), features_of(20))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_equal_shards_make_equal_folders_in_whatever_order_they_came(tmp_path):
    parts = [(as_keys(keys_of(40, seed)), features_of(40, seed).astype(np.float16)) for seed in range(4)]
    for name, order, indexed_after in (("one", "0123", ""), ("two", "2031", "02"), ("three", "33210", "1")):
        ShardStore.create(tmp_path / name, ENCODER)
        for number in order:
            add_shard(tmp_path / name, *parts[int(number)])
            if number in indexed_after:
                index_shards(tmp_path / name)
        index_shards(tmp_path / name)
    assert len(contents(tmp_path / "one")) == 6
    assert contents(tmp_path / "one") == contents(tmp_path / "two") == contents(tmp_path / "three")
    store = ShardStore.open(tmp_path / "two", ENCODER)
    for seed in range(4):
        assert holds(store, keys_of(40, seed), features_of(40, seed))


def test_of_a_view_in_two_shards_the_first_stays(tmp_path):
    ShardStore.create(tmp_path / "features", ENCODER)
    keys = as_keys(keys_of(3))
    for seed in (1, 2):
        add_shard(tmp_path / "features", keys, features_of(3, seed).astype(np.float16))
    store = ShardStore.open(tmp_path / "features")
    assert len(store) == 3 and holds(store, keys, features_of(3, seed=1))
    index_shards(tmp_path / "features")
    add_shard(tmp_path / "features", keys, features_of(3, seed=3).astype(np.float16))
    store.refresh()
    kept = load_file(shards(tmp_path / "features")[0])["features"]
    assert len(store) == 3 and holds(store, keys, kept)


# Of another kind, or damaged


def test_another_encoders_features_are_never_returned(filled):
    before = contents(filled)
    line = refusal(lambda: ShardStore.open(filled, OTHER))
    assert "aaaaaaaaaaaa, not of bbbbbbbbbbbb" in line
    assert refusal(lambda: ShardStore.open_or_create(filled, OTHER)) == line
    assert refusal(lambda: Overlay.open(filled, OTHER, 1 << 20)) == line
    assert contents(filled) == before


def test_another_size_of_image_is_refused(filled):
    line = refusal(lambda: ShardStore.open(filled, ENCODER, image=(64, 48)))
    assert "48 x 32 pixels, not of 48 x 64 pixels" in line
    assert len(ShardStore.open(filled, ENCODER, image=(32, 48, 3))) == len(ShardStore.open(filled, ENCODER)) == 30


def test_a_store_is_not_made_over_another(filled):
    before = contents(filled)
    assert "already" in refusal(lambda: ShardStore.create(filled, ENCODER))
    assert contents(filled) == before


def test_a_missing_store_is_named(tmp_path):
    assert "nowhere/manifest.json: no feature store" in refusal(lambda: ShardStore.open(tmp_path / "nowhere"))


def test_where_no_store_can_be_made_one_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    assert "file/features: cannot be made (Not a directory)" in refusal(
        lambda: ShardStore.open_or_create(tmp_path / "file" / "features", ENCODER)
    )


def test_where_no_lock_can_be_had_one_is_told(filled):
    (filled.parent / ".features.lock").unlink()
    (filled.parent / ".features.lock").mkdir()
    store = ShardStore.open(filled, ENCODER, read_only=False)
    store.add(keys_of(3, seed=4), features_of(3))
    assert "features: cannot be locked (Is a directory)" in refusal(store.flush)
    assert holds(store, keys_of(3, seed=4), features_of(3))


def test_reading_only_means_so(filled):
    before = contents(filled)
    store = ShardStore.open(filled, ENCODER)
    assert "reading only" in refusal(lambda: store.add(keys_of(1, seed=5), features_of(1)))
    store.close()
    assert contents(filled) == before


@pytest.mark.parametrize("keep", [0, 5, 100, -1], ids=["empty", "no length", "cut", "one byte less"])
def test_a_truncated_shard_is_named(filled, keep):
    path = shards(filled)[1]
    path.write_bytes(path.read_bytes()[:keep])
    assert f"{path.name}: damaged shard" in refusal(lambda: ShardStore.open(filled, verify=False))


def test_a_missing_shard_is_named(filled):
    path = shards(filled)[2]
    path.unlink()
    assert f"{path.name}: damaged shard: it cannot be read" in refusal(lambda: ShardStore.open(filled))


def test_a_flipped_bit_is_noticed(filled):
    path = shards(filled)[0]
    flip(path)
    line = refusal(lambda: ShardStore.open(filled))
    assert f"{path.name}: damaged shard: its sha256" in line


@pytest.mark.parametrize("place", [0, 7, 8, 20, 60], ids=["length", "huge length", "brace", "name", "number"])
def test_a_damaged_header_is_a_line_though_nothing_is_verified(filled, place):
    path = shards(filled)[0]
    flip(path, place)
    assert f"{path.name}: damaged shard" in refusal(lambda: ShardStore.open(filled, verify=False))


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"version": 2}', '{"version": "x"}', "\0\1", "null"],
    ids=["empty", "no keys", "list", "version alone", "no version", "bytes", "null"],
)  # fmt: skip
def test_a_damaged_manifest_is_named(filled, text):
    (filled / MANIFEST).write_text(text)
    assert "manifest.json: damaged manifest" in refusal(lambda: ShardStore.open(filled))


def test_a_manifest_that_names_a_file_elsewhere_is_damaged(filled):
    values = json.loads((filled / MANIFEST).read_text())
    values["shards"][0]["file"] = "../else.safetensors"
    (filled / MANIFEST).write_text(json.dumps(values))
    assert "damaged manifest: shards.0.file" in refusal(lambda: ShardStore.open(filled))


@pytest.mark.parametrize("version", [1, 3])
def test_another_version_is_told_apart_from_damage(filled, version):
    values = json.loads((filled / MANIFEST).read_text())
    (filled / MANIFEST).write_text(json.dumps({**values, "version": version}))
    assert f"is of version {version} of the format, not 2" in refusal(lambda: ShardStore.open(filled))


@pytest.mark.parametrize("damage", [Path.unlink, flip, lambda path: path.write_bytes(path.read_bytes()[:-4])])
def test_a_damaged_index_is_named_and_can_be_done_without(filled, damage):
    index_shards(filled)
    path = index_file(filled)
    damage(path)
    assert f"{path.name}: damaged shard" in refusal(lambda: ShardStore.open(filled))
    (line,) = ShardStore.drop_damaged(filled)
    assert path.name in line and not path.exists()
    assert holds(ShardStore.open(filled), keys_of(30), features_of(30))


def test_an_index_that_does_not_fit_is_a_line_though_nothing_is_verified(filled):
    index_shards(filled)
    values = json.loads((filled / MANIFEST).read_text())
    for tensors in (
        {"slots": np.zeros((64, 2), np.uint64), "rows": np.zeros(30, np.int32)},
        {"slots": np.zeros((30, 2), np.uint64), "rows": np.zeros(30, np.int32)},
        {"rows": np.zeros(64, np.int32)},
        {"slots": np.zeros((64, 2), np.uint64), "rows": np.zeros(64, np.uint64)},
    ):
        values["index"] |= write_tensors(filled, tensors, "index-").model_dump()
        (filled / MANIFEST).write_text(json.dumps(values))
        assert "it does not hold the 30 keys" in refusal(lambda: ShardStore.open(filled, verify=False))


@pytest.mark.parametrize("indexed", [False, True])
def test_what_is_damaged_is_named_and_dropped_and_the_rest_stays(filled, indexed):
    if indexed:
        index_shards(filled)
    first, gone, flipped = shards(filled)
    lost = [bytes(key) for path in (gone, flipped) for key in load_file(path)["keys"]]
    kept = [key for key in keys_of(30) if key not in lost]
    gone.unlink()
    flip(flipped)
    lines = ShardStore.drop_damaged(filled)
    assert [path.name in line for path, line in zip((gone, flipped), lines, strict=True)] == [True, True]
    assert sorted(contents(filled)) == sorted([first.name, MANIFEST])
    with ShardStore.open(filled, ENCODER, read_only=False) as store:
        assert len(store) == 10 and store.get(keys_of(30))[1].sum() == 10 and store.get(kept)[1].all()
        store.add(keys_of(30), features_of(30))
    assert holds(ShardStore.open(filled), keys_of(30), features_of(30))
    assert ShardStore.drop_damaged(filled) == []


def test_a_store_that_cannot_take_in_what_is_new_still_gives_what_it_has(filled):
    store = ShardStore.open(filled, ENCODER)
    with ShardStore.open(filled, read_only=False) as other:
        other.add(keys_of(10, seed=5), features_of(10))
    values = json.loads((filled / MANIFEST).read_text())
    values["shards"] = [values["shards"][number] for number in (3, 2, 1, 0)]
    (filled / MANIFEST).write_text(json.dumps(values))
    flip(shards(filled)[0], 8)
    for _ in range(2):
        assert "damaged shard" in refusal(store.refresh)
        assert len(store) == 30 and holds(store, keys_of(30), features_of(30))
