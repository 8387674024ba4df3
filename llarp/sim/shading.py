"""The colours of what the camera's rays met: ambient light, a lamp, a light on the head, darker with distance."""

import numpy as np

from llarp.sim.raycast import BOX, CAPSULE, CURVED, CYLINDER, ELLIPSOID, NOTHING, PLANE, compiled

SKY = (214, 226, 236)
"""RGB where a ray meets nothing."""
LIGHT = np.array([-0.35, 0.25, 0.90]) / np.linalg.norm([-0.35, 0.25, 0.90])
"""Direction towards the lamp, in the world."""
AMBIENT, LAMP, HEAD = 0.62, 0.30, 0.22
"""Shares of light."""
FOG = 0.03
"""Darkening per metre."""
PLANK_M = (1.4, 0.22)
"""Length and breadth of the floor's boards."""


@compiled
def shade(solids, albedo_G3, first_held, light, held_light, focal, depth_HW, face_HW, image_HW3):
    """Paints an image of what `raycast.first_hits` found.

    Args:
        solids: all of them, in the camera's frame.
        albedo_G3: float64, their RGB in [0, 1].
        first_held: those from this number on are in the hand.
        light: float64[3] towards the lamp, in the camera's frame.
        held_light: the same for what the hand holds.
        focal: pixels.
        depth_HW: float32, metres along the view axis, in the hand negative.
        face_HW: int32 faces met, as `raycast` numbers them.
        image_HW3: uint8, written.

    """
    height, width = depth_HW.shape
    lamp_G3, outward_G = np.empty((len(solids.kind), 3)), np.empty(len(solids.kind))
    for number in range(len(solids.kind)):
        axes, at, size = solids.axes[number], solids.at[number], solids.size[number]
        sun = held_light if number >= first_held else light
        outward_G[number] = 1.0 if solids.kind[number] == BOX else -1.0
        for axis in range(3):
            lamp_G3[number, axis] = axes[0, axis] * sun[0] + axes[1, axis] * sun[1] + axes[2, axis] * sun[2]
            if abs(axes[0, axis] * at[0] + axes[1, axis] * at[1] + axes[2, axis] * at[2]) > size[axis]:
                outward_G[number] = -1.0  # the eye is not inside, so the face looks against the ray
    last_plank, last_board, tone = np.nan, np.nan, 1.0
    for row in range(height):
        y = (row + 0.5 - height / 2) / focal
        for column in range(width):
            face = face_HW[row, column]
            if face == NOTHING:
                for i in range(3):
                    image_HW3[row, column, i] = SKY[i]
                continue
            number, axis = face >> 2, face & 3
            x = (column + 0.5 - width / 2) / focal
            depth, length = abs(float(depth_HW[row, column])), np.sqrt(x * x + y * y + 1)
            axes = solids.axes[number]
            if axis == CURVED:
                u, v, w = normal(
                    solids.kind[number], solids.size[number], axes, solids.at[number], depth * x, depth * y, depth
                )
                sun = held_light if number >= first_held else light
                lamp, head = max(u * sun[0] + v * sun[1] + w * sun[2], 0.0), max(-(u * x + v * y + w), 0.0)
            else:
                along = axes[0, axis] * x + axes[1, axis] * y + axes[2, axis]
                lamp = max(np.copysign(lamp_G3[number, axis], along * lamp_G3[number, axis] * outward_G[number]), 0.0)
                head = max(-outward_G[number] * abs(along), 0.0)
            brightness = (AMBIENT + LAMP * lamp + HEAD * head / length) * np.exp(np.float32(-FOG * depth * length))
            if solids.kind[number] == PLANE:
                u, v, _ = to_solid(axes, solids.at[number], depth * x, depth * y, depth)
                plank = np.floor(v / PLANK_M[1])
                board = np.floor(u / PLANK_M[0] + 0.37 * plank)
                if plank != last_plank or board != last_board:
                    last_plank, last_board, tone = plank, board, wood(plank, board)
                brightness *= tone
            for i in range(3):
                image_HW3[row, column, i] = int(min(brightness * albedo_G3[number, i], 1.0) * 255 + 0.5)


@compiled
def to_solid(axes, at, x, y, z):
    """A point of the camera's frame in the frame of a solid."""
    x, y, z = x - at[0], y - at[1], z - at[2]
    return (
        axes[0, 0] * x + axes[1, 0] * y + axes[2, 0] * z,
        axes[0, 1] * x + axes[1, 1] * y + axes[2, 1] * z,
        axes[0, 2] * x + axes[1, 2] * y + axes[2, 2] * z,
    )


@compiled
def normal(kind, size, axes, at, x, y, z):
    """Outward unit normal at a point of a curved primitive's surface, in the camera's frame like the point."""
    u, v, w = to_solid(axes, at, x, y, z)
    if kind == CYLINDER:
        if abs(w) - size[1] > np.sqrt(u * u + v * v) - size[0]:
            u, v, w = 0.0, 0.0, np.copysign(1.0, w)
        else:
            w = 0.0
    elif kind == CAPSULE:
        w -= min(max(w, -size[1]), size[1])
    elif kind == ELLIPSOID:
        u, v, w = u / size[0] ** 2, v / size[1] ** 2, w / size[2] ** 2
    scale = 1 / np.sqrt(u * u + v * v + w * w)
    return (
        scale * (axes[0, 0] * u + axes[0, 1] * v + axes[0, 2] * w),
        scale * (axes[1, 0] * u + axes[1, 1] * v + axes[1, 2] * w),
        scale * (axes[2, 0] * u + axes[2, 1] * v + axes[2, 2] * w),
    )


@compiled
def wood(plank, board):
    """Lightness of one board of a wooden floor."""
    noise = np.sin(12.9898 * plank + 78.233 * board) * 43758.5453
    return 0.90 + 0.14 * (noise - np.floor(noise))
