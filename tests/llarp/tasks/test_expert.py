"""The expert on episodes made by hand: what it plans, how it searches, what it refuses."""

import pytest
from homemade import episode, lying, texts

from llarp.sim.rules import RuleWorld
from llarp.tasks.expert import Unsolvable, demonstrate, plan, prove
from llarp.tasks.goals import satisfied
from llarp.tasks.robot import SEARCH_ORDER

APPLE = lying("013_apple:0", "apple", "black_table")
APPLE_ON_SOFA = "EXISTS X:apple AND(on_top(X, sofa), not_holding())"


def run(task, skills):
    """Carries skills out, every one valid, and returns at which steps the goal holds."""
    world = RuleWorld()
    world.reset(task)
    held = [satisfied(task.goal, world)]
    for skill in skills:
        assert world.apply(skill), f"{skill} is invalid"
        held.append(satisfied(task.goal, world))
    return world, held


def planned(task):
    skills = plan(RuleWorld(), task)
    world, held = run(task, skills)
    assert held == [False] * len(skills) + [True]
    return texts(skills), world


@pytest.mark.parametrize(
    ("goal", "expected"),
    [
        (APPLE_ON_SOFA, "nav(black_table) pick(apple) nav(sofa) place(sofa)"),
        ("EXISTS X:apple AND(holding(X))", "nav(black_table) pick(apple)"),
        ("EXISTS X:apple AND(holding(X), robot_at(sofa))", "nav(black_table) pick(apple) nav(sofa)"),
        ("EXISTS X:apple AND(robot_at_obj(X))", "nav(black_table)"),
        ("AND(robot_at(tv_stand))", "nav(tv_stand)"),
        ("AND(opened_fridge(fridge_handle))", "nav(fridge_handle) open_fridge()"),
        ("NAND(closed_cab(left_drawer_handle))", "nav(left_drawer_handle) open_cab(left_drawer_handle)"),
        ("OR(AND(robot_at(sofa), opened_fridge(fridge_handle)), AND(robot_at(tv_stand)))", "nav(tv_stand)"),
        (
            "EXISTS X:apple AND(on_top(X, sofa), robot_at(tv_stand))",
            "nav(black_table) pick(apple) nav(sofa) place(sofa) nav(tv_stand)",
        ),
    ],
)
def test_shortest_plans(goal, expected):
    assert planned(episode(goal, APPLE))[0] == expected


def test_what_is_put_into_the_closed_fridge_needs_it_open_and_it_is_closed_again():
    text, world = planned(episode("EXISTS X:apple AND(in(X, fridge_handle), closed_fridge(fridge_handle))", APPLE))
    assert world.where["013_apple:0"] == "fridge"
    assert text.index("open_fridge()") < text.index("place(fridge)") < text.index("close_fridge()")


def test_what_is_in_a_closed_drawer_is_taken_out():
    task = episode(APPLE_ON_SOFA, lying("013_apple:0", "apple", "left_drawer"))
    text, _ = planned(task)
    assert text.index("open_cab(left_drawer_handle)") < text.index("pick(apple)")


def test_none_may_stay_where_they_must_not_be():
    apples = [lying(f"013_apple:{number}", "apple", "sofa", v=0.3 * number) for number in range(2)]
    _, world = planned(episode("AND(not_holding(), EXISTS X:apple NAND(on_top(X, sofa)))", *apples, APPLE_ELSEWHERE))
    assert "sofa" not in {world.where[apple.name] for apple in apples}


APPLE_ELSEWHERE = lying("013_apple:9", "apple", "brown_table")


def test_all_of_a_kind():
    apples = [lying(f"013_apple:{n}", "apple", place) for n, place in enumerate(("sink", "tv_stand", "sofa"))]
    _, world = planned(episode("FORALL X:apple AND(on_top(X, sofa), not_holding())", *apples))
    assert set(world.where.values()) == {"sofa"}


def test_the_instance_named_is_moved_even_when_another_is_nearer():
    near, far = lying("013_apple:0", "apple", "sofa", u=0.9), lying("013_apple:1", "apple", "sofa", u=-0.9)
    _, world = planned(episode("AND(on_top(013_apple:1, tv_stand), not_holding())", near, far))
    assert world.where["013_apple:1"] == "tv_stand"


def test_the_cheapest_of_several_instances():
    hidden = lying("013_apple:1", "apple", "left_drawer")
    assert planned(episode(APPLE_ON_SOFA, hidden, APPLE))[0].startswith("nav(black_table) pick(apple)")


