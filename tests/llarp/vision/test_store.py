"""Feature stores keep the contract; the one on disk survives its process and notices damage."""

import json
import multiprocessing
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file
from store_contract import StoreContract, features_of, keys_of

from llarp.errors import UserError
from llarp.vision import store as store_module
from llarp.vision.memory import BoundedStore, MemoryStore, first_occurrences
from llarp.vision.store import MANIFEST, ShardStore

ENCODER = SimpleNamespace(identity="a" * 64, num_tokens=3, dim=4)


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self):
        return MemoryStore(3, 4)


BYTES = 3 * 4 * 2 + 2 * 16 + 8
"""Of a view of the contract in memory: features, key in store and index, row."""


class TestMemoryStoreWithRoom(StoreContract):
    @pytest.fixture
    def store(self):
        return MemoryStore(3, 4, room=30)


class TestBoundedStore(StoreContract):
    @pytest.fixture
    def store(self):
        return BoundedStore(3, 4, limit_bytes=1 << 20)


class TestBoundedStoreWithLittleRoom(StoreContract):
    @pytest.fixture
    def store(self):
        return BoundedStore(3, 4, limit_bytes=60 * BYTES + 1)

    def test_the_older_half_goes_when_the_newer_is_full(self, store):
        assert store.capacity == 30
        keys, features = keys_of(100), features_of(100)
        for start in range(0, 100, 10):
            store.add(keys[start : start + 10], features[start : start + 10])
        assert len(store) == 40
        got, found = store.get(keys)
        np.testing.assert_array_equal(found, np.arange(100) >= 60)
        np.testing.assert_array_equal(got[60:], features[60:].astype(np.float16))

    def test_what_is_asked_for_stays(self, store):
        keys, features = keys_of(200), features_of(200)
        for start in range(0, 200, 10):
            store.add(keys[start : start + 10], features[start : start + 10])
            assert store.get(keys[:5])[1].all() and len(store) <= 60
        np.testing.assert_array_equal(store.get(keys[:5])[0], features[:5].astype(np.float16))

    def test_more_than_there_is_room_for_leaves_the_last(self, store):
        keys, features = keys_of(200), features_of(200)
        store.add(keys, features)
        np.testing.assert_array_equal(store.get(keys)[1], np.arange(200) >= 150)

    def test_its_memory_is_what_was_allowed(self, store):
        keys = keys_of(1000)
        for start in range(0, 1000, 7):
            store.add(keys[start : start + 7], features_of(len(keys[start : start + 7])))
            held = [store._newer, store._older]
            arrays = [a for part in held for a in (part._keys, part._features, part._index._keys, part._index._rows)]
            assert sum(array.nbytes for array in arrays) <= 60 * BYTES


class TestShardStoreUnflushed(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return ShardStore.create(tmp_path / "features", ENCODER)


class TestShardStoreOfManyShards(StoreContract):
    @pytest.fixture
    def store(self, tmp_path, monkeypatch):
        monkeypatch.setattr(store_module, "SHARD_ROWS", 1)
        return ShardStore.create(tmp_path / "features", ENCODER)


@pytest.fixture
def filled(tmp_path):
    """A folder with 30 views in three shards."""
    keys, features = keys_of(30), features_of(30)
    with ShardStore.create(tmp_path / "features", ENCODER) as store:
        for start in range(0, 30, 10):
            store.add(keys[start : start + 10], features[start : start + 10])
            store.flush()
    return tmp_path / "features"


def shards(folder):
    return [folder / shard["file"] for shard in json.loads((folder / MANIFEST).read_text())["shards"]]


def test_first_occurrences_number_the_distinct_in_order():
    keys = np.frombuffer(b"".join(bytes([value] * 16) for value in (7, 2, 7, 9, 2)), "V16")
    first, number = first_occurrences(keys)
    assert first.tolist() == [0, 1, 3] and number.tolist() == [0, 1, 0, 2, 1]


def test_what_is_closed_can_be_read_again_from_many_shards(filled):
    store = ShardStore.open(filled, ENCODER)
    assert len(store) == 30 and len(shards(filled)) == 3
    order = np.random.default_rng(2).permutation(30)
    got, found = store.get([keys_of(30)[place] for place in order])
    assert found.all()
    np.testing.assert_array_equal(got, features_of(30)[order].astype(np.float16))


def test_another_program_can_read_a_shard(filled):
    tensors = load_file(shards(filled)[1])
    assert [bytes(key) for key in tensors["keys"]] == keys_of(30)[10:20]
    np.testing.assert_array_equal(tensors["features"], features_of(30)[10:20].astype(np.float16))


def test_features_are_mapped_not_read(filled):
    block = ShardStore.open(filled)._blocks[0]
    assert isinstance(block, np.memmap) and not block.flags.writeable


def test_a_reader_that_needs_no_encoder_learns_its_shape(filled):
    store = ShardStore.open(filled)
    assert (store.identity, store.num_tokens, store.dim) == ("a" * 64, 3, 4)


def test_another_encoders_store_is_refused(filled):
    with pytest.raises(UserError, match="aaaaaaaaaaaa, not of bbbbbbbbbbbb"):
        ShardStore.open(filled, SimpleNamespace(identity="b" * 64, num_tokens=3, dim=4))


def test_a_store_is_not_made_over_another(filled):
    with pytest.raises(UserError, match="already"):
        ShardStore.create(filled, ENCODER)


def test_a_missing_store_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere/manifest\.json: no feature store"):
        ShardStore.open(tmp_path / "nowhere")


def test_reading_only_means_so(filled):
    before = sorted(filled.iterdir())
    with pytest.raises(UserError, match="reading only"):
        ShardStore.open(filled, ENCODER).add(keys_of(1, seed=5), features_of(1))
    assert sorted(filled.iterdir()) == before


@pytest.mark.parametrize("keep", [0, 5, 100, -1], ids=["empty", "no length", "cut", "one byte less"])
def test_a_truncated_shard_is_named(filled, keep):
    path = shards(filled)[1]
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=f"{path.name}: damaged shard"):
        ShardStore.open(filled, verify=False)


