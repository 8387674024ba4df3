"""From our frame (z up) to that of habitat-sim, glTF and the release (y up): x = x, y = z, z = -y, and back.

Both are right-handed, so that a turn about our z axis is the same turn about their y axis.
"""

import math

import numpy as np

Y_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""[3, 3] rotation: a column of our coordinates to theirs."""

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]
"""(w, x, y, z)."""


def y_up(x: float, y: float, z: float) -> Vector:
    """A point of ours in their frame."""
    return x, z, -y


def z_up(x: float, y: float, z: float) -> Vector:
    """A point of theirs in our frame."""
    return x, -z, y


def turned(heading: float) -> Quaternion:
    """Turned by `heading` radians about the vertical, in their frame."""
    return math.cos(heading / 2), 0.0, math.sin(heading / 2), 0.0


def facing(heading: float) -> Quaternion:
    """Of something that looks along its own -z axis, as cameras and agents do, so that it looks along `heading`."""
    return turned(heading - math.pi / 2)
