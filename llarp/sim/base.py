"""The interface of every simulator: a world that can be seen."""

from abc import abstractmethod

import numpy as np

from llarp.tasks.world import World


class Simulator(World):
    """A world with the robot's head camera. Drawing is lazy: who has the feature of a view never draws it."""

    @property
    @abstractmethod
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, 3) of an image."""

    @abstractmethod
    def view_key(self) -> bytes:
        """16-byte digest of all that the camera could see: two equal keys mean two equal images.

        It covers camera pose, furniture, visible objects with their looks and poses, the held object, doors and
        drawers, image size and the drawing code's version, but no encoder.
        """

    @abstractmethod
    def render(self) -> np.ndarray:
        """uint8[H, W, 3] image of the head camera now."""
