"""The stage `features` keeps what stands, makes what is damaged again, and puts away what is of another kind."""

import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from components import features as stage
from components.encoder import build
from components.overlay import open_overlay
from components.paths import Paths
from llarp.config import load_params
from llarp.environments.make import make_environment
from llarp.errors import UserError
from llarp.learn import demonstrations
from llarp.vision.encoder import load_encoder
from llarp.vision.manifest import MANIFEST
from llarp.vision.store import ShardStore

CODER = SimpleNamespace(identity="a" * 64, num_tokens=1, dim=4)
IMAGE = (32, 32, 3)
POOL = 2


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# The store that the stage begins with


@pytest.fixture
def paths(tmp_path):
    return Paths(tmp_path)


@pytest.fixture
def filled(paths):
    """With two shards of ten views."""
    stage.prepare(paths, CODER, IMAGE)
    rng = np.random.default_rng(0)
    with ShardStore.open(paths.features, CODER, read_only=False) as store:
        for _ in range(2):
            store.add([rng.bytes(16) for _ in range(10)], rng.normal(size=(10, 1, 4)))
            store.flush()
    return paths


def test_where_nothing_stands_an_empty_store_is_made(paths, capsys):
    stage.prepare(paths, CODER, IMAGE)
    store = ShardStore.open(paths.features, CODER, image=IMAGE)
    assert len(store) == 0 and store.manifest.image == (32, 32)
    assert capsys.readouterr().err == ""


def test_what_is_sound_is_left_as_it_is(filled, capsys):
    before = contents(filled.features)
    stage.prepare(filled, CODER, IMAGE)
    assert contents(filled.features) == before and capsys.readouterr().err == ""
    assert not filled.replaced_features.exists()


def test_a_damaged_shard_is_told_and_dropped(filled, capsys):
    shard = ShardStore.open(filled.features).manifest.shards[0]
    data = (filled.features / shard.file).read_bytes()
    (filled.features / shard.file).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    stage.prepare(filled, CODER, IMAGE)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: ") and shard.file in line and line.endswith("it is rebuilt")
    assert len(ShardStore.open(filled.features, CODER)) == 10


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ((SimpleNamespace(identity="b" * 64, num_tokens=1, dim=4), IMAGE), "encoder aaaaaaaaaaaa, not of bbbbbbbbbbbb"),
        ((CODER, (48, 64, 3)), "32 x 32 pixels, not of 64 x 48 pixels"),
    ],
    ids=["encoder", "image"],
)
def test_a_store_of_another_kind_is_moved_away_whole(filled, capsys, wanted, why):
    before = contents(filled.features)
    stage.prepare(filled, *wanted)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: ") and why in line and f"moved to {filled.replaced_features}" in line
    assert contents(filled.replaced_features) == before
    assert len(ShardStore.open(filled.features, wanted[0], image=wanted[1])) == 0


