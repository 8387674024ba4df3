"""Where a lab's own furniture stands in layouts that do not know it."""

import itertools
import math
from collections.abc import Iterator, Mapping

from llarp.errors import UserError
from llarp.scenes.extension import extension
from llarp.scenes.furniture import (
    FREESTANDING,
    FURNITURE,
    ROBOT_RADIUS,
    Place,
    before,
    clearance,
    furnish,
    overlap,
    rectangle,
)

GAP_M = 0.05
"""Least distance between two pieces."""
GRID_M = 0.25
"""Spacing of the places tried."""
BEYOND_M = 2.0
"""How far outside of what stands there already a piece may come to stand."""


def with_own(name: str, places: Mapping[str, Place]) -> dict[str, Place]:
    """The places of a layout, and of each own piece that it lacks: free, and as near to the rest as can be.

    Raises:
        UserError: a piece finds no room.

    """
    result = dict(places)
    for own in extension().receptacle:
        if own.id not in result:
            found = next((place for place in _candidates(result) if _is_free(own.id, place, result)), None)
            if found is None:
                raise UserError(f"has no room for {own.words!r}", f"layout {name}", "make its body smaller")
            result[own.id] = found
    return result


def _candidates(places: Mapping[str, Place]) -> Iterator[Place]:
    """Places on a grid, the nearest to the middle of what stands there first, with four fronts each."""
    xs, ys = ([place[axis] for place in places.values()] for axis in (0, 1))
    middle = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    columns, rows = (int((max(line) - min(line) + 2 * BEYOND_M) / GRID_M) + 1 for line in (xs, ys))
    grid = [
        (min(xs) - BEYOND_M + i * GRID_M, min(ys) - BEYOND_M + j * GRID_M)
        for i, j in itertools.product(range(columns), range(rows))
    ]
    for x, y in sorted(grid, key=lambda at: (round(math.dist(at, middle), 6), at)):
        for quarter in (0, 1, 2, -1):
            yield x, y, quarter * math.pi / 2


def _is_free(id: str, place: Place, places: Mapping[str, Place]) -> bool:
    """Whether a piece overlaps no other and every standing point, its own included, stays free."""
    body = rectangle(id, place)
    others = [rectangle(other, there) for other, there in places.items()]
    if any(overlap(body, other, GAP_M) for other in others):
        return False
    mine = before(id, place)
    if any(clearance(mine.x, mine.y, other) < ROBOT_RADIUS for other in others):
        return False
    stands = furnish("", "", {**dict.fromkeys(FREESTANDING, place), **places}).standing
    poses = [pose for target, pose in stands.items() if target in places or target not in FURNITURE]
    return all(clearance(pose.x, pose.y, body) >= ROBOT_RADIUS for pose in poses)
