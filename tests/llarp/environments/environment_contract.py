"""What every environment family must do: inherit, and give a fixture `environment`."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from llarp.evaluate.runner import evaluate
from llarp.policy.baselines import PlanPolicy, RandomPolicy


def walk(environment, simulator, episode, actions):
    """(keys, images) before each action and after the last."""
    simulator.reset(episode)
    seen = [(simulator.view_key(), simulator.render().tobytes())]
    for action in actions:
        simulator.apply(action)
        seen.append((simulator.view_key(), simulator.render().tobytes()))
    return seen


def some_actions(environment, seed, count=8):
    rng = np.random.default_rng(seed)
    return [environment.actions[rng.integers(len(environment.actions))] for _ in range(count)]


class EnvironmentContract:
    @pytest.fixture(scope="class")
    @classmethod
    def episodes(cls, environment):
        """Two of every split."""
        return {split: list(environment.generate(split, 2)) for split in environment.splits}

    @pytest.fixture(scope="class")
    @classmethod
    def everything(cls, episodes):
        return [episode for some in episodes.values() for episode in some]

    def test_names_are_distinct_and_say_the_actions(self, environment):
        assert len(set(environment.names())) == len(environment.actions) > 1
        assert environment.names() == tuple(map(str, environment.actions))
        assert all(environment.words(action) for action in environment.actions)

    def test_training_comes_first_among_the_splits(self, environment):
        assert next(iter(environment.splits)) == "train" and len(environment.splits) > 1
        assert all(facts.title and facts.changes for facts in environment.splits.values())

    def test_an_episode_depends_on_its_number_alone(self, environment, episodes):
        for split in list(environment.splits)[:2]:
            assert list(environment.generate(split, 1, start=1)) == episodes[split][1:]

    def test_another_seed_gives_other_episodes(self, environment, episodes):
        other = replace(environment, params=environment.params.model_copy(update={"seed": 99}))
        (found,) = other.generate("train", 1)
        assert replace(found, episode_id=episodes["train"][0].episode_id) != episodes["train"][0]

    def test_episodes_say_where_they_belong(self, environment, episodes):
        for split, some in episodes.items():
            assert all(episode.split == split and episode.instruction for episode in some)
        names = [episode.episode_id for some in episodes.values() for episode in some]
        assert len(set(names)) == len(names)

    def test_episodes_survive_the_file(self, environment, everything, tmp_path):
        environment.write(tmp_path / "part-00000.parquet", everything)
        assert list(environment.read(tmp_path)) == everything

    def test_plans_and_demonstrations_solve_within_the_horizon(self, environment, everything):
        rows = evaluate(PlanPolicy(environment.actions), "expert", everything, None, environment, batch_size=3)
        assert all(row["success"] and row["progress"] == 1 for row in rows)
        assert all(0 < row["steps"] <= environment.horizon for row in rows)
        shown = [replace(each, plan=each.demonstration) for each in everything if each.demonstration != each.plan]
        rows = evaluate(PlanPolicy(environment.actions), "shown", shown, None, environment, batch_size=3)
        assert all(row["success"] for row in rows)

    def test_rows_do_not_depend_on_the_batch(self, environment, everything):
        policy = RandomPolicy(3, len(environment.actions))
        alone = evaluate(policy, "random", everything[:3], None, environment, batch_size=1)
        assert evaluate(policy, "random", everything[:3], None, environment, batch_size=3) == alone
        assert all(row["success"] or row["steps"] == environment.horizon for row in alone)

    def test_images_and_keys_have_the_shape_they_say(self, environment, everything):
        simulator = environment.simulator()
        simulator.reset(everything[0])
        image, key = simulator.render(), simulator.view_key()
        assert image.shape == simulator.image_shape and image.dtype == np.uint8
        camera = environment.params.camera
        assert image.shape == (camera.height, camera.width, 3)
        assert isinstance(key, bytes) and len(key) == 16
        image[:] = 0
        assert simulator.render().any(), "an image is a copy"

    def test_the_same_actions_give_the_same_views_in_any_simulator(self, environment, everything):
        one, two = environment.simulator(), pickle.loads(pickle.dumps(environment)).simulator()
        walks = {}
        for number, episode in enumerate(everything[:3]):
            walks[number] = walk(environment, one, episode, some_actions(environment, number))
        for number in (2, 0, 1):  # what was played before leaves nothing behind
            episode = everything[number]
            assert walk(environment, two, episode, some_actions(environment, number)) == walks[number]

    def test_equal_keys_mean_equal_images(self, environment, everything):
        simulator, seen = environment.simulator(), {}
        for number, episode in enumerate(everything[:4]):
            for key, image in walk(environment, simulator, episode, some_actions(environment, number, 12)):
                assert seen.setdefault(key, image) == image
        assert len(set(seen.values())) > 5

    def test_an_invalid_action_changes_nothing(self, environment, everything):
        simulator = environment.simulator()
        simulator.reset(everything[0])
        for action in some_actions(environment, 5, 20):
            before = simulator.view_key()
            if not simulator.apply(action):
                assert simulator.view_key() == before

    def test_success_is_rewarded_once(self, environment, everything):
        episode, world = everything[0], environment.world()
        world.reset(episode)
        tally = environment.progress(world)
        rewards = [tally.step(world.apply(action)) for action in episode.plan]
        assert tally.success and tally.fraction == 1
        worth = environment.params.reward
        assert rewards[-1] > worth.success > max(rewards[:-1], default=0)
        assert sum(rewards) == pytest.approx(tally.total)

    def test_it_goes_to_other_processes(self, environment):
        assert pickle.loads(pickle.dumps(environment)) == environment
