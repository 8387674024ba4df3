"""Derives `llarp/scenes/data/layouts.json` from released episodes.

    python -m llarp.tasks.derive_layouts RELEASED_FILES_OR_FOLDER... --out llarp/scenes/data/layouts.json

What the release says: where objects lie on the seven open receptacles, and after each step of a solver's plan which
receptacles the robot was near. What follows here, scene by scene:

* centre and yaw of each free piece: the rectangle of its known size that holds the objects seen on it, square to the
  axes unless that leaves objects outside;
* the kitchen, once per scene family, from the objects on its three parts; the fridge at the end that is recorded near;
* which side is the front (where the robot stands): the choice of sides whose standing points are free and from which
  what was recorded near is near;
* the chair, on which nothing ever starts: the free place that agrees best with when it was recorded near.

The result is a reconstruction: sizes of bodies, fridge, drawers and chair are ours.
"""

import argparse
import itertools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from llarp.errors import UserError
from llarp.files import file_aside, sha256
from llarp.scenes.catalog import RECEPTACLES
from llarp.scenes.furniture import (
    FREESTANDING,
    FURNITURE,
    KITCHEN,
    KITCHEN_OFFSETS,
    ROBOT_RADIUS,
    Place,
    before,
    clearance,
    furnish,
    kitchen,
    overlap,
    rectangle,
)
from llarp.tasks.release import raw_episodes, release_files

NEAR_M = 2.0
"""Farthest that the release's `robot_at` reaches (with +-90 degrees)."""
OBLIQUE_PENALTY_M = 0.03
"""Objects must stick out by so much before a piece is taken to stand at an angle."""
BLOCKED = 1000.0
"""Penalty of a standing point that is not free."""

_IDS = {entry.release: entry.id for entry in RECEPTACLES}


@dataclass
class Evidence:
    """What the released episodes of one scene say."""

    points: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    """Receptacle -> where objects lie on it."""
    visits: Counter[str] = field(default_factory=Counter)
    """Receptacle -> times an object was picked from it."""
    near: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Receptacle -> others that were near then, with counts."""


def gather(paths: Iterable[Path]) -> dict[str, Evidence]:
    """Evidence by scene name."""
    scenes: dict[str, Evidence] = defaultdict(Evidence)
    for path in paths:
        for _, raw in raw_episodes(path):
            scene = scenes[Path(raw["scene_id"]).name.removesuffix(".scene_instance.json")]
            for name, transform in raw["rigid"]:
                scene.points[_IDS[raw["lies"][name]]].append((float(transform[0, 3]), -float(transform[2, 3])))
            held: set[str] = set()
            for step in raw["subgoals"]:
                holding = {atom[8:-1] for atom in step if atom.startswith("holding(")}
                near = {_IDS[atom[9:-1]] for atom in step if atom.startswith("robot_at(") and atom[9:-1] in _IDS}
                places = [_IDS[raw["lies"][name]] for name in holding - held]
                if "opened_fridge(fridge_push_point)" in step or "closed_fridge(fridge_push_point)" in step:
                    places.append("fridge")
                for place in places:
                    if place in near:
                        scene.visits[place] += 1
                        scene.near[place].update(near)
                held = holding
    return scenes


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
    """Places of the kitchen of one family; its front faces +x in both released families."""
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
    near = pose.distance(x, y) <= NEAR_M and pose.bearing(x, y) <= math.pi / 2
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


def fit_chair(places: Mapping[str, Place], scene: Evidence) -> Place:
    """The free place for the chair that agrees best with when it was near; among equals, the one nearest to others."""
    xs, ys = zip(*((x, y) for x, y, _ in places.values()), strict=True)
    best, least = None, (math.inf, math.inf)
    stands = [
        pose for id, pose in furnish("", "", {**places, "chair": places["sofa"]}).standing.items() if id != "chair"
    ]
    for x, y, quarter in itertools.product(
        np.arange(min(xs), max(xs) + 0.01, 0.25), np.arange(min(ys), max(ys) + 0.01, 0.25), range(4)
    ):
        place = (float(x), float(y), math.remainder(quarter * math.pi / 2, math.tau))
        body, choice = rectangle("chair", place), {**places, "chair": place}
        if any(overlap(body, rectangle(id, places[id])) for id in places) or blocked("chair", choice):
            continue
        if any(clearance(pose.x, pose.y, body) < ROBOT_RADIUS for pose in stands):
            continue
        cost = (
            sum(disagreement(id, "chair", choice, scene) * math.sqrt(scene.visits[id]) for id in places),
            sum(math.hypot(x - at[0], y - at[1]) for at in places.values()),
        )
        if cost < least:
            best, least = place, cost
    assert best is not None, "a furnished room always has room for a chair"
    return best


def derive(paths: Iterable[Path]) -> dict[str, dict[str, Place]]:
    """Places of every freestanding piece in every scene of the released files."""
    scenes = gather(paths)
    families: dict[str, list[Evidence]] = defaultdict(list)
    for name, scene in scenes.items():
        families[name.split("_")[1]].append(scene)
    kitchens = {family: fit_kitchen(members) for family, members in families.items()}
    result = {}
    for name, scene in sorted(scenes.items()):
        places = dict(kitchens[name.split("_")[1]])
        for id in ("sofa", "black_table", "brown_table", "tv_stand"):
            places[id] = fit(scene.points[id], FURNITURE[id].surface)
        places = fit_fronts(places, scene)
        places["chair"] = fit_chair(places, scene)
        result[name] = {id: places[id] for id in FREESTANDING}
    return result


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="derive layouts.json from released episodes")
    parser.add_argument("paths", nargs="+", type=Path, help="released .pickle files or their folder")
    parser.add_argument("--out", required=True, type=Path, help="JSON file to write")
    options = parser.parse_args()
    try:
        paths = release_files(options.paths)
        content = {
            "about": "Facts read off the released episodes by llarp.tasks.derive_layouts: (x, y, yaw of the front), "
            "metres and radians, z up.",
            "sources": {path.name: sha256(path) for path in paths},
            "layouts": {
                name: {id: [round(value, 3) for value in place] for id, place in places.items()}
                for name, places in derive(paths).items()
            },
        }
        with file_aside(options.out) as path:
            path.write_text(_dump(content))
    except UserError as error:
        raise SystemExit(f"error: {error}") from None


def _dump(content: dict) -> str:
    """JSON with one line per scene."""
    lines = [f"    {json.dumps(name)}: {json.dumps(places)}" for name, places in content["layouts"].items()]
    head = json.dumps({key: content[key] for key in ("about", "sources")}, indent=2)[:-2]
    return head + ',\n  "layouts": {\n' + ",\n".join(lines) + "\n  }\n}\n"


if __name__ == "__main__":
    main()
