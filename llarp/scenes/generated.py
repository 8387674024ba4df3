"""Apartments made from a number: furniture of the right sizes in a room, nothing overlapping, standing points free.

Training layouts (`gen_train_*`) have roomy, nearly square rooms with the kitchen along the west wall and most furniture
square to the walls. The ones for the split `new scenes` (`gen_new_*`) have long shallow rooms, the kitchen along
another wall and more furniture at an angle, so that other things are seen behind and beside each receptacle.
"""

import math
import random
from collections.abc import Mapping

from llarp.scenes.furniture import (
    FREESTANDING,
    FURNITURE,
    KITCHEN_OFFSETS,
    ROBOT_RADIUS,
    STANDALONE,
    Place,
    before,
    clearance,
    furnish,
    kitchen,
    overlap,
    rectangle,
)
from llarp.scenes.layout import Layout, Surface

GAP_M = 0.10
"""Least distance between two pieces."""
TRIES = 60
"""Places tried for one piece before the room is begun anew."""


def generate(name: str, number: int, new: bool) -> Layout:
    """Layout `number` of those for training, or of the new ones; the same on every machine."""
    rng = random.Random(f"{'new' if new else 'train'} layout {number}")
    while True:  # nearly always once; a room in which a piece finds no place is begun anew
        width = rng.uniform(9.5, 12.0) if new else rng.uniform(7.5, 9.5)
        depth = rng.uniform(5.4, 6.4) if new else rng.uniform(7.0, 9.0)
        places = _arrange(rng, depth, width, oblique=0.4 if new else 0.15)
        if places is not None and _free(places):
            break
    turn = rng.choice((math.pi / 2, math.pi, -math.pi / 2)) if new else 0.0
    axes = Surface((0.0, 0.0, 0.0), (0.0, 0.0), turn)
    turned: dict[str, Place] = {
        id: (*axes.to_world(x, y), math.remainder(yaw + turn, math.tau)) for id, (x, y, yaw) in places.items()
    }
    return furnish(name, "gen", turned)


def _arrange(rng: random.Random, depth: float, width: float, oblique: float) -> dict[str, Place] | None:
    """Places in a room [0, depth] x [0, width] with the kitchen along x = 0; None when a piece finds no place."""
    fridge_left = rng.random() < 0.5
    fridge = 2 * FURNITURE["fridge"].body[1] + GAP_M
    low = FURNITURE["left_counter"].body[1] - KITCHEN_OFFSETS["left_counter"] + (fridge if fridge_left else 0.0)
    high = FURNITURE["right_counter"].body[1] + KITCHEN_OFFSETS["right_counter"] + (0.0 if fridge_left else fridge)
    sink: Place = (FURNITURE["fridge"].body[0] + GAP_M, rng.uniform(low + GAP_M, width - high - GAP_M), 0.0)
    places = kitchen(sink, fridge_left)
    for id in STANDALONE:
        for _ in range(TRIES):
            place = _somewhere(rng, id, depth, width, oblique)
            if fits(id, place, places) and _inside(id, place, depth, width):
                places[id] = place
                break
        else:
            return None
    return {id: places[id] for id in FREESTANDING}


def _free(places: Mapping[str, Place]) -> bool:
    """Whether the robot has room at every standing point, those before drawers included."""
    rects = [rectangle(id, place) for id, place in places.items()]
    poses = furnish("", "", places).standing.values()
    return all(clearance(pose.x, pose.y, rect) >= ROBOT_RADIUS for pose in poses for rect in rects)


def _somewhere(rng: random.Random, id: str, depth: float, width: float, oblique: float) -> Place:
    """A random place: a sofa or TV stand mostly with its back to a wall, anything else where it comes to stand."""
    yaw = rng.choice((0.0, math.pi / 2, math.pi, -math.pi / 2))
    back, along = FURNITURE[id].body
    if id in ("sofa", "tv_stand") and rng.random() < 0.7:
        x = (
            back + GAP_M
            if yaw == 0.0
            else depth - back - GAP_M
            if yaw == math.pi
            else rng.uniform(along, depth - along)
        )
        y = (
            back + GAP_M
            if yaw == math.pi / 2
            else width - back - GAP_M
            if yaw == -math.pi / 2
            else rng.uniform(along, width - along)
        )
        return x, y, yaw
    if rng.random() < oblique:
        yaw = math.remainder(yaw + rng.uniform(-math.pi / 4, math.pi / 4), math.tau)
    return rng.uniform(0.5, depth - 0.5), rng.uniform(0.5, width - 0.5), yaw


def _inside(id: str, place: Place, depth: float, width: float) -> bool:
    """Whether a piece and the robot before it are within the room."""
    rect, pose = rectangle(id, place), before(id, place)
    points = [rect.to_world(su * rect.half[0], sv * rect.half[1]) for su in (-1, 1) for sv in (-1, 1)]
    margin = ROBOT_RADIUS
    return all(0 <= x <= depth and 0 <= y <= width for x, y in points) and (
        margin <= pose.x <= depth - margin and margin <= pose.y <= width - margin
    )


def fits(id: str, place: Place, places: Mapping[str, Place]) -> bool:
    """Whether a piece overlaps no other, stands on no other's standing point, and its own is free."""
    rect, pose = rectangle(id, place), before(id, place)
    for other, there in places.items():
        body, stand = rectangle(other, there), before(other, there)
        if (
            overlap(rect, body, GAP_M)
            or clearance(stand.x, stand.y, rect) < ROBOT_RADIUS
            or clearance(pose.x, pose.y, body) < ROBOT_RADIUS
        ):
            return False
    return True
