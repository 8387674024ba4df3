"""Where the robot stands before each thing, where the chair stands, and where `robot_at` of what carries nothing is
measured, from what was recorded as true after each navigation.

A pose is right when what was recorded near is within 2.0 m and +-90 degrees, and in reach within 1.5 m and +-1 rad, and
the rest is not. Each statement has a margin in metres by which it holds or fails, and costs log(1 + exp(-margin /
TEMPERATURE_M)), capped: a few records of other poses must not tilt the fit. Poses and points are found in turn, each by
the best point of a grid around where it stood before, with a small cost for leaving its usual place.

A kitchen is the same throughout a family: its poses are fitted to the relations within the kitchen of the whole
family, and may then move a little per layout so as to agree about what else is near.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from llarp.scenes.catalog import FRIDGE_HANDLE, HANDLES, NAV_TARGETS, OPEN_RECEPTACLES, RECEPTACLES
from llarp.scenes.furniture import FREESTANDING, FURNITURE, KITCHEN, Place, before, furnish, rectangle
from llarp.scenes.layout import Layout, Surface
from llarp.scenes.layouts import family
from llarp.scenes.reach import HAND_FORWARD_M, REACH_M, REACH_RAD, ROBOT_AT_M
from llarp.tasks.released.visits import Visit

TEMPERATURE_M = 0.08
"""Softness of a threshold."""
CAP = 3.0
"""Most that one record costs."""
UNSEEN = 0.7
"""Weight of "not near" where a thing is never near in the episode: it may have been near from the start on."""
OBJECT = 0.5
"""Weight of a record about an object."""
ROUNDS = 4
"""Times that poses and points are fitted in turn."""
STEP_M = 0.05
"""Spacing of the grids."""
HOME_M = 0.3
"""Distance from its usual place at which something costs its group's pull."""
OTHER_POSES = frozenset({"rephrasing"})
"""Splits recorded from other poses in the kitchen (the sink's reaches the fridge): no guide to the others."""

KITCHEN_THINGS = (*KITCHEN, "fridge", "left_drawer", "right_drawer", *(entry.id for entry in HANDLES))
LOOSE_POINTS = KITCHEN_THINGS[len(KITCHEN) :]
"""What carries nothing in the release, so that where it is measured must be fitted."""
_BY_FAMILY = frozenset({"fridge", FRIDGE_HANDLE})
"""What stands at another end of the kitchen in another family; counters and drawers are the same in all."""
_RECEPTACLES = tuple(entry.id for entry in RECEPTACLES)
_HAND_SLACK_M = 0.05
_OVER = ("brown_table", "left_counter", "right_counter")

Array = np.ndarray
Key = tuple[str, str]
"""(family or layout, navigation target): a kitchen's things belong to its family."""
Counts = dict[Key, dict[Key, list[float]]]
"""Standing before a target -> whether a thing was near: [weight of no, weight of yes]."""
Objects = dict[Key, list[tuple[Array, bool, bool]]]
"""Standing before a target -> [(where an object lies, whether it was near or in reach, whether reach is meant)]."""


def near_margin(offset: Array, facing: Array) -> Array:
    """Metres [...] by which points at `offset` [..., 2] from a robot that looks along `facing` [..., 2] are near."""
    return np.minimum(ROBOT_AT_M - np.hypot(*np.moveaxis(offset, -1, 0)), (offset * facing).sum(-1))


def reach_margin(offset: Array, facing: Array) -> Array:
    """As `near_margin`, of `robot_at_obj`."""
    distance = np.hypot(*np.moveaxis(offset, -1, 0))
    across = facing[..., 0] * offset[..., 1] - facing[..., 1] * offset[..., 0]
    bearing = np.abs(np.arctan2(across, (offset * facing).sum(-1)))
    return np.minimum(REACH_M - distance, (REACH_RAD - bearing) * distance)


def cost(margin: Array, no: float, yes: float) -> Array:
    """Cost [...] of a statement that was recorded false with weight `no` and true with weight `yes`."""
    z = margin / TEMPERATURE_M
    return no * np.minimum(np.logaddexp(0, z), CAP) + yes * np.minimum(np.logaddexp(0, -z), CAP)


