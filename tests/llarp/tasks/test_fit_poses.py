"""Poses and points are found again from records made by known ones."""

import math
import random

import numpy as np
import pytest

from llarp.scenes.furniture import FREESTANDING
from llarp.scenes.layouts import layout
from llarp.tasks.released.fit_poses import NAV_TARGETS, Room, cost, fit_poses, near_margin, reach_margin, stood_before
from llarp.tasks.released.visits import Visit

NAME = "v3_sc3_staging_01"
AHEAD = np.array([1.0, 0.0])


def places(name=NAME):
    return {id: (*layout(name).surfaces[id].center[:2], layout(name).surfaces[id].yaw) for id in FREESTANDING}


def visit(target, near, **changes):
    fields = {
        "split": "new_scenes", "layout": NAME, "target": target, "verb": "place", "sought": None, "near": near,
        "seen": frozenset(NAV_TARGETS), "handles": True, "over": frozenset(), "holds": False, "lies": {},
        "near_objects": frozenset(), "reached": None,
    }  # fmt: skip
    return Visit(**fields | changes)


@pytest.mark.parametrize(
    "offset, near, reach",
    [((1.9, 0.0), 0.1, -0.4), ((0.0, 1.0), 0.0, 1 - math.pi / 2), ((-0.5, 0.2), -0.5, None), ((1.0, 0.0), 1.0, 0.5)],
)
def test_margins_are_metres_to_the_nearest_threshold(offset, near, reach):
    assert near_margin(np.array(offset), AHEAD) == pytest.approx(near)
    if reach is not None:
        assert reach_margin(np.array(offset), AHEAD) == pytest.approx(reach)


def test_a_statement_that_holds_by_far_costs_nothing_and_one_that_fails_a_limited_price():
    margins = np.array([-1.0, 0.0, 1.0])
    assert cost(margins, 0, 1) == pytest.approx([3.0, math.log(2), 0.0], abs=1e-4)
    assert cost(margins, 2, 0) == pytest.approx([0.0, 2 * math.log(2), 6.0], abs=1e-4)


def test_poses_agree_with_records_of_another_pose():
    true = Room(NAME, places())
    rng = random.Random(3)
    for id in ("sofa", "brown_table", "tv_stand"):
        true.stands[id] = true.usual[id] + np.array([rng.uniform(-0.15, 0.15), rng.uniform(-0.15, 0.15)])
    records = [visit(target, true.near(target), holds=False) for target in NAV_TARGETS for _ in range(3)]
    found = fit_poses({NAME: {id: at for id, at in places().items() if id != "chair"}}, records)[NAME]
    differences = sum(len(found.near(target) ^ true.near(target)) for target in NAV_TARGETS)
    assert differences <= 2, {target: sorted(found.near(target) ^ true.near(target)) for target in NAV_TARGETS}


def test_the_target_that_explains_the_record_is_found():
    room = Room(NAME, places())
    at_sink = visit("left_counter", room.near("sink"), holds=True, over=room.over("sink"))
    assert room.near("sink") != room.near("left_counter") and stood_before(room, at_sink) == "sink"
    there = visit("left_counter", room.near("left_counter"), holds=True, over=frozenset({"left_counter"}))
    assert stood_before(room, there) == "left_counter"


def test_a_target_from_which_the_next_skill_is_impossible_explains_nothing():
    room = Room(NAME, places())
    assert stood_before(room, visit("sofa", room.near("sink"))) in {id for id in NAV_TARGETS if "sofa" in room.near(id)}
