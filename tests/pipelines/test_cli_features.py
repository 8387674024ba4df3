"""`llarp features` as a user types it."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from components.overlay import overlay_folder
from components.paths import Paths
from llarp.errors import UserError
from llarp.vision.manifest import Manifest
from llarp.vision.overlay import Overlay
from llarp.vision.store import ShardStore, index_shards
from pipelines.cli import features

ENCODER = SimpleNamespace(identity="ab" * 32, num_tokens=2, dim=4)


def run(*arguments):
    return CliRunner().invoke(features.app, [str(argument) for argument in arguments])


def views(start, end):
    """(keys, features) of the views of those numbers."""
    keys = [number.to_bytes(16, "big") for number in range(start, end)]
    return keys, np.arange(start, end, dtype=np.float32)[:, None, None] + np.zeros((end - start, 2, 4), np.float32)


@pytest.fixture
def paths(tmp_path, monkeypatch):
    """A project with 30 views in three shards, and an overlay of 8, of which 3 are stored as well."""
    monkeypatch.chdir(tmp_path)
    paths = Paths()
    with ShardStore.create(paths.features, ENCODER, image=(32, 48)) as store:
        for start in range(0, 30, 10):
            store.add(*views(start, start + 10))
            store.flush()
    index_shards(paths.features)
    with Overlay.open(overlay_folder(paths, ENCODER.identity), ENCODER, 2**20) as overlay:
        overlay.add(*views(27, 35))
    return paths


def test_stat_says_what_is_stored(paths):
    done = run("stat")
    _, store, overlay = done.output.splitlines()
    assert store.split()[0] == "30" and "48 x 32" in store and "100%" in store and store.endswith("data/features")
    assert overlay.split()[0] == "8" and overlay.endswith(overlay_folder(paths, ENCODER.identity).name)
    data = json.loads(run("stat", "--json").output)
    assert [entry["rows"] for entry in data] == [30, 8] and data[0]["encoder"] == ENCODER.identity


def test_without_a_store_it_says_how_one_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in ("stat", "verify", "compact"):
        done = run(command)
        assert isinstance(done.exception, UserError) and "data/features" in str(done.exception)


def test_verify_names_each_damaged_file(paths):
    assert run("verify").exit_code == 0
    shard = sorted(paths.features.glob("[!i]*.safetensors"))[1]
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    done = run("verify")
    assert isinstance(done.exception, UserError) and "1 damaged" in str(done.exception)
    assert [line for line in done.output.splitlines() if line.startswith("damaged")] == [
        f"damaged: {shard}: its sha256 is not the manifest's"
    ]


def test_compact_takes_the_overlay_in_and_another_machines_store(paths, tmp_path):
    other = tmp_path / "other"
    with ShardStore.create(other, ENCODER) as store:
        store.add(*views(33, 40))
    done = run("compact", other)
    assert "10 views added, 3 files became 1" in done.output
    store = ShardStore.open(paths.features, ENCODER, image=(32, 48))
    assert len(store) == 40 == store.manifest.rows and store.manifest.index.keys == 40
    keys, features = views(0, 40)
    got, found = store.get(keys)
    assert found.all()
    np.testing.assert_array_equal(got, features.astype(np.float16))
    assert not overlay_folder(paths, ENCODER.identity).exists() and len(ShardStore.open(other)) == 7
    named = {file.file for file in store.manifest.files} | {"manifest.json"}
    assert {path.name for path in paths.features.iterdir()} == named
    assert "0 views added, 1 files became 1" in run("compact").output


def test_a_store_of_another_encoder_is_not_taken_in(paths, tmp_path):
    before = {path.name: path.read_bytes() for path in paths.features.iterdir()}
    with ShardStore.create(tmp_path / "other", SimpleNamespace(identity="cd" * 32, num_tokens=2, dim=4)) as store:
        store.add(*views(0, 3))
    done = run("compact", tmp_path / "other")
    assert isinstance(done.exception, UserError) and "not of abab" in str(done.exception)
    assert {path.name: path.read_bytes() for path in paths.features.iterdir()} == before


def test_a_damaged_store_is_not_given_new_checksums(paths):
    shard = next(paths.features.glob("[!i]*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"\xff")
    done = run("compact")
    assert isinstance(done.exception, UserError) and shard.name in str(done.exception)
    assert Manifest.read(paths.features).rows == 30


@pytest.mark.parametrize("part", ["2", "0/2", "3/2", "a/b", "/"])
def test_a_part_that_is_none_is_refused(request, paths, part):
    shutil.copy(request.config.rootpath / "params.yaml", paths.params)
    done = run("warm", "--part", part)
    assert isinstance(done.exception, UserError) and "write it as 1/4" in str(done.exception)


def test_warm_starts_the_ranks_of_its_part(request, paths, monkeypatch):
    shutil.copy(request.config.rootpath / "presets" / "test.yaml", paths.params)
    started = []
    monkeypatch.setattr("components.features.launch", lambda params, part: started.append((params.seed, part)))
    assert run("warm", "--part", "2/3").exit_code == 0
    assert started[0][1] == (1, 3)
