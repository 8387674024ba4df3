"""Agreement counted on records made by hand, and on the release."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from sim_episodes import make_episode, make_object

from llarp.scenes.layouts import layout
from llarp.sim.agreement import FITTED, HELD_OUT, ROWS, compare
from llarp.sim.replay import atoms, explained
from llarp.sim.rules import RuleWorld, geometry
from llarp.tasks.goals import parse, parse_predicate
from llarp.tasks.released.recorded import Scope
from llarp.tasks.released.release import read
from llarp.tasks.skills import parse as skill

NAME = "gen_train_0000"
GOAL = parse("EXISTS X:apple AND(on_top(X, left_counter), not_holding())")
PLAN = ("nav(sofa)", "pick(apple)", "nav(left_counter)", "place(left_counter)")


def apple(receptacle="sofa", number=0):
    surface = layout(NAME).surfaces[receptacle]
    return make_object("013_apple", "apple", 0, receptacle, surface.center, number=number)


def episode(*steps, objects=(), **changes):
    recorded = tuple(tuple(parse_predicate(text) for text in step) for step in steps)
    base = replace(make_episode(layout_name=NAME), goal=GOAL, objects=objects or (apple(),), recorded=recorded)
    return replace(base, episode_id="release-train-000001", **changes)


def record(plan=PLAN, objects=()):
    """What our own world would record of a plan, `robot_at_obj` included."""
    world, scope = RuleWorld(), Scope(frozenset({"013_apple:0"}), handles=False, reach=True)
    world.reset(episode(objects=objects))
    start = atoms(world, scope)
    steps = []
    for text in plan:
        assert world.apply(skill(text)), text
        steps.append([str(atom) for atom in atoms(world, scope) - start if atom.name != "not_holding"])
    return steps


def counts(agreement, row, group="all"):
    return tuple(agreement.counts[group, row, of] for of in ("recorded", "missing", "extra"))


def test_our_own_record_is_reproduced_whole():
    agreement = compare(RuleWorld(), [episode(*record())])
    assert agreement.episodes["all"] == agreement.episodes[HELD_OUT] == 1 and agreement.episodes[FITTED] == 0
    for row in ROWS:
        assert agreement.reproduced("all", row) == 1.0 and agreement.extra("all", row) == 0.0
    assert counts(agreement, "holding") == (2, 0, 0) and counts(agreement, "not_holding") == (2, 0, 0)
    assert counts(agreement, "on_top") == (2, 0, 0), "over the counter, then on it"
    assert counts(agreement, "opened_*/closed_*") == (0, 0, 0), "a task about no door records none"


def test_what_is_not_here_is_missing_and_what_is_not_there_is_extra():
    steps = record()
    assert "black_table" not in geometry(NAME).near["sofa"]
    steps[0].append("robot_at(black_table)")
    steps[1].remove("robot_at(013_apple:0)")
    agreement = compare(RuleWorld(), [episode(*steps)])
    recorded, missing, extra = counts(agreement, "robot_at(receptacle)")
    assert (missing, extra) == (1, 0) and recorded > 1
    assert counts(agreement, "robot_at(object)")[1:] == (0, 1)
    assert agreement.counts["all", "robot_at(object)", "unseen"] == 0, "it is recorded at other steps"


def test_what_was_near_from_the_start_on_is_no_difference_where_the_plan_shows_it():
    steps = [[atom for atom in step if atom != "robot_at(left_counter)"] for step in record()]
    assert counts(compare(RuleWorld(), [episode(*steps)]), "robot_at(receptacle)")[1:] == (0, 0)
    steps = [[atom for atom in step if atom != "robot_at(sofa)"] for step in record()]
    agreement = compare(RuleWorld(), [episode(*steps)])
    assert counts(agreement, "robot_at(receptacle)")[1:] == (0, 2)
    assert agreement.counts["all", "robot_at(receptacle)", "unseen"] == 2


def test_the_table_names_every_kind_that_was_met():
    lines = str(compare(RuleWorld(), [episode(*record())])).splitlines()
    assert lines[0].startswith("train, 1 episodes") and sum("robot_at_obj" in line for line in lines) == 3
    assert not any("opened" in line for line in lines)


def test_a_neighbour_before_which_the_solver_stood_is_found():
    plan = ("nav(sofa)", "pick(apple)", "nav(sink)", "place(left_counter)")
    assert "left_counter" in geometry(NAME).near["sink"]
    assert [str(taken) for taken in explained(RuleWorld(), episode(*record(plan)))] == list(plan)
    assert [str(taken) for taken in explained(RuleWorld(), episode(*record()))] == list(PLAN)


def test_scope_is_what_the_record_and_the_goal_name():
    others = (apple(), make_object("016_pear", "pear", 0, "sofa", layout(NAME).surfaces["sofa"].center))
    plain = Scope.of(episode(["robot_at(sofa)"], objects=others))
    assert plain == Scope(frozenset({"013_apple:0"}), handles=False, reach=False)
    about_a_door = Scope.of(episode(["robot_at_obj(016_pear:0)", "closed_fridge(fridge_handle)"], objects=others))
    assert about_a_door == Scope(frozenset({"013_apple:0", "016_pear:0"}), handles=True, reach=True)


@pytest.mark.skipif("LLARP_RELEASED" not in os.environ, reason="LLARP_RELEASED does not name the released files")
def test_the_release_is_reproduced():
    agreement = compare(RuleWorld(), read([Path(os.environ["LLARP_RELEASED"])]))
    assert agreement.episodes[HELD_OUT] == 220
    for row in ("holding", "not_holding", "on_top", "opened_*/closed_*"):
        assert agreement.reproduced(HELD_OUT, row) == 1.0 and agreement.extra(HELD_OUT, row) == 0.0, str(agreement)
    for group in (HELD_OUT, FITTED, "all"):
        assert agreement.reproduced(group, "robot_at(receptacle)") >= 0.95, str(agreement)
        assert agreement.extra(group, "robot_at(receptacle)") <= 0.10, str(agreement)
