"""An overlay keeps to its size, and what was used last; it is a cache, so nothing in it can do harm."""

import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from store_contract import features_of, keys_of

from llarp.errors import UserError
from llarp.vision import overlay as overlay_module
from llarp.vision import store as store_module
from llarp.vision.manifest import MANIFEST, Manifest
from llarp.vision.overlay import Overlay, evict
from llarp.vision.shard import STALE_S
from llarp.vision.store import ShardStore

ENCODER = SimpleNamespace(identity="a" * 64, num_tokens=3, dim=4)
SIZE = 3 * 4 * 2 + 16
"""Of a view on disk, the shard's header aside."""
LIMIT = 4000
FORK = multiprocessing.get_context("fork")
KEYS, FEATURES = keys_of(300), features_of(300)


@pytest.fixture
def clock(monkeypatch):
    """The time that overlays see, in seconds."""
    now = SimpleNamespace(s=2_000_000_000.0)
    monkeypatch.setattr(overlay_module, "time", SimpleNamespace(time=lambda: now.s, monotonic=lambda: now.s))
    return now


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Ten views at least are a shard."""
    monkeypatch.setattr(store_module, "SHARD_ROWS", 10)


def open_overlay(folder, limit=LIMIT, **options):
    return Overlay.open(folder / "overlay", ENCODER, limit, **options)


def add(overlay, first, end):
    overlay.add(KEYS[first:end], FEATURES[first:end])


def use(overlay, first, end):
    features, found = overlay.get(KEYS[first:end])
    assert found.all()
    np.testing.assert_array_equal(features, FEATURES[first:end].astype(np.float16))


def kept(folder):
    """Places in KEYS of what is on disk."""
    features, found = ShardStore.open(folder / "overlay", ENCODER).get(KEYS)
    np.testing.assert_array_equal(features[found], FEATURES[found].astype(np.float16))
    return np.flatnonzero(found).tolist()


def size_of(folder):
    return sum(path.stat().st_size for path in (folder / "overlay").glob("*.safetensors"))


def test_what_one_process_has_kept_the_next_one_finds(tmp_path):
    with open_overlay(tmp_path) as overlay:
        add(overlay, 0, 5)
        assert len(overlay) == 5
    with open_overlay(tmp_path) as overlay:
        use(overlay, 0, 5)
        assert len(overlay) == 5 and overlay.num_bytes == size_of(tmp_path)


def test_its_shards_stay_within_the_limit_whatever_is_added(tmp_path):
    with open_overlay(tmp_path) as overlay:
        for first in range(0, 300, 7):
            add(overlay, first, min(first + 7, 300))
            assert size_of(tmp_path) <= LIMIT
            assert overlay.num_bytes <= LIMIT + 10 * SIZE
    assert size_of(tmp_path) <= LIMIT and overlay.num_bytes == size_of(tmp_path)
    assert size_of(tmp_path) > LIMIT / 2, "there is no need to forget as much"
    assert len(list((tmp_path / "overlay").glob("*.used.npy"))) <= len(Manifest.read(tmp_path / "overlay").shards)


def test_what_was_used_last_stays(tmp_path, clock):
    overlay = open_overlay(tmp_path, limit=1 << 20)
    for first in range(0, 150, 10):
        add(overlay, first, first + 10)
    for first, end in ((100, 150), (0, 100), (5, 15), (20, 21)):
        clock.s += 1
        use(overlay, first, end)
    overlay.limit_bytes = LIMIT
    overlay.close()
    count = int(0.75 * LIMIT) // SIZE - 11
    assert kept(tmp_path) == [*range(5, 15), 20, *range(100 - count, 100)]


def test_of_what_was_used_equally_lately_the_later_stays(tmp_path, clock):
    with open_overlay(tmp_path, limit=1 << 20) as overlay:
        for first in range(0, 100, 10):
            add(overlay, first, first + 10)
    for path in (tmp_path / "overlay").glob("*.safetensors"):
        os.utime(path, (1e9, 1e9))
    evict(tmp_path / "overlay", LIMIT)
    count = int(0.75 * LIMIT) // SIZE
    assert kept(tmp_path) == list(range(100 - count, 100))


def _use(folder, first, end):
    use(open_overlay(folder, limit=1 << 20), first, end)


def test_what_another_process_used_counts(tmp_path, clock):
    overlay = open_overlay(tmp_path, limit=1 << 20)
    for first in range(0, 100, 10):
        add(overlay, first, first + 10)
    use(overlay, 0, 100)
    clock.s += 50
    with ProcessPoolExecutor(1, FORK) as pool:
        pool.submit(_use, tmp_path, 20, 31).result()
    overlay.limit_bytes = LIMIT
    overlay.close()
    count = int(0.75 * LIMIT) // SIZE - 11
    assert kept(tmp_path) == [*range(20, 31), *range(100 - count, 100)]


def test_many_small_shards_are_put_together_and_nothing_is_lost(tmp_path, monkeypatch, clock):
    monkeypatch.setattr(overlay_module, "MOST_SHARDS", 4)
    with open_overlay(tmp_path, limit=100 * SIZE + 600) as overlay:  # nearly full, but not quite
        for first in range(0, 100, 10):
            add(overlay, first, first + 10)
            assert len(Manifest.read(tmp_path / "overlay").shards) <= 4
        use(overlay, 0, 100)
    assert kept(tmp_path) == list(range(100))
    assert len(list((tmp_path / "overlay").glob("*.safetensors"))) <= 4


def test_full_shards_are_not_put_together(tmp_path, monkeypatch):
    """However many there are: a large overlay has thousands."""
    monkeypatch.setattr(overlay_module, "MOST_SHARDS", 2)
    for module in ("overlay", "repack"):
        monkeypatch.setattr(f"llarp.vision.{module}.most_rows", lambda num_tokens, dim: 20)
    monkeypatch.setattr(overlay_module, "evict", None)
    with open_overlay(tmp_path, limit=100 * SIZE + 10 * 300) as overlay:
        for first in range(0, 100, 10):
            add(overlay, first, first + 10)
    assert kept(tmp_path) == list(range(100))
    assert [shard.rows for shard in Manifest.read(tmp_path / "overlay").shards] == [10] * 10


def test_use_is_remembered_when_shards_are_put_together(tmp_path, monkeypatch, clock):
    overlay = open_overlay(tmp_path, limit=1 << 20)
    for first in range(0, 100, 10):
        add(overlay, first, first + 10)
    use(overlay, 0, 100)
    clock.s += 9
    use(overlay, 33, 44)
    monkeypatch.setattr(overlay_module, "MOST_SHARDS", 1)
    overlay.close()
    assert len(Manifest.read(tmp_path / "overlay").shards) == 1
    evict(tmp_path / "overlay", 30 * SIZE)
    assert set(range(33, 44)) <= set(kept(tmp_path))


# Damage


@pytest.mark.parametrize("verify", [False, True])
def test_a_damaged_shard_is_told_and_left_out(tmp_path, capsys, verify):
    with open_overlay(tmp_path) as overlay:
        add(overlay, 0, 10)
        add(overlay, 10, 20)
        use(overlay, 0, 20)
        path = tmp_path / "overlay" / overlay.store.manifest.shards[0].file
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"?" if verify else data[:-1])
    with open_overlay(tmp_path, verify=verify) as overlay:
        assert len(overlay) == 10
        add(overlay, 0, 20)
    told = capsys.readouterr()
    assert told.err.startswith("warning: ") and told.err.count("\n") == 1
    assert path.name in told.err and "damaged shard" in told.err and "encoded again" in told.err and not told.out
    assert kept(tmp_path) == list(range(20))


@pytest.mark.parametrize("damage", [lambda text: text[:50], lambda text: text.replace('"version": 2', '"version": 1')])
def test_an_overlay_that_cannot_be_understood_is_begun_anew(tmp_path, capsys, damage):
    with open_overlay(tmp_path) as overlay:
        add(overlay, 0, 10)
        use(overlay, 0, 10)
    path = tmp_path / "overlay" / MANIFEST
    path.write_text(damage(path.read_text()))
    with open_overlay(tmp_path) as overlay:
        assert len(overlay) == 0
        assert [path.name for path in (tmp_path / "overlay").iterdir()] == [MANIFEST], "nor does it take up room"
        add(overlay, 0, 10)
    told = capsys.readouterr().err
    assert told.startswith(f"warning: {path}: ") and told.count("\n") == 1
    assert kept(tmp_path) == list(range(10))


def _begin(folder, number):
    with Overlay.open(folder / "overlay", ENCODER, 1 << 20) as overlay:
        add(overlay, 10 * number, 10 * number + 10)


def test_several_that_begin_one_anew_at_once_lose_nothing(tmp_path, capfd):
    for _ in range(5):
        open_overlay(tmp_path).close()
        (tmp_path / "overlay" / MANIFEST).write_text('{"version": 1}')
        with ProcessPoolExecutor(4, FORK) as pool:
            for job in [pool.submit(_begin, tmp_path, number) for number in range(4)]:
                job.result()
        assert kept(tmp_path) == list(range(40))


def test_another_encoders_overlay_is_refused_whole(tmp_path):
    with open_overlay(tmp_path) as overlay:
        add(overlay, 0, 10)
    with pytest.raises(UserError, match="not of bbbbbbbbbbbb"):
        Overlay.open(tmp_path / "overlay", SimpleNamespace(identity="b" * 64, num_tokens=3, dim=4), LIMIT)
    assert kept(tmp_path) == list(range(10))


@pytest.mark.parametrize("data", [None, b"", b"nonsense", b"\x93NUMPY\x01\x00"], ids=["lost", "empty", "other", "cut"])
def test_times_of_use_that_are_lost_do_no_harm(tmp_path, data):
    with open_overlay(tmp_path) as overlay:
        add(overlay, 0, 10)
        use(overlay, 0, 10)
    (path,) = (tmp_path / "overlay").glob("*.used.npy")
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)
    with open_overlay(tmp_path) as overlay:
        use(overlay, 3, 7)
        for first in range(10, 100, 10):
            add(overlay, first, first + 10)
    assert size_of(tmp_path) <= LIMIT and 99 in kept(tmp_path)


def test_times_of_another_number_of_views_are_not_believed(tmp_path):
    with open_overlay(tmp_path) as overlay:
        add(overlay, 0, 10)
        use(overlay, 0, 10)
    (path,) = (tmp_path / "overlay").glob("*.used.npy")
    np.save(path, np.zeros(3, np.uint32))
    with open_overlay(tmp_path) as overlay:
        use(overlay, 0, 10)
    assert np.load(path).shape == (10,) and np.load(path).all()


def test_times_of_use_of_shards_that_are_gone_go_too(tmp_path):
    with open_overlay(tmp_path) as overlay:
        add(overlay, 0, 10)
    old, new = (tmp_path / "overlay" / f"{digit * 16}.used.npy" for digit in "01")
    for path in (old, new):
        np.save(path, np.zeros(3, np.uint32))
    then = old.stat().st_mtime - STALE_S - 1
    os.utime(old, (then, then))
    evict(tmp_path / "overlay", 100)
    assert new.exists() and not old.exists()


def test_what_cannot_be_written_can_still_be_read(tmp_path, monkeypatch):
    with open_overlay(tmp_path) as overlay:
        add(overlay, 0, 10)
    overlay = open_overlay(tmp_path)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("llarp.vision.shard.tempfile.mkdtemp", refuse)
    use(overlay, 0, 10)
    use(overlay, 0, 10)
    assert not list((tmp_path / "overlay").glob("*.used.npy"))
    with pytest.raises(UserError, match=r"overlay: cannot be written to \(Permission denied\)"):
        add(overlay, 10, 20)
    use(overlay, 0, 20)


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "overlay").write_text("")
    with pytest.raises(UserError, match=r"overlay: cannot be made \(File exists\)"):
        open_overlay(tmp_path)


# Several processes


def test_what_another_has_kept_is_found_after_a_while(tmp_path, clock):
    one, other = open_overlay(tmp_path), open_overlay(tmp_path)
    add(one, 0, 10)
    assert not other.get(KEYS[:10])[1].any(), "it has just looked"
    clock.s += overlay_module.REFRESH_S + 1
    use(other, 0, 10)
    add(one, 10, 20)
    assert not other.get(KEYS[10:20])[1].any()
    use(other, 0, 10)
    clock.s += overlay_module.REFRESH_S + 1
    use(other, 5, 20)
    add(other, 20, 30)
    clock.s += overlay_module.REFRESH_S + 1
    use(one, 0, 30)


def _fill(folder, number):
    with Overlay.open(folder / "overlay", ENCODER, LIMIT) as overlay:
        for first in range(50 * number, 50 * number + 50, 10):
            add(overlay, first, first + 10)
            features, found = overlay.get(KEYS)
            np.testing.assert_array_equal(features[found], FEATURES[found].astype(np.float16))
            assert not features[~found].any()


def test_several_that_outgrow_one_overlay_at_once(tmp_path):
    with ProcessPoolExecutor(4, FORK) as pool:
        for job in [pool.submit(_fill, tmp_path, number) for number in (0, 1, 2, 3, 4, 5, 0, 3)]:
            job.result()
    assert size_of(tmp_path) <= LIMIT
    assert len(kept(tmp_path)) > 40
    values = json.loads((tmp_path / "overlay" / MANIFEST).read_text())
    assert {shard["file"] for shard in values["shards"]} == {
        path.name for path in (tmp_path / "overlay").glob("*.safetensors")
    }
