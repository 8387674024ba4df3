"""The pinhole head camera: where it looks, and where boxes appear in its image.

Frames: the robot's own frame has x ahead, y to the left, z up and its origin on the floor below the camera, which is
tilted down but never rolls. Pixels are numbered row by row from the upper left corner.
"""

import math

import numpy as np

from llarp.config import CameraConfig
from llarp.scenes.layout import Pose

NEAR_M = 0.05
"""Nothing nearer than this along the view axis is projected."""


def turn(yaw: float) -> np.ndarray:
    """float64[3, 3] rotation about z: a frame turned by `yaw` to the frame outside it."""
    cos, sin = math.cos(yaw), math.sin(yaw)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


class Camera:
    """Place and projection of one camera configuration."""

    def __init__(self, config: CameraConfig) -> None:
        self.config = config
        self.height, self.width = config.height, config.width
        self.focal = config.height / 2 / math.tan(math.radians(config.fov_deg) / 2)
        """Pixels."""
        tilt = math.radians(config.tilt_deg)
        ahead = np.array([math.cos(tilt), 0.0, -math.sin(tilt)])
        right, down = np.array([0.0, -1.0, 0.0]), np.array([-math.sin(tilt), 0.0, -math.cos(tilt)])
        self.axes = np.stack([right, down, ahead])
        """[3, 3] rows: the image's x axis, its y axis and the view axis, in the robot's frame."""

    def view(self, pose: Pose) -> np.ndarray:
        """float64[3, 3] rotation of the world's frame to the camera's: x to the right, y down, z ahead."""
        return self.axes @ turn(pose.heading).T

    def eye_at(self, pose: Pose) -> np.ndarray:
        """float64[3] the camera's place in the world."""
        return np.array([pose.x, pose.y, self.config.elevation_m])

    def pixel_boxes(self, corners_N83: np.ndarray, pose: Pose) -> np.ndarray:
        """Pixels that each of N convex bodies can cover, given corners of a box around it in the world.

        Returns:
            int64[N, 4] boxes (top, bottom, left, right), half open; empty boxes have top >= bottom or left >= right.

        """
        points = (corners_N83 - self.eye_at(pose)) @ self.view(pose).T
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
