"""A view is drawn and encoded once, however often and by whomever it is seen."""

from types import SimpleNamespace

import numpy as np
import pytest

from llarp.errors import UserError
from llarp.vision.base import Encoder
from llarp.vision.memory import MemoryStore
from llarp.vision.overlay import Overlay
from llarp.vision.store import ShardStore
from llarp.vision.views import AFTER_SKILL, FIRST_VIEW, LATER_EPOCH, Lookups, ViewFeatures


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


def open_store(folder, encoder):
    return ShardStore.open_or_create(folder, encoder)


def open_overlay(folder, encoder):
    return Overlay.open(folder, encoder, 1 << 20)


@pytest.mark.parametrize("open_folder", [open_store, open_overlay])
def test_what_was_encoded_outlives_the_process_once_it_is_closed(encoder, store, tmp_path, open_folder):
    views = ViewFeatures(encoder, store, open_folder(tmp_path / "overlay", encoder))
    views.features([Sees(20)])
    assert not open_folder(tmp_path / "overlay", encoder).get([bytes([20] * 16)])[1].any()
    views.close()
    views = ViewFeatures(encoder, store, open_folder(tmp_path / "overlay", encoder))
    np.testing.assert_array_equal(views.features([Sees(20)]), expected(20))
    assert encoder.batches == [1] and views.misses == 0


def test_closing_what_is_in_memory_keeps_it(encoder, store):
    views = ViewFeatures(encoder, store)
    views.features([Sees(20)])
    views.close()
    views.features([Sees(20)])
    assert encoder.batches == [1]


def test_what_was_missing_is_told_of_the_last_call(encoder, store):
    views = ViewFeatures(encoder, store)
    views.features([Sees(grey) for grey in (90, 10, 40, 90)])
    assert views.missing.tolist() == [True, False, True, True]
    views.features([Sees(grey) for grey in (90, 70)])
    assert views.missing.tolist() == [False, True]
    views.features([])
    assert views.missing.tolist() == []


def test_lookups_are_counted_by_kind(encoder, store, monkeypatch):
    clock = iter(range(0, 100, 2))
    monkeypatch.setattr("llarp.vision.views.time.perf_counter", lambda: float(next(clock)))
    views = ViewFeatures(encoder, store)
    views.features([Sees(grey) for grey in (10, 40, 10, 40, 50)])
    views.note(np.array([FIRST_VIEW, FIRST_VIEW, LATER_EPOCH, FIRST_VIEW, FIRST_VIEW]))
    first = views.lookups
    assert first.by_kind.tolist() == [[1, 3], [0, 0], [1, 0]]
    assert first.figures() == {
        "features/hit_rate/first_view": 0.25, "features/hit_rate/later_epoch": 1.0, "features/hit_rate": 0.4,
        "features/encoded": 2.0, "features/encodes_per_s": 1.0,
    }  # fmt: skip
    views.features([Sees(40), Sees(60)])
    views.note(np.array([AFTER_SKILL, AFTER_SKILL]))
    since = views.lookups - first
    assert since.by_kind.tolist() == [[0, 0], [1, 1], [0, 0]] and (since.encoded, since.seconds) == (1, 2.0)
    assert since.figures() == {
        "features/hit_rate/after_skill": 0.5, "features/hit_rate": 0.5,
        "features/encoded": 1.0, "features/encodes_per_s": 0.5,
    }  # fmt: skip
    both = first + since
    assert both.by_kind.tolist() == views.by_kind.tolist() and (both.encoded, both.seconds) == (3, 4.0)
    assert first.by_kind.tolist() == [[1, 3], [0, 0], [1, 0]], "what was told before stays"


def test_no_lookups_have_figures_too():
    assert Lookups.none().figures() == {"features/hit_rate": 0.0, "features/encoded": 0.0}


def test_numbers_that_do_not_fit_are_refused_and_not_kept(encoder, store, monkeypatch):
    views = ViewFeatures(encoder, store)
    monkeypatch.setattr(encoder, "encode", lambda images: np.full((len(images), 1, 3), 1e9, np.float32))
    with pytest.raises(UserError, match="not finite"):
        views.features([Sees(20)])
    assert views.overlay.num_bytes == 0


def test_nobody_sees_nothing(encoder, store):
    assert ViewFeatures(encoder, store).features([]).shape == (0, 1, 3)


def test_a_simulator_need_only_have_a_key_for_what_is_known(encoder, store):
    known = SimpleNamespace(view_key=lambda: bytes([10] * 16))
    np.testing.assert_array_equal(ViewFeatures(encoder, store).features([known]), expected(10))
