"""Where furniture stands relative to other furniture, worked out from a layout: what may be said of it there.

A relation is used only when it is plainly true and singles out one place among all of its kind: margins keep away from
cases that people could see differently. Left and right are those of someone who faces the landmark.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from llarp.scenes.furniture import clearance
from llarp.scenes.layout import Layout, Surface
from llarp.scenes.layouts import bodies

NEXT_TO_M = 0.5
"""Largest gap between two bodies that stand next to each other."""
MARGIN_M = 0.5
"""How much farther away every other of the kind must be for one to be the nearest, next to, or the farthest."""
BESIDE_M = 1.5
"""Largest gap to what stands to the left or right of a landmark, or in front of it."""
OPPOSITE_M = 6.0
"""Largest gap between two pieces that face each other."""
OPPOSITE_RAD = math.radians(20)
"""Largest angle between a front and the direction to the piece that it faces."""
BETWEEN_M = 5.0
"""Largest distance between two landmarks that something is between."""

HAVE_FRONT: frozenset[str] = frozenset({"sofa", "tv_stand", "chair", "fridge", "left_counter", "sink", "right_counter"})
"""Pieces with a front that one can face; a table looks the same from all sides."""


@dataclass(frozen=True)
class Position:
    """What singles out one place among those of its kind in one layout."""

    relation: str
    """A key of RELATIONS."""
    target: str
    """The receptacle meant."""
    landmarks: tuple[str, ...]
    """One receptacle; two for `between`."""


def positions(here: Layout, kind: Sequence[str]) -> Iterator[Position]:
    """Every relation that is true of exactly one receptacle of a kind, and plainly so.

    Args:
        here: the layout.
        kind: the receptacles that share a word; a superlative needs two of them.

    """
    rects = bodies(here)
    for landmark in rects:
        among = [id for id in kind if id != landmark]
        if not among:
            continue
        gaps = {id: gap(rects[id], rects[landmark]) for id in among}
        if len(among) > 1:
            yield from _superlative("nearest", gaps, landmark)
            yield from _superlative("farthest", {id: -metres for id, metres in gaps.items()}, landmark)
        near = [id for id in among if gaps[id] <= NEXT_TO_M]
        if len(near) == 1 and sum(metres <= NEXT_TO_M + MARGIN_M for metres in gaps.values()) == 1:
            yield Position("next_to", near[0], (landmark,))
        if landmark in HAVE_FRONT:
            for relation, is_true in FACING.items():
                found = [id for id in among if is_true(rects[landmark], rects[id], 1.0)]
                loosely = [id for id in among if is_true(rects[landmark], rects[id], 2.0)]
                if found == loosely and len(found) == 1 and (relation != "opposite" or found[0] in HAVE_FRONT):
                    yield Position(relation, found[0], (landmark,))
    for one, other in combinations(rects, 2):
        among = [id for id in kind if id not in (one, other)]
        loosely = [id for id in among if _is_between(rects[id], rects[one], rects[other], 2.0)]
        if len(loosely) == 1 and _is_between(rects[loosely[0]], rects[one], rects[other], 1.0):
            yield Position("between", loosely[0], (one, other))


def gap(one: Surface, other: Surface) -> float:
    """Metres between two rectangles on the floor that do not overlap: from a corner of one to the other."""
    return min(
        clearance(*corner, rect)
        for rect, corners in ((one, _corners(other)), (other, _corners(one)))
        for corner in corners
    )


def _corners(rect: Surface) -> list[tuple[float, float]]:
    return [rect.to_world(u * rect.half[0], v * rect.half[1]) for u in (-1, 1) for v in (-1, 1)]


def _superlative(relation: str, metres: Mapping[str, float], landmark: str) -> Iterator[Position]:
    first, second, *_ = sorted(metres, key=lambda id: metres[id])
    if metres[second] - metres[first] >= MARGIN_M:
        yield Position(relation, first, (landmark,))


def _is_left_of(landmark: Surface, rect: Surface, slack: float) -> bool:
    return _is_beside(landmark, rect, slack, side=-1)


def _is_right_of(landmark: Surface, rect: Surface, slack: float) -> bool:
    return _is_beside(landmark, rect, slack, side=1)


def _is_beside(landmark: Surface, rect: Surface, slack: float, side: int) -> bool:
    """Whether all of a piece is past one side of the landmark and level with it; with slack, whether its middle is."""
    u, v = landmark.to_local(*rect.center[:2])
    if gap(landmark, rect) > slack * BESIDE_M:
        return False
    if slack > 1:
        return side * v > 0.5 * landmark.half[1]
    past = min(side * landmark.to_local(*corner)[1] for corner in _corners(rect)) >= landmark.half[1] - 1e-6
    return past and abs(u) <= landmark.half[0] + 0.3


def _is_in_front_of(landmark: Surface, rect: Surface, slack: float) -> bool:
    """Whether a piece's middle is straight before the landmark's front; with slack, anywhere on that side."""
    if gap(landmark, rect) > slack * BESIDE_M:
        return False
    if slack > 1:
        return _off_front(landmark, rect) <= math.radians(70)
    _, v = landmark.to_local(*rect.center[:2])
    before = min(landmark.to_local(*corner)[0] for corner in _corners(rect)) >= landmark.half[0]
    return before and abs(v) <= landmark.half[1]


def _is_opposite(landmark: Surface, rect: Surface, slack: float) -> bool:
    """Whether two pieces face each other."""
    return (
        _off_front(landmark, rect) <= slack * OPPOSITE_RAD
        and _off_front(rect, landmark) <= slack * OPPOSITE_RAD
        and gap(landmark, rect) <= OPPOSITE_M
    )


def _off_front(here: Surface, there: Surface) -> float:
    """Radians between where a piece's front points and where another's middle is."""
    u, v = here.to_local(*there.center[:2])
    return abs(math.atan2(v, u))


def _is_between(rect: Surface, one: Surface, other: Surface, slack: float) -> bool:
    """Whether a piece's middle is near the line from one landmark to the other, and not near its ends."""
    (x0, y0, _), (x1, y1, _), (x, y, _) = one.center, other.center, rect.center
    length = math.hypot(x1 - x0, y1 - y0)
    along = ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length**2
    off = abs((x - x0) * (y1 - y0) - (y - y0) * (x1 - x0)) / length
    return length <= BETWEEN_M and abs(along - 0.5) <= 0.15 + 0.15 * slack and off <= slack * 0.4


FACING: Mapping[str, Callable[[Surface, Surface, float], bool]] = {
    "left_of": _is_left_of,
    "right_of": _is_right_of,
    "in_front_of": _is_in_front_of,
    "opposite": _is_opposite,
}
"""Relations to a landmark that has a front: (landmark, piece, slack) to whether it holds.

A slack of 1 asks for what is plainly so, a slack of 2 for what somebody might say."""

RELATIONS: tuple[str, ...] = ("nearest", "farthest", "next_to", *FACING, "between")
"""Every relation by its name."""
