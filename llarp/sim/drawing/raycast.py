"""The first solid that each ray of a pinhole camera meets: MuJoCo's primitives, compiled by numba.

`mj_multiRay` tests every ray against every solid near it. Here a solid is tested only at the pixels that its corners
enclose, row by row, and a depth buffer keeps the nearest: some 30 times faster, with the same result (a test compares
the two). Everything is in the camera's frame: x to the right of the image, y down, z along the view axis, the eye at 0.
A ray is not of unit length: it goes through (x, y, 1), so its parameter is the depth along the view axis.
"""

from typing import NamedTuple

import mujoco
import numpy as np
from numba import njit

PLANE = int(mujoco.mjtGeom.mjGEOM_PLANE)
SPHERE = int(mujoco.mjtGeom.mjGEOM_SPHERE)
CAPSULE = int(mujoco.mjtGeom.mjGEOM_CAPSULE)
ELLIPSOID = int(mujoco.mjtGeom.mjGEOM_ELLIPSOID)
CYLINDER = int(mujoco.mjtGeom.mjGEOM_CYLINDER)
BOX = int(mujoco.mjtGeom.mjGEOM_BOX)

FAR_M = 100.0
"""Rays end at this depth."""
NEAR_M = 1e-3
"""Rays start at this depth."""
NOTHING, CURVED = -1, 3
"""A face is 4 * solid + axis of its normal (0, 1, 2), or + CURVED where the normal depends on the place (also in a box
with the eye inside); NOTHING where a ray meets none."""

# Kept on disk, where numba notices changes only of the file that holds a function: change a constant that another file
# uses, and that file's code stays old. Fast mathematics without "there is no infinity": rays along a face divide by 0.
compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "arcp", "nsz"})


class Solids(NamedTuple):
    """G primitives in one frame."""

    kind: np.ndarray
    """int32[G] mjtGeom."""
    size: np.ndarray
    """float64[G, 3] MuJoCo's sizes, metres."""
    at: np.ndarray
    """float64[G, 3] centres."""
    axes: np.ndarray
    """float64[G, 3, 3] columns are the primitives' axes."""


@compiled
def first_hits(solids, begin, end, focal, depth_HW, face_HW):
    """Lowers `depth_HW` (float32, metres) and sets `face_HW` (int32) where solids [begin, end) are nearer.

    Args:
        solids: all of them, in the camera's frame.
        begin: first number.
        end: number after the last.
        focal: pixels.
        depth_HW: depth along the view axis so far.
        face_HW: faces met so far.

    """
    height, width = depth_HW.shape
    eye, ray, along, down = np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    for number in range(begin, end):
        kind, at, axes = solids.kind[number], solids.at[number], solids.axes[number]
        half = half_extents(kind, solids.size[number])
        top, bottom, left, right = pixel_box(half, at, axes, focal, height, width)
        if top >= bottom or left >= right:
            continue
        # In the solid's frame: the eye, the ray through the middle of pixel [0, left], and steps to the next pixel.
        for i in range(3):
            eye[i] = -(axes[0, i] * at[0] + axes[1, i] * at[1] + axes[2, i] * at[2])
            along[i], down[i] = axes[0, i] / focal, axes[1, i] / focal
            ray[i] = along[i] * (left + 0.5 - width / 2) + down[i] * (0.5 - height / 2) + axes[2, i]
        for row in range(top, bottom):
            depth, face = depth_HW[row, left:right], face_HW[row, left:right]
            x, y, z = ray[0] + row * down[0], ray[1] + row * down[1], ray[2] + row * down[2]
            if kind in (BOX, PLANE):
                box_row(number, half, eye, x, y, z, along, depth, face)
            else:
                curved_row(number, kind, solids.size[number], eye, x, y, z, along, depth, face)


@compiled
def box_row(number, half, eye, x, y, z, along, depth, face):
    """One row of pixels against a box (or a plane, a flat one): the slabs of its axes, many pixels at once."""
    x, y, z = np.float32(x), np.float32(y), np.float32(z)
    dx, dy, dz = np.float32(along[0]), np.float32(along[1]), np.float32(along[2])
    low_x, low_y, low_z = np.float32(-half[0] - eye[0]), np.float32(-half[1] - eye[1]), np.float32(-half[2] - eye[2])
    high_x, high_y, high_z = np.float32(half[0] - eye[0]), np.float32(half[1] - eye[1]), np.float32(half[2] - eye[2])
    one, near = np.float32(1.0), np.float32(NEAR_M)
    inside = low_x < 0 < high_x and low_y < 0 < high_y and low_z < 0 < high_z
    for i in range(depth.shape[0]):
        step = np.float32(i)
        inverse = one / (x + step * dx)
        a, b = low_x * inverse, high_x * inverse
        enters, leaves, axis = min(a, b), max(a, b), 0
        inverse = one / (y + step * dy)
        a, b = low_y * inverse, high_y * inverse
        leaves = min(leaves, max(a, b))
        a = min(a, b)
        enters, axis = (a, 1) if a > enters else (enters, axis)
        inverse = one / (z + step * dz)
        a, b = low_z * inverse, high_z * inverse
        leaves = min(leaves, max(a, b))
        a = min(a, b)
        enters, axis = (a, 2) if a > enters else (enters, axis)
        met, axis = (leaves, CURVED) if inside else (enters, axis)
        hit = (enters <= leaves) & (met >= near) & (met < depth[i])
        depth[i] = met if hit else depth[i]
        face[i] = np.int32(4 * number + axis) if hit else face[i]