def grid(middle: Array, radius: float, step: float = STEP_M) -> Array:
    """float[N, 2] points around a middle."""
    ticks = np.arange(-radius, radius + 1e-9, step)
    return middle + np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)


def unit(vector: Array) -> Array:
    """Vectors [..., 2] of length one."""
    return vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-6)


class Room:
    """One layout while it is being fitted."""

    def __init__(self, name: str, places: Mapping[str, Place]) -> None:
        self.name, self.family = name, family(name)
        self.places = dict(places)
        here = furnish(name, self.family, {"chair": places["sofa"], **places})
        self.surfaces: dict[str, Surface] = dict(here.surfaces)
        self.faced = _middles(here)
        """What a robot at each target looks at."""
        self.points = dict(self.faced)
        """Where `robot_at` is measured."""
        self.stands = {id: np.array((pose.x, pose.y)) for id, pose in here.standing.items()}
        self.usual = dict(self.stands)

    def put_chair(self, place: Place) -> None:
        """Moves the chair, and the robot before it."""
        self.places["chair"] = place
        here = furnish(self.name, self.family, self.places)
        self.surfaces["chair"] = here.surfaces["chair"]
        self.faced["chair"] = self.points["chair"] = _middles(here)["chair"]
        pose = here.standing["chair"]
        self.stands["chair"] = self.usual["chair"] = np.array((pose.x, pose.y))

    def facing(self, target: str) -> Array:
        """Unit vector along which the robot looks."""
        return unit(self.faced[target] - self.stands[target])

    def near(self, target: str) -> frozenset[str]:
        """What `robot_at` holds for."""
        offsets = np.array([self.points[id] - self.stands[target] for id in NAV_TARGETS])
        margins = near_margin(offsets, self.facing(target))
        return frozenset(id for id, margin in zip(NAV_TARGETS, margins, strict=True) if margin >= 0)

    def over(self, target: str) -> frozenset[str]:
        """Receptacles of the hand's height that the hand is above."""
        x, y = self.stands[target] + HAND_FORWARD_M * self.facing(target)

        def is_above(surface: Surface) -> bool:
            u, v = surface.to_local(x, y)
            return abs(u) <= surface.half[0] + _HAND_SLACK_M and abs(v) <= surface.half[1] + _HAND_SLACK_M

        return frozenset(id for id in _OVER if is_above(self.surfaces[id]))

    def layout(self) -> Layout:
        """The fitted layout."""
        return furnish(self.name, self.family, self.places, *self.fitted())

    def fitted(self) -> tuple[dict[str, tuple[float, float]], dict[str, tuple[float, float]]]:
        """(stands, points) as `furnish` takes them."""
        stands = {id: (float(x), float(y)) for id, (x, y) in self.stands.items()}
        points = {id: (float(x), float(y)) for id, (x, y) in self.points.items() if id in LOOSE_POINTS}
        return stands, points


def _middles(here: Layout) -> dict[str, Array]:
    surfaces = {id: np.array(surface.center[:2]) for id, surface in here.surfaces.items()}
    return surfaces | {id: np.array(at[:2]) for id, at in here.handles.items()}


def stood_before(room: Room, visit: Visit) -> str:
    """The target that explains best what was recorded after a navigation: the solver may stand before a neighbour.

    Its search took the first target from which the next skill was possible, so it often puts something on a counter
    while it stands before the sink.
    """

    def surprise(target: str) -> float:
        facing, stand = room.facing(target), room.stands[target]
        near, recorded = room.near(target).intersection(_RECEPTACLES), visit.near.intersection(_RECEPTACLES)
        total: float = len(recorded - near) + 0.5 * len(near - recorded) + 0.5 * (target != visit.target)
        for name, at in visit.lies.items():
            offset = np.array(at) - stand
            total += 0.5 * (bool(near_margin(offset, facing) >= 0) != (name in visit.near_objects))
            if visit.reached is not None:
                total += 0.5 * (bool(reach_margin(offset, facing) >= 0) != (name in visit.reached))
        if visit.holds:
            total += len(room.over(target) ^ visit.over)
        if visit.verb == "place":
            total += 100 * (visit.target not in near)
        if visit.sought is not None:
            total += 100 * bool(reach_margin(np.array(visit.sought) - stand, facing) < 0)
        return total

    return min(dict.fromkeys((visit.target, *OPEN_RECEPTACLES, "chair")), key=surprise)


