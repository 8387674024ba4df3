"""The furniture of every apartment: sizes, and how the kitchen and the standing points follow from where it stands.

A piece has a front. Its surface's first axis (u, the direction `Surface.yaw`) points to the front, its second (v) along
the front; the robot stands before the front and looks along -u. Surface sizes and heights are facts of the release,
read off where objects lie in it; bodies are ours.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from llarp.scenes.catalog import FRIDGE_HANDLE, HANDLES, RECEPTACLES
from llarp.scenes.extension import extension
from llarp.scenes.layout import Layout, Pose, Surface


@dataclass(frozen=True)
class Furniture:
    """Sizes of one receptacle and of the body that carries it, in metres."""

    surface: tuple[float, float]
    """Half extents (u, v) of the rectangle on which objects lie."""
    rest: float
    """Height at which they rest."""
    body: tuple[float, float]
    """Half extents (u, v) of the body's footprint, around the same centre."""
    height: float
    """Height of the whole body: a sofa's back and a fridge rise above their surface."""
    stand: float
    """Distance from the surface's front edge to the standing point."""


FURNITURE: Mapping[str, Furniture] = {
    "sofa": Furniture((0.265, 0.75), 0.41, (0.42, 0.95), 0.80, 0.55),
    "black_table": Furniture((0.425, 0.695), 0.77, (0.45, 0.75), 0.77, 0.46),
    "brown_table": Furniture((0.395, 0.635), 0.94, (0.42, 0.68), 0.94, 0.50),
    "tv_stand": Furniture((0.25, 0.755), 0.63, (0.27, 0.80), 0.63, 0.55),
    "left_counter": Furniture((0.31, 0.475), 0.87, (0.33, 0.52), 0.87, 0.55),
    "right_counter": Furniture((0.30, 0.75), 0.87, (0.33, 0.80), 0.87, 0.55),
    "sink": Furniture((0.125, 0.185), 0.70, (0.33, 0.24), 0.87, 0.70),
    "chair": Furniture((0.20, 0.20), 0.46, (0.25, 0.25), 0.90, 0.55),
    "fridge": Furniture((0.22, 0.25), 1.00, (0.35, 0.38), 1.80, 0.75),
    "left_drawer": Furniture((0.15, 0.20), 0.62, (0.18, 0.24), 0.70, 0.40),
    "right_drawer": Furniture((0.15, 0.20), 0.62, (0.18, 0.24), 0.70, 0.40),
    **{
        own.id: Furniture(own.surface_m, own.rest_m, own.body_m, own.rest_m, own.stand_m)
        for own in extension().receptacle
    },
}
"""One per receptacle. A drawer's surface is where it is when pulled out, in front of its counter."""

STANDALONE: tuple[str, ...] = (
    "sofa",
    "black_table",
    "brown_table",
    "tv_stand",
    "chair",
    *(own.id for own in extension().receptacle),
)
"""Pieces that may stand anywhere."""
KITCHEN: tuple[str, ...] = ("left_counter", "sink", "right_counter")
"""The kitchen block, from its user's left to right; all three face one way."""
FREESTANDING: tuple[str, ...] = (*STANDALONE, *KITCHEN, "fridge")
"""Pieces whose place makes a layout; drawers and handles follow from it."""

KITCHEN_OFFSETS: Mapping[str, float] = {"left_counter": -0.76, "sink": 0.0, "right_counter": 1.04}
"""Metres along v from the sink to each part of the block, the same in every released layout."""
FRIDGE_GAP = 0.05
"""Metres between the block's end and the fridge."""
HANDLE_FORWARD = 0.05
"""Metres from a body's front to its handle."""
HANDLE_STAND = 0.65
"""Metres from a drawer's handle to the standing point before it, which leaves room to pull the drawer out."""

_DRAWERS: Mapping[str, tuple[str, float, float]] = {
    "left_drawer_handle": ("left_counter", 0.0, 0.75),
    "middle_drawer_handle": ("right_counter", -0.45, 0.75),
    "right_drawer_handle": ("right_counter", 0.25, 0.75),
    "bottom_drawer_handle": ("right_counter", 0.25, 0.30),
}
"""Drawer handle -> (counter that carries it, metres along v from the counter's centre, height in metres)."""

ROBOT_RADIUS = 0.30
"""Metres that must be free around a standing point."""

Place = tuple[float, float, float]
"""(x, y, yaw of the front)."""


def rectangle(id: str, place: Place) -> Surface:
    """The footprint of a piece's body at a place, as a rectangle on the floor."""
    x, y, yaw = place
    return Surface((x, y, 0.0), FURNITURE[id].body, yaw)


def beside_kitchen(sink: Place, left: bool) -> Place:
    """Where the fridge stands: at the block's left or right end, its front flush with the counters'."""
    x, y, yaw = sink
    end = "left_counter" if left else "right_counter"
    sign = -1.0 if left else 1.0
    along = KITCHEN_OFFSETS[end] + sign * (FURNITURE[end].body[1] + FRIDGE_GAP + FURNITURE["fridge"].body[1])
    back = FURNITURE[end].body[0] - FURNITURE["fridge"].body[0]
    return (*Surface((x, y, 0.0), (0.0, 0.0), yaw).to_world(back, along), yaw)