@compiled
def curved_row(number, kind, size, eye, x, y, z, along, depth, face):
    """One row of pixels against any other primitive."""
    for i in range(depth.shape[0]):
        met = curved(kind, size, eye, x + i * along[0], y + i * along[1], z + i * along[2])
        if met < depth[i]:
            depth[i] = met
            face[i] = 4 * number + CURVED


@compiled
def curved(kind, size, eye, x, y, z):
    """Ray parameter where a ray first meets a sphere, ellipsoid, capsule or cylinder; FAR_M if nowhere."""
    u, v, w = eye[0], eye[1], eye[2]
    if kind in (SPHERE, ELLIPSOID):
        if kind == ELLIPSOID:
            x, y, z, u, v, w = x / size[0], y / size[1], z / size[2], u / size[0], v / size[1], w / size[2]
            return quadratic(x * x + y * y + z * z, u * x + v * y + w * z, u * u + v * v + w * w - 1)
        return quadratic(x * x + y * y + z * z, u * x + v * y + w * z, u * u + v * v + w * w - size[0] * size[0])
    radius, half = size[0], size[1]
    met = quadratic(x * x + y * y, u * x + v * y, u * u + v * v - radius * radius)
    if met < FAR_M and abs(w + met * z) <= half:
        return met
    best = FAR_M
    for side in (-1.0, 1.0):  # the two ends
        if kind == CYLINDER:
            met = (side * half - w) / z
            if NEAR_M <= met < best and (u + met * x) ** 2 + (v + met * y) ** 2 <= radius * radius:
                best = met
        else:
            c = w - side * half
            met = quadratic(x * x + y * y + z * z, u * x + v * y + c * z, u * u + v * v + c * c - radius * radius)
            if met < best:
                best = met
    return best


@compiled
def quadratic(a, b, c):
    """The smaller root of a t^2 + 2 b t + c = 0 that is ahead, or FAR_M."""
    inside = b * b - a * c
    if inside < 0:
        return FAR_M
    root = np.sqrt(inside)
    met = (-b - root) / a
    if met < NEAR_M:
        met = (-b + root) / a
    return met if met >= NEAR_M else FAR_M


@compiled
def half_extents(kind, size):
    """Half extents of the box around a primitive, along its own axes."""
    if kind == PLANE:
        return FAR_M, FAR_M, 0.0
    if kind == SPHERE:
        return size[0], size[0], size[0]
    if kind == CAPSULE:
        return size[0], size[0], size[0] + size[1]
    if kind == CYLINDER:
        return size[0], size[0], size[1]
    return size[0], size[1], size[2]


@compiled
def pixel_box(half, at, axes, focal, height, width):
    """Rows [top, bottom) and columns [left, right) that a box can cover: around its corners that lie ahead, and around
    the points where its edges pass NEAR_M.
    """
    low_x, high_x, low_y, high_y = np.inf, -np.inf, np.inf, -np.inf
    corners = np.empty((8, 3))
    for corner in range(8):
        for i in range(3):
            corners[corner, i] = at[i]
            for axis in range(3):
                sign = 1.0 if corner >> axis & 1 else -1.0
                corners[corner, i] += sign * half[axis] * axes[i, axis]
    for corner in range(8):
        x, y, z = corners[corner]
        if z >= NEAR_M:
            low_x, high_x = min(low_x, x / z), max(high_x, x / z)
            low_y, high_y = min(low_y, y / z), max(high_y, y / z)
        else:
            for axis in range(3):
                u, v, w = corners[corner ^ (1 << axis)]
                if w > NEAR_M:
                    share = (NEAR_M - z) / (w - z)
                    p, q = (x + share * (u - x)) / NEAR_M, (y + share * (v - y)) / NEAR_M
                    low_x, high_x, low_y, high_y = min(low_x, p), max(high_x, p), min(low_y, q), max(high_y, q)
    if low_x > high_x:
        return 0, 0, 0, 0
    return (
        pixel_edge(np.floor(low_y * focal + height / 2 - 0.5), height),
        pixel_edge(np.ceil(high_y * focal + height / 2 + 0.5), height),
        pixel_edge(np.floor(low_x * focal + width / 2 - 0.5), width),
        pixel_edge(np.ceil(high_x * focal + width / 2 + 0.5), width),
    )


@compiled
def pixel_edge(value, limit):
    """An edge of a pixel box within the picture."""
    return int(min(max(value, 0.0), float(limit)))
