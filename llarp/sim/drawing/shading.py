"""The colours of what the camera's rays met: ambient light, a lamp, a light on the head, darker with distance."""

import numpy as np

from llarp.sim.drawing.raycast import BOX, CAPSULE, CURVED, CYLINDER, ELLIPSOID, NOTHING, PLANE, compiled

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
    faces = 4 * len(solids.kind)
    light_F, head_F3 = np.empty(faces), np.empty((faces, 3))
    for number in range(len(solids.kind)):
        sun = held_light if number >= first_held else light
        for axis in range(3):
            x, y, z = solids.axes[number, 0, axis], solids.axes[number, 1, axis], solids.axes[number, 2, axis]
            away = x * solids.at[number, 0] + y * solids.at[number, 1] + z * solids.at[number, 2]
            side = -1.0 if away > 0 else 1.0  # of the two faces, the one that the eye can see
            light_F[4 * number + axis] = AMBIENT + LAMP * max(side * (x * sun[0] + y * sun[1] + z * sun[2]), 0.0)
            head_F3[4 * number + axis, 0] = -HEAD * side * x
            head_F3[4 * number + axis, 1] = -HEAD * side * y
            head_F3[4 * number + axis, 2] = -HEAD * side * z
    last_plank, last_board, tone = np.nan, np.nan, 1.0
    for row in range(height):
        y = (row + 0.5 - height / 2) / focal
        for column in range(width):
            face = face_HW[row, column]
            if face == NOTHING:
                for i in range(3):
                    image_HW3[row, column, i] = SKY[i]
                continue
            number = face >> 2
            kind = solids.kind[number]
            x = (column + 0.5 - width / 2) / focal
            depth, length = abs(float(depth_HW[row, column])), np.sqrt(x * x + y * y + 1)
            if face & 3 == CURVED:
                u, v, w = normal(kind, solids, number, depth * x, depth * y, depth)
                sun = held_light if number >= first_held else light
                lamp = AMBIENT + LAMP * max(u * sun[0] + v * sun[1] + w * sun[2], 0.0)
                head = -HEAD * (u * x + v * y + w)
            else:
                lamp, head = light_F[face], head_F3[face, 0] * x + head_F3[face, 1] * y + head_F3[face, 2]
            brightness = (lamp + max(head, 0.0) / length) * np.exp(np.float32(-FOG * depth * length))
            if kind == PLANE:
                u, v, _ = to_solid(solids, number, depth * x, depth * y, depth)
                plank = np.floor(v / PLANK_M[1])
                board = np.floor(u / PLANK_M[0] + 0.37 * plank)
                if plank != last_plank or board != last_board:
                    last_plank, last_board, tone = plank, board, wood(plank, board)
                brightness *= tone
            for i in range(3):
                image_HW3[row, column, i] = int(min(brightness * albedo_G3[number, i], 1.0) * 255 + 0.5)


@compiled
def to_solid(solids, number, x, y, z):
    """A point of the camera's frame in the frame of a solid."""
    axes = solids.axes
    x, y, z = x - solids.at[number, 0], y - solids.at[number, 1], z - solids.at[number, 2]
    return (
        axes[number, 0, 0] * x + axes[number, 1, 0] * y + axes[number, 2, 0] * z,
        axes[number, 0, 1] * x + axes[number, 1, 1] * y + axes[number, 2, 1] * z,
        axes[number, 0, 2] * x + axes[number, 1, 2] * y + axes[number, 2, 2] * z,
    )


@compiled
def normal(kind, solids, number, x, y, z):
    """Outward unit normal at a point of a solid's surface, both in the camera's frame."""
    u, v, w = to_solid(solids, number, x, y, z)
    size, axes = solids.size[number], solids.axes[number]
    if kind == BOX:  # seen from inside
        a, b, c = abs(u) - size[0], abs(v) - size[1], abs(w) - size[2]  # the largest is the face's
        if a < max(b, c):
            u = 0.0
        if b < max(a, c):
            v = 0.0
        if c < max(a, b):
            w = 0.0
    elif kind == CYLINDER:
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