def test_a_full_disk_is_no_reason_to_move_a_store_away(filled, monkeypatch):
    shard = ShardStore.open(filled.features).manifest.shards[0]
    (filled.features / shard.file).write_bytes(b"damage")
    before = contents(filled.features)

    def refuse(path, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(UserError, match="No space left on device"):
        stage.prepare(filled, CODER, IMAGE)
    assert contents(filled.features) == before and not filled.replaced_features.exists()


@pytest.mark.parametrize("version", [1, "damaged"])
def test_a_store_that_cannot_be_understood_is_moved_away_whole(filled, capsys, version):
    manifest = json.loads((filled.features / MANIFEST).read_text())
    (filled.features / MANIFEST).write_text(json.dumps({**manifest, "version": version}))
    before = contents(filled.features)
    stage.prepare(filled, CODER, IMAGE)
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert contents(filled.replaced_features) == before
    assert [path.name for path in filled.features.iterdir()] == [MANIFEST]
    stage.prepare(filled, CODER, (64, 64, 3))
    assert [path.name for path in filled.replaced_features.iterdir()] == [MANIFEST], "only the last is kept"


# The whole stage


@pytest.fixture(scope="module")
def project(request, tmp_path_factory):
    """Parameters; paths with episodes and a tiny encoder; what the stage then said and wrote."""
    params = load_params(request.config.rootpath / "presets" / "test.yaml")
    vision = params.vision.model_copy(update={"frames": 12, "batch_size": 8, "dim": 8, "output": "mean"})
    features = params.features.model_copy(update={"pool": POOL})
    params = params.model_copy(update={"vision": vision, "features": features})
    paths = Paths(tmp_path_factory.mktemp("project"))
    environment = make_environment(params)
    paths.split("train").mkdir(parents=True)
    environment.write(paths.split("train") / "part-00000.parquet", environment.generate("train", 4))
    build(params, paths, environment, environment.read(paths.split("train")), lambda step, metrics: None)
    result = stage.run(params, paths)
    return params, paths, result, contents(paths.features)


@pytest.fixture
def again(project, tmp_path):
    """The same, in a project of its own without a store."""
    params, paths, _, whole = project
    own = Paths(tmp_path)
    own.data.mkdir()
    for name in ("encoder", "episodes"):
        (own.data / name).symlink_to(paths.data / name)
    return params, own, whole


def test_the_store_has_demonstrations_and_what_the_pool_shows_at_first(project):
    params, paths, result, _ = project
    store = ShardStore.open(paths.features, load_encoder(paths.encoder), image=(32, 32))
    environment, shown = make_environment(params), demonstrations.read(paths.demonstrations)
    episodes, simulator = environment.read(paths.split("train")), environment.simulator()
    assert len(shown) == 4
    for number, episode in enumerate(episodes):
        keys, tour = shown[number].keys, []
        assert store.get(keys)[1].all() and len(keys) == len(episode.demonstration)
        simulator.reset(episode)
        for action in environment.tour(episode):
            tour.append(simulator.view_key())
            simulator.apply(action)
        assert store.get(tour)[1].all() == (number < POOL)
    assert result.metrics["features/encoded"] == result.metrics["features/distinct"] == len(store)
    assert result.metrics["features/bytes"] == sum(path.stat().st_size for path in paths.features.iterdir())
    assert f"{len(store)} of the {len(store)} distinct views of 4 demonstrations and of 2" in result.summary


def test_a_damaged_shard_is_made_again(project, again, capsys):
    params, paths, whole = again
    stage.run(params, paths)
    shard = ShardStore.open(paths.features).manifest.shards[0]
    (paths.features / shard.file).write_bytes(b"damage")
    result = stage.run(params, paths)
    assert shard.file in capsys.readouterr().err
    assert result.metrics["features/encoded"] == shard.rows and contents(paths.features) == whole
    assert paths.demonstrations.read_bytes() == project[1].demonstrations.read_bytes()


def test_parts_of_machines_and_what_was_met_before_make_the_same_store(project, again):
    params, paths, whole = again
    encoder = load_encoder(paths.encoder)
    shown = demonstrations.read(project[1].demonstrations)
    keys = [key for number in range(len(shown)) for key in shown[number].keys]
    with open_overlay(params, paths, encoder) as overlay:
        overlay.add(keys, ShardStore.open(project[1].features).get(keys)[0])
    results = [stage.complete((number, 2), params, paths) for number in range(2)]
    assert contents(paths.features) == whole and not paths.demonstrations.exists()
    encoded = sum(result.metrics["features/encoded"] for result in results)
    assert encoded == results[0].metrics["features/distinct"] - len(set(keys))


def test_what_cannot_be_read_leaves_the_store(again):
    params, paths, whole = again
    stage.run(params, paths)
    (paths.data / "episodes").unlink()
    with pytest.raises(UserError):
        stage.run(params, paths)
    assert contents(paths.features) == whole
