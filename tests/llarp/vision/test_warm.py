"""Every view of the demonstrations is encoded once, whatever the number of processes."""

import dataclasses
from functools import partial

import numpy as np
import pytest
from PIL import Image
from seen_episodes import CAMERA, make_episode

from llarp.config import VisionConfig
from llarp.environments.recorded import Recording, WithRecordingsOf
from llarp.errors import UserError
from llarp.sim.embedded import EmbeddedSimulator
from llarp.tasks.skills import SKILLS
from llarp.vision import warm as warm_module
from llarp.vision.encoder import ViTEncoder, load_encoder
from llarp.vision.mae import train_mae
from llarp.vision.memory import as_keys
from llarp.vision.store import ShardStore
from llarp.vision.warm import distinct_views, plan, replay, sample_frames, warm

CONFIG = VisionConfig(
    encoder="mae-tiny", weights=None, output="units", frames=16, epochs=1, batch_size=8, lr=1e-3, mask_ratio=0.75,
    patch=8, dim=8, depth=1, heads=2,
)  # fmt: skip
make = partial(EmbeddedSimulator, CAMERA)


@pytest.fixture(scope="module")
def episodes():
    """Two layouts in turn; the third episode sees what the first does."""
    two = [make_episode(0), make_episode(1, "gen_train_0001")]
    return [*two, dataclasses.replace(two[0], episode_id="again"), make_episode(2, "gen_train_0001")]


@pytest.fixture(scope="module")
def encoder(episodes, tmp_path_factory):
    """Folder of a tiny encoder."""
    folder = tmp_path_factory.mktemp("warm") / "encoder"
    train_mae(sample_frames(episodes, EmbeddedSimulator(CAMERA), 16, 0), CONFIG, 0, folder)
    return folder


@pytest.fixture
def small_chunks(monkeypatch):
    """Several shards of several batches, though the episodes are few."""
    monkeypatch.setattr(warm_module, "CHUNK_VIEWS", 5)
    monkeypatch.setattr(warm_module, "CHUNK_EPISODES", 2)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_keys_are_those_seen_before_each_action(episodes, encoder, tmp_path):
    keys = warm(episodes, encoder, tmp_path / "features", make, batch_size=4, workers=1)
    simulator = EmbeddedSimulator(CAMERA)
    simulator.reset(episodes[1])
    for key, skill in zip(keys[1], episodes[1].demonstration, strict=True):
        assert key == simulator.view_key()
        simulator.apply(skill)
    assert keys[0] == keys[2] != keys[3]


def test_features_are_those_of_the_views(episodes, encoder, tmp_path, small_chunks):
    keys = warm(episodes, encoder, tmp_path / "features", make, batch_size=4, workers=1)
    frozen, simulator = load_encoder(encoder), EmbeddedSimulator(CAMERA)
    store = ShardStore.open(tmp_path / "features", frozen)
    for episode, episode_keys in zip(episodes, keys, strict=True):
        images = np.stack([simulator.render() for _ in replay(simulator, episode)])
        features, found = store.get(episode_keys)
        assert found.all()
        np.testing.assert_allclose(features, frozen.encode(images), atol=5e-3)
    assert len(store) == len({key for episode_keys in keys for key in episode_keys})


def test_no_view_is_encoded_twice(episodes, encoder, tmp_path, small_chunks, monkeypatch):
    encoded = []
    encode = ViTEncoder.encode
    monkeypatch.setattr(ViTEncoder, "encode", lambda self, images: encoded.append(len(images)) or encode(self, images))
    keys = warm(episodes, encoder, tmp_path / "features", make, batch_size=4, workers=1)
    assert sum(encoded) == len({key for episode_keys in keys for key in episode_keys})
    assert max(encoded) == 4


def test_the_files_do_not_depend_on_the_number_of_processes(episodes, encoder, tmp_path, small_chunks):
    keys = {n: warm(episodes, encoder, tmp_path / str(n), make, batch_size=4, workers=n) for n in (1, 2)}
    assert keys[1] == keys[2]
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    assert len(contents(tmp_path / "1")) > 2


def test_chunks_hold_each_view_once_layout_by_layout(episodes, small_chunks):
    simulator = EmbeddedSimulator(CAMERA)
    keys = [[simulator.view_key() for _ in replay(simulator, episode)] for episode in episodes]
    visits = [visit for chunk in plan(episodes, keys) for visit in chunk]
    planned = [key for visit in visits for _, key in visit.views]
    assert len(planned) == len(set(planned)) and set(planned) == {key for steps in keys for key in steps}
    layouts = [episodes[visit.number].layout for visit in visits]
    assert layouts == sorted(layouts)
    assert "again" not in {episodes[visit.number].episode_id for visit in visits}


def test_without_episodes_the_store_is_empty(encoder, tmp_path):
    assert warm([], encoder, tmp_path / "features", make, batch_size=4, workers=1) == []
    assert len(ShardStore.open(tmp_path / "features")) == 0


def test_what_fails_leaves_the_old_store(episodes, encoder, tmp_path):
    warm(episodes[:1], encoder, tmp_path / "features", make, batch_size=4, workers=1)
    before = contents(tmp_path / "features")
    unknown = dataclasses.replace(episodes[0], layout="nowhere")
    with pytest.raises(UserError, match="nowhere"):
        warm([*episodes, unknown], encoder, tmp_path / "features", make, batch_size=4, workers=1)
    assert contents(tmp_path / "features") == before
    assert [path.name for path in tmp_path.iterdir()] == ["features"]


def test_frames_are_distinct_and_drawn_by_seed(episodes):
    frames = sample_frames(episodes, EmbeddedSimulator(CAMERA), 8, 1)
    assert frames.shape == (8, 32, 32, 3) and frames.dtype == np.uint8
    np.testing.assert_array_equal(frames, sample_frames(episodes, EmbeddedSimulator(CAMERA), 8, 1))
    assert len({frame.tobytes() for frame in frames}) == 8
    assert (frames != sample_frames(episodes, EmbeddedSimulator(CAMERA), 8, 2)).any()


def test_fewer_frames_where_there_are_fewer_views(episodes):
    simulator = EmbeddedSimulator(CAMERA)
    distinct = sum(1 for _ in distinct_views(episodes, simulator, 0))
    assert (
        len(sample_frames(episodes, EmbeddedSimulator(CAMERA), 1000, 0))
        == distinct
        < sum(len(e.demonstration) for e in episodes)
    )


def test_recorded_frames_are_encoded_beside_the_others(episodes, encoder, tmp_path):
    frames = [tmp_path / "0.png", tmp_path / "1.png"]
    for number, path in enumerate(frames):
        Image.new("RGB", (60, 40), (90 * number, 40, 80)).save(path)
    recording = Recording("mine", "Go.", tuple(frames), SKILLS[:2])
    together = [*episodes, recording]
    keys = warm(together, encoder, tmp_path / "features", WithRecordingsOf(make), batch_size=4, workers=1)
    store = ShardStore.open(tmp_path / "features")
    features, found = store.get(as_keys(keys[-1]))
    assert found.all()
    assert (features[0] != features[1]).any()
    assert keys[:-1] == warm(episodes, encoder, tmp_path / "others", make, batch_size=4, workers=1)
