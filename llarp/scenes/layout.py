"""A layout: where the furniture of one apartment stands, and where the robot stands to use it.

Coordinates are metres in a right-handed frame with z up and the floor at z = 0. Headings and yaws are radians,
counter-clockwise from +x seen from above. (The release is y-up: x = x, y = -z_release, z = y_release.)
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Surface:
    """The rectangle of a receptacle on which objects lie."""

    center: tuple[float, float, float]
    """Middle of the rectangle; z is the height at which objects rest."""
    half: tuple[float, float]
    """Half extents along the rectangle's own axes."""
    yaw: float
    """Direction of the rectangle's first axis."""

    def to_world(self, u: float, v: float) -> tuple[float, float]:
        """The floor coordinates of a point given in the rectangle's own axes (metres from its centre)."""
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        return self.center[0] + u * cos - v * sin, self.center[1] + u * sin + v * cos

    def to_local(self, x: float, y: float) -> tuple[float, float]:
        """The inverse of `to_world`."""
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        dx, dy = x - self.center[0], y - self.center[1]
        return dx * cos + dy * sin, -dx * sin + dy * cos


@dataclass(frozen=True)
class Pose:
    """Where the robot's base is and which way it faces."""

    x: float
    y: float
    heading: float

    def distance(self, x: float, y: float) -> float:
        """Metres along the floor."""
        return math.hypot(x - self.x, y - self.y)

    def bearing(self, x: float, y: float) -> float:
        """Radians in [0, pi] by which the robot would have to turn to face a point."""
        angle = math.atan2(y - self.y, x - self.x) - self.heading
        return abs(math.remainder(angle, math.tau))


@dataclass(frozen=True)
class Layout:
    """One apartment."""

    name: str
    family: str
    """Layouts of one family are never split between training and the split `new scenes`: sc0, sc3 (released), gen."""
    surfaces: Mapping[str, Surface]
    """One per receptacle of the catalogue."""
    handles: Mapping[str, tuple[float, float, float]]
    """One point per handle of the catalogue."""
    standing: Mapping[str, Pose]
    """One pose per navigation target of the catalogue."""
    points: Mapping[str, tuple[float, float]]
    """Where on the floor `robot_at` of each receptacle and handle is measured."""
