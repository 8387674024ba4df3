"""Rewards and the gymnasium environment."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from sim_episodes import make_episode

from llarp.config import CameraConfig, RewardConfig
from llarp.errors import UserError
from llarp.sim import env as environment
from llarp.sim.rewards import Progress
from llarp.sim.rules import RuleWorld
from llarp.tasks.episode import HORIZON
from llarp.tasks.skills import INDEX, Skill

CAMERA = CameraConfig(width=32, height=32, fov_deg=84, tilt_deg=43, elevation_m=1.55)
REWARD = RewardConfig(success=10, subgoal=5, invalid=-0.05, slack=-0.01)
GOAL = "AND(robot_at(sofa), opened_fridge(fridge_handle))"
SUBGOALS = ("AND(robot_at(fridge_handle))", "AND(opened_fridge(fridge_handle))")


def goal_episode(seed=0, **changes):
    return make_episode(seed, goal="AND(opened_fridge(fridge_handle))", subgoals=SUBGOALS, **changes)


def make_env(*episodes):
    return environment.RearrangementEnv(episodes or (goal_episode(),), CAMERA, REWARD)


def act(env, verb, target=None):
    return env.step(INDEX[Skill(verb, target)])


class TestProgress:
    def world(self, episode):
        world = RuleWorld()
        world.reset(episode)
        return world

    def step(self, world, progress, verb, target=None):
        return progress.step(world.apply(Skill(verb, target)))

    def test_subgoals_count_once_in_any_order_and_success_once(self):
        world = self.world(goal_episode())
        progress = Progress(world, REWARD)
        assert progress.fraction == 0
        assert self.step(world, progress, "nav", "fridge") == pytest.approx(2.5 - 0.01)
        assert progress.fraction == 0.5 and not progress.success
        assert self.step(world, progress, "nav", "fridge_handle") == pytest.approx(-0.01)
        assert self.step(world, progress, "open_fridge") == pytest.approx(10 + 2.5 - 0.01)
        assert progress.success and progress.fraction == 1
        assert self.step(world, progress, "close_fridge") == pytest.approx(-0.01)
        assert progress.success and progress.num_steps == 4 and progress.total == pytest.approx(15 - 0.04)

    def test_an_invalid_skill_costs(self):
        world = self.world(goal_episode())
        progress = Progress(world, REWARD)
        assert self.step(world, progress, "close_fridge") == pytest.approx(-0.06)
        assert progress.num_invalid == 1 and progress.fraction == 0

    def test_without_subgoals_only_success_is_progress(self):
        world = self.world(make_episode(goal="AND(robot_at(sofa))"))
        progress = Progress(world, REWARD)
        world.apply(Skill("nav", "brown_table"))
        if not world.near("sofa"):
            assert progress.step(True) == pytest.approx(-0.01) and progress.fraction == 0
        world.apply(Skill("nav", "sofa"))
        assert progress.step(True) == pytest.approx(15 - 0.01) and progress.fraction == 1


@pytest.mark.filterwarnings("error")
def test_gymnasium_accepts_it():
    check_env(make_env(), skip_render_check=True)


def test_it_is_registered():
    env = gymnasium.make(environment.ID, episodes=(goal_episode(),), camera=CAMERA, reward=REWARD)
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)


def test_it_terminates_on_success_and_tells():
    env = make_env()
    observation, info = env.reset(seed=1)
    assert observation["instruction"] == "Tidy up" and not info["success"]
    _, reward, terminated, truncated, info = act(env, "nav", "fridge")
    assert (reward, terminated, truncated) == (pytest.approx(2.49), False, False)
    assert info["progress"] == 0.5 and info["valid_actions"][INDEX[Skill("open_fridge")]]
    _, reward, terminated, truncated, info = act(env, "open_fridge")
    assert terminated and not truncated and info["success"] and reward > 10
    np.testing.assert_array_equal(env.render(), env.simulator.render())


def test_it_truncates_at_the_horizon():
    env = make_env()
    env.reset(seed=1)
    for step in range(HORIZON):
        _, _, terminated, truncated, info = act(env, "close_fridge")
        assert not terminated and truncated == (step == HORIZON - 1)
    assert info["num_invalid"] == HORIZON


def test_a_seed_decides_the_order_and_an_option_the_episode():
    episodes = [goal_episode(seed) for seed in range(5)]
    env = make_env(*episodes)
    orders = []
    for _ in range(2):
        orders.append([env.reset(seed=3)[1]["episode_id"]] + [env.reset()[1]["episode_id"] for _ in range(4)])
    assert orders[0] == orders[1] and set(orders[0]) == {episode.episode_id for episode in episodes}
    assert env.reset(options={"episode": episodes[2]})[1]["episode_id"] == episodes[2].episode_id


def test_no_episodes_is_the_users_error():
    with pytest.raises(UserError, match="no episodes"):
        environment.RearrangementEnv((), CAMERA, REWARD)
