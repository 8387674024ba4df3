"""Every view of the walks is encoded once, whatever the number of processes and whatever ends them."""

import dataclasses
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from accelerate import Accelerator
from PIL import Image
from seen_episodes import CAMERA
from warm_ranks import Quarters, episodes, small_chunks, walks, warmed

from llarp.environments.recorded import Recording, WithRecordings
from llarp.errors import UserError
from llarp.launch import launch_environment
from llarp.ranks import Ranks
from llarp.sim.embedded import EmbeddedSimulator
from llarp.tasks.skills import SKILLS
from llarp.vision.keys import as_keys
from llarp.vision.manifest import Manifest
from llarp.vision.memory import MemoryStore
from llarp.vision.overlay import Overlay
from llarp.vision.store import ShardStore
from llarp.vision.warm import distinct_views, replay, sample_frames, warm

FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def ranks():
    """One rank: this process."""
    return Ranks(Accelerator(cpu=True))


@pytest.fixture(scope="module", autouse=True)
def chunks_of_six():
    with pytest.MonkeyPatch.context() as patch:
        small_chunks(patch.setattr)
        yield


@pytest.fixture(scope="module")
def whole(ranks, tmp_path_factory):
    """(folder, what was done) of an undisturbed run."""
    folder = tmp_path_factory.mktemp("whole") / "features"
    return folder, warmed(folder, ranks)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def flat(keys):
    return [key for of_one in keys for walk in of_one for key in walk]


def seen(number, walk):
    """Keys and images of a walk, one after the other."""
    simulator = EmbeddedSimulator(CAMERA)
    pairs = [(simulator.view_key(), simulator.render()) for _ in replay(simulator, episodes()[number], walk)]
    return [key for key, _ in pairs], np.stack([image for _, image in pairs])


def test_keys_are_those_seen_before_each_action_of_each_walk(whole):
    _, done = whole
    for number, of_one in enumerate(done.keys):
        assert of_one == [seen(number, walk)[0] for walk in walks(number)]
    assert done.keys[0] == done.keys[2] != done.keys[3]
    assert [len(of_one) for of_one in done.keys] == [1, 2, 1, 2]


def test_features_are_those_of_the_views(whole):
    folder, done = whole
    store = ShardStore.open(folder, Quarters())
    for number, of_one in enumerate(done.keys):
        for walk, keys in zip(walks(number), of_one, strict=True):
            features, found = store.get(keys)
            assert found.all()
            np.testing.assert_array_equal(features, Quarters().encode(seen(number, walk)[1]).astype(np.float16))


