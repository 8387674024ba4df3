import math
from dataclasses import replace

import pytest
from sim_episodes import inside, make_episode, make_object

from llarp.errors import UserError
from llarp.scenes.catalog import NAV_TARGETS
from llarp.scenes.layout import Pose
from llarp.scenes.layouts import layout
from llarp.scenes.reach import HAND_FORWARD_M, REACH_M, REACH_RAD, ROBOT_AT_M, within
from llarp.sim.rules import RuleWorld, geometry
from llarp.tasks.goals import Predicate, parse_predicate
from llarp.tasks.skills import SKILLS, Skill, parse

NAME = "gen_train_0000"


def on(receptacle, u=0.0, v=0.0, asset="013_apple", category="apple", number=0):
    surface = layout(NAME).surfaces[receptacle]
    return make_object(asset, category, 0, receptacle, (*surface.to_world(u, v), surface.center[2]), number=number)


def world(*objects, start=()):
    here = RuleWorld()
    here.reset(replace(make_episode(layout_name=NAME, start=start), objects=tuple(objects)))
    return here


def do(here, *skills):
    """Carries skills out, all of which must be valid."""
    for text in skills:
        assert here.is_valid(parse(text)), text
        assert here.apply(parse(text))


def state(here):
    return (here.pose, here.at, here.held, set(here.opened), dict(here.where), dict(here.positions))


def holds(here, text):
    return here.holds(parse_predicate(text))


def test_a_thing_is_moved():
    here = world(on("sofa"))
    assert holds(here, "on_top(013_apple:0, sofa)") and holds(here, "not_holding()")
    do(here, "nav(sofa)", "pick(apple)")
    assert holds(here, "holding(013_apple:0)") and not holds(here, "on_top(013_apple:0, sofa)")
    do(here, "nav(sink)", "place(sink)")
    assert holds(here, "on_top(013_apple:0, sink)") and holds(here, "not_holding()")
    assert here.positions["013_apple:0"][2] == here.layout.surfaces["sink"].center[2]


def test_an_invalid_skill_changes_nothing():
    here = world(on("sofa"), on("sink", asset="016_pear", category="pear"))
    do(here, "nav(sofa)")
    for stage in range(2):
        for skill in SKILLS:
            before = state(here)
            if not here.is_valid(skill):
                assert not here.apply(skill)
                assert state(here) == before
        if stage == 0:
            do(here, "pick(apple)")


def test_navigation_is_always_valid_and_makes_its_target_near():
    here = world(on("sofa"))
    for target in NAV_TARGETS:
        do(here, f"nav({target})")
        assert here.at == target and here.pose == here.layout.standing[target]
        assert holds(here, f"robot_at({target})")


def test_at_the_start_only_navigation_is_valid():
    here = world(on("sofa"))
    assert {skill.verb for skill in SKILLS if here.is_valid(skill)} == {"nav"}
    assert here.at is None


def test_pick_needs_a_free_hand_and_the_thing_in_reach():
    here = world(on("sofa"), on("sofa", v=0.2, asset="016_pear", category="pear"))
    assert not here.is_valid(Skill("pick", "apple"))
    do(here, "nav(sofa)")
    assert not here.is_valid(Skill("pick", "plum"))
    do(here, "pick(apple)")
    assert not here.is_valid(Skill("pick", "pear"))


def test_pick_takes_the_first_instance_in_reach_in_the_episodes_order():
    far = on("tv_stand", number=0)
    here = world(far, on("sofa", u=-0.2, number=2), on("sofa", u=0.2, number=1))
    do(here, "nav(sofa)", "pick(apple)")
    assert here.held == "013_apple:2"


def test_what_is_held_over_a_surface_of_the_hands_height_counts_as_on_top_of_it():
    here = world(on("sofa"))
    do(here, "nav(sofa)", "pick(apple)")
    for receptacle, is_on in (("left_counter", True), ("brown_table", True), ("sink", False), ("black_table", False)):
        do(here, f"nav({receptacle})")
        assert holds(here, f"on_top(013_apple:0, {receptacle})") is is_on
        assert holds(here, "holding(013_apple:0)") and not holds(here, "on_top(013_apple:0, sofa)")


@pytest.mark.parametrize(
    "distance, bearing, inside", [(1.49, 0.0, True), (1.51, 0.0, False), (1.0, 0.99, True), (1.0, 1.01, False)]
)
def test_reach_is_a_metre_and_a_half_and_one_radian(distance, bearing, inside):
    pose = Pose(3.0, -2.0, 2.5)
    for side in (-1, 1):
        angle = pose.heading + side * bearing
        point = pose.x + distance * math.cos(angle), pose.y + distance * math.sin(angle)
        assert within(pose, *point, REACH_M, REACH_RAD) is inside


def test_robot_at_is_wider_than_reach():
    here = world(on("sofa"))
    do(here, "nav(sofa)")
    pose = here.pose
    x, y = (pose.x + 1.8 * math.cos(pose.heading + 1.5), pose.y + 1.8 * math.sin(pose.heading + 1.5))
    here.positions["013_apple:0"] = (x, y, 0.0)
    assert holds(here, "robot_at(013_apple:0)") and not holds(here, "robot_at_obj(013_apple:0)")
    assert ROBOT_AT_M == 2.0