def test_a_missing_shard_is_named(filled):
    path = shards(filled)[2]
    path.unlink()
    with pytest.raises(UserError, match=f"{path.name}: damaged shard"):
        ShardStore.open(filled)


def test_a_flipped_bit_is_noticed(filled):
    path = shards(filled)[0]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"{path.name}: damaged shard.*sha256"):
        ShardStore.open(filled)


@pytest.mark.parametrize("text", ["", "{}", '{"version": 2}'])
def test_a_damaged_manifest_is_named(filled, text):
    (filled / MANIFEST).write_text(text)
    with pytest.raises(UserError, match=r"manifest\.json: damaged manifest"):
        ShardStore.open(filled)


def test_a_write_that_fails_leaves_the_store_as_it_was(filled, monkeypatch):
    before = sorted(path.name for path in filled.iterdir())

    def fail(*_):
        raise OSError("disk full")

    store = ShardStore.open(filled, ENCODER, read_only=False)
    store.add(keys_of(5, seed=3), features_of(5))
    monkeypatch.setattr("llarp.files.os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        store.flush()
    monkeypatch.undo()
    assert sorted(path.name for path in filled.iterdir()) == before
    assert len(ShardStore.open(filled)) == 30
    store.flush()  # what could not be written is not lost
    assert len(ShardStore.open(filled)) == 35


def test_many_small_additions_make_few_files(tmp_path):
    with ShardStore.create(tmp_path / "overlay", ENCODER) as store:
        for key, features in zip(keys_of(200), features_of(200), strict=True):
            store.add([key], features[None])
    assert len(list((tmp_path / "overlay").iterdir())) == 2
    with ShardStore.open_or_create(tmp_path / "overlay", ENCODER) as store:
        assert store.get(keys_of(200))[1].all()
        store.add(keys_of(200), features_of(200))
    assert len(list((tmp_path / "overlay").iterdir())) == 2


def test_equal_additions_make_equal_bytes(tmp_path):
    for name in ("one", "two"):
        with ShardStore.create(tmp_path / name, ENCODER) as store:
            store.add(keys_of(20), features_of(20))
    files = [sorted((path.name, path.read_bytes()) for path in (tmp_path / name).iterdir()) for name in ("one", "two")]
    assert files[0] == files[1]


def _add(folder, seed):
    with ShardStore.open(folder, read_only=False) as store:
        store.add(keys_of(10, seed) + keys_of(4, seed=99), features_of(14, seed))


def test_writers_beside_each_other_lose_nothing(tmp_path):
    ShardStore.create(tmp_path / "overlay", ENCODER)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_add, args=(tmp_path / "overlay", seed)) for seed in range(1, 5)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    store = ShardStore.open(tmp_path / "overlay")
    assert len(store) == 44
    for seed in range(1, 5):
        got, found = store.get(keys_of(10, seed))
        assert found.all()
        np.testing.assert_array_equal(got, features_of(14, seed)[:10].astype(np.float16))
