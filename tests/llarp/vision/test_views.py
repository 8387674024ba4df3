"""A view is drawn and encoded once, however often and by whomever it is seen."""

from types import SimpleNamespace

import numpy as np
import pytest

from llarp.vision.base import Encoder
from llarp.vision.memory import BoundedStore, MemoryStore
from llarp.vision.store import ShardStore
from llarp.vision.views import ViewFeatures


class Colours(Encoder):
    """One token: the mean colour. Counts its work."""

    identity, num_tokens, dim = "c" * 64, 1, 3

    def __init__(self):
        self.batches = []

    def encode(self, images):
        self.batches.append(len(images))
        return images.mean((1, 2), dtype=np.float32)[:, None] / 255


class Sees:
    """Sees one grey."""

    def __init__(self, grey):
        self.grey, self.drawn = grey, 0

    def view_key(self):
        return bytes([self.grey] * 16)

    def render(self):
        self.drawn += 1
        return np.full((4, 4, 3), self.grey, np.uint8)


def expected(*greys):
    return np.stack([np.full((1, 3), grey / 255, np.float16) for grey in greys])


@pytest.fixture
def encoder():
    return Colours()


@pytest.fixture
def store(encoder):
    store = MemoryStore(1, 3)
    store.add([bytes([10] * 16)], expected(10))
    return store


def test_what_the_store_has_is_not_drawn(encoder, store):
    views, sees = ViewFeatures(encoder, store), Sees(10)
    np.testing.assert_array_equal(views.features([sees, sees]), expected(10, 10))
    assert (sees.drawn, encoder.batches, views.hits, views.misses) == (0, [], 2, 0)


def test_all_that_is_missing_is_one_batch_in_the_right_order(encoder, store):
    views, seen = ViewFeatures(encoder, store), [Sees(grey) for grey in (90, 10, 40, 90, 70, 40)]
    np.testing.assert_array_equal(views.features(seen), expected(90, 10, 40, 90, 70, 40))
    assert encoder.batches == [3]
    assert [sees.drawn for sees in seen] == [1, 0, 1, 0, 1, 0]
    assert (views.hits, views.misses) == (3, 3)


def test_what_was_missing_once_is_kept(encoder, store):
    views = ViewFeatures(encoder, store)
    first = views.features([Sees(20), Sees(30)])
    np.testing.assert_array_equal(views.features([Sees(30), Sees(20)]), first[::-1])
    assert encoder.batches == [2] and (views.hits, views.misses) == (2, 2)
    assert len(store) == 1  # the store itself is left alone


def test_time_is_spent_on_what_is_missing_alone(encoder, store, monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr("llarp.vision.views.time.perf_counter", lambda: float(next(clock)))
    views = ViewFeatures(encoder, store)
    views.features([Sees(10)])
    assert views.seconds == 0
    views.features([Sees(20), Sees(10)])
    views.features([Sees(30)])
    assert views.seconds == 2


def test_a_bounded_overlay_forgets_what_is_not_seen_again(encoder, store):
    overlay = BoundedStore(1, 3, limit_bytes=2 * 2 * 46)
    views, often = ViewFeatures(encoder, store, overlay), Sees(20)
    for grey in range(30, 40):
        np.testing.assert_array_equal(views.features([often, Sees(grey)]), expected(20, grey))
    assert often.drawn == 1 and overlay.capacity == 2 and len(overlay) <= 4
    views.features([Sees(30)])
    assert views.misses == 12


def test_an_overlay_on_disk_outlives_the_process(encoder, store, tmp_path):
    with ShardStore.open_or_create(tmp_path / "overlay", encoder) as overlay:
        ViewFeatures(encoder, store, overlay).features([Sees(20)])
    with ShardStore.open_or_create(tmp_path / "overlay", encoder) as overlay:
        views = ViewFeatures(encoder, store, overlay)
        np.testing.assert_array_equal(views.features([Sees(20)]), expected(20))
    assert encoder.batches == [1] and views.misses == 0


def test_nobody_sees_nothing(encoder, store):
    assert ViewFeatures(encoder, store).features([]).shape == (0, 1, 3)


def test_a_simulator_need_only_have_a_key_for_what_is_known(encoder, store):
    known = SimpleNamespace(view_key=lambda: bytes([10] * 16))
    np.testing.assert_array_equal(ViewFeatures(encoder, store).features([known]), expected(10))
