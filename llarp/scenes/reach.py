"""How far the robot reaches along the floor: the thresholds of the benchmark (arXiv 2310.17722, section 4, appendix).

The rules decide by them, and layouts are fitted to records by them.
"""

import math

from llarp.scenes.layout import Pose

ROBOT_AT_M = 2.0
"""Farthest that `robot_at` and place reach."""
ROBOT_AT_RAD = math.pi / 2
"""Greatest bearing of `robot_at` and place."""
REACH_M = 1.5
"""Farthest that `robot_at_obj` and pick reach."""
REACH_RAD = 1.0
"""Greatest bearing of `robot_at_obj` and pick."""
HAND_FORWARD_M = 0.8
"""How far before the robot's base a held object is."""


def within(pose: Pose, x: float, y: float, distance: float, bearing: float) -> bool:
    """Whether a point on the floor is at most `distance` metres and `bearing` radians from where the robot looks."""
    return pose.distance(x, y) <= distance and pose.bearing(x, y) <= bearing
