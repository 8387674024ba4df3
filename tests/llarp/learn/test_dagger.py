"""DAgger: what is recorded is what the learner saw and the expert's answer to it."""

import numpy as np
import pytest

from llarp.config import load_params
from llarp.environments.make import make_environment
from llarp.environments.rearrangement import Rearrangement
from llarp.errors import UserError
from llarp.learn.dagger import Mixture, collect
from llarp.policy.base import Policy
from llarp.policy.baselines import PlanPolicy, RandomPolicy
from llarp.tasks.advice import ExpertAdvice
from llarp.tasks.skills import INDEX, SKILLS, Skill
from llarp.vision.base import Encoder
from llarp.vision.layered import Layered
from llarp.vision.memory import MemoryStore
from llarp.vision.views import ViewFeatures

PARAMS = load_params()
PARAMS = PARAMS.model_copy(update={"camera": PARAMS.camera.model_copy(update={"width": 16, "height": 16})})
ENVIRONMENT = make_environment(PARAMS)
SOFA = INDEX[Skill("nav", "sofa")]


class Colours(Encoder):
    """One token: the mean colour."""

    identity, num_tokens, dim = "c" * 64, 1, 3

    def encode(self, images):
        return images.mean((1, 2), dtype=np.float32)[:, None] / 255


class ToTheSofa(Policy):
    """Goes to the sofa, and sees to it that it was shown something."""

    def start(self, tasks):
        return len(tasks)

    def act(self, features_BPD, state, running_B):
        assert features_BPD.shape == (state, 1, 3) and features_BPD[running_B].any((1, 2)).all()
        return np.full(state, SOFA), state


@pytest.fixture(scope="module")
def episodes():
    return list(ENVIRONMENT.generate("train", 12))


@pytest.fixture
def views():
    return ViewFeatures(Colours(), MemoryStore(1, 3))


def run(policy, episodes, views, batch_size=5, beta=0.0, round=0, **more):
    return collect(policy, episodes, ENVIRONMENT, views, batch_size, Mixture(1, round, beta), **more)


def seen(episode, actions):
    """Keys of the views before each action."""
    simulator, keys = ENVIRONMENT.simulator(), []
    simulator.reset(episode)
    for action in actions:
        keys.append(simulator.view_key())
        simulator.apply(SKILLS[action])
    return keys


def test_where_the_expert_acts_alone_it_demonstrates(episodes, views):
    found = run(ToTheSofa(), episodes, views, beta=1.0)
    assert [demonstration.episode_id for demonstration in found] == [f"{each.episode_id}@0" for each in episodes]
    for demonstration, episode in zip(found, episodes, strict=True):
        assert demonstration.instruction == episode.instruction
        assert [SKILLS[action] for action in demonstration.actions] == list(episode.demonstration)
        assert demonstration.taken == demonstration.actions
    assert found.actions == ENVIRONMENT.names()


@pytest.mark.parametrize("policy", [ToTheSofa(), RandomPolicy(2)])
def test_the_learner_acts_and_the_expert_answers(episodes, views, policy):
    found = run(policy, episodes, views)
    assert len(found) == len(episodes)
    for demonstration, episode in zip(found, episodes, strict=True):
        assert demonstration.keys == seen(episode, demonstration.taken)
        world = ENVIRONMENT.world()
        world.reset(episode)
        advice = ExpertAdvice(world)
        for advised, taken in zip(demonstration.actions, demonstration.taken, strict=True):
            assert advice.action == SKILLS[advised]
            advice.note(SKILLS[taken], world.apply(SKILLS[taken]))
    taken = [action for demonstration in found for action in demonstration.taken]
    assert set(taken) == {SOFA} if isinstance(policy, ToTheSofa) else len(set(taken)) > 20


def test_an_episode_ends_with_success_or_at_the_horizon(episodes, views):
    solved = run(PlanPolicy(), episodes, views)
    assert [len(demonstration) for demonstration in solved] == [len(episode.plan) for episode in episodes]
    lost = [episode for episode in episodes if episode.family in ("move_to", "swap")]
    assert lost and {len(demonstration) for demonstration in run(ToTheSofa(), lost, views)} == {ENVIRONMENT.horizon}


@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_it_does_not_depend_on_the_batch(episodes, views, beta):
    alone = run(RandomPolicy(2), episodes, views, batch_size=1, beta=beta)
    assert run(RandomPolicy(2), episodes, views, batch_size=5, beta=beta) == alone
    assert run(RandomPolicy(2), episodes[::-1], views, batch_size=50, beta=beta)[::-1] == alone


def test_beta_is_how_often_the_expert_acts_and_rounds_differ(episodes, views):
    rounds = [run(ToTheSofa(), episodes, views, beta=0.5, round=round) for round in range(2)]
    steps = [
        pair for found in rounds for d in found for pair in zip(d.actions, d.taken, strict=True) if pair[0] != SOFA
    ]
    assert np.mean([advised == taken for advised, taken in steps]) == pytest.approx(0.5, abs=0.15)
    assert [demonstration.taken for demonstration in rounds[0]] != [demonstration.taken for demonstration in rounds[1]]


def test_all_features_are_at_hand_afterwards(episodes, views):
    known = run(PlanPolicy(), episodes[:2], views)
    views = ViewFeatures(views.encoder, views.overlay)
    found = run(ToTheSofa(), episodes[:4], views)
    assert views.misses and views.hits
    keys = [key for demonstration in (*known, *found) for key in demonstration.keys]
    assert Layered(views.store, views.overlay).get(keys)[1].all()


def test_it_ends_where_the_expert_is_at_a_loss(episodes, views, monkeypatch):
    class AtALoss(ExpertAdvice):
        def note(self, skill, valid):
            super().note(skill, valid)
            self.action = self.action if self._robot.at is None else None

    monkeypatch.setattr(Rearrangement, "adviser", lambda self: AtALoss)
    assert [len(demonstration) for demonstration in run(ToTheSofa(), episodes, views)] == [1] * len(episodes)
    monkeypatch.setattr(AtALoss, "__init__", lambda self, world: setattr(self, "action", None))
    assert run(ToTheSofa(), episodes, views) == []


def test_without_an_expert_there_is_none_to_ask(episodes, views, monkeypatch):
    monkeypatch.setattr(Rearrangement, "adviser", lambda self: None)
    with pytest.raises(UserError, match="no expert to ask"):
        run(ToTheSofa(), episodes, views)


def test_progress_counts_every_episode_once(episodes, views):
    counts = []
    run(PlanPolicy(), episodes, views, on_progress=counts.append)
    assert counts == [5, 5, 2]
