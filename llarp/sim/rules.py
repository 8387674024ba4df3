"""The rules of Language Rearrangement without any drawing: what each skill needs and does, and which predicates hold.

Thresholds are those of `llarp.scenes.reach`. As in the release, pick takes the first instance in reach in the episode's
order, and a held object counts as on top of a receptacle that the hand is just above, so `on_top(X, left_counter)`
holds already before X is put down there. It is stepped millions of times: what depends on the layout alone is worked
out once per layout.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

from llarp.errors import UserError
from llarp.scenes.catalog import HANDLES, RECEPTACLES
from llarp.scenes.layout import Layout, Pose, Surface
from llarp.scenes.layouts import layout, start
from llarp.scenes.reach import HAND_FORWARD_M, REACH_M, REACH_RAD, ROBOT_AT_M, ROBOT_AT_RAD, within
from llarp.tasks.episode import Episode, ObjectInstance, by_category
from llarp.tasks.goals import Predicate
from llarp.tasks.own_skills import own_skills
from llarp.tasks.skills import Skill
from llarp.tasks.world import World

HAND_HEIGHT_M = 0.9
"""Height of a held object."""
HAND_ABOVE_M = 0.05
"""Difference in height up to which a held object counts as on top of the surface it is over."""
SPOT_GRID_M = 0.10
"""Spacing of the spots where an object can be put down."""
ROOMY_M = 0.25
"""Metres between neighbours beyond which a spot is no better for being freer."""

_BEHIND = {entry.id: entry.receptacle for entry in HANDLES}
_CLOSED_BY = {entry.id: entry.handle for entry in RECEPTACLES if entry.handle is not None}


@dataclass(frozen=True)
class Geometry:
    """What follows from a layout alone."""

    layout: Layout
    start: Pose
    near: dict[str | None, frozenset[str]]
    """Navigation target (None: the start pose) -> receptacles and handles that `robot_at` holds for there."""
    under_hand: dict[str | None, frozenset[str]]
    """Navigation target (None: the start pose) -> receptacles that a held object counts as on top of there."""
    spots: dict[str, tuple[tuple[float, float], ...]]
    """Receptacle -> where an object can be put: a grid on the surface, within reach of its standing point."""


@lru_cache(maxsize=4096)
def geometry(name: str) -> Geometry:
    """The geometry of a layout; UserError when the layout is unknown."""
    here = layout(name)
    return measure(here, start(here))


def measure(here: Layout, first: Pose) -> Geometry:
    """What follows from a layout and the robot's first pose in it."""
    poses: dict[str | None, Pose] = {None: first} | dict(here.standing.items())
    near = {
        target: frozenset(id for id, at in here.points.items() if within(pose, *at, ROBOT_AT_M, ROBOT_AT_RAD))
        for target, pose in poses.items()
    }
    under_hand = {target: _under_hand(here, pose) for target, pose in poses.items()}
    return Geometry(here, first, near, under_hand, {id: _spots(here, id) for id in here.surfaces})


def hand(pose: Pose) -> tuple[float, float]:
    """The floor coordinates of what the robot holds."""
    return pose.x + HAND_FORWARD_M * math.cos(pose.heading), pose.y + HAND_FORWARD_M * math.sin(pose.heading)


def _under_hand(here: Layout, pose: Pose) -> frozenset[str]:
    def is_under(surface: Surface) -> bool:
        u, v = surface.to_local(*hand(pose))
        level = abs(surface.center[2] - HAND_HEIGHT_M) <= HAND_ABOVE_M
        return level and abs(u) <= surface.half[0] and abs(v) <= surface.half[1]

    return frozenset(id for id, surface in here.surfaces.items() if is_under(surface))


def _spots(here: Layout, receptacle: str) -> tuple[tuple[float, float], ...]:
    surface, pose = here.surfaces[receptacle], here.standing[receptacle]
    count_u, count_v = (max(1, int(2 * half / SPOT_GRID_M)) for half in surface.half)
    grid = (
        surface.to_world(
            surface.half[0] * ((2 * i + 1) / count_u - 1.0),
            surface.half[1] * ((2 * j + 1) / count_v - 1.0),
        )
        for i in range(count_u)
        for j in range(count_v)
    )
    return tuple(spot for spot in grid if within(pose, *spot, REACH_M, REACH_RAD))