@pytest.mark.parametrize(
    ("goal", "objects", "reason"),
    [
        ("EXISTS X:pear AND(on_top(X, sofa))", [APPLE], "not there"),
        ("EXISTS X:apple AND(on_top(X, black_table))", [APPLE], "holds at the start"),
        (APPLE_ON_SOFA, [lying("013_apple:0", "apple", "black_table", u=-9)], "is invalid"),
        (
            "FORALL X:apple AND(on_top(X, sofa))",
            [lying(f"013_apple:{n}", "apple", place) for n, place in enumerate(SEARCH_ORDER * 2) if place != "sofa"],
            "32 steps",
        ),
        ("AND(opened_fridge(fridge_handle), closed_fridge(fridge_handle))", [], "32 steps"),
    ],
)
def test_refuses_what_cannot_be_done(goal, objects, reason):
    with pytest.raises(Unsolvable, match=reason):
        plan(RuleWorld(), episode(goal, *objects))


def shown(task):
    skills = demonstrate(RuleWorld(), task)
    assert run(task, skills)[1] == [False] * len(skills) + [True]
    return texts(skills).split()


def test_what_the_instruction_locates_is_not_looked_for():
    task = episode(APPLE_ON_SOFA, APPLE)
    assert shown(task) == texts(plan(RuleWorld(), task)).split()


def test_the_search_depends_on_what_was_seen_only():
    """Wherever the apple is, all searches start the same, and end with the same steps once it is found."""
    stops = [f"nav({place})" for place in SEARCH_ORDER if place != "brown_table"]
    goal = "EXISTS X:apple AND(on_top(X, brown_table), not_holding())"
    for place in SEARCH_ORDER:
        if place == "brown_table":
            continue
        walk = shown(episode(goal, lying("013_apple:0", "apple", place), family="move_to"))
        assert walk[-3:] == ["pick(apple)", "nav(brown_table)", "place(brown_table)"]
        assert walk[:-3] == stops[: len(walk) - 3]
        assert place in SEARCH_ORDER[:3] or walk[-4] == f"nav({place})"


def test_two_things_seen_at_once_are_fetched_one_after_the_other():
    goal = "EXISTS X:apple, Y:pear AND(on_top(X, tv_stand), on_top(Y, tv_stand), not_holding())"
    walk = shown(episode(goal, APPLE, lying("016_pear:0", "pear", "black_table", v=0.5), family="two_to"))
    back = walk.index("place(tv_stand)") + 1
    assert walk[back:] == ["nav(black_table)", "pick(pear)", "nav(tv_stand)", "place(tv_stand)"]


def test_a_conditional_starts_with_a_look_at_the_fridge():
    pear = lying("016_pear:0", "pear", "black_table")
    goals = {
        "opened": "EXISTS X:apple AND(opened_fridge(fridge_handle), on_top(X, sofa), not_holding())",
        "closed": "EXISTS Y:pear AND(closed_fridge(fridge_handle), on_top(Y, tv_stand), not_holding())",
    }
    walks = {
        state: shown(episode(goal, APPLE, pear, family="conditional", start=[f"{state}_fridge(fridge_handle)"]))
        for state, goal in goals.items()
    }
    assert {walk[0] for walk in walks.values()} == {"nav(fridge_handle)"}
    assert walks["opened"][-1] == "place(sofa)" and walks["closed"][-1] == "place(tv_stand)"


def test_what_lies_behind_a_door_is_not_found_by_looking():
    with pytest.raises(Unsolvable, match="on no open receptacle"):
        demonstrate(RuleWorld(), episode(APPLE_ON_SOFA, lying("013_apple:0", "apple", "fridge"), family="move_to"))


@pytest.mark.parametrize(
    ("goal", "subgoals"),
    [
        (APPLE_ON_SOFA, ["EXISTS X:apple AND(holding(X))", "EXISTS X:apple AND(on_top(X, sofa))"]),
        ("AND(robot_at(sofa))", ["AND(robot_at(sofa))"]),
        ("AND(opened_fridge(fridge_handle))", ["AND(opened_fridge(fridge_handle))"]),
        (
            "AND(not_holding(), EXISTS X:apple NAND(on_top(X, black_table)))",
            [
                "EXISTS X:apple AND(holding(X))",
                "AND(not_holding(), EXISTS X:apple NAND(on_top(X, black_table)))",
            ],
        ),
    ],
)
def test_subgoals_are_milestones_of_any_object_of_the_category(goal, subgoals):
    assert list(map(str, prove(RuleWorld(), episode(goal, APPLE)).subgoals)) == subgoals