def fit_poses(places: Mapping[str, Mapping[str, Place]], visits: Sequence[Visit]) -> dict[str, Room]:
    """Standing poses, points and chairs of all layouts whose other pieces stand at `places`."""
    rooms = {name: Room(name, here) for name, here in places.items()}
    families: dict[str, list[Room]] = defaultdict(list)
    for room in rooms.values():
        families[room.family].append(room)
    distinct = {name: members[0] for name, members in families.items()} | rooms
    visits = [visit for visit in visits if visit.layout in rooms]
    for number in range(ROUNDS):
        counts, objects = _statements(rooms, visits)
        for id in LOOSE_POINTS:
            for names in [[name] for name in families] if id in _BY_FAMILY else [list(families)]:
                offset = _best_offset(distinct, counts, names, id)
                for room in itertools.chain.from_iterable(families[name] for name in names):
                    room.points[id] = room.faced[id] + offset
        for room in rooms.values():
            room.put_chair(_best_chair(distinct, counts, room, first=number == 0))
        shared: dict[Key, Array] = {}
        for name, members in families.items():
            for id in KITCHEN_THINGS:
                room = members[0]
                shared[name, id] = _best_stand(room, id, room.usual[id], 0.7, 0.3, distinct, counts, objects, _kitchens)
        for room in rooms.values():
            for id in KITCHEN_THINGS:
                home = shared[room.family, id]
                room.stands[id] = _best_stand(room, id, home, 0.3, 2.0, distinct, counts, {}, _kitchens_or_own)
            for id in room.stands.keys() - KITCHEN_THINGS:
                room.stands[id] = _best_stand(room, id, room.usual[id], 0.7, 0.3, distinct, counts, objects, _all)
    return rooms


def _group(room: Room, id: str) -> str:
    return room.family if id in KITCHEN_THINGS else room.name


def _statements(rooms: Mapping[str, Room], visits: Sequence[Visit]) -> tuple[Counts, Objects]:
    counts: Counts = defaultdict(lambda: defaultdict(lambda: [0.0, 0.0]))
    objects: Objects = defaultdict(list)
    for visit in visits:
        room = rooms[visit.layout]
        target = stood_before(room, visit)
        if visit.split in OTHER_POSES and target in KITCHEN_THINGS:
            continue
        key = _group(room, target), target
        for id in NAV_TARGETS if visit.handles else _RECEPTACLES:
            is_near = id in visit.near
            counts[key][_group(room, id), id][is_near] += 1.0 if id in visit.seen else UNSEEN
        for name, at in visit.lies.items():
            objects[key].append((np.array(at), name in visit.near_objects, False))
            if visit.reached is not None:
                objects[key].append((np.array(at), name in visit.reached, True))
    return counts, objects


def _best_offset(distinct: Mapping[str, Room], counts: Counts, groups: Sequence[str], id: str) -> Array:
    """How far from its middle or handle `robot_at` of a kitchen's thing is measured, for families that share it."""
    tries = grid(np.zeros(2), 0.8)
    total = ((tries / HOME_M) ** 2).sum(-1)
    for group in groups:
        total += _seen_from(distinct, counts, (group, id), distinct[group].faced[id] + tries)
    return tries[np.argmin(total)]


def _seen_from(distinct: Mapping[str, Room], counts: Counts, key: Key, tries: Array) -> Array:
    """Cost [N] of putting a thing at each of `tries`, by the poses from which it was or was not near."""
    total = np.zeros(len(tries))
    for (group, target), things in counts.items():
        if key in things and target != key[1]:
            # Seen from the kitchen, what belongs to one layout is measured from that layout's own poses.
            room = distinct[key[0]] if target in KITCHEN_THINGS else distinct[group]
            total += cost(near_margin(tries - room.stands[target], room.facing(target)), *things[key])
    return total


