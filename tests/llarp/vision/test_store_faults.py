"""The feature store beside full disks, killed writers and other processes: what was whole stays whole."""

import errno
import fcntl
import hashlib
import multiprocessing
import os
import random
import resource
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from disk_stores import ENCODER, contents, holds, refusal, shards
from store_contract import features_of, keys_of

from llarp.vision import overlay as overlay_module
from llarp.vision import store as store_module
from llarp.vision.keys import as_keys
from llarp.vision.manifest import MANIFEST, Manifest, locked
from llarp.vision.overlay import evict
from llarp.vision.shard import STALE_S, write_shard
from llarp.vision.store import ShardStore, add_shard, index_shards, sweep

FORK = multiprocessing.get_context("fork")


# Full disks


def _fill_up(folder):
    """In a process of its own: files may be no larger than 20 kB, then as large as before."""
    keys, features = keys_of(2000, seed=3), features_of(2000)
    store = ShardStore.open(folder, ENCODER, read_only=False)
    store.add(keys, features)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    before = contents(folder)
    for _ in range(2):
        line = refusal(store.flush)
        assert "features: cannot be written to (File too large)" in line
        assert contents(folder) == before and holds(store, keys, features)
    assert not list((folder.parent / ".features.aside").iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    store.flush()
    return line


def test_a_disk_that_is_full_in_the_middle_of_a_shard(filled):
    with ProcessPoolExecutor(1, FORK) as pool:
        pool.submit(_fill_up, filled).result()
    store = ShardStore.open(filled)
    assert holds(store, keys_of(30), features_of(30)) and holds(store, keys_of(2000, seed=3), features_of(2000))


@pytest.mark.parametrize("write", ["write_bytes", "write_text"], ids=["shard", "manifest"])
def test_no_space_is_one_line_and_what_was_added_is_kept(filled, monkeypatch, write):
    store = ShardStore.open(filled, ENCODER, read_only=False)
    manifest = (filled / MANIFEST).read_bytes()
    open_file = Path.open

    def write_half(path, data):
        with open_file(path, "wb" if write == "write_bytes" else "w") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, write, write_half)
    monkeypatch.setattr(store, "_gathered", 5)
    line = refusal(lambda: store.add(keys_of(5, seed=3), features_of(5)))
    assert "cannot be written to (No space left on device)" in line and "make room" in line
    assert (filled / MANIFEST).read_bytes() == manifest and len(ShardStore.open(filled)) == 30
    assert not list((filled.parent / ".features.aside").iterdir())
    monkeypatch.undo()
    assert len(store) == 35 and holds(store, keys_of(5, seed=3), features_of(5))
    store.flush()
    assert len(ShardStore.open(filled)) == 35
    assert len(contents(filled)) == 5


# Killed


def _add_for_ever(folder, first, pipe):
    store = ShardStore.open(folder, read_only=False)
    for number in range(first, 10**9):
        store.add(keys_of(300, number), features_of(300, number))
        store.flush()
        pipe.send(number)


def test_a_killed_writer_leaves_a_whole_store(tmp_path):
    folder, rng, known = tmp_path / "features", random.Random(0), -1
    ShardStore.create(folder, ENCODER)
    for _ in range(6):
        ours, theirs = FORK.Pipe(duplex=False)
        writer = FORK.Process(target=_add_for_ever, args=(folder, known + 1, theirs))
        writer.start()
        theirs.close()
        assert ours.poll(60)
        time.sleep(rng.uniform(0, 0.02))
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        try:
            while True:
                known = ours.recv()
        except (EOFError, OSError):
            pass
        store = ShardStore.open(folder, ENCODER, verify=True)
        assert len(store) in (300 * (known + 1), 300 * (known + 2))
        for number in range(known + 1):
            assert holds(store, keys_of(300, number), features_of(300, number))
        for path in folder.glob("*.safetensors"):
            assert hashlib.sha256(path.read_bytes()).hexdigest()[:16] == path.stem, "there is no part of a file"
        assert {path.suffix for path in folder.iterdir()} <= {".json", ".safetensors"}


def test_what_a_killed_writer_left_aside_goes_when_it_is_old(filled):
    aside = filled.parent / ".features.aside"
    for name in ("old", "new"):
        (aside / name).mkdir(parents=True)
        (aside / name / "half.safetensors").write_bytes(b"half")
    then = time.time() - STALE_S - 1
    os.utime(aside / "old", (then, then))
    with ShardStore.open(filled, read_only=False) as store:
        store.add(keys_of(1, seed=3), features_of(1))
    assert [path.name for path in aside.iterdir()] == ["new"]


