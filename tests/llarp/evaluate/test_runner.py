"""Episodes side by side: each goes as it would alone, and what has ended costs nothing."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import Corridor, make_episode

from llarp.config import load_params
from llarp.environments.make import make_environment
from llarp.errors import UserError
from llarp.evaluate import runner
from llarp.evaluate.runner import Setup, evaluate, evaluate_all
from llarp.policy.base import Policy
from llarp.policy.baselines import PlanPolicy, RandomPolicy
from llarp.tasks.episode import HORIZON
from llarp.tasks.skills import INDEX, Skill

PARAMS = load_params()
EPISODES = [make_episode(number, steps=1 + number % 5) for number in range(11)]


class Eyes:
    """Features that are the image's number, and a count of what was looked at."""

    def __init__(self):
        self.looked = []

    def features(self, simulators):
        self.looked.append(len(simulators))
        return np.stack([simulator.render()[:1, :1, 0].astype(np.float16) for simulator in simulators])

    def note(self, kinds):
        """What was seen before anything was changed, and after."""
        assert len(kinds) == self.looked[-1]


class Walker(Policy):
    """Picks once, which is invalid here, then walks along its plan."""

    def start(self, tasks):
        return [(Skill("pick", "apple"), *task.plan) for task in tasks]

    def act(self, features_BPD, state, running_B):
        assert features_BPD.shape == (len(state), 1, 1)
        return np.array([INDEX[plan[0]] for plan in state]), [plan[1:] or plan for plan in state]


@pytest.fixture
def corridor(monkeypatch):
    monkeypatch.setattr(runner, "_world", lambda policy, environment: Corridor())


def run(policy, episodes, batch_size=4, views=None, **more):
    return evaluate(policy, "policy", episodes, views, make_environment(PARAMS), batch_size, **more)


def test_a_row_tells_how_the_episode_went(corridor):
    (row,) = run(Walker(), [make_episode(7, steps=3)], views=Eyes())
    assert row["actions"] == ["pick(apple)", "nav(chair)", "nav(chair)", "nav(sofa)"]
    assert (row["success"], row["progress"], row["invalid_actions"], row["steps"]) == (True, 1.0, 1, 4)
    reward = PARAMS.reward
    assert row["reward"] == pytest.approx(reward.success + reward.subgoal + reward.invalid + 4 * reward.slack)
    assert (row["episode_id"], row["split"], row["source"]) == ("corridor-7", "new_scenes", "generated")


def test_an_episode_ends_at_the_horizon(corridor):
    lost = make_episode(plan=(Skill("nav", "chair"),))
    (row,) = run(PlanPolicy(), [lost])
    assert (row["success"], row["steps"], row["progress"], row["invalid_actions"]) == (False, HORIZON, 0.5, 0)


@pytest.mark.parametrize("policy", [RandomPolicy(3), PlanPolicy()])
def test_rows_do_not_depend_on_the_batch(corridor, policy):
    alone = run(policy, EPISODES, batch_size=1)
    assert run(policy, EPISODES, batch_size=4) == alone
    assert run(policy, EPISODES, batch_size=50) == alone
    assert [row["episode_id"] for row in alone] == [episode.episode_id for episode in EPISODES]
    assert run(policy, EPISODES[::-1], batch_size=4) == alone[::-1]


def test_what_has_ended_is_not_looked_at_again(corridor):
    eyes = Eyes()
    rows = run(Walker(), [make_episode(n, steps=steps) for n, steps in enumerate((1, 4, 2))], views=eyes)
    assert [row["steps"] for row in rows] == [2, 5, 3]
    assert eyes.looked == [3, 3, 2, 1, 1]


def test_each_episode_is_given_its_own_feature(corridor):
    seen = []

    class Watcher(Walker):
        def act(self, features_BPD, state, running_B):
            seen.append((features_BPD[:, 0, 0].tolist(), running_B.tolist()))
            return super().act(features_BPD, state, running_B)

    run(Watcher(), [make_episode(0, steps=1), make_episode(1, steps=3)], views=Eyes())
    nowhere, chair = 210.0, 21.0
    assert [[value for value, running in zip(*step, strict=True) if running] for step in seen] == [
        [nowhere, nowhere], [nowhere, nowhere], [chair], [chair],
    ]  # fmt: skip


def test_a_policy_without_eyes_draws_nothing(monkeypatch):
    worlds = []
    monkeypatch.setattr(runner, "_world", lambda policy, environment: worlds.append(Corridor()) or worlds[-1])
    run(RandomPolicy(0), EPISODES)
    assert worlds and all(world.rendered == 0 for world in worlds)


def test_progress_counts_every_episode_once(corridor):
    counts = []
    run(PlanPolicy(), EPISODES, batch_size=4, on_progress=counts.append)
    assert counts == [4, 4, 3]


SETUP = Setup(make_environment(PARAMS), batch_size=4)


def in_rooms():
    """Episodes in real layouts: walk to the sofa."""
    return [replace(make_episode(number), layout=f"gen_new_{number:04d}") for number in range(10)]


def test_rows_do_not_depend_on_the_workers():
    names = ("random", "expert")
    counts = []
    one = evaluate_all(names, in_rooms(), SETUP, workers=1)
    two = evaluate_all(names, in_rooms(), SETUP, workers=2, on_progress=counts.append)
    assert one == two
    assert [row["policy"] for row in one] == ["random"] * 10 + ["expert"] * 10
    assert sum(counts) == 20
    assert all(row["success"] for row in one[10:])


def test_a_user_error_of_a_worker_arrives_in_one_line():
    no_plan = [replace(episode, plan=()) for episode in in_rooms()]
    with pytest.raises(UserError, match="has no plan"):
        evaluate_all(("expert",), no_plan, SETUP, workers=2)


def test_a_policy_without_its_folder_is_refused():
    with pytest.raises(UserError, match="policy folder"):
        evaluate_all(("policy",), in_rooms(), SETUP)
