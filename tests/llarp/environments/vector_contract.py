"""What N episodes side by side must do in any family: inherit, and give fixtures `environment`, `episodes`, `begin`."""

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest

from llarp.errors import UserError
from llarp.sim.env import Deck
from llarp.vision.base import Encoder
from llarp.vision.memory import MemoryStore
from llarp.vision.views import ViewFeatures

KEY = (7, 0)


class Digests(Encoder):
    """Two tokens of four numbers that an image's digest decides; counts its calls."""

    identity, num_tokens, dim = "d" * 64, 2, 4

    def __init__(self):
        self.batches = []

    def encode(self, images):
        self.batches.append(len(images))
        digests = [hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in images]
        return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 2, 4).astype(np.float32) / 255


def fresh_views():
    return ViewFeatures(Digests(), MemoryStore(2, 4))


def numbers(worlds):
    """The present episodes' numbers."""
    return [world["episode"] for world in worlds.state()["worlds"]]


def choose(worlds, episodes, environment, rng, random=0.0):
    """Random actions in episodes of odd numbers; in the others the plan, but for a share of random ones."""
    chosen = []
    for number, done in zip(numbers(worlds), worlds.actions_so_far, strict=True):
        plan = episodes[number].plan
        is_random = number % 2 or rng.random() < random or len(done) >= len(plan)
        chosen.append(rng.integers(len(environment.actions)) if is_random else index(environment, plan[len(done)]))
    return np.array(chosen)


def index(environment, action):
    return environment.names().index(str(action))


def assert_equal(one, two):
    """Two transitions."""
    assert one.ended == two.ended
    for name in ("rewards_N", "terminated_N", "truncated_N", "final_features_KPD"):
        left, right = getattr(one, name), getattr(two, name)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)


class Follower:
    """Plays what a vector environment plays, each world by itself and as evaluation does."""

    def __init__(self, environment, episodes, worlds):
        self.environment, self.episodes, self.encoder = environment, episodes, Digests()
        self.runs = [self.run(number, environment.simulator()) for number in numbers(worlds)]

    def run(self, number, world):
        world.reset(self.episodes[number])
        return SimpleNamespace(number=number, world=world, tally=self.environment.progress(world))

    def features(self, run):
        return self.encoder.encode(run.world.render()[None])[0].astype(np.float16)

    def step(self, worlds, actions, transition):
        """Asserts that a step was as it should be."""
        final, ended = list(transition.final_features_KPD), list(transition.ended)
        for place, (run, action) in enumerate(zip(self.runs, actions, strict=True)):
            valid = run.world.apply(self.environment.actions[action])
            assert transition.rewards_N[place] == run.tally.step(valid)
            assert transition.terminated_N[place] == run.tally.success
            is_late = run.tally.num_steps == self.environment.horizon and not run.tally.success
            assert transition.truncated_N[place] == is_late
            if is_late:
                np.testing.assert_array_equal(final.pop(0), self.features(run))
            if is_late or run.tally.success:
                one, episode = ended.pop(0), self.episodes[run.number]
                assert (one.episode_id, one.family) == (episode.episode_id, episode.family)
                tally = run.tally
                told = (one.success, one.steps, one.num_invalid, one.total_reward)
                assert told == (tally.success, tally.num_steps, tally.num_invalid, tally.total)
                self.runs[place] = self.run(numbers(worlds)[place], run.world)
        assert not final and not ended
        np.testing.assert_array_equal(worlds.observe(), [self.features(run) for run in self.runs])
        present = [self.episodes[run.number] for run in self.runs]
        assert worlds.instructions == [episode.instruction for episode in present]
        assert worlds.families == [episode.family for episode in present]


