"""Where the furniture of recorded scenes stands, from where objects lie on it and which sides the robot stood at.

* centre and yaw of each free piece: the rectangle of its known size that holds the objects seen on it, square to the
  axes unless that leaves objects outside;
* the kitchen, once per scene family, from the objects on its three parts; the fridge at the end that is recorded near;
* which side is the front (where the robot stands): the choice of sides whose standing points are free and from which
  what was recorded near is near.
"""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from llarp.errors import UserError
from llarp.scenes.catalog import FRIDGE_HANDLE
from llarp.scenes.furniture import (
    FURNITURE,
    KITCHEN,
    KITCHEN_OFFSETS,
    ROBOT_RADIUS,
    Place,
    before,
    clearance,
    kitchen,
    rectangle,
)
from llarp.scenes.reach import ROBOT_AT_M, ROBOT_AT_RAD, within
from llarp.tasks.episode import Episode
from llarp.tasks.released.visits import Visit

FREE = ("sofa", "black_table", "brown_table", "tv_stand")
"""Pieces whose place differs between the layouts of a family and on which objects lie."""
OBLIQUE_PENALTY_M = 0.03
"""Objects must stick out by so much before a piece is taken to stand at an angle."""
BLOCKED = 1000.0
"""Penalty of a standing point that is not free."""


@dataclass
class Evidence:
    """What the recorded episodes of one scene say of its furniture."""

    points: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    """Receptacle -> where objects lie on it."""
    visits: Counter[str] = field(default_factory=Counter)
    """Receptacle -> times the robot stood before it to act on it."""
    near: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Receptacle -> others that were near then, with counts."""


def gather(episodes: Iterable[Episode], seen: Iterable[Visit]) -> dict[str, Evidence]:
    """Evidence by scene name."""
    scenes: dict[str, Evidence] = defaultdict(Evidence)
    for episode in episodes:
        for entry in episode.objects:
            scenes[episode.layout].points[entry.receptacle].append(entry.position[:2])
    for visit in seen:
        place = "fridge" if visit.target == FRIDGE_HANDLE else visit.target
        if visit.verb and place in visit.near:
            scenes[visit.layout].visits[place] += 1
            scenes[visit.layout].near[place].update(visit.near)
    return scenes


def fit_places(scenes: Mapping[str, Evidence], families: Mapping[str, str]) -> dict[str, dict[str, Place]]:
    """Places of all freestanding pieces but the chair, in every scene.

    Raises:
        UserError: on a piece of some scene nothing lies in any episode.

    """
    groups: dict[str, list[Evidence]] = defaultdict(list)
    for name, scene in scenes.items():
        groups[families[name]].append(scene)
        missing = [id for id in FREE if not scene.points[id]]
        missing += [id for id in KITCHEN if not any(other.points[id] for other in groups[families[name]])]
        if missing:
            do = "name more episodes of the scene"
            raise UserError(f"nothing lies on {', '.join(missing)} in any episode", f"scene {name}", do)
    kitchens = {group: fit_kitchen(members) for group, members in groups.items()}
    return {
        name: fit_fronts(
            kitchens[families[name]] | {id: fit(scene.points[id], FURNITURE[id].surface) for id in FREE}, scene
        )
        for name, scene in scenes.items()
    }


def fit(points: Iterable[tuple[float, float]], half: tuple[float, float]) -> Place:
    """Centre and yaw (in [0, pi)) of the rectangle of this size that best holds the points."""
    xy = np.array(list(points))

    def extent(degrees: int) -> tuple[float, float, Place]:
        yaw = math.radians(degrees)
        axes = np.array([[math.cos(yaw), math.sin(yaw)], [-math.sin(yaw), math.cos(yaw)]])
        uv = xy @ axes.T
        low, high = uv.min(0), uv.max(0)
        outside = float(np.maximum(high - low - 2 * np.array(half), 0).sum())
        x, y = axes.T @ ((low + high) / 2)
        penalty = outside + (OBLIQUE_PENALTY_M if degrees % 90 else 0.0)
        return penalty, float(np.prod(high - low)), (float(x), float(y), yaw)

    return min(extent(degrees) for degrees in range(180))[2]


def fit_kitchen(scenes: Iterable[Evidence]) -> dict[str, Place]:
    """Places of the kitchen of one family; its front faces +x in all released families."""
    scenes = list(scenes)
    sinks = []
    for id in KITCHEN:
        xy = np.array([point for scene in scenes for point in scene.points[id]])
        middle = (xy.min(0) + xy.max(0)) / 2
        sinks.append((middle[0], middle[1] - KITCHEN_OFFSETS[id]))
    x, y = (float(value) for value in np.mean(sinks, axis=0))
    beside: Counter[str] = sum((scene.near["fridge"] for scene in scenes), Counter())
    return kitchen((x, y, 0.0), fridge_left=beside["left_counter"] > beside["right_counter"])


def disagreement(id: str, other: str, places: Mapping[str, Place], scene: Evidence) -> float:
    """Share of visits to `id` in which `other` was recorded near but is not by these places, or the reverse."""
    pose, (x, y, _) = before(id, places[id]), places[other]
    near = within(pose, x, y, ROBOT_AT_M, ROBOT_AT_RAD)
    share = scene.near[id][other] / scene.visits[id] if scene.visits[id] else 0.5
    return 1 - share if near else share


def blocked(id: str, places: Mapping[str, Place]) -> bool:
    """Whether other furniture stands where the robot would stand before this piece."""
    pose = before(id, places[id])
    return any(
        clearance(pose.x, pose.y, rectangle(other, places[other])) < ROBOT_RADIUS for other in places if other != id
    )


def fit_fronts(places: dict[str, Place], scene: Evidence) -> dict[str, Place]:
    """The same places, each free piece turned to the side where the robot stood."""
    free = [id for id in places if id not in (*KITCHEN, "fridge")]

    def turned(sides: tuple[bool, ...]) -> dict[str, Place]:
        flips = {
            id: (x, y, math.remainder(yaw + math.pi * side, math.tau))
            for side, (id, (x, y, yaw)) in zip(sides, ((id, places[id]) for id in free), strict=True)
        }
        return {**places, **flips}

    def cost(choice: dict[str, Place]) -> float:
        total = BLOCKED * sum(blocked(id, choice) for id in choice)
        return total + sum(
            disagreement(id, other, choice, scene)
            for id in free
            for other in choice
            if other != id and scene.visits[id]
        )

    return min((turned(sides) for sides in itertools.product((False, True), repeat=len(free))), key=cost)