def test_place_needs_something_in_the_hand_and_the_receptacle_near():
    here = world(on("sofa"))
    do(here, "nav(sofa)")
    assert not here.is_valid(Skill("place", "sofa"))
    do(here, "pick(apple)")
    assert here.is_valid(Skill("place", "sofa"))
    assert {skill.target for skill in SKILLS if skill.verb == "place" and here.is_valid(skill)} == {
        id for id in here.layout.surfaces if id in geometry(NAME).near["sofa"]
    } - {"fridge", "left_drawer", "right_drawer"}


@pytest.mark.parametrize(
    "receptacle, handle, open_, close",
    [
        ("fridge", "fridge_handle", "open_fridge()", "close_fridge()"),
        ("left_drawer", "left_drawer_handle", "open_cab(left_drawer_handle)", "close_cab(left_drawer_handle)"),
        ("right_drawer", "right_drawer_handle", "open_cab(right_drawer_handle)", "close_cab(right_drawer_handle)"),
    ],
)
def test_what_is_closed_hides_what_is_inside(receptacle, handle, open_, close):
    kind = "fridge" if receptacle == "fridge" else "cab"
    here = world(inside(receptacle, NAME))
    assert holds(here, f"in(013_apple:9, {handle})") and holds(here, f"on_top(013_apple:9, {receptacle})")
    do(here, f"nav({receptacle})")
    assert here.enclosed("013_apple:9")
    assert not here.is_valid(Skill("pick", "apple")) and not here.is_valid(parse(close))
    do(here, f"nav({handle})", open_)
    assert holds(here, f"opened_{kind}({handle})") and not holds(here, f"closed_{kind}({handle})")
    assert not here.is_valid(parse(open_))
    do(here, f"nav({receptacle})", "pick(apple)", "nav(sofa)", f"nav({handle})", close, f"nav({receptacle})")
    assert not here.is_valid(Skill("place", receptacle))
    do(here, f"nav({handle})", open_, f"nav({receptacle})", f"place({receptacle})", f"nav({handle})", close)
    assert here.enclosed("013_apple:9") and holds(here, f"closed_{kind}({handle})")


def test_doors_are_out_of_reach_from_across_the_room():
    here = world(on("sofa"))
    assert not here.is_valid(Skill("open_fridge"))
    do(here, "nav(middle_drawer_handle)", "open_cab(middle_drawer_handle)")
    assert here.opened == {"middle_drawer_handle"}


def test_an_episode_can_start_with_doors_open():
    here = world(on("sofa"), start=[("opened_fridge", ("fridge_handle",)), ("closed_cab", ("left_drawer_handle",))])
    assert here.opened == {"fridge_handle"}
    do(here, "nav(fridge)", "close_fridge()")
    with pytest.raises(UserError, match=r"cannot start with holding\(013_apple:0\)"):
        world(on("sofa"), start=[("holding", ("013_apple:0",))])


def test_a_held_thing_goes_where_the_robot_goes():
    here = world(on("sofa"))
    do(here, "nav(sofa)", "pick(apple)")
    for target in ("sink", "brown_table"):
        do(here, f"nav({target})")
        x, y, _ = here.positions["013_apple:0"]
        assert here.pose.distance(x, y) == pytest.approx(HAND_FORWARD_M) and here.pose.bearing(x, y) < 1e-6
        assert here.holds(Predicate("robot_at_obj", ("013_apple:0",)))


@pytest.mark.parametrize("receptacle", [id for id in layout(NAME).surfaces if id != "sofa"])
def test_things_put_down_lie_apart_on_the_surface_and_in_reach(receptacle):
    names = [f"073-{letter}_lego_duplo" for letter in "abcdef"]
    here = world(*(on("sofa", v=0.1 * n, asset=name, category="lego") for n, name in enumerate(names)))
    here.opened |= {"fridge_handle", "left_drawer_handle", "right_drawer_handle"}
    surface = here.layout.surfaces[receptacle]
    for _ in names:
        do(here, "nav(sofa)", "pick(lego)", f"nav({receptacle})", f"place({receptacle})")
    spots = set(here.positions.values())
    assert len(spots) == len(names)
    for x, y, z in spots:
        u, v = surface.to_local(x, y)
        assert abs(u) <= surface.half[0] and abs(v) <= surface.half[1] and z == surface.center[2]
        assert within(here.layout.standing[receptacle], x, y, REACH_M, REACH_RAD)


def test_the_same_skills_end_in_the_same_state():
    text = ["nav(sofa)", "pick(apple)", "nav(sink)", "place(sink)", "nav(tv_stand)"]
    first, second = world(on("sofa"), on("sink", number=1)), world(on("sofa"), on("sink", number=1))
    do(first, *text)
    do(second, *text)
    assert state(first) == state(second)
    second.reset(second.episode)
    assert second.held is None and second.where == {"013_apple:0": "sofa", "013_apple:1": "sink"}


def test_instances_are_in_the_episodes_order():
    here = world(on("sofa", number=4), on("sink", number=2))
    assert here.instances("apple") == ("013_apple:4", "013_apple:2") and here.instances("drill") == ()
