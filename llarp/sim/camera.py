"""The pinhole head camera: its rays, where boxes appear in its image, and how what a ray met is shaded.

Frames: the robot's own frame has x ahead, y to the left, z up and its origin on the floor below the camera, which is
tilted down but never rolls. Pixels are numbered row by row from the upper left corner.
"""

import math

import numpy as np

from llarp.config import CameraConfig
from llarp.scenes.layout import Pose

NEAR_M = 0.05
"""Nothing nearer than this along the view axis is projected."""
LIGHT = np.array([-0.35, 0.25, 0.90]) / np.linalg.norm([-0.35, 0.25, 0.90])
"""Direction towards the lamp, in the world."""
_AMBIENT, _LAMP, _HEAD, _FOG = 0.62, 0.30, 0.22, 0.03  # shares of light; darkening per metre

Box = tuple[int, int, int, int]
"""Rows [top, bottom) and columns [left, right) of an image."""


def turn(yaw: float) -> np.ndarray:
    """float64[3, 3] rotation about z: a frame turned by `yaw` to the frame outside it."""
    cos, sin = math.cos(yaw), math.sin(yaw)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


class Camera:
    """Rays and projection of one camera configuration."""

    def __init__(self, config: CameraConfig) -> None:
        self.config = config
        self.height, self.width = config.height, config.width
        self.focal = config.height / 2 / math.tan(math.radians(config.fov_deg) / 2)
        """Pixels."""
        self.eye = np.array([0.0, 0.0, config.elevation_m])
        """In the robot's frame."""
        tilt = math.radians(config.tilt_deg)
        ahead = np.array([math.cos(tilt), 0.0, -math.sin(tilt)])
        right, down = np.array([0.0, -1.0, 0.0]), np.array([-math.sin(tilt), 0.0, -math.cos(tilt)])
        self.axes = np.stack([right, down, ahead])
        """[3, 3] rows: the image's x axis, its y axis and the view axis, in the robot's frame."""
        rows, columns = np.mgrid[: self.height, : self.width] + 0.5
        across, along = (columns - self.width / 2) / self.focal, (rows - self.height / 2) / self.focal
        rays = np.stack([across, along, np.ones_like(across)], -1) @ self.axes
        self.rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
        """float64[H, W, 3] unit vectors in the robot's frame."""

    def eye_at(self, pose: Pose) -> np.ndarray:
        """float64[3] the camera's place in the world."""
        return np.array([pose.x, pose.y, self.config.elevation_m])

    def pixel_boxes(self, corners_N83: np.ndarray, pose: Pose) -> np.ndarray:
        """Pixels that each of N convex bodies can cover, given corners of a box around it in the world.

        Returns:
            int64[N, 4] boxes (top, bottom, left, right), half open; empty boxes have top >= bottom or left >= right.

        """
        points = (corners_N83 - self.eye_at(pose)) @ (self.axes @ turn(pose.heading).T).T
        depth = points[..., 2]
        x, y = (points[..., :2] / np.maximum(depth, NEAR_M)[..., None] * self.focal).transpose(2, 0, 1)
        x, y = x + self.width / 2, y + self.height / 2
        boxes = np.stack([y.min(1), y.max(1), x.min(1), x.max(1)], -1)
        boxes[(depth < NEAR_M).any(1)] = (0, self.height, 0, self.width)  # it reaches beside the camera
        half = np.array([self.width, self.height]) / 2 / self.focal
        sides = np.concatenate(
            [points[..., :2] + half * depth[..., None], half * depth[..., None] - points[..., :2]], -1
        )
        boxes[np.any(np.all(sides < 0, axis=1), axis=1)] = 0  # wholly beyond one side of the picture
        boxes[:, 0::2], boxes[:, 1::2] = np.floor(boxes[:, 0::2]), np.ceil(boxes[:, 1::2])
        return np.clip(boxes, 0, [self.height, self.height, self.width, self.width]).astype(np.int64)


def shade(
    albedo: np.ndarray, normal: np.ndarray, ray: np.ndarray, distance: np.ndarray, light: np.ndarray
) -> np.ndarray:
    """Colours of N surface points: ambient light, a lamp, a light on the head, slightly darker with distance.

    Args:
        albedo: float[N, 3] in [0, 1].
        normal: float[N, 3] outward, in the same frame as `ray` and `light`.
        ray: float[N, 3] unit vectors from the camera.
        distance: float[N] metres.
        light: float[3] or [N, 3] towards the lamp.

    Returns:
        uint8[N, 3].

    """
    lamp = np.maximum(np.einsum("ni,ni->n", normal, np.broadcast_to(light, normal.shape)), 0)
    head = np.maximum(-np.einsum("ni,ni->n", normal, ray), 0)
    brightness = (_AMBIENT + _LAMP * lamp + _HEAD * head) * np.exp(-_FOG * distance)
    return (np.minimum(albedo * brightness[:, None], 1.0) * 255 + 0.5).astype(np.uint8)
