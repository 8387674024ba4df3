"""Finds layouts by name: those read off recorded episodes, and generated ones made from the number in their name.

`data/layouts.json` holds the 34 of the release, derived by `llarp simulator fit`; the environment variable
LLARP_LAYOUTS names a file of the same form with more, of which one with a known name takes its place. Generated names
are `gen_train_NNNN` and `gen_new_NNNN`; see `llarp.scenes.generated` for how the second differ from the first.
"""

import json
import math
import os
import re
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path

from llarp.errors import UserError
from llarp.scenes.added import with_own
from llarp.scenes.extension import file
from llarp.scenes.furniture import FREESTANDING, ROBOT_RADIUS, Place, Spots, clearance, furnish, rectangle
from llarp.scenes.layout import Layout, Pose, Surface

ROOM_MARGIN_M = 0.25
"""Metres between the outermost furniture or standing point and the walls."""
AHEAD_M = 2.1
"""What is farther than this from the robot's first pose is certainly out of its reach."""
START_GRID = 16
"""Points along each side of the room that are tried for it."""


LAYOUTS_VARIABLE = "LLARP_LAYOUTS"
"""Environment variable that names a JSON file of more layouts."""


@cache
def _data() -> dict[str, Layout]:
    layouts = _parse(files("llarp.scenes").joinpath("data/layouts.json").read_text())
    for more in (file("layouts.json"), os.environ.get(LAYOUTS_VARIABLE)):
        layouts |= _read(Path(more)) if more else {}
    return layouts


def _read(path: Path) -> dict[str, Layout]:
    """The layouts of a file; UserError when it is missing or of another form."""
    try:
        return _parse(path.read_text())
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", path, f"mend or unset {LAYOUTS_VARIABLE}") from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        do = "name a file that `llarp simulator fit` wrote"
        raise UserError(f"holds no layouts: {type(error).__name__} {error}", path, do) from None


def _parse(text: str) -> dict[str, Layout]:
    def place(numbers: list[float]) -> Place:
        x, y, yaw = map(float, numbers)
        return x, y, yaw

    def spots(section: dict[str, list[float]]) -> Spots:
        return {id: (float(x), float(y)) for id, (x, y) in section.items()}

    return {
        name: furnish(
            name,
            family(name),
            with_own(name, {id: place(numbers) for id, numbers in entry["places"].items()}),
            spots(entry.get("stands", {})),
            spots(entry.get("points", {})),
        )
        for name, entry in json.loads(text)["layouts"].items()
    }


def family(name: str) -> str:
    """The family of a recorded layout: `sc3` of `v3_sc3_staging_00`, else the whole name."""
    parts = name.split("_")
    return parts[1] if len(parts) > 2 else name


def released() -> tuple[str, ...]:
    """Names of the layouts read off recorded episodes, sorted."""
    return tuple(sorted(_data()))


@lru_cache(maxsize=4096)
def layout(name: str) -> Layout:
    """The layout with this name; UserError when there is none."""
    if name in _data():
        return _data()[name]
    match = re.fullmatch(r"gen_(train|new)_(\d{4,})", name)
    if match is None:
        raise UserError(
            f"no layout is called {name!r}", do="use a released one (v3_sc0_staging_00), gen_train_0000 or gen_new_0000"
        )
    from llarp.scenes.generated import generate

    return generate(name, int(match[2]), new=match[1] == "new")


def bodies(here: Layout) -> dict[str, Surface]:
    """Footprints of the freestanding pieces as rectangles on the floor."""
    return {id: rectangle(id, (*here.surfaces[id].center[:2], here.surfaces[id].yaw)) for id in FREESTANDING}


def room(here: Layout) -> tuple[float, float, float, float]:
    """(x_min, y_min, x_max, y_max) of the walls: a box around all furniture and standing points, metres."""
    points = [(pose.x, pose.y) for pose in here.standing.values()]
    for rect in bodies(here).values():
        points += [rect.to_world(su * rect.half[0], sv * rect.half[1]) for su in (-1, 1) for sv in (-1, 1)]
    xs, ys = zip(*points, strict=True)
    return min(xs) - ROOM_MARGIN_M, min(ys) - ROOM_MARGIN_M, max(xs) + ROOM_MARGIN_M, max(ys) + ROOM_MARGIN_M


def start(here: Layout) -> Pose:
    """The robot's pose before its first skill: free, near the room's middle, with nothing to act on before it.

    Of the points where the robot has room, and of four headings, it is the one with the farthest receptacle or handle
    ahead (farther than AHEAD_M counts no more), and among those the nearest to the middle.
    """
    x0, y0, x1, y1 = room(here)
    rects = list(bodies(here).values())
    things = [surface.center[:2] for surface in here.surfaces.values()] + [at[:2] for at in here.handles.values()]
    things += here.points.values()
    steps = [(i + 0.5) / START_GRID for i in range(START_GRID)]
    grid = [(x0 + (x1 - x0) * i, y0 + (y1 - y0) * j) for i in steps for j in steps]
    free = [at for at in grid if min(clearance(*at, rect) for rect in rects) >= ROBOT_RADIUS]
    poses = [Pose(*at, quarter * math.pi / 2) for at in free or grid for quarter in range(4)]

    def badness(pose: Pose) -> tuple[float, float]:
        ahead = [pose.distance(x, y) for x, y in things if pose.bearing(x, y) <= math.pi / 2]
        return -min((*ahead, AHEAD_M)), pose.distance((x0 + x1) / 2, (y0 + y1) / 2)

    return min(poses, key=badness)
