"""What every feature store must do: inherit and give a `store` fixture of 3 tokens of 4 numbers."""

import numpy as np
import pytest


def keys_of(count, seed=0):
    """`count` distinct keys of 16 bytes; some end or begin with zero bytes."""
    rng = np.random.default_rng(seed)
    keys = [rng.bytes(16) for _ in range(count)]
    for place in range(0, count - 1, 2):
        keys[place] = rng.bytes(12) + bytes(4)
        keys[place + 1] = bytes(4) + rng.bytes(12)
    return keys


def features_of(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 3, 4)).astype(np.float32)


class StoreContract:
    def test_an_empty_store_finds_nothing(self, store):
        features, found = store.get(keys_of(5))
        assert features.shape == (5, 3, 4) and features.dtype == np.float16
        assert not found.any() and not features.any()

    def test_no_keys_give_no_rows(self, store):
        store.add([], np.empty((0, 3, 4), np.float32))
        features, found = store.get([])
        assert features.shape == (0, 3, 4) and found.shape == (0,)

    def test_it_gives_back_what_was_added_in_the_order_asked(self, store):
        keys, features = keys_of(50), features_of(50)
        store.add(keys[:20], features[:20])
        store.add(keys[20:], features[20:])
        order = np.random.default_rng(1).permutation(50)
        got, found = store.get([keys[place] for place in order])
        assert found.all()
        np.testing.assert_array_equal(got, features[order].astype(np.float16))

    def test_rows_not_found_are_zero_among_found_ones(self, store):
        keys, features = keys_of(6), features_of(6)
        store.add(keys[::2], features[::2])
        got, found = store.get(keys)
        np.testing.assert_array_equal(found, [True, False] * 3)
        np.testing.assert_array_equal(got[::2], features[::2].astype(np.float16))
        assert not got[1::2].any()

    def test_the_same_key_may_be_asked_twice(self, store):
        keys, features = keys_of(3), features_of(3)
        store.add(keys, features)
        got, found = store.get([keys[1], keys[1], keys[0]])
        assert found.all()
        np.testing.assert_array_equal(got, features[[1, 1, 0]].astype(np.float16))

    def test_the_first_features_of_a_key_stay(self, store):
        keys, features = keys_of(4), features_of(4)
        store.add(keys, features)
        store.add([keys[2], keys[2]], features_of(2, seed=9))
        np.testing.assert_array_equal(store.get(keys)[0], features.astype(np.float16))
        assert len(store) == 4

    def test_a_key_given_twice_at_once_is_stored_once(self, store):
        keys, features = keys_of(2), features_of(3)
        store.add([keys[1], keys[0], keys[1]], features)
        assert len(store) == 2
        np.testing.assert_array_equal(store.get(keys)[0], features[[1, 0]].astype(np.float16))

    @pytest.mark.parametrize(
        "features",
        [features_of(2), np.zeros((3, 4, 3)), np.full((3, 3, 4), 1e9), np.full((3, 3, 4), np.nan)],
        ids=["too few", "wrong shape", "too large for float16", "nan"],
    )
    def test_what_is_wrong_is_refused_whole(self, store, features):
        keys = keys_of(3)
        with pytest.raises(ValueError, match="features"):
            store.add(keys, features)
        assert not store.get(keys)[1].any() and len(store) == 0

    def test_a_key_of_another_length_is_refused(self, store):
        with pytest.raises(ValueError, match="16 bytes"):
            store.add([b"short", bytes(16)], features_of(2))
        with pytest.raises(ValueError, match="16 bytes"):
            store.get([bytes(17)])
