"""A tour shows all that can be seen before anything is changed."""

import pytest

from llarp.config import load_params
from llarp.environments.make import make_environment
from llarp.scenes.catalog import NAV_TARGETS
from llarp.tasks.skills import SKILLS


@pytest.fixture(scope="module")
def environment(request):
    return make_environment(load_params(request.config.rootpath / "presets" / "test.yaml"))


@pytest.fixture(scope="module", params=range(2))
def episode(environment, request):
    return next(environment.generate("train", 1, request.param))


def state(simulator):
    """All but where one stands and looks."""
    return simulator.held, set(simulator.opened), dict(simulator.where), dict(simulator.positions)


def test_a_tour_goes_once_to_every_standing_point_and_changes_nothing_else(environment, episode):
    simulator = environment.simulator()
    simulator.reset(episode)
    before, stands, keys = state(simulator), [], []
    for action in environment.tour(episode):
        assert environment.goes_about(action)
        stands.append(simulator.at)
        keys.append(simulator.view_key())
        assert simulator.apply(action)
        assert state(simulator) == before
    assert stands[0] is None and sorted(stands[1:]) == sorted(NAV_TARGETS)
    for target, key in zip(stands[1:], keys[1:], strict=True):
        simulator.reset(episode)
        simulator.apply(next(skill for skill in SKILLS if skill.verb == "nav" and skill.target == target))
        assert simulator.view_key() == key


def test_what_goes_about_changes_nothing_and_the_other_skills_may(environment, episode):
    simulator, changing = environment.simulator(), set()
    for going in SKILLS:
        if not environment.goes_about(going):
            continue
        simulator.reset(episode)
        simulator.apply(going)
        for action in SKILLS:
            before = state(simulator)
            simulator.apply(action)
            if state(simulator) != before:
                changing.add(action)
    assert changing and not any(map(environment.goes_about, changing))
    assert {action.verb for action in changing} >= {"pick", "place", "open_cab", "close_cab"}


def test_only_the_beginning_is_known_where_nothing_is_known_to_go_about(environment):
    from llarp.environments.babyai import BabyAI

    games = BabyAI(environment.params)
    assert not any(map(games.goes_about, games.actions)) and len(games.tour(None)) == 1