class RuleWorld(World):
    """Where every skill happens at once, or is invalid and changes nothing."""

    layout: Layout
    pose: Pose
    """Where the robot stands now."""
    at: str | None
    """The navigation target it stands before; None at the start, when it stands before nothing."""
    held: str | None
    """Name of the held object."""
    opened: set[str]
    """Handles whose drawer or fridge is open."""
    where: dict[str, str]
    """Object name -> the receptacle it lies on or in, or "hand"."""
    positions: dict[str, tuple[float, float, float]]
    """Object name -> metres, z up; a held object's is a point before the robot."""
    objects: dict[str, ObjectInstance]
    """Object name -> what the episode says of it."""

    def reset(self, episode: Episode) -> None:
        """Puts everything where the episode says; UserError when its layout or its start is unknown."""
        self.geometry = geometry(episode.layout)
        self.layout = self.geometry.layout
        self.episode = episode
        self.pose, self.at, self.held = self.geometry.start, None, None
        self.objects = {entry.name: entry for entry in episode.objects}
        self.where = {entry.name: entry.receptacle for entry in episode.objects}
        self.positions = {entry.name: entry.position for entry in episode.objects}
        self._instances = by_category(episode.objects)
        self.opened = opened_at_start(episode)

    def instances(self, category: str) -> tuple[str, ...]:
        """Names of the episode's objects of a category, in the episode's order."""
        return self._instances.get(category, ())

    def near(self, entity: str) -> bool:
        """`robot_at`: a receptacle, handle or object within 2.0 m and +-90 degrees."""
        position = self.positions.get(entity)
        if position is None:
            return entity in self.geometry.near[self.at]
        return within(self.pose, position[0], position[1], ROBOT_AT_M, ROBOT_AT_RAD)

    def reaches(self, name: str) -> bool:
        """`robot_at_obj`: an object within 1.5 m and +-1 rad."""
        x, y, _ = self.positions[name]
        return within(self.pose, x, y, REACH_M, REACH_RAD)

    def enclosed(self, name: str) -> bool:
        """Whether an object is in a closed drawer or the closed fridge, out of sight and reach."""
        handle = _CLOSED_BY.get(self.where[name])
        return handle is not None and handle not in self.opened

    def pickable(self, category: str) -> str | None:
        """The object that pick(category) would take: the first in reach in the episode's order, None when none is."""
        for name in self._instances.get(category, ()):
            if self.reaches(name) and not self.enclosed(name):
                return name
        return None

    def is_valid(self, skill: Skill) -> bool:
        """Whether the skill's precondition holds now."""
        verb, target = skill.verb, skill.target
        if verb == "nav":
            return True
        if verb == "pick":
            return self.held is None and self.pickable(target or "") is not None
        if verb == "place":
            handle = _CLOSED_BY.get(target or "")
            return (
                self.held is not None
                and target in self.geometry.near[self.at]
                and (handle is None or handle in self.opened)
            )
        if verb in own_skills():
            return own_skills()[verb].is_valid(self, str(target))
        handle = skill.subject
        return handle in self.geometry.near[self.at] and (handle in self.opened) == verb.startswith("close")

    def stands(self, skill: Skill) -> frozenset[str]:
        """Navigation targets from which a skill that is valid now would do the same."""
        if skill.verb == "nav":
            return frozenset(self.layout.standing)
        if skill.verb == "pick":
            instances = self._instances[str(skill.target)]
            first = instances[: instances.index(str(self.pickable(str(skill.target)))) + 1]
            *others, wanted = [self.positions[name][:2] for name in first if not self.enclosed(name)]
            return frozenset(
                target
                for target, pose in self.layout.standing.items()
                if within(pose, *wanted, REACH_M, REACH_RAD)
                and not any(within(pose, *other, REACH_M, REACH_RAD) for other in others)
            )
        if skill.verb in own_skills():
            return frozenset()
        near = self.geometry.near
        return frozenset(target for target in self.layout.standing if skill.subject in near[target])

    def apply(self, skill: Skill) -> bool:
        """Carries the skill out if it is valid; returns whether it was."""
        if not self.is_valid(skill):
            return False
        verb, target = skill.verb, skill.target
        if verb == "nav":
            assert target is not None
            self.at, self.pose = target, self.layout.standing[target]
            self._carry()
        elif verb == "pick":
            name = self.pickable(target or "")
            assert name is not None
            self.held, self.where[name] = name, "hand"
            self._carry()
        elif verb == "place":
            assert target is not None and self.held is not None
            self.positions[self.held] = self._spot(target)
            self.where[self.held], self.held = target, None
        elif verb in own_skills():
            own_skills()[verb].apply(self, str(target))
        elif verb.startswith("open"):
            self.opened.add(skill.subject)
        else:
            self.opened.discard(skill.subject)
        return True

    def holds(self, predicate: Predicate) -> bool:
        """Whether an atom without variables is true now."""
        name, args = predicate.name, predicate.args
        if name == "on_top":
            held = args[0] == self.held
            return args[1] in self.geometry.under_hand[self.at] if held else self.where[args[0]] == args[1]
        if name == "not_holding":
            return self.held is None
        if name == "holding":
            return self.held == args[0]
        if name == "in":
            return self.where[args[0]] == _BEHIND[args[1]]
        if name == "robot_at":
            return self.near(args[0])
        if name == "robot_at_obj":
            return self.reaches(args[0])
        return (args[0] in self.opened) == name.startswith("opened")

    def _carry(self) -> None:
        if self.held is not None:
            self.positions[self.held] = (*hand(self.pose), HAND_HEIGHT_M)

    def _spot(self, receptacle: str) -> tuple[float, float, float]:
        """The spot nearest to the robot among those with room around them, else the one with most room."""
        others = [self.positions[name] for name, place in self.where.items() if place == receptacle]

        def badness(spot: tuple[float, float]) -> tuple[float, float]:
            room = min((_squared(spot, x, y) for x, y, _ in others), default=math.inf)
            return -min(room, ROOMY_M**2), _squared(spot, self.pose.x, self.pose.y)

        return (*min(self.geometry.spots[receptacle], key=badness), self.layout.surfaces[receptacle].center[2])


def opened_at_start(episode: Episode) -> set[str]:
    """Handles of what stands open at the start; UserError when the episode starts with anything else unusual."""
    opened = set()
    for predicate in episode.start:
        if predicate.name in ("opened_fridge", "opened_cab"):
            opened.add(predicate.args[0])
        elif predicate.name not in ("closed_fridge", "closed_cab"):
            raise UserError(f"cannot start with {predicate}", f"episode {episode.episode_id}", "only doors can differ")
    return opened


def _squared(spot: tuple[float, float], x: float, y: float) -> float:
    """Squared distance along the floor: unlike `hypot` the same to the last bit for arrays and for numbers."""
    dx, dy = spot[0] - x, spot[1] - y
    return dx * dx + dy * dy