class VectorContract:
    @pytest.fixture(scope="class")
    @classmethod
    def episodes(cls, environment):
        return list(environment.generate("train", 5))

    @pytest.fixture(scope="class")
    @classmethod
    def begin(cls, environment, episodes):
        """Makes N worlds."""

        def begin(num_envs=3, key=KEY, views=None):
            return environment.vector(episodes, num_envs, views or fresh_views(), key)

        return begin

    def test_it_is_so_many_single_episodes(self, environment, episodes, begin):
        worlds, rng = begin(3), np.random.default_rng(0)
        follower, counts = Follower(environment, episodes, worlds), np.zeros(2, int)
        for _ in range(3 * environment.horizon):
            actions = choose(worlds, episodes, environment, rng)
            transition = worlds.step(actions)
            follower.step(worlds, actions, transition)
            counts += transition.terminated_N.sum(), transition.truncated_N.sum()
        assert counts.min() >= 2, "some succeed, some run out of steps"

    def test_what_is_observed_has_the_shape_it_says(self, environment, begin):
        worlds = begin(3)
        assert worlds.num_envs == 3 and worlds.token_shape == (2, 4)
        assert worlds.observe().shape == (3, 2, 4) and worlds.observe().dtype == np.float16
        transition = worlds.step(np.zeros(3, np.int64))
        assert transition.rewards_N.shape == (3,) and transition.rewards_N.dtype == np.float64
        assert transition.terminated_N.dtype == transition.truncated_N.dtype == bool
        assert transition.final_features_KPD.shape == (0, 2, 4) and transition.final_features_KPD.dtype == np.float16

    def test_a_step_is_looked_at_once_and_encoded_as_one_batch(self, begin):
        views = fresh_views()
        worlds = begin(3, views=views)
        assert views.encoder.batches == [], "nothing is drawn before somebody looks"
        first = worlds.observe()
        assert worlds.observe() is first and views.hits + views.misses == 3
        assert len(views.encoder.batches) == 1
        before = first.copy()
        worlds.step(np.arange(3))
        worlds.observe()
        np.testing.assert_array_equal(first, before)
        assert views.hits + views.misses == 6 and len(views.encoder.batches) <= 2

    def test_every_episode_is_dealt_once_before_any_is_dealt_again(self, environment, episodes, begin):
        worlds, rng = begin(2), np.random.default_rng(1)
        dealt = numbers(worlds)
        while len(dealt) < 2 * len(episodes):
            transition = worlds.step(choose(worlds, episodes, environment, rng))
            ended = np.flatnonzero(transition.terminated_N | transition.truncated_N)
            dealt += [numbers(worlds)[place] for place in ended]
        assert dealt == Deck(len(episodes), KEY).deal(len(dealt))
        assert sorted(dealt[: len(episodes)]) == list(range(len(episodes)))
        assert worlds.state()["dealt"] == len(dealt)

    def test_more_worlds_than_episodes(self, environment, episodes, begin):
        worlds = begin(len(episodes) + 2)
        assert sorted(numbers(worlds)[: len(episodes)]) == list(range(len(episodes)))
        assert worlds.observe().shape == (len(episodes) + 2, 2, 4)

    def test_each_rank_has_an_order_of_its_own(self, begin):
        assert numbers(begin(5, (7, 0))) == numbers(begin(5, (7, 0)))
        orders = {tuple(numbers(begin(5, key))) for key in ((7, 0), (7, 1), (7, 2), (8, 0))}
        assert len(orders) == 4

    def test_a_horizon_is_no_end_of_the_world(self, environment, episodes, begin):
        worlds, rng = begin(2), np.random.default_rng(2)
        for _ in range(4 * environment.horizon):
            transition = worlds.step(rng.integers(len(environment.actions), size=2))
            assert not (transition.terminated_N & transition.truncated_N).any()
            assert len(transition.final_features_KPD) == transition.truncated_N.sum()
            for one in transition.ended:
                assert one.success or one.steps == environment.horizon

    @pytest.mark.parametrize("steps", [0, 1, 40])
    def test_it_goes_on_from_a_state_as_if_nothing_had_happened(self, environment, episodes, begin, steps):
        worlds, rng = begin(4), np.random.default_rng(3)
        frames = [[] for _ in range(4)]
        for _ in range(steps):
            seen = worlds.observe()
            transition = worlds.step(choose(worlds, episodes, environment, rng))
            for place, ends in enumerate(transition.terminated_N | transition.truncated_N):
                frames[place] = [] if ends else [*frames[place], seen[place]]
        if steps == 40:
            assert len(set(map(len, frames))) > 2, "worlds of different ages"
        state = json.loads(json.dumps(worlds.state()))
        used = begin(4, (99,))
        for _ in range(9):
            used.step(rng.integers(len(environment.actions), size=4))
        used_frames = used.restore(state)
        other = begin(4)
        for place, (again, used_again) in enumerate(zip(other.restore(state), used_frames, strict=True)):
            assert again.shape == (len(frames[place]), 2, 4) and again.dtype == np.float16
            np.testing.assert_array_equal(again, np.array(frames[place]).reshape(again.shape))
            np.testing.assert_array_equal(again, used_again)
        assert worlds.state() == other.state() == state
        assert worlds.actions_so_far == other.actions_so_far
        for _ in range(environment.horizon + 10):
            np.testing.assert_array_equal(worlds.observe(), other.observe())
            assert (worlds.instructions, worlds.families) == (other.instructions, other.families)
            actions = choose(worlds, episodes, environment, rng)
            assert_equal(worlds.step(actions), other.step(actions))
        assert worlds.state() == other.state() and worlds.state()["dealt"] > state["dealt"]

    def test_a_state_of_another_size_is_refused(self, begin):
        with pytest.raises(ValueError, match="a state of 2 worlds, not of 3"):
            begin(3).restore(begin(2).state())

    def test_no_episodes_is_the_users_error(self, environment):
        with pytest.raises(UserError, match="no episodes"):
            environment.vector([], 2, fresh_views(), KEY)