def _best_chair(distinct: Mapping[str, Room], counts: Counts, room: Room, first: bool) -> Place:
    """A place that overlaps nothing, leaves the robot room at its standing points and agrees with the record."""
    bodies = [rectangle(id, room.places[id]) for id in FREESTANDING if id != "chair"]
    middle = room.faced["chair"]
    if first:
        middle = np.mean([room.points[id] for id in FREESTANDING if id != "chair"], axis=0)
    tries = grid(middle, 4.0, 0.1) if first else grid(middle, 1.0)
    side, radius = max(FURNITURE["chair"].body), 0.5
    inside = np.array([room.points[id] for id in FREESTANDING if id != "chair"])
    outside = np.maximum(inside.min(0) - tries, 0).sum(-1) + np.maximum(tries - inside.max(0), 0).sum(-1)
    total = 10 * outside + 0.02 * (((tries - middle) / HOME_M) ** 2).sum(-1)
    for body in bodies:
        total += 20 * (_clearance(tries, body) < side)
    for id, stand in room.stands.items():
        if id != "chair":
            total += 20 * (np.linalg.norm(tries - stand, axis=-1) < radius)
    total += _seen_from(distinct, counts, (room.name, "chair"), tries)
    x, y = (float(value) for value in tries[np.argmin(total)])

    def room_to_stand(yaw: float) -> float:
        pose = before("chair", (x, y, yaw))
        return min(float(_clearance(np.array([[pose.x, pose.y]]), body)[0]) for body in bodies)

    return x, y, max((0.0, math.pi / 2, math.pi, -math.pi / 2), key=room_to_stand)


def _clearance(points: Array, rect: Surface) -> Array:
    """Metres [N] from points on the floor to a rectangle; 0 inside."""
    cos, sin = math.cos(rect.yaw), math.sin(rect.yaw)
    local = (points - np.array(rect.center[:2])) @ np.array([[cos, -sin], [sin, cos]])
    return np.hypot(*np.maximum(np.abs(local) - np.array(rect.half), 0).T)


Chosen = Callable[[Room, Key], bool]
"""Whether a thing counts for a pose of a room."""


def _kitchens(room: Room, thing: Key) -> bool:
    return thing[1] in KITCHEN_THINGS


def _kitchens_or_own(room: Room, thing: Key) -> bool:
    return thing[1] in KITCHEN_THINGS or thing[0] == room.name


def _all(room: Room, thing: Key) -> bool:
    return True


def _best_stand(
    room: Room, target: str, home: Array, radius: float, pull: float, distinct: Mapping[str, Room], counts: Counts,
    objects: Objects, chosen: Chosen,
) -> Array:  # fmt: skip
    """Where to stand before a target: all of it in reach, agreeing with the record, not far from `home`."""
    tries = grid(home, radius)
    facing = unit(room.faced[target] - tries)
    total = pull * (((tries - home) / HOME_M) ** 2).sum(-1)
    for at in _corners(room, target):
        total += 30.0 * (reach_margin(at - tries, facing) < 0)
    key = _group(room, target), target
    for thing, (no, yes) in counts.get(key, {}).items():
        if chosen(room, thing):
            total += cost(near_margin(distinct[thing[0]].points[thing[1]] - tries, facing), no, yes)
    for at, is_so, is_reach in objects.get(key, ()):
        margin = (reach_margin if is_reach else near_margin)(at - tries, facing)
        total += OBJECT * cost(margin, float(not is_so), float(is_so))
    return tries[np.argmin(total)]


def _corners(room: Room, target: str) -> Iterator[Array]:
    """What must be in reach from before a target: the corners of its surface, or the handle."""
    surface = room.surfaces.get(target)
    if surface is None:
        yield room.faced[target]
    else:
        for u, v in itertools.product((-1, 1), repeat=2):
            yield np.array(surface.to_world(u * surface.half[0], v * surface.half[1]))