def kitchen(sink: Place, fridge_left: bool) -> dict[str, Place]:
    """Places of the kitchen's pieces from where the sink is."""
    x, y, yaw = sink
    axes = Surface((x, y, 0.0), (0.0, 0.0), yaw)
    places: dict[str, Place] = {id: (*axes.to_world(0.0, along), yaw) for id, along in KITCHEN_OFFSETS.items()}
    return {**places, "fridge": beside_kitchen(sink, fridge_left)}


def before(id: str, place: Place) -> Pose:
    """The standing pose before a piece, facing its middle."""
    x, y, yaw = place
    piece = FURNITURE[id]
    axes = Surface((x, y, 0.0), piece.surface, yaw)
    return Pose(*axes.to_world(piece.surface[0] + piece.stand, 0.0), math.remainder(yaw + math.pi, math.tau))


def facing(x: float, y: float, at: tuple[float, float]) -> Pose:
    """The pose at a point on the floor of a robot that looks at another."""
    return Pose(x, y, math.atan2(at[1] - y, at[0] - x))


Spots = Mapping[str, tuple[float, float]]
"""Receptacle or handle -> metres along the floor."""


def furnish(
    name: str, family: str, places: Mapping[str, Place], stands: Spots = MappingProxyType({}),
    points: Spots = MappingProxyType({}),
) -> Layout:  # fmt: skip
    """A whole layout from the places of its freestanding pieces; KeyError when one is missing.

    Args:
        name: of the layout.
        family: of the layout.
        places: of every piece of FREESTANDING.
        stands: where the robot stands, for the navigation targets before which it does not stand as usual.
        points: where `robot_at` is measured, for what it is not measured at the middle of the surface or the handle.

    """
    surfaces: dict[str, Surface] = {}
    standing: dict[str, Pose] = {}
    handles: dict[str, tuple[float, float, float]] = {}

    def put(id: str, place: Place) -> None:
        surfaces[id] = Surface((place[0], place[1], FURNITURE[id].rest), FURNITURE[id].surface, place[2])
        standing[id] = before(id, place)

    for id in FREESTANDING:
        put(id, places[id])
    front = rectangle("fridge", places["fridge"])
    handles[FRIDGE_HANDLE] = (*front.to_world(front.half[0] + HANDLE_FORWARD, -0.8 * front.half[1]), 1.0)
    standing[FRIDGE_HANDLE] = standing["fridge"]
    for entry in HANDLES:
        if entry.id == FRIDGE_HANDLE:
            continue
        counter, along, height = _DRAWERS[entry.id]
        yaw = places[counter][2]
        front = rectangle(counter, places[counter])
        handles[entry.id] = (*front.to_world(front.half[0] + HANDLE_FORWARD, along), height)
        standing[entry.id] = Pose(
            *front.to_world(front.half[0] + HANDLE_FORWARD + HANDLE_STAND, along),
            math.remainder(yaw + math.pi, math.tau),
        )
        if entry.receptacle is not None:
            put(entry.receptacle, (*front.to_world(front.half[0] + FURNITURE[entry.receptacle].body[0], along), yaw))
    order = [entry.id for entry in RECEPTACLES]
    middles = {id: surface.center[:2] for id, surface in surfaces.items()} | {id: at[:2] for id, at in handles.items()}
    standing |= {id: facing(x, y, middles[id]) for id, (x, y) in stands.items()}
    targets = (*order, *(entry.id for entry in HANDLES))
    return Layout(
        name,
        family,
        {id: surfaces[id] for id in order},
        {entry.id: handles[entry.id] for entry in HANDLES},
        {id: standing[id] for id in targets},
        {id: points.get(id, middles[id]) for id in targets},
    )


def overlap(first: Surface, second: Surface, gap: float = 0.0) -> bool:
    """Whether two rectangles on the floor come closer than `gap` metres (separating axes, conservative at corners)."""
    dx, dy = second.center[0] - first.center[0], second.center[1] - first.center[1]
    for yaw in (first.yaw, second.yaw):
        for angle in (yaw, yaw + math.pi / 2):
            reach = sum(
                rect.half[0] * abs(math.cos(angle - rect.yaw)) + rect.half[1] * abs(math.sin(angle - rect.yaw))
                for rect in (first, second)
            )
            if abs(dx * math.cos(angle) + dy * math.sin(angle)) >= reach + gap:
                return False
    return True


def clearance(x: float, y: float, rect: Surface) -> float:
    """Metres from a point on the floor to a rectangle; 0 inside."""
    u, v = rect.to_local(x, y)
    return math.hypot(max(abs(u) - rect.half[0], 0.0), max(abs(v) - rect.half[1], 0.0))