def test_no_view_is_encoded_twice(ranks, tmp_path):
    encoder = Quarters()
    done = warmed(tmp_path / "features", ranks, encoder)
    distinct = len(set(flat(done.keys)))
    assert sum(encoder.batches) == done.num_encoded == done.num_distinct == distinct < len(flat(done.keys))
    assert max(encoder.batches) == 4
    store = ShardStore.open(tmp_path / "features")
    assert store.manifest.rows == len(store) == distinct and len(store.manifest.shards) == -(-distinct // 6)
    before = contents(tmp_path / "features")
    again = warmed(tmp_path / "features", ranks, encoder)
    assert (again.keys, again.num_distinct, again.num_encoded) == (done.keys, distinct, 0)
    assert sum(encoder.batches) == distinct and contents(tmp_path / "features") == before


@pytest.fixture(scope="module")
def of_two_ranks(tmp_path_factory):
    """Folder in which two ranks have warmed `whole`, and `half` as the first of two machines; and what they said."""
    out, here = tmp_path_factory.mktemp("ranks"), Path(__file__).parent
    path = os.pathsep.join(map(str, (here, here.parent / "learn", here.parents[2])))
    command = [sys.executable, "-m", "forked", "2", "warm_ranks:several", str(out)]
    variables = {**launch_environment(), "PYTHONPATH": path}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return out, [json.loads((out / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.slow
def test_two_ranks_share_the_work_and_write_the_same_files(whole, of_two_ranks):
    folder, done = whole
    out, ((keys, told, first), (others, also_told, second)) = of_two_ranks
    assert keys == others == [[[key.hex() for key in walk] for walk in of_one] for of_one in done.keys]
    assert told == also_told and told[:2] == [done.num_distinct] * 2 and told[3] == 0
    assert first and second and sum(first) + sum(second) == done.num_distinct
    assert contents(out / "whole") == contents(folder)


@pytest.mark.slow
def test_machines_share_the_work_though_one_has_more_ranks(whole, of_two_ranks, ranks):
    folder, done = whole
    out, ((_, told, _), _) = of_two_ranks
    assert 0 < told[2] < done.num_distinct
    other = warmed(out / "half", ranks, part=(1, 2))
    assert told[2] + other.num_encoded == done.num_distinct
    assert contents(out / "half") == contents(folder)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_parts_together_make_the_same_store(whole, ranks, tmp_path, order):
    folder, done = whole
    parts = [warmed(tmp_path / "features", ranks, part=(number, 3)) for number in order]
    assert all(part.keys == done.keys and part.num_encoded for part in parts)
    assert sum(part.num_encoded for part in parts) == done.num_distinct
    assert contents(tmp_path / "features") == contents(folder)


# Disturbed


class Deadly(Quarters):
    """Kills its process in the middle of a call."""

    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def encode(self, images):
        if len(self.batches) == self.calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(images)


def _warm_until_killed(folder, ranks, calls, manifests):
    write, written = Manifest.write, []

    def write_or_die(manifest, where):
        if len(written) == manifests:
            os.kill(os.getpid(), signal.SIGKILL)
        written.append(manifest)
        write(manifest, where)

    Manifest.write = write_or_die
    warmed(folder, ranks, Deadly(calls))


@pytest.mark.parametrize(
    ("calls", "manifests"), [(0, 99), (1, 99), (5, 99), (99, 1), (99, 4)],
    ids=["at once", "in a chunk", "later", "a shard not entered", "another"],
)  # fmt: skip
def test_a_killed_run_is_taken_up_and_ends_with_the_same_bytes(whole, ranks, tmp_path, calls, manifests):
    folder, done = whole
    process = FORK.Process(target=_warm_until_killed, args=(tmp_path / "features", ranks, calls, manifests))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    stored = len(ShardStore.open(tmp_path / "features", verify=True))
    assert stored < done.num_distinct
    again = warmed(tmp_path / "features", ranks)
    assert again.keys == done.keys and again.num_encoded == done.num_distinct - stored
    assert contents(tmp_path / "features") == contents(folder)


def test_a_kill_before_the_index_leaves_nothing_to_encode(whole, ranks, tmp_path):
    folder, done = whole
    chunks = -(-done.num_distinct // 6)
    process = FORK.Process(target=_warm_until_killed, args=(tmp_path / "features", ranks, 99, 1 + chunks))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert warmed(tmp_path / "features", ranks).num_encoded == 0
    assert contents(tmp_path / "features") == contents(folder)


def test_two_runs_at_once_end_with_one_whole_store(whole, ranks, tmp_path):
    folder, _ = whole
    runs = [FORK.Process(target=warmed, args=(tmp_path / "features", ranks)) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0, 0]
    assert contents(tmp_path / "features") == contents(folder)


def test_a_damaged_shard_is_made_again(whole, ranks, tmp_path):
    folder, _ = whole
    warmed(tmp_path / "features", ranks)
    shard = ShardStore.open(tmp_path / "features").manifest.shards[1]
    (tmp_path / "features" / shard.file).write_bytes(b"damage")
    assert len(ShardStore.drop_damaged(tmp_path / "features")) == 1
    assert warmed(tmp_path / "features", ranks).num_encoded == shard.rows
    assert contents(tmp_path / "features") == contents(folder)


def test_what_an_overlay_has_is_not_encoded_again(whole, ranks, tmp_path):
    folder, done = whole
    keys = sorted(set(flat(done.keys)))[::2]
    with Overlay.open(tmp_path / "overlay", Quarters(), 1 << 20) as known:
        known.add(keys, ShardStore.open(folder).get(keys)[0])
        encoder = Quarters()
        again = warmed(tmp_path / "features", ranks, encoder, known=known)
    assert again.num_encoded == sum(encoder.batches) == done.num_distinct - len(keys)
    assert contents(tmp_path / "features") == contents(folder)


def test_what_all_is_known_is_not_even_drawn(whole, ranks, tmp_path, monkeypatch):
    folder, done = whole
    known = MemoryStore(4, 3)
    known.add(flat(done.keys), ShardStore.open(folder).get(flat(done.keys))[0])
    monkeypatch.setattr(EmbeddedSimulator, "render", None)
    assert warmed(tmp_path / "features", ranks, known=known).num_encoded == 0
    assert contents(tmp_path / "features") == contents(folder)


def test_without_episodes_the_store_is_empty(ranks, tmp_path):
    ShardStore.create(tmp_path / "features", Quarters())
    done = warm([], walks, EmbeddedSimulator(CAMERA), Quarters(), tmp_path / "features", 4, ranks)
    assert (done.keys, done.num_distinct, done.num_encoded) == ([], 0, 0)
    assert len(ShardStore.open(tmp_path / "features")) == 0


def test_walks_may_be_empty_or_none_at_all(ranks, tmp_path):
    ShardStore.create(tmp_path / "features", Quarters())
    some = [[], [(), episodes()[1].demonstration], [()], []]
    done = warm(episodes(), some.__getitem__, EmbeddedSimulator(CAMERA), Quarters(), tmp_path / "features", 4, ranks)
    assert done.keys == [[], [[], seen(1, episodes()[1].demonstration)[0]], [[]], []]
    assert len(ShardStore.open(tmp_path / "features")) == done.num_encoded == len(set(flat(done.keys)))


def test_what_cannot_be_reached_leaves_what_stood(ranks, tmp_path):
    warmed(tmp_path / "features", ranks)
    before = contents(tmp_path / "features")
    unknown = [*episodes(), dataclasses.replace(episodes()[0], layout="nowhere")]
    with pytest.raises(UserError, match="nowhere"):
        warm(
            unknown, lambda number: [unknown[number].demonstration], EmbeddedSimulator(CAMERA), Quarters(),
            tmp_path / "features", 4, ranks,
        )  # fmt: skip
    assert contents(tmp_path / "features") == before


@pytest.mark.parametrize("number", [1e9, np.nan], ids=["too large", "nan"])
def test_numbers_that_do_not_fit_are_never_stored(ranks, tmp_path, number):
    class Sick(Quarters):
        def encode(self, images):
            features = super().encode(images)
            features[-1, 0, 0] = number
            return features

    ShardStore.create(tmp_path / "features", Sick())
    before = contents(tmp_path / "features")
    with pytest.raises(UserError, match="not finite"):
        warmed(tmp_path / "features", ranks, Sick())
    assert contents(tmp_path / "features") == before


def test_recorded_frames_are_encoded_beside_the_others(whole, ranks, tmp_path):
    frames = [tmp_path / "0.png", tmp_path / "1.png"]
    for number, path in enumerate(frames):
        Image.new("RGB", (60, 40), (90 * number, 40, 80)).save(path)
    together = [*episodes(), Recording("mine", "Go.", tuple(frames), SKILLS[:2])]
    ShardStore.create(tmp_path / "features", Quarters())
    done = warm(
        together, lambda number: walks(number) if number < 4 else [SKILLS[:2]],
        WithRecordings(EmbeddedSimulator(CAMERA)), Quarters(), tmp_path / "features", 4, ranks,
    )  # fmt: skip
    features, found = ShardStore.open(tmp_path / "features").get(as_keys(done.keys[-1][0]))
    assert found.all()
    np.testing.assert_allclose(features[:, 0], [[0, 40 / 255, 80 / 255], [90 / 255, 40 / 255, 80 / 255]], atol=1e-3)
    assert done.keys[:-1] == whole[1].keys and done.num_distinct == whole[1].num_distinct + 2


# Frames


def test_frames_are_distinct_and_drawn_by_seed():
    frames = sample_frames(episodes(), EmbeddedSimulator(CAMERA), 8, 1)
    assert frames.shape == (8, 32, 32, 3) and frames.dtype == np.uint8
    np.testing.assert_array_equal(frames, sample_frames(episodes(), EmbeddedSimulator(CAMERA), 8, 1))
    assert len({frame.tobytes() for frame in frames}) == 8
    assert (frames != sample_frames(episodes(), EmbeddedSimulator(CAMERA), 8, 2)).any()


def test_fewer_frames_where_there_are_fewer_views():
    simulator = EmbeddedSimulator(CAMERA)
    distinct = sum(1 for _ in distinct_views(episodes(), simulator, 0))
    assert len(sample_frames(episodes(), simulator, 1000, 0)) == distinct
    assert distinct < sum(len(episode.demonstration) for episode in episodes())
