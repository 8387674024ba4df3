"""Episodes side by side: stepped as arrays or one by one, they are the same."""

import importlib.util

import numpy as np
import pytest
from vector_contract import KEY, VectorContract, assert_equal, choose, fresh_views

from llarp.config import load_params
from llarp.environments.batched import BatchedWorlds
from llarp.environments.games import Game, GameEnvironment, GameEpisode
from llarp.environments.make import make_environment
from llarp.environments.vector import SingleWorlds
from llarp.vision.encoder import ViTEncoder
from llarp.vision.mae import _model, _plain_vit, _preprocessing
from llarp.vision.memory import MemoryStore
from llarp.vision.overlay import Overlay
from llarp.vision.views import ViewFeatures


def make(name, pixels):
    params = load_params()
    camera = params.camera.model_copy(update={"width": pixels, "height": pixels})
    return make_environment(params.model_copy(update={"environment": name, "camera": camera}))


@pytest.fixture(scope="module")
def apartment():
    return make("rearrangement", 32)


class TestBatched(VectorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def environment(cls, apartment):
        return apartment

    def test_it_is_stepped_as_arrays(self, begin):
        assert isinstance(begin(), BatchedWorlds)


class TestSingle(VectorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def environment(cls, apartment):
        return apartment

    @pytest.fixture(scope="class")
    @classmethod
    def begin(cls, environment, episodes):
        def begin(num_envs=3, key=KEY, views=None):
            return SingleWorlds(environment, episodes, num_envs, views or fresh_views(), key)

        return begin


@pytest.mark.skipif(importlib.util.find_spec("minigrid") is None, reason="needs the extra `environments`")
class TestBabyAI(VectorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def environment(cls):
        return make("babyai", 28)


@pytest.mark.parametrize("seed", range(3))
def test_arrays_and_single_worlds_are_the_same(apartment, seed):
    episodes = list(apartment.generate("train", 7, start=10 * seed))
    batched = apartment.vector(episodes, 4, fresh_views(), (seed, 1))
    single = SingleWorlds(apartment, episodes, 4, fresh_views(), (seed, 1))
    rng, num_ended = np.random.default_rng(seed), 0
    for step in range(90):
        np.testing.assert_array_equal(batched.observe(), single.observe())
        assert (batched.instructions, batched.families) == (single.instructions, single.families)
        actions = choose(batched, episodes, apartment, rng, random=0.2)
        transition = batched.step(actions)
        assert_equal(transition, single.step(actions))
        assert batched.state() == single.state()
        num_ended += len(transition.ended)
        if step == 50:  # each goes on from the other's state
            states = single.state(), batched.state()
            for worlds, state in zip((batched, single), states, strict=True):
                worlds.restore(state)
    assert num_ended > 8


def test_habitat_and_skills_of_ones_own_are_played_one_by_one(apartment, monkeypatch):
    monkeypatch.setattr("llarp.environments.rearrangement.own_skills", lambda: {"wave": None})
    episodes = list(apartment.generate("train", 1))
    assert isinstance(apartment.vector(episodes, 1, fresh_views(), KEY), SingleWorlds)


@pytest.mark.parametrize("bounded", [False, True])
def test_a_real_encoder_gives_the_same_after_a_restart(apartment, bounded, tmp_path, monkeypatch):
    """The views of a batch are others after a restart, and with little room some are encoded again."""
    frames = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    config = apartment.params.vision.model_copy(update={"dim": 16, "heads": 2})
    encoder = ViTEncoder(_plain_vit(_model(config, 32)), _preprocessing(frames), "units")
    episodes, rng = list(apartment.generate("train", 4)), np.random.default_rng(0)

    monkeypatch.setattr("llarp.vision.store.SHARD_ROWS", 5)

    def begin():
        shape = encoder.num_tokens, encoder.dim
        overlay = Overlay.open(tmp_path / "overlay", encoder, 10_000) if bounded else MemoryStore(*shape)
        return apartment.vector(episodes, 3, ViewFeatures(encoder, MemoryStore(*shape), overlay), KEY)

    worlds, seen = begin(), [[] for _ in range(3)]
    for step in range(60):
        if step % 9 == 0:
            again = begin()
            for before, known in zip(again.restore(worlds.state()), seen, strict=True):
                np.testing.assert_array_equal(before, np.array(known).reshape(before.shape))
            np.testing.assert_array_equal(again.observe(), worlds.observe())
        now = worlds.observe()
        transition = worlds.step(choose(worlds, episodes, apartment, rng))
        ends = transition.terminated_N | transition.truncated_N
        seen = [[] if end else [*known, row] for end, known, row in zip(ends, seen, now, strict=True)]


class Pit(Game):
    """Who falls into it does not come out: nothing can be reached any more."""

    image_shape = (8, 8, 3)

    def reset(self, episode):
        self.success, self.fraction, self.lost = False, 0.0, False

    def apply(self, action):
        self.lost = self.lost or action == "fall"
        self.success = self.success or (action == "win" and not self.lost)
        return not self.lost

    def view_key(self):
        return bytes([self.lost] * 16)

    def render(self):
        return np.full(self.image_shape, 255 * self.lost, np.uint8)


class Pits(GameEnvironment):
    name, title, actions, horizon, splits = "atari", "Pits", ("fall", "win", "wait"), 5, {}

    def simulator(self):
        return Pit()

    def attempt(self, *_):
        return None


def test_a_lost_game_goes_on_to_its_horizon_as_in_evaluation():
    environment = Pits(load_params())
    episodes = [GameEpisode(f"pit-{n}", "train", "jump", "t", "Jump", "pit", n, ("win",)) for n in range(2)]
    worlds = environment.vector(episodes, 2, fresh_views(), KEY)
    steps = [worlds.step(np.array([0, 2]))] + [worlds.step(np.array([1, 2])) for _ in range(3)]
    assert not any((step.terminated_N | step.truncated_N).any() for step in steps)
    pit, meadow = worlds.observe()
    last = worlds.step(np.array([1, 1]))
    assert last.truncated_N.tolist() == [True, False] and last.terminated_N.tolist() == [False, True]
    np.testing.assert_array_equal(last.final_features_KPD, [pit])
    assert [(one.success, one.steps, one.num_invalid) for one in last.ended] == [(False, 5, 5), (True, 5, 0)]
    np.testing.assert_array_equal(worlds.observe(), [meadow, meadow])