def test_shards_that_no_manifest_names_go_only_when_they_are_old(filled):
    old, new = (write_shard(filled, as_keys(keys_of(3, seed)), features_of(3).astype(np.float16)) for seed in (7, 8))
    then = time.time() - STALE_S - 1
    for path in (filled / old.file, *shards(filled)):
        os.utime(path, (then, then))
    (filled / "README.md").write_text("mine")
    with locked(filled):
        sweep(filled, Manifest.read(filled))
    names = {path.name for path in filled.iterdir()}
    assert names == {new.file, MANIFEST, "README.md", *(path.name for path in shards(filled))}


# Many at once


def _add(folder, seed, rounds):
    """Adds in several shards, some views of which others add too."""
    for number in range(rounds):
        with ShardStore.open(folder, read_only=False, verify=False) as store:
            store.add(keys_of(10, 100 * seed + number) + keys_of(4, seed=99), features_of(14, 100 * seed + number))


def _put_together(folder, rounds):
    for _ in range(rounds):
        evict(folder, limit_bytes=1 << 30)


def _read(folder, rounds):
    """One reader with old mappings, one that looks anew each time; what once was there is always found."""
    old = ShardStore.open(folder, verify=False)
    for number in range(rounds):
        new = ShardStore.open(folder, verify=number % 5 == 0)
        assert holds(old, keys_of(30), features_of(30)) and holds(new, keys_of(30), features_of(30))
        old.refresh()


def test_readers_and_writers_beside_each_other_lose_nothing(filled, monkeypatch):
    monkeypatch.setattr(overlay_module, "MOST_SHARDS", 1)
    jobs = [(_add, filled, seed, 8) for seed in range(1, 5)]
    jobs += [(_put_together, filled, 40), (_read, filled, 40), (_read, filled, 40)]
    with ProcessPoolExecutor(len(jobs), FORK) as pool:
        for job in [pool.submit(*job) for job in jobs]:
            job.result()
    store = ShardStore.open(filled)
    assert len(store) == 30 + 4 * 8 * 10 + 4
    assert holds(store, keys_of(30), features_of(30))
    for seed in range(1, 5):
        for number in range(8):
            assert holds(store, keys_of(10, 100 * seed + number), features_of(14, 100 * seed + number)[:10])


def test_a_reader_that_has_mapped_old_shards_goes_on(filled, monkeypatch):
    monkeypatch.setattr(overlay_module, "MOST_SHARDS", 1)
    store, before = ShardStore.open(filled), shards(filled)
    evict(filled, limit_bytes=1 << 20)
    assert not any(path.exists() for path in before) and len(shards(filled)) == 1
    assert holds(store, keys_of(30), features_of(30)) and store.manifest.shards != Manifest.read(filled).shards
    assert store.refresh() and not store.refresh()
    assert holds(store, keys_of(30), features_of(30))


def test_a_reader_whose_manifest_is_older_looks_again(filled, monkeypatch):
    monkeypatch.setattr(overlay_module, "MOST_SHARDS", 1)
    index_shards(filled)
    store = ShardStore.open(filled)
    assert not store._mapped
    evict(filled, limit_bytes=1 << 20)
    assert holds(store, keys_of(30), features_of(30)) and len(store) == 30
    assert len(contents(filled)) == 3, "one shard and its times of use; the index has gone with the others"


def test_one_who_opens_while_shards_are_put_together_looks_again(filled, monkeypatch):
    monkeypatch.setattr(overlay_module, "MOST_SHARDS", 1)
    read, stale = Manifest.read, [Manifest.read(filled)]
    evict(filled, limit_bytes=1 << 20)
    monkeypatch.setattr(Manifest, "read", lambda folder: stale.pop() if stale else read(folder))
    assert holds(ShardStore.open(filled), keys_of(30), features_of(30))


def test_a_shard_is_written_and_entered_under_one_lock(filled, monkeypatch):
    """Else whoever puts shards together could remove it in between, if an equal one was there."""
    write = store_module.write_shard

    def write_under_lock(folder, keys, features):
        with (folder.parent / ".features.lock").open() as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return write(folder, keys, features)

    monkeypatch.setattr(store_module, "write_shard", write_under_lock)
    add_shard(filled, as_keys(keys_of(3, seed=4)), features_of(3).astype(np.float16))
    assert len(ShardStore.open(filled)) == 33


def test_an_equal_shard_is_entered_once(filled):
    before = (filled / MANIFEST).read_bytes()
    add_shard(filled, as_keys(keys_of(30)[:10]), features_of(30)[:10].astype(np.float16))
    assert (filled / MANIFEST).read_bytes() == before
