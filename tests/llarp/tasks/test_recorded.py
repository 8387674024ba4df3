from dataclasses import replace

import pytest
import released_files as files

from llarp.tasks.goals import parse, parse_predicate
from llarp.tasks.released.recorded import recorded_plan
from llarp.tasks.released.release import read


def plan_of(episode):
    return [str(skill) for skill in recorded_plan(episode)]


def record(episode, *steps, **changes):
    atoms = tuple(tuple(parse_predicate(text) for text in step) for step in steps)
    return replace(episode, recorded=atoms, **changes)


@pytest.fixture
def episode(tmp_path):
    (only,) = read([files.write(tmp_path)])
    return only


def test_pick_and_place_follow_from_what_is_held(episode):
    assert plan_of(episode) == ["nav(sofa)", "pick(apple)", "nav(sink)", "place(sink)"]


def test_a_walk_that_was_not_needed_is_not_invented(episode):
    steps = [["holding(016_pear:0)"], ["on_top(016_pear:0, left_counter)"]]
    assert plan_of(record(episode, *steps)) == ["pick(pear)", "place(left_counter)"]


def test_a_thing_that_was_moved_is_fetched_from_where_it_is_now(episode):
    steps = [
        [], ["holding(016_pear:0)"], [], ["on_top(016_pear:0, tv_stand)"], [], ["holding(016_pear:0)"],
    ]  # fmt: skip
    steps[2] = steps[1]
    assert plan_of(record(episode, *steps)) == [
        "nav(sink)", "pick(pear)", "nav(tv_stand)", "place(tv_stand)", "nav(tv_stand)", "pick(pear)",
    ]  # fmt: skip


def test_what_goes_into_a_drawer_is_placed_behind_its_handle(episode):
    steps = [["holding(016_pear:0)"], ["in(016_pear:0, right_drawer_handle)"]]
    assert plan_of(record(episode, *steps)) == ["pick(pear)", "place(right_drawer)"]


def test_doors(episode):
    opened, closed = "opened_fridge(fridge_handle)", "closed_fridge(fridge_handle)"
    assert plan_of(record(episode, [], [closed])) == ["nav(fridge_handle)", "close_fridge()"]  # it starts open
    assert plan_of(record(episode, [], [opened], start=())) == ["nav(fridge_handle)", "open_fridge()"]
    cab = "opened_cab(left_drawer_handle)"
    assert plan_of(record(episode, [], [cab])) == ["nav(left_drawer_handle)", "open_cab(left_drawer_handle)"]


def test_a_last_walk_goes_where_the_goal_says(episode):
    assert plan_of(record(episode, ["robot_at(sofa)"], goal=parse("AND(robot_at(sofa))"))) == ["nav(sofa)"]
    found = parse("EXISTS X:pear AND(robot_at_obj(X))")
    assert plan_of(record(episode, ["robot_at(sink)"], goal=found)) == ["nav(sink)"]


def test_what_cannot_be_explained_is_said(episode):
    with pytest.raises(ValueError, match="step 1: 016_pear:0 is let go but lies nowhere"):
        recorded_plan(record(episode, ["holding(016_pear:0)"], []))
    with pytest.raises(ValueError, match="ends with a navigation that the goal does not ask for"):
        recorded_plan(record(episode, []))
    assert recorded_plan(record(episode)) == ()
