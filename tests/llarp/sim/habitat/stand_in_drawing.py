"""Draws triangles by casting rays, so that the stand-in shows what a scene data set's files really hold."""

from functools import cache
from typing import NamedTuple

import numba
import numpy as np
import trimesh


class Mesh(NamedTuple):
    corners: np.ndarray
    """float64[T, 3, 3] of triangles, y up."""
    colours: np.ndarray
    """float64[T, 3]."""
    ends: tuple[int, ...]
    """Where each node's triangles end."""


@cache
def load(path):
    """The triangles of a .glb and its nodes' base colours."""
    scene = trimesh.load(path, force="scene")
    corners, colours, ends = [], [], []
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        mesh = scene.geometry[name]
        vertices = trimesh.transform_points(mesh.vertices, transform)
        corners.append(vertices[mesh.faces])
        colours.append(np.tile(np.array(mesh.visual.material.baseColorFactor[:3]) / 255, (len(mesh.faces), 1)))
        ends.append((ends[-1] if ends else 0) + len(mesh.faces))
    return Mesh(np.concatenate(corners), np.concatenate(colours), tuple(ends))


def picture(placed, eye, axes, height, width, hfov_deg):
    """uint8[H, W, 4] of (mesh, rotation, translation); the camera's axes are columns: right, up, backwards."""
    corners = np.concatenate([mesh.corners @ turn.T + at for mesh, turn, at in placed])
    colours = np.concatenate([mesh.colours for mesh, _, _ in placed])
    ends, offset = [], 0
    for mesh, _, _ in placed:
        ends += [offset + end for end in mesh.ends]
        offset += len(mesh.corners)
    focal = width / 2 / np.tan(np.radians(hfov_deg) / 2)
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    rays = np.stack([(columns - width / 2) / focal, (height / 2 - rows) / focal, -np.ones_like(rows)], -1) @ axes.T
    image = _cast(corners, colours, np.array(ends), np.asarray(eye, float), rays.reshape(-1, 3))
    return np.concatenate([image, np.full((len(image), 1), 255, np.uint8)], 1).reshape(height, width, 4)


@numba.njit(fastmath=True, cache=True)
def _cast(corners, colours, ends, eye, rays):
    middles, radii = np.empty((len(ends), 3)), np.empty(len(ends))
    begin = 0
    for group in range(len(ends)):
        for axis in range(3):
            low, high = np.inf, -np.inf
            for t in range(begin, ends[group]):
                for c in range(3):
                    low, high = min(low, corners[t, c, axis]), max(high, corners[t, c, axis])
            middles[group, axis] = (low + high) / 2
        farthest = 0.0
        for t in range(begin, ends[group]):
            for c in range(3):
                farthest = max(farthest, np.sum((corners[t, c] - middles[group]) ** 2))
        radii[group] = farthest
        begin = ends[group]
    image = np.zeros((len(rays), 3), np.uint8)
    for pixel in range(len(rays)):
        dx, dy, dz = rays[pixel]
        length = np.sqrt(dx * dx + dy * dy + dz * dz)
        dx, dy, dz = dx / length, dy / length, dz / length
        best, face = np.inf, -1
        begin = 0
        for group in range(len(ends)):
            first, begin = begin, ends[group]
            mx, my, mz = middles[group, 0] - eye[0], middles[group, 1] - eye[1], middles[group, 2] - eye[2]
            along = mx * dx + my * dy + mz * dz
            beside = mx * mx + my * my + mz * mz - along * along
            if beside > radii[group] or along - np.sqrt(radii[group] - beside) > best:
                continue
            for t in range(first, ends[group]):
                ax, ay, az = corners[t, 0, 0], corners[t, 0, 1], corners[t, 0, 2]
                ux, uy, uz = corners[t, 1, 0] - ax, corners[t, 1, 1] - ay, corners[t, 1, 2] - az
                vx, vy, vz = corners[t, 2, 0] - ax, corners[t, 2, 1] - ay, corners[t, 2, 2] - az
                px, py, pz = dy * vz - dz * vy, dz * vx - dx * vz, dx * vy - dy * vx
                det = ux * px + uy * py + uz * pz
                if abs(det) < 1e-12:
                    continue
                sx, sy, sz = eye[0] - ax, eye[1] - ay, eye[2] - az
                a = (sx * px + sy * py + sz * pz) / det
                if a < 0 or a > 1:
                    continue
                qx, qy, qz = sy * uz - sz * uy, sz * ux - sx * uz, sx * uy - sy * ux
                b = (dx * qx + dy * qy + dz * qz) / det
                if b < 0 or a + b > 1:
                    continue
                distance = (vx * qx + vy * qy + vz * qz) / det
                if 0.01 < distance < best:
                    best, face = distance, t
        if face >= 0:
            u, v = corners[face, 1] - corners[face, 0], corners[face, 2] - corners[face, 0]
            normal = np.cross(u, v)
            normal /= np.sqrt(np.sum(normal**2))
            light = 0.55 + 0.45 * abs(0.4 * normal[0] + 0.8 * normal[1] + 0.45 * normal[2])
            for c in range(3):
                image[pixel, c] = np.uint8(255 * min(1.0, colours[face, c] * light))
    return image
